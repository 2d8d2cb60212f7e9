"""Correlation: how alike the patches of two images are, for FlowNet."""

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value, fixed
from nets.layer import LAYERS, Layer, Shape
from nets.layers.plain import applied
from protos.errors import NetError
from protos.schema import CorrelationParameter, LayerParameter


@LAYERS("Correlation")
class Correlation(Layer):
    """The mean over a patch and the channels of a b, or with SUBTRACT of abs(a - b), for each of many displacements.

    bottoms: a and b (N x C x H x W, equal); top: N x (2 r + 1)^2 x H' x W', where r = max_displacement // stride_2;
    channel (i + r) (2 r + 1) + j + r has the patches of b displaced by stride_2 (i, j) pixels. Both are padded with
    zeros by pad first; the patches are kernel_size wide, stride_1 apart, and their displaced ones all fit: of a padded
    size n, ceil((n - 2 max_displacement - kernel_size + 1) / stride_1).
    With SUBTRACT the gradient is the fork's: for a at p beside b at p + d its sign is that of a - b at p + d, both
    undisplaced, and for b that of b - a at p; where they are equal, as if a were greater.
    Options: pad (0), kernel_size (odd), max_displacement, stride_1 (1), stride_2 (1), correlation_type (MULTIPLY).
    Source: FlowNet's layer of this name.
    """

    message = "correlation_param"
    options = frozenset({"pad", "kernel_size", "max_displacement", "stride_1", "stride_2", "correlation_type"})
    bottoms = (2, 2)

    def __init__(
        self, kernel: int, reach: int, stride: int = 1, step: int = 1, pad: int = 0, subtract: bool = False
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.reach = reach
        self.stride = stride
        self.step = step
        self.pad = pad
        self.subtract = subtract

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, shape = proto.correlation_param, bottoms[0]
        if len(shape) != 4 or bottoms[1] != shape:
            raise NetError("its bottoms must be N x C x H x W, both of one shape")
        if not p.HasField("kernel_size") or not p.HasField("max_displacement"):
            raise NetError("kernel_size and max_displacement must be set")
        if p.kernel_size % 2 == 0 or not p.stride_1 or not p.stride_2:
            raise NetError("kernel_size must be odd, and stride_1 and stride_2 positive")
        if min(shape[2:]) + 2 * p.pad < 2 * p.max_displacement + p.kernel_size:
            raise NetError("its bottoms with their padding are smaller than a patch and its displacements")
        subtract = p.correlation_type == CorrelationParameter.SUBTRACT
        return cls(p.kernel_size, p.max_displacement, p.stride_1, p.stride_2, p.pad, subtract)

    def displacements(self) -> Iterator[tuple[int, int]]:
        """The first row and column of all of b that is displaced alike, in the padded image."""
        furthest = self.reach // self.step * self.step
        line = range(self.reach - furthest, self.reach + furthest + 1, self.step)
        return ((row, column) for row in line for column in line)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = (F.pad(one, (self.pad,) * 4) for one in (a, b))
        signs = torch.where(a >= b, 1.0, -1.0).to(a.dtype) if self.subtract else None
        height, width = (size - 2 * self.reach for size in a.shape[2:])

        def part(one: Tensor, row: int, column: int) -> Tensor:
            return one[:, :, row : row + height, column : column + width]

        still, alike = part(a, self.reach, self.reach), []
        for row, column in self.displacements():
            moved = part(b, row, column)
            if signs is None:
                pair = still * moved
            else:
                slopes = part(signs, row, column), part(signs, self.reach, self.reach)
                pair = applied(_Apart, still, moved, *slopes)
            alike.append(pair.mean(1))
        return F.avg_pool2d(torch.stack(alike, 1), self.kernel, self.stride)

    def emit(self, g: Emitter, a: Value, b: Value) -> Value:
        height, width = (size + 2 * (self.pad - self.reach) for size in fixed(a, (2, 3)))
        axes, wide = g.constant([2, 3], "axes"), g.constant([0, 0, self.pad, self.pad] * 2, "pads")
        a, b = (g.op("Pad", one, wide) for one in (a, b))

        def part(one: Value, row: int, column: int) -> Value:
            ends = g.constant([row, column], "starts"), g.constant([row + height, column + width], "ends")
            return g.op("Slice", one, *ends, axes)

        a, alike = part(a, self.reach, self.reach), []
        for row, column in self.displacements():
            moved = part(b, row, column)
            pair = g.op("Abs", g.op("Sub", a, moved)) if self.subtract else g.op("Mul", a, moved)
            alike.append(g.op("ReduceMean", pair, axes=[1]))
        sums = g.op("Concat", *alike, axis=1)
        return g.op("AveragePool", sums, kernel_shape=(self.kernel,) * 2, strides=(self.stride,) * 2)


class _Apart(torch.autograd.Function):
    """abs(a - b), whose slopes by a and by -b are given."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, of_a: Tensor, of_b: Tensor) -> Tensor:
        ctx.save_for_backward(of_a, of_b)
        return (a - b).abs()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        of_a, of_b = ctx.saved_tensors
        return upstream * of_a, -upstream * of_b, None, None
