"""ROIPooling and PSROIPooling: regions of feature maps, each parted into bins, for Fast R-CNN and R-FCN."""

from collections.abc import Sequence
from itertools import product
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value, cast, fixed, plus, times
from nets.layer import LAYERS, Layer, Shape, check_indices, shape_text
from nets.layers.choice import either
from nets.layers.suppression import column
from protos.errors import NetError
from protos.schema import LayerParameter

DOUBLE = 11  # ONNX's number of float64


def check_rois(x: Shape, rois: Shape) -> None:
    """Raise NetError unless the bottoms are images and rows of five figures."""
    if len(x) != 4:
        raise NetError("its first bottom needs 4 axes, N x C x H x W")
    if len(rois) < 2 or torch.Size(rois[1:]).numel() != 5:
        raise NetError(f"its second bottom, the regions, needs rows of item, x1, y1, x2, y2, not {shape_text(rois)}")


def items_and_corners(rois: Tensor, images: int) -> tuple[Tensor, Tensor, Tensor]:
    """The items of the regions (R), and in float32 x1, y1 and x2, y2 (R x 2 each).

    Raises NetError where there is no such item.
    """
    item, low, high = torch.split_with_sizes(rois.detach().reshape(-1, 5), [1, 2, 2], 1)
    items = item.reshape(-1).long()
    check_indices(items, images, "item {} of a region is out of range: there are {} items")
    return items, low.float(), high.float()


def rounded(x: Tensor) -> Tensor:
    """*x* rounded, halves away from zero, as in C; torch rounds them to even numbers."""
    whole = x.trunc()
    return whole + x.sign() * ((x - whole).abs() >= 0.5)


def bins(start: Tensor, length: Tensor, count: int, size: int, whole: bool) -> tuple[Tensor, Tensor]:
    """First and behind the last pixel (R x count each) of *count* bins of regions (R x 1 each), within *size* pixels.

    Bin i goes from the floor of start + i length / count to the ceiling of start + (i + 1) length / count; *whole*
    starts are added to what is rounded.
    """
    edges = torch.arange(count + 1, device=start.device, dtype=start.dtype) * (length / count)
    first, last = edges.narrow(1, 0, count), edges.narrow(1, 1, count)
    first, last = (
        (first.floor() + start, last.ceil() + start) if whole else ((first + start).floor(), (last + start).ceil())
    )
    return first.clamp(0, size).long(), last.clamp(0, size).long()


