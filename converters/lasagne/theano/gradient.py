"""``theano.gradient``: derivatives of expressions."""

from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from converters.lasagne.theano.loops import clone
from converters.lasagne.theano.op import grad_not_implemented, grad_undefined  # noqa: F401  # Theano's place for them
from converters.lasagne.theano.variable import Constant, Differential, Variable, apply, as_tensor
from nets.layers.clipping import Clipped


def grad(
    cost: Variable | None,
    wrt: Any,
    consider_constant: Any = None,
    disconnected_inputs: str = "raise",
    add_names: bool = True,
    known_grads: Any = None,
    return_disconnected: str = "zero",
    null_gradients: str = "raise",
) -> Any:
    """The gradient of the scalar *cost* for *wrt*, a variable or a list of them.

    *known_grads*: gradients of variables that count besides, or with *cost* None alone. *consider_constant*: variables
    that let no gradient through.
    """
    many = isinstance(wrt, list | tuple)
    if cost is None and not known_grads:
        raise ValueError("grad needs a cost, or known_grads")
    known = {y: g if isinstance(g, Variable) else Constant(g) for y, g in dict(known_grads or {}).items()}
    if consider_constant:
        held = {var: disconnected_grad(var) for var in consider_constant}
        cost = None if cost is None else clone(cost, held)
        known = {clone(y, held): g for y, g in known.items()}
    together = Differential(cost, list(wrt) if many else [wrt], disconnected_inputs, known)
    parts = [apply(itemgetter(i), together) for i in range(len(together.wrt))]
    for part, var in zip(parts, together.wrt, strict=True):
        if var.ndim_ is not None or hasattr(var, "tensor"):
            part.ndim_ = var.ndim
    return parts if many else parts[0]


def jacobian(expression: Variable, wrt: Any, **options: Any) -> Any:
    """A row of gradients for each value of the vector *expression*."""
    many = isinstance(wrt, list | tuple)
    rows = [_Rows(expression, var) for var in (wrt if many else [wrt])]
    return rows if many else rows[0]


class _Rows(Differential):
    def __init__(self, cost: Variable, wrt: Variable, direction: Any = None) -> None:
        super().__init__(cost, [wrt])
        self.direction = direction

    def compute(self, known: Any) -> Any:
        """The rows, one backward pass each."""
        cost, value, again = known[self.tops[0]], known[self.wrt[0]], self.differentiable()
        rows = [
            torch.autograd.grad(item, value, retain_graph=True, create_graph=again, allow_unused=True)[0]
            for item in cost.flatten()
        ]
        return torch.stack([torch.zeros_like(value) if row is None else row for row in rows])


def hessian(cost: Variable, wrt: Any, **options: Any) -> Any:
    """The second derivatives of *cost* by the vector *wrt*."""
    return jacobian(grad(cost, wrt), wrt)


class _Forward(Differential):
    def __init__(self, cost: Variable, wrt: Variable, direction: Variable) -> None:
        super().__init__(cost, [wrt])
        self.direction = direction

    @property
    def parents(self) -> tuple[Variable, ...]:
        """The expression, what it is differentiated by, and the direction."""
        return (*super().parents, self.direction)

    def compute(self, known: Any) -> Any:
        """The change along the direction, by differentiating the backward pass."""
        y, x = known[self.tops[0]], known[self.wrt[0]]
        dummy = torch.ones_like(y).requires_grad_()
        back = torch.autograd.grad(y, x, dummy, create_graph=True)[0]
        return torch.autograd.grad(
            back, dummy, known[self.direction], retain_graph=True, create_graph=self.differentiable()
        )[0]


def Rop(f: Variable, wrt: Variable, eval_points: Any) -> Any:  # Theano's name
    """How *f* changes when *wrt* moves along *eval_points*."""
    return _Forward(f, wrt, eval_points if isinstance(eval_points, Variable) else Constant(eval_points))


def Lop(f: Variable, wrt: Variable, eval_points: Any) -> Any:  # Theano's name
    """The gradient of sum(f * eval_points) for *wrt*."""
    return grad(None, wrt, known_grads={f: eval_points})


def disconnected_grad(x: Any) -> Any:
    """x, as a constant for the gradient."""
    return apply(_constant, x)


consider_constant = zero_grad = disconnected_grad


def _constant(x: Any) -> Tensor:
    return as_tensor(x).detach()


def grad_clip(x: Any, lower_bound: float, upper_bound: float) -> Any:
    """x, whose gradient is kept between the bounds."""
    return apply(_clipped, x, lower_bound, upper_bound)


def _clipped(x: Any, low: float, high: float) -> Any:
    return Clipped.apply(as_tensor(x), low, high)  # type: ignore[no-untyped-call]  # torch leaves it without types


def grad_scale(x: Any, multiplier: float) -> Any:
    """x, whose gradient is *multiplier* times as large."""
    return apply(_scaled, x, multiplier)


def _scaled(x: Any, multiplier: float) -> Tensor:
    return as_tensor(x) * multiplier + as_tensor(x).detach() * (1 - multiplier)


disconnected_grad_ = consider_constant_ = zero_grad_ = disconnected_grad
