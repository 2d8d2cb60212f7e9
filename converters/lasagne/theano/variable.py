"""Values that are worked out later: inputs, constants, shared variables and what functions make of them.

``apply`` is the one door: with a variable among its arguments it gives a variable, otherwise it runs the function at
once on torch tensors. So every function of these modules serves scripts that build expressions and callers with data.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from converters.lasagne.theano.config import config
from protos.errors import CaffeError

Values = dict["Variable", Any]


class Variable:
    """A value that is not known yet. ``name`` is for people; ``==`` is identity, as in Theano."""

    ndim_: int | None = None

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self.tag = Tag()

    @property
    def parents(self) -> tuple["Variable", ...]:
        """The variables whose values this one needs."""
        return ()

    def get_parents(self) -> list["Variable"]:
        """What it is made of, as a list."""
        return list(self.parents)

    def compute(self, known: Mapping["Variable", Any]) -> Any:
        """The value, from those of the parents in *known*."""
        raise CaffeError(f"input variable {self} has no value: give it one in eval() or as an input of the function")

    def eval(self, inputs_to_values: Mapping["Variable", Any] | None = None) -> Any:
        """The value as a NumPy array, with the values of the input variables it needs."""
        given = {var: as_tensor(value) for var, value in (inputs_to_values or {}).items()}
        return to_numpy(evaluate([self], given)[0])

    def numpy(self) -> NDArray[Any]:
        """The value as an array, where it needs no inputs."""
        return np.asarray(self.eval())

    def detach(self) -> Tensor:
        """The value as a torch tensor, where it needs no inputs."""
        return as_tensor(evaluate([self])[0]).detach()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.eval(), dtype=dtype)

    @property
    def ndim(self) -> int:
        """The number of axes; found by a run on small stand-ins where no input variable says it."""
        if self.ndim_ is None:
            value = probe(self)
            self.ndim_ = value.ndim if isinstance(value, Tensor) else np.ndim(value)
        return self.ndim_

    def __str__(self) -> str:
        return self.name or type(self).__name__

    def __repr__(self) -> str:
        return str(self)

    def __bool__(self) -> bool:
        return True  # as in Theano: scripts ask `if mask:` whether there is one

    def count(self) -> int | None:
        """The number of items where it is known before the value is: of the sizes of a variable, for one."""
        return None

    def __len__(self) -> int:
        if (count := self.count()) is None:
            raise TypeError(f"{self} has no length yet: use .shape[0]")
        return count

    def __iter__(self) -> Iterator[Any]:
        if (count := self.count()) is None:
            raise TypeError(f"{self} has no length yet, so nothing can run over it")
        return (self[i] for i in range(count))  # type: ignore[index]  # bound in tensor.ops

    __array_priority__ = 1000

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """``np.exp(variable)``, ``array + variable``: our function of that name; ``array += x`` gives a variable."""
        function = UFUNCS.get(ufunc.__name__)
        if function is None or method != "__call__" or options.keys() - {"out"}:
            return NotImplemented
        return function(*inputs)


UFUNCS: dict[str, Callable[..., Any]] = {}  # by NumPy's names; filled in tensor.ops


class Tag:
    """Notes that scripts hang on a variable, such as ``tag.test_value``."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)


class Input(Variable):
    """A variable that the caller gives: its number of axes and its dtype."""

    def __init__(
        self, dtype: Any, broadcastable: Sequence[bool], name: str | None = None, shape: Sequence[int] | None = None
    ) -> None:
        super().__init__(name)
        self.dtype = dtype_of(dtype)
        self.broadcastable = tuple(broadcastable)
        self.ndim_ = len(self.broadcastable)
        self.sizes: tuple[Any, ...] = (None,) * self.ndim_  # where an InputLayer knows them


class Constant(Variable):
    """A variable with a fixed value."""

    def __init__(self, value: Any, name: str | None = None) -> None:
        super().__init__(name)
        self.value = as_tensor(value)
        self.ndim_ = self.value.ndim
        self.broadcastable = tuple(size == 1 for size in self.value.shape)
        self.dtype = dtype_name(self.value)

    def compute(self, known: Mapping[Variable, Any]) -> Tensor:
        """The value."""
        return self.value