@LAYERS("ROIPooling")
class ROIPooling(Layer):
    """The greatest value in each of pooled_h x pooled_w bins of each region; 0 where a bin is outside of the image.

    bottoms: N x C x H x W, regions R x 5 (item, x1, y1, x2, y2, in pixels of the image; axes of 1 may follow); top:
    R x C x pooled_h x pooled_w. The corners times spatial_scale are rounded, the last pixel belongs to the region, and
    it is at least one pixel wide; bins are rounded outwards and may share pixels. Of a tie, the first pixel takes the
    gradient; a region that ends before it begins gives none, and regions take none. Options: pooled_h, pooled_w,
    spatial_scale (1); pad_ratio (0): so much of its sides is put around a region first. Source: Fast R-CNN; pad_ratio:
    MS-CNN.
    """

    message = "roi_pooling_param"
    options = frozenset({"pooled_h", "pooled_w", "spatial_scale", "pad_ratio"})
    bottoms = (2, 2)

    def __init__(self, size: tuple[int, int], scale: float = 1.0, pad_ratio: float = 0.0) -> None:
        super().__init__()
        self.size = size
        self.scale = scale
        self.pad_ratio = pad_ratio

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.roi_pooling_param
        check_rois(*bottoms)
        if not p.pooled_h or not p.pooled_w:
            raise NetError("pooled_h and pooled_w must be set and positive")
        if p.spatial_scale <= 0:
            raise NetError(f"spatial_scale {p.spatial_scale:g} must be positive")
        return cls((p.pooled_h, p.pooled_w), p.spatial_scale, p.pad_ratio)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(bottoms[1][0], bottoms[0][1], *self.size)]

    def forward(self, x: Tensor, rois: Tensor) -> Tensor:
        items, low, high = items_and_corners(rois.detach(), x.shape[0])
        if self.pad_ratio:
            pad = (high - low + 1) * self.pad_ratio
            low, high = low - pad, high + pad
        low, high = rounded(low * self.scale), rounded(high * self.scale)
        left, top = torch.split(low, 1, 1)
        upright = (high >= low).all(1)[:, None, None, None]
        width, height = torch.split((high - low + 1).clamp(min=1), 1, 1)
        rows = bins(top, height, self.size[0], x.shape[2], whole=True)
        columns = bins(left, width, self.size[1], x.shape[3], whole=True)
        places = greatest(x.detach(), items, rows, columns)  # R x C x bins, -1 where there is none
        channels = torch.arange(x.shape[1], device=x.device)
        planes = (items[:, None] * x.shape[1] + channels)[..., None, None]
        flat = planes * x.shape[2:].numel() + places.clamp(min=0)
        values = x.reshape(-1).index_select(0, flat.reshape(-1)).reshape(flat.shape)
        if values.requires_grad:
            values = torch.where(upright, values, values.detach())
        return torch.where(places < 0, 0.0, values)

    def emit(self, g: Emitter, x: Value, rois: Value) -> Value:
        rows = g.op("Reshape", rois, g.constant([-1, 5], "rows"))
        if self.pad_ratio:
            item, low, high = g.ops("Split", 3, rows, g.constant([1, 2, 2], "parts"), axis=1)
            pad = times(g, plus(g, g.op("Sub", high, low), 1.0, "pixel"), self.pad_ratio, "pad_ratio")
            rows = g.op("Concat", item, g.op("Sub", low, pad), g.op("Add", high, pad), axis=1)
        return g.op("MaxRoiPool", x, rows, pooled_shape=list(self.size), spatial_scale=self.scale)


