"""The functions of ``theano.tensor`` that make values of another form: shapes, parts, and values from nothing."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from converters.lasagne.theano.tensor.calls import lazy, made
from converters.lasagne.theano.variable import Apply, as_int, as_tensor, kind_of
from nets.layers.layout import led_back


@lazy
def reshape(x: Any, newshape: Any, ndim: int | None = None) -> Any:
    """x in another shape; -1 stands for what is left."""
    sizes = newshape.tolist() if isinstance(newshape, Tensor) else [as_int(n) for n in newshape]
    return as_tensor(x).reshape(sizes)


@lazy
def flatten(x: Any, ndim: int = 1, outdim: int | None = None) -> Any:
    """x with its trailing axes joined, so that *ndim* are left."""
    t = led_back(as_tensor(x))
    return t.reshape([*t.shape[: (outdim or ndim) - 1], -1])


@lazy
def dimshuffle(x: Any, *pattern: Any) -> Any:
    """The axes in the order of *pattern*, "x" for a new one of size 1; axes of size 1 may be left out."""
    t = as_tensor(x)
    order = list(pattern[0]) if len(pattern) == 1 and isinstance(pattern[0], list | tuple) else list(pattern)
    kept = [axis for axis in order if axis != "x"]
    for axis in sorted(set(range(t.ndim)) - set(kept), reverse=True):
        if t.shape[axis] != 1:
            raise ValueError(f"dimshuffle {order} leaves out axis {axis}, whose size is {t.shape[axis]}, not 1")
        t = t.squeeze(axis)
        kept = [k - (k > axis) for k in kept]
    t = t.permute(kept)
    for place, axis in enumerate(order):
        if axis == "x":
            t = t.unsqueeze(place)
    return t


@lazy
def squeeze(x: Any) -> Any:
    """Without the axes of size 1."""
    return as_tensor(x).squeeze()


@lazy
def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """The axes in the order *axes*, reversed by default."""
    t = as_tensor(x)
    return t.permute(list(axes) if axes is not None else list(reversed(range(t.ndim))))


@lazy
def swapaxes(y: Any, axis1: int, axis2: int) -> Any:
    """Two axes exchanged."""
    return torch.swapaxes(as_tensor(y), axis1, axis2)


@lazy
def concatenate(tensor_list: Any, axis: int = 0) -> Any:
    """All *parts* behind each other along *axis*."""
    return torch.cat([as_tensor(part) for part in tensor_list], as_int(axis))


def stack(*parts: Any, axis: int = 0, tensors: Any = None) -> Any:
    """All *tensors*, or as in older versions *parts*, along a new *axis*, which may also stand behind the tensors."""
    if tensors is None and parts and isinstance(parts[0], list | tuple):
        tensors, *place = parts
        axis = place[0] if place else axis
    return _stack(list(parts if tensors is None else tensors), axis)


@lazy
def _stack(tensors: list[Any], axis: int) -> Tensor:
    return torch.stack([as_tensor(one) for one in tensors], as_int(axis))


@lazy
def tile(x: Any, reps: Any, ndim: int | None = None) -> Any:
    """Copies of x side by side; with more axes in front if *ndim* says so."""
    times = [as_int(n) for n in (reps if isinstance(reps, list | tuple) else [reps])]
    return torch.tile(as_tensor(x), [1] * ((ndim or 0) - len(times)) + times)


@lazy
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each value *repeats* times along *axis*."""
    times = repeats if isinstance(repeats, int) else as_tensor(repeats).long()
    return torch.repeat_interleave(as_tensor(x), times, axis)


@lazy
def subtensor(x: Any, index: Any) -> Any:
    """``x[index]``, with slices that run backwards."""
    value = x if isinstance(x, tuple | list) else as_tensor(x)
    if not isinstance(value, Tensor):
        return value[as_int(index)]
    items = list(index) if isinstance(index, tuple) else [index]
    axis = 0
    for place, item in enumerate(items):
        if isinstance(item, slice) and item.step is not None and item.step < 0:
            order = range(value.shape[axis])[item]
            items[place] = slice(None)
            value = value.index_select(axis, torch.tensor(list(order), device=value.device))
        axis += item is not None and item is not Ellipsis
    return value[tuple(items)]


