"""The functions of ``theano.tensor``, on torch tensors; each serves variables and data alike through ``apply``."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.lasagne.theano.tensor.calls import Function, floating, lazy
from converters.lasagne.theano.tensor.form import (
    dimshuffle,
    flatten,
    nonzero,
    repeat,
    reshape,
    shape,
    squeeze,
    subtensor,
    swapaxes,
    transpose,
)
from converters.lasagne.theano.variable import UFUNCS, Variable, apply, as_tensor, kind_of, probing
from nets.layers.choice import best_of_both
from nets.layers.product import linear
from nets.layers.windows import where_equal


def _unary(name: str, function: Callable[[Tensor], Tensor]) -> Function:
    def compute(x: Any) -> Tensor:
        return function(floating(x))

    compute.__name__ = compute.__qualname__ = name
    compute.__doc__ = f"{name} of each value."
    return lazy(compute)


exp, log, sqrt = _unary("exp", torch.exp), _unary("log", torch.log), _unary("sqrt", torch.sqrt)
log1p, expm1, log2, log10 = (_unary(f.__name__, f) for f in (torch.log1p, torch.expm1, torch.log2, torch.log10))
sin, cos, tan = (_unary(f.__name__, f) for f in (torch.sin, torch.cos, torch.tan))
arcsin, arccos, arctan = (_unary(f.__name__, f) for f in (torch.arcsin, torch.arccos, torch.arctan))
sinh, cosh, tanh, erf = (_unary(f.__name__, f) for f in (torch.sinh, torch.cosh, torch.tanh, torch.erf))
floor, ceil, exp2 = (_unary(f.__name__, f) for f in (torch.floor, torch.ceil, torch.exp2))
inv = _unary("inv", torch.reciprocal)


@lazy
def sqr(x: Any) -> Any:
    """x * x."""
    return as_tensor(x) * as_tensor(x)


@lazy
def abs_(x: Any) -> Any:
    """|x|, with slope 0 at 0."""
    return torch.abs(as_tensor(x))


@lazy
def sgn(x: Any) -> Any:
    """-1, 0 or 1."""
    return torch.sign(as_tensor(x))


@lazy
def neg(x: Any) -> Any:
    """-x; what is true counts as 1."""
    t = as_tensor(x)
    return -(t.to(torch.int8) if t.dtype == torch.bool else t)


@lazy
def round_(a: Any, mode: str | None = None) -> Any:
    """The nearest whole number; of two, by *mode*, the even one (half_to_even, as None) or half_away_from_zero."""
    x = floating(a)
    if mode not in (None, "half_to_even", "half_away_from_zero"):
        raise ValueError(f"round: mode must be half_to_even or half_away_from_zero, not {mode!r}")
    return torch.sign(x) * torch.floor(x.abs() + 0.5) if mode == "half_away_from_zero" else torch.round(x)


# ---- two values


def both(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Two operands as tensors; a plain number takes the other's kind."""
    if isinstance(a, Tensor) and not isinstance(b, Tensor):
        b = _like(b, a)
    elif isinstance(b, Tensor) and not isinstance(a, Tensor):
        a = _like(a, b)
    return as_tensor(a), as_tensor(b)


def _like(value: Any, other: Tensor) -> Tensor:
    if isinstance(value, float | int) and not isinstance(value, bool) and other.is_floating_point():
        return torch.full((), value, dtype=other.dtype, device=other.device)  # no copy, which a CUDA graph cannot hold
    return as_tensor(value).to(other.device)


@lazy
def add(*terms: Any) -> Any:
    """The sum of all arguments."""
    total = terms[0]
    for term in terms[1:]:
        total = torch.add(*both(total, term))
    return as_tensor(total)


@lazy
def mul(*factors: Any) -> Any:
    """The product of all arguments."""
    product = factors[0]
    for factor in factors[1:]:
        product = torch.mul(*both(product, factor))
    return as_tensor(product)


@lazy
def sub(a: Any, b: Any) -> Any:
    """a - b; what is true counts as 1."""
    x, y = both(a, b)
    return torch.sub(*(t.to(torch.int8) if t.dtype == torch.bool else t for t in (x, y)))


@lazy
def true_div(a: Any, b: Any) -> Any:
    """a / b; whole numbers give float64."""
    x, y = both(a, b)
    if not x.is_floating_point() and not y.is_floating_point():
        x = x.double()
    return torch.true_divide(x, y)


@lazy
def int_div(a: Any, b: Any) -> Any:
    """a / b, rounded down."""
    return torch.div(*both(a, b), rounding_mode="floor")