def greatest(x: Tensor, items: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """Where in its plane the greatest value of each bin is (R x C x bins), the first of a tie; -1 in an empty bin.

    *rows* and *columns* are the first and behind the last pixel of the bins. Each bin is covered by four squares of
    2^i x 2^j pixels, whose maxima ``_squares`` has for all places at once.
    """
    height, width = x.shape[2:]
    level_i, level_j = _level(rows[1] - rows[0]), _level(columns[1] - columns[0])
    if torch.compiler.is_compiling():  # the numbers must not decide what is done
        most = height.bit_length() - 1, width.bit_length() - 1
    else:
        most = (int(level_i.max()), int(level_j.max())) if level_i.numel() else (0, 0)
    values, places = _squares(x.permute(0, 2, 3, 1), *most)
    table = (level_j[:, None, :] * (most[0] + 1) + level_i[:, :, None]) * x.shape[0] + items[:, None, None]
    lines = [line[:, :, None] for line in (rows[0], rows[1] - 2**level_i)]
    sides = [side[:, None, :] for side in (columns[0], columns[1] - 2**level_j)]
    there = (rows[1] > rows[0])[:, :, None] & (columns[1] > columns[0])[:, None, :]
    best: tuple[Tensor, Tensor] | None = None
    for line, side in product(lines, sides):
        square = torch.where(there, (table * height + line) * width + side, 0).reshape(-1)
        found = values.index_select(0, square), places.index_select(0, square)
        best = found if best is None else _greater(best, found)
    assert best is not None
    chosen = best[1].reshape(*there.shape, x.shape[1]).masked_fill(~there[..., None], -1)
    return chosen.permute(0, 3, 1, 2).long()


def _level(lengths: Tensor) -> Tensor:
    """The greatest k with 2^k at most the length."""
    powers = 2 ** torch.arange(1, 25, device=lengths.device)
    return (lengths[..., None] >= powers).sum(-1)


def _squares(x: Tensor, most_i: int, most_j: int) -> tuple[Tensor, Tensor]:
    """The maxima of all squares of 2^i x 2^j pixels of N x H x W x C, and their places: rows of C values each.

    The rows stand by j, i, item and the pixel where a square begins; those of squares that do not fit mean nothing.
    """
    height, width, channels = x.shape[1:]
    pixels = torch.arange(height * width, dtype=torch.int32, device=x.device).reshape(1, height, width, 1)
    line, found = (x, pixels.expand(x.shape)), []
    for j in range(most_j + 1):
        line = _doubled(*line, 2, 2 ** (j - 1)) if j else line  # of a tie the left one
        square = line
        for i in range(most_i + 1):
            square = _doubled(*square, 1, 2 ** (i - 1)) if i else square  # of a tie the upper one
            rest = (0, 0, 0, width - square[0].shape[2], 0, height - square[0].shape[1])
            found.append([F.pad(part, rest) for part in square])
    values, places = (torch.stack(parts).reshape(-1, channels) for parts in zip(*found, strict=True))
    return values, places


def _doubled(values: Tensor, places: Tensor, axis: int, step: int) -> tuple[Tensor, Tensor]:
    """The maxima of squares and those *step* behind them along *axis*, of a tie the first, and their places."""
    size = values.shape[axis] - step
    a, b = values.narrow(axis, 0, size), values.narrow(axis, step, size)
    return torch.maximum(a, b), either(b > a, places.narrow(axis, step, size), places.narrow(axis, 0, size))


def _greater(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The greater of values with places, of a tie the lower place."""
    second = (b[0] > a[0]) | ((b[0] == a[0]) & (b[1] < a[1]))
    return torch.maximum(a[0], b[0]), either(second, b[1], a[1])


def sums_before(x: Tensor) -> Tensor:
    """The sums of all that is above and left of each corner of a pixel, N x C x (H + 1) x (W + 1), in float64.

    The sum of a rectangle is four of them, and exact enough.
    """
    if torch.are_deterministic_algorithms_enabled():  # which running sums of floats on a GPU are not
        low, high = (torch.ones(n + 1, n, dtype=torch.float64, device=x.device).tril(-1) for n in x.shape[2:])
        return low @ x.double() @ high.mT
    return F.pad(x.double(), (1, 0, 1, 0)).cumsum(2).cumsum(3)


@LAYERS("PSROIPooling")
class PSROIPooling(Layer):
    """The mean of each of group_size x group_size bins of each region, each bin over channels of its own.

    bottoms: N x (output_dim group_size^2) x H x W, regions R x 5 (item, x1, y1, x2, y2, in pixels of the image; axes of
    1 may follow); top: R x output_dim x group_size x group_size, of which (d, i, j) is the mean of channel
    (d group_size + i) group_size + j. Corners are rounded and then scaled, the last pixel belongs to the region; bins
    are rounded outwards, and 0 where they are outside of the image. Options: spatial_scale, output_dim, group_size.
    Source: R-FCN.
    """

    message = "psroi_pooling_param"
    options = frozenset({"spatial_scale", "output_dim", "group_size"})
    bottoms = (2, 2)

    def __init__(self, outputs: int, group: int, scale: float) -> None:
        super().__init__()
        self.outputs = outputs
        self.group = group
        self.scale = scale

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.psroi_pooling_param
        check_rois(*bottoms)
        if p.spatial_scale <= 0 or p.output_dim < 1 or p.group_size < 1:
            raise NetError("spatial_scale, output_dim and group_size must be set and positive")
        if bottoms[0][1] != p.output_dim * p.group_size**2:
            raise NetError(f"needs {p.output_dim * p.group_size**2} channels, output_dim group_size^2")
        return cls(p.output_dim, p.group_size, p.spatial_scale)

    def forward(self, x: Tensor, rois: Tensor) -> Tensor:
        items, low, high = items_and_corners(rois.detach(), x.shape[0])
        starts, ends = rounded(low) * self.scale, (rounded(high) + 1) * self.scale
        left, top = torch.split(starts, 1, 1)
        width, height = torch.split((ends - starts).clamp(min=0.1), 1, 1)
        top, bottom = (edge[:, None, :, None] for edge in bins(top, height, self.group, x.shape[2], whole=False))
        left, right = (edge[:, None, None, :] for edge in bins(left, width, self.group, x.shape[3], whole=False))
        sums = sums_before(x)
        places = items[:, None, None, None], self._channels(x.device)
        total = sums[*places, bottom, right] - sums[*places, top, right]
        total = total - sums[*places, bottom, left] + sums[*places, top, left]
        area = (bottom - top).clamp(min=0) * (right - left).clamp(min=0)
        return torch.where(area > 0, total / area.clamp(min=1), 0.0).to(x.dtype)

    def _channels(self, device: torch.device | str = "cpu") -> Tensor:
        """The channel of each output and bin: 1 x outputs x group x group."""
        return torch.arange(self.outputs * self.group**2, device=device).reshape(1, -1, self.group, self.group)

    def emit(self, g: Emitter, x: Value, rois: Value) -> Value:
        channels, height, width = fixed(x, (1, 2, 3))
        item, corners = g.ops(
            "Split", 2, g.op("Reshape", rois, g.constant([-1, 5], "rows")), g.constant([1, 4], "parts"), axis=1
        )
        away = plus(g, g.op("Abs", corners), 0.5, "half")
        low, high = g.ops("Split", 2, g.op("Mul", g.op("Sign", corners), g.op("Floor", away)), axis=1)
        starts = times(g, low, self.scale)
        ends = times(g, plus(g, high, 1.0, "pixel"), self.scale)
        sides = g.op("Max", g.op("Sub", ends, starts), g.constant(0.1, "least"))
        left, right = self._emit_bins(g, starts, sides, 0, width, (1, 1, self.group))
        top, bottom = self._emit_bins(g, starts, sides, 1, height, (1, self.group, 1))
        sums = g.op("Pad", g.op("Cast", x, to=DOUBLE), g.constant([0, 0, 1, 1, 0, 0, 0, 0], "pads"))
        for axis in (2, 3):
            sums = g.op("CumSum", sums, g.constant(torch.tensor(axis), "axis"))
        flat = g.op("Reshape", sums, g.constant([-1], "flat"))
        plane = g.op("Mul", cast(g, item, "int64"), g.constant([channels], "channels"))
        plane = g.op(
            "Add", g.op("Reshape", plane, g.constant([-1, 1, 1, 1], "items")), g.constant(self._channels(), "own")
        )

        def at(row: Value, column: Value) -> Value:
            place = g.op("Add", g.op("Mul", plane, g.constant([height + 1], "height")), row)
            return g.op(
                "Gather", flat, g.op("Add", g.op("Mul", place, g.constant([width + 1], "width")), column), axis=0
            )

        ends_ = g.op("Sub", at(bottom, right), at(top, right)), g.op("Sub", at(bottom, left), at(top, left))
        total = g.op("Cast", g.op("Sub", *ends_), to=1)
        area = g.op(
            "Mul", *(g.op("Max", g.op("Sub", b, a), g.constant([0], "none")) for a, b in ((top, bottom), (left, right)))
        )
        mean = g.op("Div", total, cast(g, g.op("Max", area, g.constant([1], "one"))))
        return g.op("Where", g.op("Greater", area, g.constant([0], "none")), mean, g.constant(0.0, "empty"))

    def _emit_bins(
        self, g: Emitter, starts: Value, sides: Value, axis: int, size: int, shape: tuple[int, ...]
    ) -> tuple[Value, Value]:
        """``bins`` along an axis, R x *shape* each."""
        start, side = (column(g, values, axis) for values in (starts, sides))
        start, side = (g.op("Unsqueeze", one, g.constant([1], "axis")) for one in (start, side))
        width = g.op("Div", side, g.constant(float(self.group), "group"))
        made = []
        for first, kind in ((0, "Floor"), (1, "Ceil")):
            steps = g.constant([float(i + first) for i in range(self.group)], "steps")
            edge = g.op(kind, g.op("Add", g.op("Mul", steps, width), start))
            edge = g.op("Clip", edge, g.constant(0.0, "low"), g.constant(float(size), "high"))
            made.append(g.op("Reshape", cast(g, edge, "int64"), g.constant([-1, *shape], "bins")))
        return made[0], made[1]
