"""Pooling windows over the last axes of a tensor, by Theano's rules."""

import math
from collections.abc import Sequence

from torch import Tensor

from nets.layers.windows import maxima, means, shares_inside, window_count

MODES = ("max", "average_inc_pad", "average_exc_pad", "sum")


def pooled_length(length: int, size: int, stride: int, pad: int, ignore_border: bool) -> int:
    """How many windows there are along an axis: rounded down, or up with *ignore_border* false."""
    if pad and not ignore_border:
        raise ValueError("padding goes with ignore_border=True only")
    return window_count(length, size, stride, pad, not ignore_border)


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
        return maxima(x, size, stride, pad, counts)
    mean = means(x, size, stride, pad, counts)
    if mode == "sum":
        return mean * math.prod(size)
    if mode == "average_inc_pad" and ignore_border:
        return mean
    return mean / shares_inside(x, size, stride, pad, counts)
