"""Pooling windows over the last axes of a tensor, by Theano's rules."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.lasagne.theano.tensor.ops import largest

MODES = ("max", "average_inc_pad", "average_exc_pad", "sum")


def pooled_length(length: int, size: int, stride: int, pad: int, ignore_border: bool) -> int:
    """How many windows there are along an axis: rounded down, or up with *ignore_border* false."""
    if ignore_border:
        return max(0, (length + 2 * pad - size) // stride + 1)
    if pad:
        raise ValueError("padding goes with ignore_border=True only")
    if stride >= size:
        return (length + stride - 1) // stride
    return max(0, (length - size + stride - 1) // stride) + 1


def pool(
    x: Tensor, size: Sequence[int], stride: Sequence[int], pad: Sequence[int], ignore_border: bool, mode: str
) -> Tensor:
    """*x* pooled along its last ``len(size)`` axes. A maximum's gradient goes to every value that reaches it."""
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    axes = range(x.ndim - len(size), x.ndim)
    counts = [
        pooled_length(x.shape[axis], width, step, border, ignore_border)
        for axis, width, step, border in zip(axes, size, stride, pad, strict=True)
    ]
    if mode == "max":
        windows = _windows(x, size, stride, pad, counts, -math.inf)
        return largest(windows, [*range(-len(size), 0)])
    total = _windows(x, size, stride, pad, counts, 0.0).sum([*range(-len(size), 0)])
    if mode == "sum":
        return total
    if mode == "average_inc_pad" and ignore_border:
        return total / math.prod(size)
    ones = torch.ones(x.shape[-len(size) :], dtype=x.dtype, device=x.device)
    return total / _windows(ones, size, stride, pad, counts, 0.0).sum([*range(-len(size), 0)])


def _windows(
    x: Tensor, size: Sequence[int], stride: Sequence[int], pad: Sequence[int], counts: Sequence[int], fill: float
) -> Tensor:
    """... x counts x size: the content of every window, *fill* outside of the tensor."""
    first = x.ndim - len(size)
    borders: list[int] = []
    for i in reversed(range(len(size))):
        end = (counts[i] - 1) * stride[i] + size[i] - x.shape[first + i] - pad[i]
        borders += [pad[i], max(0, end)]
    x = F.pad(x, borders, value=fill) if any(borders) else x
    for i, (width, step) in enumerate(zip(size, stride, strict=True)):
        x = x.unfold(first + i, width, step).narrow(first + i, 0, counts[i])
    return x