@lazy
def _write(x: Any, index: Any, y: Any, increment: bool) -> Tensor:
    """*x* with *y* at *index*, or added there: as often as a place is named."""
    t = as_tensor(x)
    new = as_tensor(y).to(t)
    items = index if isinstance(index, tuple) else (index,)
    lists = [_places(item) for item in items if isinstance(item, Tensor | list)]
    if len(lists) == len(items):
        return t.index_put(tuple(lists), new, accumulate=increment)
    if not lists and not any(isinstance(item, slice) and (item.step or 1) < 0 for item in items):
        t = t.clone()
        t[items] = t[items] + new if increment else new
        return t
    flat = subtensor(torch.arange(t.numel(), device=t.device).reshape(t.shape), index)
    values = new.expand(flat.shape).reshape(-1)
    return t.flatten().index_put((flat.reshape(-1),), values, accumulate=increment).reshape(t.shape)


def _places(item: Any) -> Tensor:
    places = as_tensor(item)
    return places if places.dtype == torch.bool else places.long()


def set_subtensor(x: Any, y: Any, inplace: bool = False) -> Any:
    """A copy of a in which ``a[index]``, given as *target*, is *y*."""
    return _write(*_whole(x), y, False)


def inc_subtensor(x: Any, y: Any, inplace: bool = False) -> Any:
    """A copy of a in which ``a[index]``, given as *target*, is larger by *y*."""
    return _write(*_whole(x), y, True)


def _whole(target: Any) -> tuple[Any, Any]:
    if not isinstance(target, Apply) or target.name != "subtensor":
        raise TypeError("set_subtensor and inc_subtensor take a[index] of a variable a")
    return target.arguments[0], target.arguments[1]


@lazy
def shape(x: Any) -> Any:
    """The sizes of the axes."""
    return tuple(as_tensor(x).shape)


@lazy
def _nonzero(a: Any) -> Any:
    return torch.nonzero(as_tensor(a), as_tuple=True)


@lazy
def _nonzero_matrix(a: Any) -> Tensor:
    return torch.nonzero(as_tensor(a)).t()


def nonzero(a: Any, return_matrix: bool = False) -> Any:
    """The indices of what is not zero, one vector for each axis, or the rows of a matrix."""
    return _nonzero_matrix(a) if return_matrix else _nonzero(a)


@lazy
def to_one_hot(y: Any, nb_class: Any, dtype: Any = None) -> Any:
    """A row for each number: 1 at its place, 0 elsewhere."""
    found = torch.nn.functional.one_hot(as_tensor(y).long(), as_int(nb_class))
    return found.to(kind_of(dtype))


@made
def zeros(shape: Any, dtype: Any = None) -> Any:
    """Zeros."""
    return torch.zeros(_sizes(shape), dtype=kind_of(dtype))


@made
def ones(shape: Any, dtype: Any = None) -> Any:
    """Ones."""
    return torch.ones(_sizes(shape), dtype=kind_of(dtype))


def _sizes(shape: Any) -> list[int]:
    return [as_int(n) for n in shape] if isinstance(shape, list | tuple) else [as_int(shape)]


@lazy
def zeros_like(model: Any, dtype: Any = None) -> Any:
    """Zeros in the shape of x."""
    return torch.zeros_like(as_tensor(model), dtype=kind_of(dtype) if dtype else None)


@lazy
def ones_like(model: Any, dtype: Any = None) -> Any:
    """Ones in the shape of x."""
    return torch.ones_like(as_tensor(model), dtype=kind_of(dtype) if dtype else None)


@made
def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Any:
    """Numbers as of NumPy's arange: of floatX if one is no whole number."""
    given = [as_int(n) for n in ((0, start) if stop is None else (start, stop))] + [as_int(step)]
    kind = kind_of(None) if any(isinstance(n, float) for n in given) else None
    numbers: Tensor = torch.arange(*given, dtype=kind)
    return numbers if dtype is None else numbers.to(kind_of(dtype))


@made
def eye(n: Any, m: Any = None, k: int = 0, dtype: Any = None) -> Any:
    """The identity, its diagonal moved by *k*."""
    rows, columns = as_int(n), as_int(n if m is None else m)
    kind = kind_of(dtype)
    return torch.diag(torch.ones(max(rows, columns) + abs(k), dtype=kind), k)[:rows, :columns]
