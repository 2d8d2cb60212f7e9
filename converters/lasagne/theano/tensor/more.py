"""More functions of ``theano.tensor``, which definitions rarely use."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.lasagne.theano.tensor.calls import floating, lazy, made
from converters.lasagne.theano.tensor.form import concatenate, stack
from converters.lasagne.theano.tensor.ops import argmax, both, int_div, max_, min_, mod, round_, sub
from converters.lasagne.theano.variable import as_int, as_tensor, kind_of


def _unary(name: str, function: Any) -> Any:
    def compute(x: Any) -> Tensor:
        return function(floating(x))  # type: ignore[no-any-return]  # torch's own

    compute.__name__ = compute.__qualname__ = name
    compute.__doc__ = f"{name} of each value."
    return lazy(compute)


arccosh, arcsinh, arctanh = (_unary(f.__name__, f) for f in (torch.arccosh, torch.arcsinh, torch.arctanh))
deg2rad, rad2deg, erfc = (_unary(f.__name__, f) for f in (torch.deg2rad, torch.rad2deg, torch.erfc))
trunc, erfinv, psi, gammaln = (
    _unary("trunc", torch.trunc), _unary("erfinv", torch.erfinv), _unary("psi", torch.digamma),
    _unary("gammaln", torch.lgamma),
)  # fmt: skip
gamma = _unary("gamma", lambda x: torch.exp(torch.lgamma(x)) * torch.where(x > 0, 1, torch.cos(torch.pi * x.floor())))


@lazy
def arctan2(a: Any, b: Any) -> Any:
    """The angle of the point (b, a)."""
    return torch.arctan2(*both(a, b))


@lazy
def iround(a: Any, mode: str | None = None) -> Any:
    """The nearest whole number, as ``round_``, as int64."""
    return round_(as_tensor(a), mode).long()


@made
def alloc(val: Any, *shape: Any) -> Any:
    """*value* in every place of *shape*."""
    return as_tensor(val).expand([as_int(n) for n in shape]).clone()


@made
def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """*fill_value* in every place of *shape*."""
    kind = kind_of(dtype)
    return as_tensor(fill_value).to(kind).expand([as_int(n) for n in shape]).clone()


@lazy
def fill(a: Any, b: Any) -> Any:
    """The value b in the shape of a."""
    return torch.broadcast_to(both(a, b)[1], as_tensor(a).shape).clone()


second = fill


@lazy
def shape_padleft(t: Any, n_ones: int = 1) -> Any:
    """*n_ones* axes of size 1 in front."""
    return as_tensor(t)[(None,) * n_ones]


@lazy
def shape_padright(t: Any, n_ones: int = 1) -> Any:
    """*n_ones* axes of size 1 behind."""
    return as_tensor(t)[(..., *(None,) * n_ones)]


@lazy
def shape_padaxis(t: Any, axis: int) -> Any:
    """An axis of size 1 at *axis*."""
    return as_tensor(t).unsqueeze(axis)


@lazy
def _itself(x: Any, *axes: Any) -> Any:
    return as_tensor(x)


addbroadcast = unbroadcast = patternbroadcast = tensor_copy = specify_shape = _itself


@lazy
def roll(x: Any, shift: Any, axis: int | None = None) -> Any:
    """The values moved by *shift* along *axis*, those that leave at one end come in at the other."""
    t, by = as_tensor(x), as_int(shift)
    return torch.roll(t, by) if axis is None else torch.roll(t, by, axis)


def max_and_argmax(a: Any, axis: Any = None, keepdims: bool = False) -> tuple[Any, Any]:
    """The maximum along *axis*, and where it is."""
    return max_(a, axis, keepdims), argmax(a, axis, keepdims)


def ptp(a: Any, axis: Any = None) -> Any:
    """The greatest value less the least."""
    return sub(max_(a, axis), min_(a, axis))


@lazy
def identity_like(x: Any) -> Any:
    """Ones on the diagonal, in the shape of x."""
    t = as_tensor(x)
    return torch.eye(*t.shape, dtype=t.dtype, device=t.device)


@lazy
def triu(m: Any, k: int = 0) -> Any:
    """Zeros below the diagonal *k*."""
    return torch.triu(as_tensor(m), k)


@lazy
def tril(m: Any, k: int = 0) -> Any:
    """Zeros above the diagonal *k*."""
    return torch.tril(as_tensor(m), k)


@lazy
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """A diagonal."""
    return torch.diagonal(as_tensor(a), offset, axis1, axis2)


@lazy
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether values are nearly equal."""
    return torch.isclose(*both(a, b), rtol=rtol, atol=atol, equal_nan=equal_nan)


@lazy
def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether all values are nearly equal."""
    return isclose(a, b, rtol, atol, equal_nan).all()


@lazy
def cumprod(x: Any, axis: int | None = None) -> Any:
    """The running product along *axis*."""
    t = as_tensor(x)
    return torch.cumprod(t.flatten() if axis is None else t, axis or 0)


@lazy
def diff(x: Any, n: int = 1, axis: int = -1) -> Any:
    """Each value less the one in front of it."""
    return torch.diff(as_tensor(x), n, axis)


@lazy
def bincount(x: Any, weights: Any = None, minlength: Any = None) -> Any:
    """How often each number occurs."""
    return torch.bincount(as_tensor(x), None if weights is None else as_tensor(weights), as_int(minlength or 0))


@lazy
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x)))."""
    t = floating(x)
    return torch.logsumexp(t, list(range(t.ndim)) if axis is None else axis, keepdim=keepdims)


