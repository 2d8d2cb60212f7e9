"""Unpooling: what pooling took together apart again, for DeconvNet."""

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value, fixed
from nets.layer import LAYERS, Shape
from nets.layers.plain import applied
from nets.layers.resampling import Size, Upsample
from protos.errors import NetError
from protos.schema import LayerParameter, UnpoolingParameter


@LAYERS("Unpooling")
class Unpooling(Upsample):
    """Each value at the place that a mask says (MAX), its share in all of a window (AVE), or it itself there (TILE).

    bottoms: N x C x H x W and, for MAX, perhaps the mask, equal: the second top of a Pooling layer, places
    row * width + column in a plane of the top; top: N x C x unpool_h x unpool_w, zeros where nothing is put.
    Value (i, j) is of the window that starts at (i stride_h, j stride_w); MAX without a mask puts it there. A window
    ends with the top; AVE divides by how many pixels are left of it. Where windows meet, AVE and TILE add, and of
    MAX the last value stays. As in the fork, the gradient of TILE is that of AVE.
    Options: unpool (MAX), kernel_size or kernel_h and kernel_w, stride (1) or stride_h and stride_w, unpool_size or
    unpool_h and unpool_w; pad must be 0. Source: DeconvNet's layer of this name.
    """

    message = "unpooling_param"
    options = frozenset({
        "unpool", "kernel_size", "kernel_h", "kernel_w", "stride", "stride_h", "stride_w", "unpool_size", "unpool_h",
        "unpool_w", "pad", "pad_h", "pad_w",
    })  # fmt: skip
    hints = frozenset({"engine"})
    table: Tensor

    def __init__(self, how: str, size: Size, bottom: Size, kernel: Size, stride: Size) -> None:
        super().__init__(size=size)
        self.how = how
        self.top = size
        self.kernel = kernel
        self.stride = stride
        starts = [range(0, n * by, by) for n, by in zip(bottom, stride, strict=True)]
        if how == "MAX":
            rows, columns = ([min(i, n - 1) for i in line] for line, n in zip(starts, size, strict=True))
            table = [[row * size[1] + column for column in columns] for row in rows]
        elif starts[0][-1] >= size[0] or starts[1][-1] >= size[1]:
            raise NetError(f"its top of {size[0]}x{size[1]} ends before the last of its windows begins")
        else:
            ends = zip(starts, kernel, size, strict=True)
            high, wide = ([min(k, n - i) for i in line] for line, k, n in ends)
            table = [[a * b for b in wide] for a in high]
        kind = torch.int64 if how == "MAX" else torch.float32  # places stay whole when the net is made half
        self._table = torch.tensor(table, dtype=kind, device="cpu")
        self.register_buffer("table", torch.empty(bottom, dtype=kind), persistent=False)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, shape = proto.unpooling_param, bottoms[0]
        how = UnpoolingParameter.UnpoolMethod.Name(p.unpool)
        if len(shape) != 4:
            raise NetError("its bottom needs 4 axes, N x C x H x W")
        if len(bottoms) == 2 and (how != "MAX" or bottoms[1] != shape):
            raise NetError("its second bottom, the mask, goes with MAX and must have the shape of the first")
        if p.pad or p.pad_h or p.pad_w:
            raise NetError("pad must be 0, as in the fork")
        return cls(how, _pair(p, "unpool", "unpool_size"), (shape[2], shape[3]), _pair(p, "kernel", "kernel_size"),
                   _pair(p, "stride", "stride"))  # fmt: skip

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Put each value's place (MAX), or how many pixels its window has, in its place."""
        self.table.copy_(self._table)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.how == "MAX":
            return super().forward(x, self.table.expand_as(x) if mask is None else mask)
        x = x / self.table if self.how == "AVE" else applied(_Tiled, x, self.table)
        y = F.conv_transpose2d(x, x.new_ones(x.shape[1], 1, *self.kernel), stride=self.stride, groups=x.shape[1])
        return F.pad(y, (0, self.top[1] - y.shape[3], 0, self.top[0] - y.shape[2]))

    def emit(self, g: Emitter, x: Value, mask: Value | None = None) -> Value:
        if self.how == "MAX":
            if mask is None:
                mask = g.op("Expand", g.constant(self._table, "places"), g.op("Shape", x))
            return super().emit(g, x, mask)
        channels, height, width = fixed(x, (1, 2, 3))
        if self.how == "AVE":
            x = g.op("Div", x, g.constant(self._table, "counts"))
        ones = g.constant(torch.ones(channels, 1, *self.kernel), "ones")
        y = g.op("ConvTranspose", x, ones, group=channels, strides=list(self.stride))
        covered = ((n - 1) * by + k for n, by, k in zip((height, width), self.stride, self.kernel, strict=True))
        more = [top - size for top, size in zip(self.top, covered, strict=True)]
        return g.op("Pad", y, g.constant([0] * 6 + more, "pads")) if any(more) else y


def _pair(p: UnpoolingParameter, stem: str, both: str) -> Size:
    """An option for both axes, or for each by itself."""
    names = f"{stem}_h", f"{stem}_w"
    each = [p.HasField(name) for name in names]
    said = p.HasField(both) or (both == "stride" and not any(each))
    if any(each) != all(each) or said == any(each):
        raise NetError(f"give {both}, or else {names[0]} and {names[1]}")
    size = (getattr(p, names[0]), getattr(p, names[1])) if any(each) else (getattr(p, both),) * 2
    if min(size) < 1:
        raise NetError(f"{both} must be positive")
    return size


class _Tiled(torch.autograd.Function):
    """What comes in; the gradient is divided by *counts* on its way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: Tensor) -> Tensor:
        ctx.save_for_backward(counts)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        (counts,) = ctx.saved_tensors
        return upstream / counts, None