@lazy
def mod(a: Any, b: Any) -> Any:
    """What is left of a after int_div by b: it has the sign of b."""
    return torch.remainder(*both(a, b))


@lazy
def power(x: Any, y: Any) -> Any:
    """a to the power of b."""
    if isinstance(y, int | float) and isinstance(x, Tensor):
        return torch.pow(x, y)
    return torch.pow(*both(x, y))


@lazy
def maximum(a: Any, b: Any) -> Any:
    """The larger of two; where they are equal the gradient goes to both, as in the original."""
    x, y = _broadcast(a, b)
    return best_of_both(torch.maximum, x, y)


@lazy
def minimum(a: Any, b: Any) -> Any:
    """The smaller of two; where they are equal the gradient goes to both."""
    x, y = _broadcast(a, b)
    return best_of_both(torch.minimum, x, y)


def _broadcast(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    x, y = both(a, b)
    size = np.broadcast_shapes(x.shape, y.shape)
    return x.expand(size), y.expand(size)


def _comparison(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    def compare(a: Any, b: Any) -> Tensor:
        return function(*both(a, b))

    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = f"{name}(a, b), element by element."
    return lazy(compare)


eq, neq = _comparison("eq", torch.eq), _comparison("neq", torch.ne)
lt, le = _comparison("lt", torch.lt), _comparison("le", torch.le)
gt, ge = _comparison("gt", torch.gt), _comparison("ge", torch.ge)
and_, or_ = _comparison("and_", torch.bitwise_and), _comparison("or_", torch.bitwise_or)
xor = _comparison("xor", torch.bitwise_xor)


@lazy
def invert(x: Any) -> Any:
    """Not x, bit by bit."""
    return torch.bitwise_not(as_tensor(x))


@lazy
def isnan(a: Any) -> Any:
    """Where a value is not a number."""
    return torch.isnan(as_tensor(a))


@lazy
def isinf(a: Any) -> Any:
    """Where a value is infinite."""
    return torch.isinf(as_tensor(a))


@lazy
def switch(condition: Any, a: Any, b: Any) -> Any:
    """a where *condition* holds, b elsewhere."""
    return torch.where(as_tensor(condition).bool(), *both(a, b))


@lazy
def clip(x: Any, low: Any, high: Any) -> Any:
    """x, no less than *low* and no more than *high*; the gradient passes inside and on the bounds."""
    tensor = as_tensor(x)
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return torch.clamp(tensor, as_tensor(low).to(tensor), as_tensor(high).to(tensor))
    return torch.clamp(tensor, low, high)


@lazy
def cast(x: Any, dtype: Any) -> Any:
    """x as *dtype*, one of NumPy's or its name, or "floatX"."""
    return as_tensor(x).to(kind_of(dtype))


# ---- along axes

Axis = int | Sequence[int] | None


def _axes(x: Tensor, axis: Axis) -> list[int]:
    if axis is None:
        return list(range(x.ndim))
    return [int(axis)] if isinstance(axis, int | Tensor) else [int(one) for one in axis]


@lazy
def sum_(input: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False, acc_dtype: Any = None) -> Any:
    """The sum along *axis*, all of them by default."""
    t = as_tensor(input)
    if dtype:
        t = t.to(kind_of(dtype))
    return torch.sum(t, _axes(t, axis), keepdim=keepdims) if t.ndim else t


@lazy
def mean(
    input: Any,
    axis: Axis = None,
    dtype: Any = None,
    op: Any = False,
    keepdims: bool = False,
    acc_dtype: Any = None,
) -> Any:
    """The mean along *axis*; of whole numbers in float64."""
    t = as_tensor(input)
    if not t.is_floating_point():
        t = t.double()
    return torch.mean(t, _axes(t, axis), keepdim=keepdims) if t.ndim else t


@lazy
def var(input: Any, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
    """The variance along *axis*, of the values themselves (ddof 0)."""
    t = floating(input)
    return torch.var(t, _axes(t, axis), correction=ddof, keepdim=keepdims)


@lazy
def std(input: Any, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
    """The standard deviation along *axis*."""
    t = floating(input)
    return torch.std(t, _axes(t, axis), correction=ddof, keepdim=keepdims)


def largest(t: Tensor, axes: Sequence[int], keepdims: bool = False) -> Tensor:
    """The maximum along *axes*. Its gradient goes to every value that reaches it, whole."""
    if t.requires_grad:
        best: Tensor = _Largest.apply(t, list(axes))  # type: ignore[no-untyped-call]  # torch leaves it so
    else:
        best = torch.amax(t, list(axes), keepdim=True)
    if keepdims:
        return best
    dropped = {axis % t.ndim for axis in axes}
    return best.reshape([n for i, n in enumerate(best.shape) if i not in dropped])


class _Largest(torch.autograd.Function):
    """The maximum along axes, which stay with one place each."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, axes: list[int]) -> Tensor:
        """The maximum."""
        best = torch.amax(t, axes, keepdim=True)
        ctx.save_for_backward(t, best)
        return best

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradient at all places that have the maximum."""
        t, best = (saved.detach() for saved in ctx.saved_tensors)
        return where_equal(upstream[0].expand_as(t), t, best), None


@lazy
def max_(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The maximum along *axis*."""
    t = as_tensor(x)
    return largest(t, _axes(t, axis), keepdims) if t.ndim else t


@lazy
def min_(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The minimum along *axis*."""
    t = as_tensor(x)
    return -largest(-t, _axes(t, axis), keepdims) if t.ndim else t


@lazy
def prod(
    input: Any,
    axis: Axis = None,
    dtype: Any = None,
    keepdims: bool = False,
    acc_dtype: Any = None,
    no_zeros_in_input: bool = False,
) -> Any:
    """The product along *axis*."""
    t = as_tensor(input)
    if dtype:
        t = t.to(kind_of(dtype))
    for dim in sorted((a % t.ndim for a in _axes(t, axis)), reverse=True):
        t = torch.prod(t, dim, keepdim=keepdims)
    return t


@lazy
def argmax(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The index of the first maximum along *axis*, or of the flat values of several; of all without one."""
    return _place_of(torch.argmax, as_tensor(x), axis, keepdims)


@lazy
def argmin(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The index of the first minimum, as ``argmax``."""
    return _place_of(torch.argmin, as_tensor(x), axis, keepdims)


def _place_of(find: Any, t: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    over = sorted(one % t.ndim for one in _axes(t, axis))
    kept = [one for one in range(t.ndim) if one not in over]
    values = t.int() if t.dtype == torch.bool else t
    found: Tensor = find(values.permute(*kept, *over).flatten(len(kept)), -1)
    return found.reshape([1 if one in over else size for one, size in enumerate(t.shape)]) if keepdims else found


@lazy
def all_(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether all values along *axis* hold."""
    t = as_tensor(x)
    return torch.all(t, _axes(t, axis), keepdim=keepdims) if t.ndim else t.bool()


@lazy
def any_(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether a value along *axis* holds."""
    t = as_tensor(x)
    return torch.any(t, _axes(t, axis), keepdim=keepdims) if t.ndim else t.bool()


@lazy
def cumsum(x: Any, axis: int | None = None) -> Any:
    """The running sum along *axis*."""
    t = as_tensor(x)
    return torch.cumsum(t.flatten() if axis is None else t, axis or 0)


@lazy
def sort(a: Any, axis: int | None = -1, kind: str = "quicksort", order: Any = None) -> Any:
    """The values in rising order along *axis*, or all of them."""
    t = as_tensor(a)
    return torch.sort(t.flatten() if axis is None else t, dim=-1 if axis is None else axis, stable=True).values


@lazy
def argsort(a: Any, axis: int | None = -1, kind: str = "quicksort", order: Any = None) -> Any:
    """The order that sorts the values along *axis*, or all of them."""
    t = as_tensor(a)
    return torch.argsort(t.flatten() if axis is None else t, dim=-1 if axis is None else axis, stable=True)


# ---- products


@lazy
def dot(a: Any, b: Any) -> Any:
    """The product of vectors and matrices: the last axis of a with the last but one of b, the rest side by side."""
    x, y = both(a, b)
    kind = torch.promote_types(x.dtype, y.dtype)
    x, y = x.to(kind), y.to(kind)
    if x.ndim == 0 or y.ndim == 0:
        return x * y
    inner = max(y.ndim - 2, 0)
    if probing() and x.shape[-1] != y.shape[inner]:  # a stand-in of another size than the script's data
        x = x.new_ones((*x.shape[:-1], y.shape[inner]))
    return linear(x, y.t()) if y.ndim == 2 else torch.tensordot(x, y, dims=([x.ndim - 1], [inner]))


@lazy
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """The sum of products along *axes*: the last and first so many, or those of a and those of b."""
    dims = axes if isinstance(axes, int) else [[one] if isinstance(one, int) else list(one) for one in axes]
    return torch.tensordot(*both(a, b), dims=dims)


@lazy
def batched_dot(a: Any, b: Any) -> Any:
    """A product, as by ``dot``, for each item of the first axis; matrices hold a vector for each."""
    x, y = both(a, b)
    kind = torch.promote_types(x.dtype, y.dtype)
    x, y = x.to(kind), y.to(kind)
    if x.ndim == y.ndim == 2:
        return (x * y).sum(1)
    if x.ndim == 2:
        return torch.matmul(x[:, None], y)[:, 0]
    return torch.matmul(x, y) if y.ndim > 2 else torch.matmul(x, y[..., None])[..., 0]


@lazy
def outer(x: Any, y: Any) -> Any:
    """The products of each value of a with each of b."""
    return torch.outer(as_tensor(x).flatten(), as_tensor(y).flatten())


@lazy
def diag(v: Any, k: int = 0) -> Any:
    """The diagonal of a matrix, or the matrix with this diagonal."""
    return torch.diag(as_tensor(v), k)


@lazy
def trace(X: Any) -> Any:
    """The sum of the diagonal."""
    return torch.trace(as_tensor(X))


@lazy
def norm(x: Any, L: Any = 2, axis: Axis = None, keepdims: bool = False) -> Any:  # Theano's name
    """The *L*-norm of the values."""
    return torch.linalg.vector_norm(floating(x), L, dim=axis, keepdim=keepdims)


def bind() -> None:
    """Give variables the operators and methods that Theano's have."""
    infix = {
        "add": add, "sub": sub, "mul": mul, "truediv": true_div, "floordiv": int_div, "mod": mod, "pow": power,
        "and": and_, "or": or_, "xor": xor,
    }  # fmt: skip
    for name, op in infix.items():
        setattr(Variable, f"__{name}__", lambda self, other, op=op: op(self, other))
        setattr(Variable, f"__r{name}__", lambda self, other, op=op: op(other, self))
    for name, op in {"lt": lt, "le": le, "gt": gt, "ge": ge}.items():
        setattr(Variable, f"__{name}__", lambda self, other, op=op: op(self, other))
    for name, op in {"neg": neg, "abs": abs_, "invert": invert, "getitem": subtensor}.items():
        setattr(Variable, f"__{name}__", lambda self, *rest, op=op: op(self, *rest))
    methods = {
        "sum": sum_, "mean": mean, "var": var, "std": std, "max": max_, "min": min_, "prod": prod, "argmax": argmax,
        "argmin": argmin, "all": all_, "any": any_, "cumsum": cumsum, "sort": sort, "argsort": argsort, "dot": dot,
        "flatten": flatten, "dimshuffle": dimshuffle, "transpose": transpose, "swapaxes": swapaxes, "astype": cast,
        "repeat": repeat, "clip": clip, "ravel": flatten, "squeeze": squeeze, "nonzero": nonzero, "norm": norm,
        "trace": trace, "round": round_, "exp": exp, "log": log, "sqrt": sqrt, "sin": sin, "cos": cos, "tan": tan,
        "tanh": tanh, "floor": floor, "ceil": ceil,
    }  # fmt: skip
    for name, op in methods.items():
        setattr(Variable, name, lambda self, *rest, op=op, **options: op(self, *rest, **options))
    setattr(Variable, "reshape", _reshape_method)  # noqa: B010  # an assignment is what mypy refuses
    setattr(Variable, "shape", property(shape))  # noqa: B010
    setattr(Variable, "T", property(transpose))  # noqa: B010
    setattr(Variable, "size", property(lambda self: apply(torch.numel, self)))  # noqa: B010


def _reshape_method(self: Variable, *sizes: Any, shape: Any = None, ndim: int | None = None) -> Any:
    sizes = sizes if shape is None else (shape,)
    listed = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    return reshape(self, listed)


def _bind_numpy() -> None:
    """Let NumPy's functions of variables be those of Theano."""
    ours = (exp, log, sqrt, log1p, expm1, log2, log10, sin, cos, tan, arcsin, arccos, arctan, sinh, cosh, tanh, floor,
            ceil, exp2, power, maximum, minimum, isnan, isinf)  # fmt: skip
    UFUNCS.update({function.__name__: function for function in ours})
    UFUNCS.update({
        "absolute": abs_, "add": add, "bitwise_and": and_, "bitwise_or": or_, "bitwise_xor": xor, "divide": true_div,
        "equal": operator.is_, "floor_divide": int_div, "greater": gt, "greater_equal": ge, "invert": invert,
        "less": lt, "less_equal": le, "multiply": mul, "negative": neg, "not_equal": operator.is_not,
        "reciprocal": inv, "remainder": mod, "rint": round_, "sign": sgn, "square": sqr, "subtract": sub,
    })  # fmt: skip


bind()
_bind_numpy()