@lazy
def logaddexp(a: Any, b: Any) -> Any:
    """log(exp(a) + exp(b))."""
    return torch.logaddexp(*both(a, b))


@lazy
def take(a: Any, indices: Any, axis: int | None = None, mode: str = "raise") -> Any:
    """The parts at *indices* along *axis*, of the flat values without one; *mode* beyond the end: raise, clip, wrap."""
    t, places = as_tensor(a), as_tensor(indices).long()
    t, at = (t.flatten(), 0) if axis is None else (t, axis % t.ndim)
    if mode == "clip":
        places = places.clamp(0, t.shape[at] - 1)
    elif mode == "wrap":
        places = places % t.shape[at]
    return t[(slice(None),) * at + (places,)]


def split(x: Any, splits_size: Any, n_splits: int, axis: int = 0) -> list[Any]:
    """Parts of these sizes along *axis*."""
    return [_part(x, splits_size, number, n_splits, axis) for number in range(n_splits)]


@lazy
def _part(x: Any, sizes: Any, number: int, count: int, axis: int) -> Any:
    given = [int(size) for size in as_tensor(sizes)]
    if len(given) != count:
        raise ValueError(f"split: {count} parts, but {len(given)} sizes")
    return torch.split(as_tensor(x), given, axis)[number]


def join(axis: int, *parts: Any) -> Any:
    """All *parts* behind each other along *axis*."""
    return concatenate(list(parts), axis)


def horizontal_stack(*parts: Any) -> Any:
    """Matrices side by side."""
    return concatenate(list(parts), 1)


def vertical_stack(*parts: Any) -> Any:
    """Matrices below each other."""
    return concatenate(list(parts), 0)


def stacklists(arg: Any) -> Any:
    """Nested lists of values as one array."""
    return stack([stacklists(part) for part in arg]) if isinstance(arg, list | tuple) else arg


@lazy
def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """The axes in another order."""
    return torch.movedim(as_tensor(x), source, destination)


@lazy
def ravel(x: Any) -> Any:
    """The flat values."""
    return as_tensor(x).flatten()


@lazy
def flatnonzero(a: Any) -> Any:
    """Where the flat values are not 0."""
    return torch.nonzero(as_tensor(a).flatten())[:, 0]


@lazy
def nonzero_values(a: Any) -> Any:
    """The values that are not 0."""
    t = as_tensor(a)
    return t[t != 0]


@lazy
def smallest(*parts: Any) -> Any:
    """The smallest of all arguments, value by value."""
    least = as_tensor(parts[0])
    for part in parts[1:]:
        least = torch.minimum(*both(least, part))
    return least


@lazy
def largest_(*parts: Any) -> Any:
    """The largest of all arguments, value by value."""
    most = as_tensor(parts[0])
    for part in parts[1:]:
        most = torch.maximum(*both(most, part))
    return most


@lazy
def choose(a: Any, choices: Any, mode: str = "raise") -> Any:
    """From the choices, which lie along the first axis, the one that *a* numbers, value by value."""
    places, options = as_tensor(a).long(), as_tensor(choices)
    if mode == "wrap":
        places = places % len(options)
    elif mode == "clip":
        places = places.clamp(0, len(options) - 1)
    shape = np.broadcast_shapes(places.shape, options.shape[1:])
    return options.expand(len(options), *shape).gather(0, places.expand(1, *shape))[0]


@lazy
def fill_diagonal(a: Any, val: Any) -> Any:
    """*a* with *val* on its diagonal."""
    t = as_tensor(a)
    count = min(t.shape)
    places = torch.arange(count, device=t.device)
    return t.index_put((places,) * t.ndim, as_tensor(val).to(t).expand(count))


@made
def tri(N: Any, M: Any = None, k: int = 0, dtype: Any = None) -> Any:
    """Ones on and below the diagonal *k*, N x M."""
    rows, columns = as_int(N), as_int(N if M is None else M)
    return torch.tril(torch.ones(rows, columns, dtype=kind_of(dtype)), k)


@lazy
def batched_tensordot(x: Any, y: Any, axes: Any = 2) -> Any:
    """``tensordot`` for each item of the first axis; *axes* count it."""
    a, b = as_tensor(x), as_tensor(y)
    inner = ([n - 1 for n in axes[0]], [n - 1 for n in axes[1]]) if isinstance(axes, list | tuple) else axes
    return torch.stack([torch.tensordot(one, other, inner) for one, other in zip(a, b, strict=True)])


def floor_div(x: Any, y: Any) -> Any:
    """x / y, rounded down."""
    return int_div(x, y)


def divmod(x: Any, y: Any) -> Any:
    """x // y and x % y."""
    return int_div(x, y), mod(x, y)
