"""Pooling windows over the last axes of a tensor, by Theano's rules."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from converters.lasagne.theano.tensor.ops import largest
from nets.layers.windows import window_count, windows

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
    whole = ignore_border and not any(pad)
    if mode == "max" and len(size) == 2 and x.ndim == 4 and tuple(size) == tuple(stride) and whole:
        cut = x[:, :, : counts[0] * size[0], : counts[1] * size[1]]
        made: Tensor = _Tiles.apply(cut, tuple(size))  # type: ignore[no-untyped-call]  # torch leaves it so
        return made
    if mode == "max":
        return largest(windows(x, size, stride, pad, counts, -math.inf), [*range(-len(size), 0)])
    total = windows(x, size, stride, pad, counts, 0.0).sum([*range(-len(size), 0)])
    if mode == "sum":
        return total
    if mode == "average_inc_pad" and ignore_border:
        return total / math.prod(size)
    ones = torch.ones(x.shape[-len(size) :], dtype=x.dtype, device=x.device)
    return total / windows(ones, size, stride, pad, counts, 0.0).sum([*range(-len(size), 0)])


class _Tiles(torch.autograd.Function):
    """The maximum of tiles that do not overlap; the gradient goes to every value that reaches it.

    First along the columns of a tile, whose rows lie together in memory, then along the rows that are left.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: tuple[int, int]) -> Tensor:
        """The maxima."""
        rows = _best([x[:, :, i :: size[0]] for i in range(size[0])])
        y = _best([rows[..., i :: size[1]] for i in range(size[1])])
        ctx.size = size
        ctx.save_for_backward(x, rows, y)
        return y

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradient of each tile's maximum, at all places that have it."""
        x, rows, y = (tensor.detach() for tensor in ctx.saved_tensors)
        height, width = ctx.size
        below = _where_equal(upstream[0].repeat_interleave(width, 3), rows, y.repeat_interleave(width, 3))
        parts = [_where_equal(below, x[:, :, i::height], rows) for i in range(height)]
        return torch.stack(parts, 3).reshape(x.shape), None


def _best(parts: Sequence[Tensor]) -> Tensor:
    best = parts[0]
    for part in parts[1:]:
        best = torch.maximum(best, part)
    return best if len(parts) > 1 else best.clone()


def _where_equal(gradient: Tensor, values: Tensor, best: Tensor) -> Tensor:
    """*gradient* where *values*, which are never larger, reach *best*; 0 elsewhere. Faster than where()."""
    least: Tensor = torch.ops.aten.threshold_backward(gradient, values - best, -torch.finfo(values.dtype).tiny)
    return least
