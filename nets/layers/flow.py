"""FlowWarp, ChannelNorm and Downsample, FlowNet 2.0's layers around fields of motion."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from nets.emitter import Emitter, Value, cast, fixed
from nets.layer import LAYERS, Layer, Shape, shape_text
from protos.errors import NetError
from protos.schema import FlowWarpParameter, LayerParameter


@LAYERS("FlowWarp")
class FlowWarp(Layer):
    """The image as it is where a flow points: the pixel (x, y) of the top is that at (x + u, y + v), bilinear.

    bottoms: image N x C x H x W, flow (u, v) N x 2 x H x W; top: as the image. Beyond the last row and column the last
    counts; where the flow points out of [0, W) x [0, H) there is fill_value, without gradient. torch's grid_sample
    takes places from -1 to 1. Options: fill_value (ZERO; NOT_A_NUMBER). Source: FlowNet 2.0.
    """

    message = "flow_warp_param"
    options = frozenset({"fill_value"})
    bottoms = (2, 2)

    def __init__(self, fill: float = 0.0) -> None:
        super().__init__()
        self.fill = fill

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        image, flow = bottoms
        if len(image) != 4 or flow != (image[0], 2, *image[2:]):
            raise NetError("its bottoms must be N x C x H x W and N x 2 x H x W")
        zero = proto.flow_warp_param.fill_value == FlowWarpParameter.ZERO
        return cls(0.0 if zero else torch.nan)

    def forward(self, image: Tensor, flow: Tensor) -> Tensor:
        (height, width), kind = image.shape[2:], torch.promote_types(flow.dtype, torch.float32)
        x = flow[:, 0].to(kind) + torch.arange(width, device=flow.device)
        y = flow[:, 1].to(kind) + torch.arange(height, device=flow.device)[:, None]
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        x, y = torch.where(inside, x, 0), torch.where(inside, y, 0)
        left, top = x.detach().long(), y.detach().long()
        right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
        across, down = (x - left)[:, None], (y - top)[:, None]
        flat = image.flatten(2)

        def at(rows: Tensor, columns: Tensor) -> Tensor:
            places = (rows * width + columns).flatten(1)[:, None].expand(-1, flat.shape[1], -1)
            return flat.gather(2, places).view_as(image)

        above = (1 - across) * at(top, left) + across * at(top, right)
        below = (1 - across) * at(bottom, left) + across * at(bottom, right)
        return torch.where(inside[:, None], (1 - down) * above + down * below, self.fill).to(image.dtype)

    def emit(self, g: Emitter, image: Value, flow: Value) -> Value:
        height, width = fixed(image, (2, 3))
        rows, columns = (torch.arange(n, dtype=torch.float32, device="cpu") for n in (height, width))
        start = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))  # x and y of each pixel
        ends = torch.tensor([width, height], dtype=torch.float32, device="cpu").view(2, 1, 1)
        places = g.op("Add", flow, g.constant(start, "pixels"))
        zero, early = g.constant(0.0, "zero"), g.op("Less", places, g.constant(ends, "ends"))
        within = g.op("And", g.op("GreaterOrEqual", places, zero), early)
        inside = g.op("Greater", g.op("ReduceMin", cast(g, within), axes=[1], keepdims=1), zero)
        places = g.op("Where", within, places, zero)
        half = ((ends - 1) / 2).clamp(min=0.5)  # an image of one row or column has one place along it
        unit = g.op("Sub", g.op("Div", places, g.constant(half, "middle")), g.constant(1.0, "one"))
        found = g.op("GridSample", image, g.op("Transpose", unit, perm=[0, 2, 3, 1]), mode="bilinear",
                     padding_mode="border", align_corners=1)  # fmt: skip
        return g.op("Where", inside, found, g.constant(self.fill, "fill"))


@LAYERS("ChannelNorm")
class ChannelNorm(Layer):
    """The root of the sum of squares over the channels. bottom: N x C x any; top: N x 1 x any. Source: FlowNet 2.0."""

    fp32 = True

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        if len(bottoms[0]) < 2:
            raise NetError("its bottom needs at least 2 axes, N x C")
        return cls()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return y

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("ReduceL2", x, axes=[1], keepdims=1)


@LAYERS("Downsample")
class Downsample(Layer):
    """A smaller image: each pixel the mean of those around its place, the nearer the more; no gradient.

    bottoms: N x C x H x W, and perhaps an image that the top is as large as; top: N x C x top_height x top_width. Of a
    size n that becomes m, pixel i is at i s, s = (n - 1) / (m - 1), and a pixel at the distance d weighs 1 - d / s, if
    that is positive. Values that are not numbers are left out; where they weigh more than half of the others, the top
    is no number either. Options: top_height, top_width. Source: FlowNet 2.0.
    """

    differentiable = False
    message = "downsample_param"
    options = frozenset({"top_height", "top_width"})
    bottoms = (1, 2)

    def __init__(self, smaller: tuple[int, int]) -> None:
        super().__init__()
        self.smaller = smaller

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.downsample_param
        if any(len(bottom) != 4 for bottom in bottoms):
            raise NetError("its bottoms need 4 axes, N x C x H x W")
        size, wanted = bottoms[0][2:], bottoms[1][2:] if len(bottoms) == 2 else (p.top_height, p.top_width)
        if any(not 2 <= m <= n for n, m in zip(size, wanted, strict=True)):
            raise NetError(
                f"its top of {shape_text(wanted)} must be at least 2x2, and no larger than {shape_text(size)}"
            )
        return cls((wanted[0], wanted[1]))

    @torch.no_grad()
    def forward(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        sizes = zip(x.shape[2:], self.smaller, strict=True)
        rows, columns = (_nearness(n, m).to(x.device, x.dtype) for n, m in sizes)
        unknown = x.isnan()
        total, known, lacking = (
            rows @ part @ columns.mT
            for part in (torch.where(unknown, 0, x), (~unknown).to(x.dtype), unknown.to(x.dtype))
        )
        return torch.where(lacking / known > 0.5, torch.nan, total / known)

    def emit(self, g: Emitter, x: Value, like: Value | None = None) -> Value:
        sizes = zip(fixed(x, (2, 3)), self.smaller, strict=True)
        rows, columns = (_nearness(n, m) for n, m in sizes)
        left, right = g.constant(rows, "rows"), g.constant(columns.mT, "columns")
        unknown, zero = g.op("IsNaN", x), g.constant(0.0, "zero")
        lacks = cast(g, unknown)
        parts = g.op("Where", unknown, zero, x), g.op("Sub", g.constant(1.0, "one"), lacks), lacks
        total, known, lacking = (g.op("MatMul", g.op("MatMul", left, part), right) for part in parts)
        vague = g.op("Greater", g.op("Div", lacking, known), g.constant(0.5, "half"))
        return g.op("Where", vague, g.constant(torch.nan, "nan"), g.op("Div", total, known))


def _nearness(n: int, m: int) -> Tensor:
    """How much each of *n* pixels weighs in each of *m* (m x n)."""
    places = torch.arange(m, device="cpu")[:, None] / (m - 1) * (n - 1)
    return (1 - (torch.arange(n, device="cpu") - places).abs() / ((n - 1) / (m - 1))).clamp(min=0)