class Apply(Variable):
    """What *function* makes of *arguments*, in which variables stand for their values."""

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Any], options: Mapping[str, Any]) -> None:
        self.made_by = getattr(function, "__name__", None)
        super().__init__(self.made_by)
        self.function = function
        self.arguments = arguments
        self.options = options
        self.is_random = False  # drawn anew in each step of a loop
        self._parents = tuple(dict.fromkeys(variables_in([list(arguments), dict(options)])))

    def __getstate__(self) -> dict[str, Any]:
        # What `lazy` decorates cannot be found by its name, the decorated function can.
        return {**self.__dict__, "function": getattr(self.function, "public", self.function)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        inner: Any = getattr(self.function, "__wrapped__", None)
        if getattr(inner, "public", None) is self.function:
            self.function = inner

    @property
    def ndim(self) -> int:
        """The number of axes; told by the arguments, or else by a run on small stand-ins."""
        if self.ndim_ is None:
            from converters.lasagne.theano.ranks import told  # noqa: PLC0415  # it needs this module's variables

            self.ndim_ = told(self.function, self.arguments, self.options)
        return super().ndim

    @property
    def broadcastable(self) -> tuple[bool, ...]:
        """Which axes have the size 1 by their nature; here none is known to."""
        return (False,) * self.ndim

    @property
    def dtype(self) -> str:
        """NumPy's name of the kind of the values: by a run on small stand-ins, or the widest of the arguments'."""
        try:
            return dtype_name(as_tensor(probe(self)))
        except (RuntimeError, ValueError, IndexError):
            return str(np.result_type(*[parent.dtype for parent in self.parents if hasattr(parent, "dtype")]))

    @property
    def parents(self) -> tuple[Variable, ...]:
        """The variables among the arguments."""
        return self._parents

    def __bool__(self) -> bool:
        if self.made_by in ("lt", "le", "gt", "ge"):
            raise TypeError(f"{self} has no value yet, so it is neither true nor false: use T.switch")
        return True

    def count(self) -> int | None:
        """Of the sizes of a value, or a part of them, or the places of what is not 0: as many as the value has axes."""
        if self.made_by in ("shape", "_nonzero"):
            return int(self.arguments[0].ndim)
        if self.made_by == "subtensor" and isinstance(self.arguments[0], Variable):
            whole, index = self.arguments[0].count(), self.arguments[1]
            if whole is not None and isinstance(index, slice) and not any(True for _ in variables_in(index)):
                return len(range(whole)[index])
        return None

    def compute(self, known: Mapping[Variable, Any]) -> Any:
        """The function's result on their values."""
        return self.function(*substitute(list(self.arguments), known), **substitute(dict(self.options), known))


def apply(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """``function(*arguments, **options)``: a variable if one is among them, else the result on torch tensors."""
    if any(True for _ in variables_in([arguments, options])):
        return Apply(function, arguments, options)
    return function(*concrete(list(arguments)), **concrete(dict(options)))


def variables_in(value: Any) -> Iterator[Variable]:
    """The variables in nested lists, tuples and dicts."""
    if isinstance(value, Variable):
        yield value
    elif isinstance(value, slice):
        yield from variables_in([value.start, value.stop, value.step])
    elif isinstance(value, dict):
        yield from variables_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from variables_in(item)


def substitute(value: Any, known: Mapping[Variable, Any]) -> Any:
    """*value* with all variables replaced by their values, and arrays by tensors."""
    if isinstance(value, Variable):
        return known[value]
    if isinstance(value, np.ndarray | np.generic):
        return as_tensor(value)
    if isinstance(value, slice):
        return slice(*[as_int(substitute(part, known)) for part in (value.start, value.stop, value.step)])
    if isinstance(value, dict):
        return {key: substitute(item, known) for key, item in value.items()}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(substitute(item, known) for item in value)
    return value


def concrete(value: Any) -> Any:
    """*value* with all arrays replaced by tensors."""
    return substitute(value, {})


def evaluate(
    wanted: Sequence[Variable], given: Mapping[Variable, Any] | None = None, gradients: bool = False
) -> list[Any]:
    """The values of *wanted*, each intermediate value once.

    Without gradients, unless one of them is a gradient or *gradients* asks for them. A run within another, such as
    that of a function of the script's in a layer, starts from what the other was given.
    """
    known: Values = {**now(), **(given or {})}
    order = ancestors(wanted, known)
    differentiated = {var for node in order if isinstance(node, Differential) for var in node.wrt}
    for var in differentiated & known.keys():
        known[var] = _differentiable(known[var])
    asked = gradients or bool(differentiated)
    with torch.set_grad_enabled(asked or (torch.is_grad_enabled() and not given_is_data(known))), running(dict(known)):
        for node in order:
            if node not in known:
                value = node.compute(known)
                known[node] = _differentiable(value) if node in differentiated else value
    return [known[var] for var in wanted]


def _differentiable(value: Any) -> Any:
    """*value* as something that gradients can be taken for: data becomes a leaf."""
    if isinstance(value, Tensor) and value.is_floating_point() and not value.requires_grad:
        return value.detach().requires_grad_()
    return value


@contextlib.contextmanager
def running(values: Values) -> Iterator[None]:
    """Within it, an evaluation starts from these *values* of variables."""
    token = _running.set((*_running.get(), values))
    try:
        yield
    finally:
        _running.reset(token)


def now() -> Values:
    """The values that what runs now was given."""
    around = _running.get()
    return around[-1] if around else {}


_running: ContextVar[tuple[Values, ...]] = ContextVar("_running", default=())  # of each thread its own


def given_is_data(known: Mapping[Variable, Any]) -> bool:
    """Whether no tensor among the given values asks for a gradient."""
    return not any(isinstance(value, Tensor) and value.requires_grad for value in known.values())


def ancestors(wanted: Iterable[Variable], known: Mapping[Variable, Any] | None = None) -> list[Variable]:
    """*wanted* and all that they need, each after what it needs; what is *known* needs nothing."""
    found: dict[Variable, None] = {}
    stack = list(reversed(list(wanted)))
    while stack:
        node = stack[-1]
        missing = () if known and node in known else [parent for parent in node.parents if parent not in found]
        if node not in found and missing:
            stack.extend(reversed(missing))
            continue
        found.setdefault(node)
        stack.pop()
    return list(found)


class Differential(Variable):
    """The gradients of the scalar *cost* for each of *wrt*, together: indexing picks one.

    *known*: gradients of other variables, which go further back from there; *cost* may be None with them.
    """

    def __init__(
        self,
        cost: Variable | None,
        wrt: Sequence[Variable],
        disconnected: str = "raise",
        known: Mapping[Variable, Variable] | None = None,
    ) -> None:
        super().__init__("grad")
        self.wrt = tuple(wrt)
        self.disconnected = disconnected
        self.tops = ((cost,) if cost is not None else ()) + tuple(known or {})
        self.given = ((None,) if cost is not None else ()) + tuple((known or {}).values())
        self.nested = False
        for node in ancestors(self.tops):
            if isinstance(node, Differential):
                node.nested = True

    @property
    def parents(self) -> tuple[Variable, ...]:
        """What is differentiated by, what is differentiated, and the gradients that are known."""
        return (*self.wrt, *self.tops, *(var for var in self.given if var is not None))

    def compute(self, known: Mapping[Variable, Any]) -> tuple[Tensor, ...]:
        """The gradients, zeros where the cost does not depend on a variable and that is allowed."""
        tops = [(known[top], _like(known[top], known, var)) for top, var in zip(self.tops, self.given, strict=True)]
        tops = [(top, start) for top, start in tops if top.requires_grad]
        values = [known[var] for var in self.wrt]
        asked = [value for value in values if value.requires_grad]
        found: list[Tensor | None] = []
        if tops and asked:
            found = list(torch.autograd.grad([top for top, _ in tops], asked, [start for _, start in tops],
                                             retain_graph=True, create_graph=self.differentiable(), allow_unused=True))  # fmt: skip  # noqa: E501
        by_value = {id(value): grad for value, grad in zip(asked, found, strict=False)}
        grads = [by_value.get(id(value)) for value in values]
        for var, grad in zip(self.wrt, grads, strict=True):
            if grad is None and self.disconnected == "raise":
                raise CaffeError(f"the cost does not depend on {var}: pass disconnected_inputs='ignore' if it need not")
        return tuple(torch.zeros_like(v) if g is None else g for v, g in zip(values, grads, strict=True))

    def differentiable(self) -> bool:
        """Whether the gradients may be differentiated in turn: by another, or by a run around this one."""
        return self.nested or len(_running.get()) > 1


def _like(top: Tensor, known: Mapping[Variable, Any], given: Variable | None) -> Tensor | None:
    """The value of a gradient that was given, in the form of what it is the gradient of."""
    return None if given is None else as_tensor(known[given]).to(top).expand(top.shape)


# ---- values


def as_tensor(value: Any) -> Tensor:
    """A torch tensor of *value*: an array, number, nested list or shared variable; floats of Python are floatX."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Variable):
        return as_tensor(evaluate([value])[0])
    if isinstance(value, float):
        return torch.tensor(value, dtype=config.torch_dtype)
    if isinstance(value, list | tuple) and any(isinstance(item, Tensor) for item in value):
        items = [as_tensor(item) for item in value]
        kind = functools.reduce(torch.promote_types, [item.dtype for item in items])
        return torch.stack([item.to(kind) for item in items])
    array = np.asarray(value)
    return torch.from_numpy(np.array(array)) if not array.flags.writeable else torch.from_numpy(
        np.ascontiguousarray(array).reshape(array.shape)
    )  # fmt: skip


def as_int(value: Any) -> Any:
    """A tensor of one whole number as an int; anything else as it is."""
    return int(value) if isinstance(value, Tensor) else value


def to_numpy(value: Any) -> Any:
    """Tensors, numbers and shapes as arrays, also in lists; anything else as it is."""
    if isinstance(value, Tensor):
        return value.detach().cpu().contiguous().numpy()
    if isinstance(value, int | float) or (isinstance(value, tuple) and all(isinstance(size, int) for size in value)):
        return np.asarray(value)
    if isinstance(value, list | tuple):
        return [to_numpy(item) for item in value]
    return value


def dtype_name(value: Tensor) -> str:
    """NumPy's name of a tensor's dtype."""
    return str(value.dtype).removeprefix("torch.")


def dtype_of(dtype: Any) -> str:
    """NumPy's name of *dtype*: a name, "floatX", or a dtype or type of NumPy's."""
    return config.floatX if isinstance(dtype, str) and dtype == "floatX" else np.dtype(dtype).name


def kind_of(dtype: Any) -> torch.dtype:
    """torch's dtype for one of NumPy's; floatX for None."""
    found: torch.dtype = getattr(torch, dtype_of("floatX" if dtype is None else dtype))
    return found


def probe(variable: Variable) -> Any:
    """The value of *variable* for small stand-ins; averages that a run moves stay where they are (see ``probing``)."""
    _probes.append(variable)
    try:
        return evaluate([variable], stand_ins(variable))[0]
    finally:
        _probes.pop()


def probing() -> bool:
    """Whether what runs now runs for the form of its result alone."""
    return bool(_probes)


_probes: list[Variable] = []


def stand_ins(variable: Variable) -> Values:
    """A small value for each input variable that *variable* needs."""
    inputs = [node for node in ancestors([variable]) if isinstance(node, Input)]
    return {
        var: torch.ones(
            [size or (1 if flat else 4) for flat, size in zip(var.broadcastable, var.sizes, strict=True)],
            dtype=kind_of(var.dtype),
        )
        for var in inputs
    }
