"""WindowPooling: pooling along one to three axes by Theano's rules, which Lasagne's nets need."""

import math
from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value, fixed
from nets.layer import LAYERS, Layer, Shape
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


def windows(
    x: Tensor, size: Sequence[int], stride: Sequence[int], pad: Sequence[int], counts: Sequence[int], fill: float
) -> Tensor:
    """... x counts x size: the content of every window along the last axes, *fill* outside of the tensor."""
    first = x.ndim - len(size)
    borders: list[int] = []
    for i in reversed(range(len(size))):
        end = (counts[i] - 1) * stride[i] + size[i] - x.shape[first + i] - pad[i]
        borders += [pad[i], max(0, end)]
    x = F.pad(x, borders, value=fill) if any(borders) else x
    along = _slices if torch.compiler.is_compiling() else _unfolded
    for i, (width, step) in enumerate(zip(size, stride, strict=True)):
        x = along(x, first + i, width, step, counts[i])
    return x


def _unfolded(x: Tensor, axis: int, width: int, step: int, count: int) -> Tensor:
    return x.unfold(axis, width, step).narrow(axis, 0, count)


def _slices(x: Tensor, axis: int, width: int, step: int, count: int) -> Tensor:
    """The same, of slices: the gradient of ``unfold`` as PyTorch compiles it writes beyond its memory (2.13)."""
    reach = (count - 1) * step + 1
    return torch.stack([x[(slice(None),) * axis + (slice(at, at + reach, step),)] for at in range(width)], -1)


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
        sizes = zip(shape, self.size, self.stride, self.pad, strict=True)
        counts = [window_count(*axis, self.partial) for axis in sizes]
        if not all(counts):
            raise NetError("the kernel does not fit into its bottom")
        return counts

    def forward(self, x: Tensor) -> Tensor:
        counts, inner = self._counts(x.shape[2:]), list(range(-len(self.size), 0))
        if self.method == "MAX":
            return windows(x, self.size, self.stride, self.pad, counts, -math.inf).amax(inner)
        total = windows(x, self.size, self.stride, self.pad, counts, 0.0).sum(inner)
        if self.method == "SUM":
            return total
        if self.method == "AVE" and not self.partial:
            return total / math.prod(self.size)
        ones = torch.ones(x.shape[2:], dtype=x.dtype, device=x.device)
        return total / windows(ones, self.size, self.stride, self.pad, counts, 0.0).sum(inner)

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
