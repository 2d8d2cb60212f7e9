"""``lasagne.utils``."""

import inspect
import numbers
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.lasagne.theano.config import config
from converters.lasagne.theano.shared import SharedVariable
from converters.lasagne.theano.tensor import form, ops
from converters.lasagne.theano.variable import Constant, Variable, ancestors

int_types = (numbers.Integral, np.integer)


def floatX(arr: Any) -> NDArray[Any]:
    """*arr* as an array of ``theano.config.floatX``."""
    return np.asarray(arr, dtype=config.floatX)


def shared_empty(dim: int = 2, dtype: str | None = None) -> SharedVariable:
    """A shared variable of *dim* axes of size 1, with a zero."""
    return SharedVariable(np.zeros([1] * dim, dtype=dtype or config.floatX))


def as_theano_expression(input: Any) -> Any:
    """*input* as a variable; lists and dicts item by item."""
    if isinstance(input, Variable):
        return input
    if isinstance(input, dict):
        return {key: as_theano_expression(value) for key, value in input.items()}
    if isinstance(input, list | tuple):
        return [as_theano_expression(item) for item in input]
    try:
        return Constant(input)
    except (TypeError, ValueError) as error:
        raise TypeError(f"input of type {type(input).__name__} cannot be made an expression") from error


def collect_shared_vars(expressions: Any) -> list[SharedVariable]:
    """The shared variables that *expressions* read, in the order in which they come."""
    listed = [expressions] if isinstance(expressions, Variable) else list(expressions)
    return [node for node in ancestors(listed) if isinstance(node, SharedVariable)]


def one_hot(x: Any, m: Any = None) -> Any:
    """A row for each number of *x*, with *m* columns; the largest number and one more by default."""
    if m is None:
        m = ops.add(ops.cast(ops.max_(x), "int32"), 1)
    return form.to_one_hot(x, m)


def unique(l: Iterable[Any]) -> list[Any]:  # noqa: E741  # Lasagne's name
    """The items of *l* without repeats, in their order."""
    return list(dict.fromkeys(l))


def as_tuple(x: Any, N: int, t: Any = None) -> tuple[Any, ...]:
    """*x* as a tuple of *N* items, of type *t* if given: itself, or N times the one value."""
    try:
        items = tuple(x)
    except TypeError:
        items = (x,) * N
    if t is not None and not all(isinstance(item, t) for item in items):
        expected = t.__name__ if isinstance(t, type) else " or ".join(kind.__name__ for kind in t)
        raise TypeError(f"expected a single value or an iterable of {expected}, got {x!r}")
    if len(items) != N:
        raise ValueError(f"expected a single value or an iterable with length {N}, got {x!r}")
    return tuple(operator.index(item) for item in items) if t == int_types else items


def inspect_kwargs(func: Callable[..., Any]) -> list[str]:
    """The names of *func*'s parameters that have defaults."""
    parameters = inspect.signature(func).parameters.values()
    return [p.name for p in parameters if p.default is not p.empty and p.kind is not p.VAR_KEYWORD]


def compute_norms(array: Any, norm_axes: Sequence[int] | None = None) -> Any:
    """The Euclidean norms of a parameter's units: over all axes but the last of a matrix, but the first of filters."""
    if isinstance(array, Variable):
        raise RuntimeError("compute_norms takes an array: use get_value() of a shared variable")
    values = np.asarray(array)
    axes = tuple(norm_axes) if norm_axes is not None else default_norm_axes(values.ndim)
    return np.asarray(np.sqrt(np.sum(values**2, axis=axes)), dtype=config.floatX) if axes else np.abs(values)


def default_norm_axes(ndim: int) -> tuple[int, ...]:
    """The axes along which the weights of one unit lie. Raises ValueError for other than 1 to 5 axes."""
    if ndim == 1:
        return ()
    if ndim == 2:
        return (0,)
    if ndim in (3, 4, 5):
        return tuple(range(1, ndim))
    raise ValueError(f"Unsupported tensor dimensionality {ndim}. Must specify `norm_axes`")


def create_param(spec: Any, shape: Sequence[int], name: str | None = None) -> Any:
    """A parameter from *spec*: a shared variable or expression as it is, an array, a number or a function of the shape.

    Raises ValueError where the shape differs, TypeError where *spec* is none of these, RuntimeError for what a
    function gives.
    """
    shape = tuple(shape)
    if any(size <= 0 for size in shape):
        raise ValueError(f"Cannot create param with a non-positive shape dimension. Tried {shape} for {name}")
    if isinstance(spec, Variable):
        if spec.ndim != len(shape):
            raise ValueError(f"parameter {name} has {spec.ndim} dimensions, should have {len(shape)}")
        return spec
    made = spec(shape) if callable(spec) else spec
    if isinstance(made, Variable):
        return made
    if isinstance(made, int | float | np.number):
        made = np.full(shape, made)
    if not isinstance(made, np.ndarray):
        raise (RuntimeError if callable(spec) else TypeError)(
            f"cannot initialize parameter {name}: it must be a number, an array, a variable or a function of the "
            f"shape that gives one of them, not {type(made).__name__}"
        )
    if made.shape != shape:
        raise ValueError(f"parameter {name} has shape {made.shape}, should be {shape}")
    return SharedVariable(floatX(made), name, broadcastable=[size == 1 for size in shape])


def unroll_scan(
    fn: Any, sequences: Any, outputs_info: Any, non_sequences: Any, n_steps: int, go_backwards: bool = False
) -> list[Any]:
    """The steps of a loop, one after the other; for each output the stack of all its values."""
    many = sequences if isinstance(sequences, list | tuple) else [sequences]
    states, found = list(outputs_info), []
    for step in reversed(range(n_steps)) if go_backwards else range(n_steps):
        made = fn(*[form.subtensor(sequence, step) for sequence in many], *states, *non_sequences)
        states = list(made) if isinstance(made, list | tuple) else [made]
        found.append(states)
    return [form.stack(list(values)) for values in zip(*found, strict=True)]
