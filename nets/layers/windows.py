"""WindowPooling: pooling along one to three axes by Theano's rules, which Lasagne's nets need."""

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value, fixed
from nets.layer import LAYERS, Layer, Shape
from nets.layers.plain import applied
from nets.recording import is_recording
from protos.errors import NetError
from protos.schema import LayerParameter, WindowPoolingParameter


def window_count(length: int, size: int, stride: int, pad: int, partial: bool) -> int:
    """How many windows there are along an axis: whole ones, or with *partial* those that begin inside as well.

    >>> window_count(7, 3, 2, 0, False), window_count(8, 3, 2, 0, False), window_count(8, 3, 2, 0, True)
    (3, 3, 4)
    """
    if not partial:
        return max(0, (length + 2 * pad - size) // stride + 1)
    if stride >= size:
        return (length + stride - 1) // stride
    return max(0, (length - size + stride - 1) // stride) + 1


def maxima(x: Tensor, size: Sequence[int], stride: Sequence[int], pad: Sequence[int], counts: Sequence[int]) -> Tensor:
    """The maximum of every window along the last axes; its gradient goes to each value that reaches it, as Theano's."""
    framed = _framed(x, size, stride, pad, counts, -math.inf)
    made: Tensor = applied(_Maxima, framed, tuple(size), tuple(stride), tuple(counts))
    return made


def means(x: Tensor, size: Sequence[int], stride: Sequence[int], pad: Sequence[int], counts: Sequence[int]) -> Tensor:
    """The mean of every window along the last axes, with zeros outside of the tensor."""
    first = x.ndim - len(size)
    x, leading = _framed(x, size, stride, pad, counts, 0.0), x.shape[:first]
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(size) - 1]
    if first == 2:
        return pool(x, tuple(size), tuple(stride))
    return pool(x.reshape(1, -1, *x.shape[first:]), tuple(size), tuple(stride)).reshape(*leading, *counts)


def shares_inside(
    x: Tensor, size: Sequence[int], stride: Sequence[int], pad: Sequence[int], counts: Sequence[int]
) -> Tensor:
    """Which share of every window is inside of *x*."""
    ones = torch.ones(x.shape[-len(size) :], dtype=x.dtype, device=x.device)
    return means(ones, size, stride, pad, counts)


def _framed(
    x: Tensor, size: Sequence[int], stride: Sequence[int], pad: Sequence[int], counts: Sequence[int], fill: float
) -> Tensor:
    """*x* with *fill* where windows reach beyond it."""
    borders: list[int] = []
    axes = zip(x.shape[x.ndim - len(size) :], size, stride, pad, counts, strict=True)
    for length, width, step, border, count in reversed(list(axes)):
        borders += [border, max(0, (count - 1) * step + width - length - border)]
    return F.pad(x, borders, value=fill) if any(borders) else x


def _every(x: Tensor, axis: int, at: int, count: int, step: int) -> Tensor:
    """*count* places of an axis from *at* on, *step* apart."""
    return x[(slice(None),) * axis + (slice(at, at + (count - 1) * step + 1, step),)]


class _Maxima(torch.autograd.Function):
    """The maxima of windows along the last axes, all of which are inside of the tensor.

    One axis is reduced after the other, the last one last: its neighbours alone do not lie together in memory. So a
    window costs its edges, not its area.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: Sequence[int], stride: Sequence[int], counts: Sequence[int]) -> Tensor:
        """The maxima."""
        first = x.ndim - len(size)
        levels = [x]
        for axis, width, step, count in zip(range(first, x.ndim), size, stride, counts, strict=True):
            below = levels[-1]
            best = _every(below, axis, 0, count, step)
            for at in range(1, width):
                best = torch.maximum(best, _every(below, axis, at, count, step))
            levels.append(best if width > 1 else best.clone())
        ctx.frame = size, stride, counts
        ctx.save_for_backward(*levels)
        return levels[-1]

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradient of each maximum, at all places that have it."""
        *below, gradient = *(level.detach() for level in ctx.saved_tensors[:-1]), upstream[0]
        best = ctx.saved_tensors[-1].detach()
        last = axis = gradient.ndim - 1
        # None of these takes what is written in place.
        added = torch.is_grad_enabled() or torch.compiler.is_compiling() or is_recording()
        for values, width, step, count in reversed(list(zip(below, *ctx.frame, strict=True))):
            tiled = width == step and values.shape[axis] == width * count
            if tiled and axis == last and values.stride(axis) == 1:
                repeated = [x.repeat_interleave(width, axis) for x in (gradient, best)]
                gradient = where_equal(repeated[0], values, repeated[1])
            else:
                spread = torch.empty_like(values) if tiled and not added else torch.zeros_like(values)
                for at in range(width):
                    place, reached = (_every(x, axis, at, count, step) for x in (spread, values))
                    if width <= step and not added:  # nothing else comes to this place
                        where_equal(gradient, reached, best, place)
                    else:
                        place.add_(where_equal(gradient, reached, best))
                gradient = spread
            best, axis = values, axis - 1
        return gradient, None, None, None


def where_equal(gradient: Tensor, values: Tensor, best: Tensor, place: Tensor | None = None) -> Tensor:
    """*gradient* where *values*, which are never larger, reach *best*; 0 elsewhere. Faster than where().

    All are of one shape. *place*: where to write it, instead of to new memory.
    """
    limits = torch.finfo(values.dtype)
    # Neighbours of float16 may be closer than its least normal number; those of others are not worth a subnormal one.
    least = limits.tiny * limits.eps if values.dtype == torch.float16 else limits.tiny
    passed: Tensor
    if place is None:
        passed = torch.ops.aten.threshold_backward(gradient, values - best, -least)
    else:
        passed = torch.ops.aten.threshold_backward.grad_input(gradient, values - best, -least, grad_input=place)
    return passed


def around(x: Tensor, size: Sequence[int]) -> Tensor:
    """... x places x size: what is around each place of the last axes, *size* odd, 0 outside of the tensor."""
    first = x.ndim - len(size)
    x = F.pad(x, [width // 2 for width in reversed(size) for _ in range(2)])
    along = _slices if torch.compiler.is_compiling() else Tensor.unfold
    for i, width in enumerate(size):
        x = along(x, first + i, width, 1)
    return x


def _slices(x: Tensor, axis: int, width: int, step: int) -> Tensor:
    """As unfold does it: its gradient as PyTorch compiles it writes beyond its memory (2.13)."""
    count = x.shape[axis] - width + 1
    return torch.stack([_every(x, axis, at, count, step) for at in range(width)], -1)


@LAYERS("WindowPooling")
class WindowPooling(Layer):
    """Pooling along all axes behind the second, one to three of them.

    bottom: N x C x spatial; top: N x C x windows. Whole windows only, or with ``partial`` (and no pad) those that begin
    inside as well. Options: kernel_size, stride (kernel_size), pad (0), one an axis each; partial (false); pool (MAX;
    AVE divides by the window, AVE_EXC_PAD by what of it is inside, SUM). A window that sticks out is never counted
    beyond the image. Source: this project, for Lasagne's Pool1DLayer, Pool2DLayer and Pool3DLayer.
    """

    message = "window_pooling_param"
    options = frozenset({"pool", "kernel_size", "stride", "pad", "partial"})

    def __init__(
        self, method: str, size: tuple[int, ...], stride: tuple[int, ...], pad: tuple[int, ...], partial: bool = False
    ) -> None:
        super().__init__()
        self.method = method
        self.size = size
        self.stride = stride
        self.pad = pad
        self.partial = partial

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.window_pooling_param
        axes = len(bottoms[0]) - 2
        if not 1 <= axes <= 3:
            raise NetError("its bottom needs 3 to 5 axes, N x C x spatial")
        size = tuple(p.kernel_size)
        stride, pad = tuple(p.stride) or size, tuple(p.pad) or (0,) * axes
        if not len(size) == len(stride) == len(pad) == axes or not all(size) or not all(stride):
            raise NetError(f"kernel_size, stride and pad need {axes} figures each, positive but for pad")
        if any(border >= width for border, width in zip(pad, size, strict=True)):
            raise NetError("pad must be smaller than the kernel")
        if p.partial and any(pad):
            raise NetError("partial windows go without pad")
        return cls(WindowPoolingParameter.Method.Name(p.pool), size, stride, pad, p.partial)

    def _counts(self, shape: Sequence[int]) -> list[int]:
        sizes = zip(map(int, shape), self.size, self.stride, self.pad, strict=True)
        counts = [window_count(*axis, self.partial) for axis in sizes]
        if not all(counts):
            raise NetError("the kernel does not fit into its bottom")
        return counts

    def forward(self, x: Tensor) -> Tensor:
        frame = self.size, self.stride, self.pad, self._counts(x.shape[2:])
        if self.method == "MAX":
            return maxima(x, *frame)
        mean = means(x, *frame)
        if self.method == "SUM":
            return mean * math.prod(self.size)
        whole = self.method == "AVE" and not self.partial
        return mean if whole else mean / shares_inside(x, *frame)

    def emit(self, g: Emitter, x: Value) -> Value:
        ends = self.pad
        if self.partial:
            shape = fixed(x, range(2, len(x.shape)))
            reach = zip(self._counts(shape), self.size, self.stride, shape, strict=True)
            ends = tuple(max(0, (count - 1) * step + width - length) for count, width, step, length in reach)
        frame = {"kernel_shape": self.size, "strides": self.stride, "pads": (*self.pad, *ends)}
        if self.method == "MAX":
            return g.op("MaxPool", x, **frame)
        counted = self.method == "SUM" or (self.method == "AVE" and not self.partial)
        mean = g.op("AveragePool", x, count_include_pad=int(counted), **frame)
        return g.op("Mul", mean, g.constant(float(math.prod(self.size)), "size")) if self.method == "SUM" else mean
