"""Interp, Resample, Upsample and UpsampleDarknet: how forks of Caffe make images larger or smaller."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nets.emitter import Emitter, Value, cast, fixed
from nets.layer import LAYERS, Layer, Shape, check_indices, not_in_place, shape_text
from nets.layers.layout import is_last, repeated
from nets.layers.plain import is_plain
from protos.errors import NetError
from protos.schema import InterpParameter, LayerParameter, ResampleParameter, UpsampleParameter

Size = tuple[int, int]


@LAYERS("Interp")
class Interp(Layer):
    """The image at another size, bilinear, its corners where they were. bottoms: N x C x H x W, and with use_blob_size
    another image; top: N x C x height x width.

    pad_beg and pad_end, 0 or below, first cut rows and columns off before and behind. The size is, of what is set: with
    use_blob_size that of the second bottom; by shrink_factor alone (n - 1) // shrink_factor + 1; by zoom_factor alone
    n + (n - 1) (zoom_factor - 1); else height and width; else shrunk and then zoomed. torch's align_corners.
    Options: height, width, zoom_factor, shrink_factor, pad_beg (0), pad_end (0), use_blob_size (false).
    Source: DeepLab's and PSPNet's layer of this name.
    """

    message = "interp_param"
    options = frozenset({"height", "width", "zoom_factor", "shrink_factor", "pad_beg", "pad_end", "use_blob_size"})
    bottoms = (1, 2)

    def __init__(
        self, size: Size | None = None, shrink: int | None = None, zoom: int | None = None, cut: Size = (0, 0)
    ) -> None:
        super().__init__()
        self.size = size
        self.shrink = shrink
        self.zoom = zoom
        self.cut = cut

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        return not_in_place(proto)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.interp_param
        if len(bottoms[0]) != 4:
            raise NetError("its bottom needs 4 axes, N x C x H x W")
        if p.pad_beg > 0 or p.pad_end > 0:
            raise NetError(f"pad_beg {p.pad_beg} and pad_end {p.pad_end} must not be positive: the layer only cuts off")
        if p.use_blob_size != (len(bottoms) == 2):
            raise NetError("a second bottom, which the top has the size of, goes with use_blob_size")
        if len(bottoms) == 2 and len(bottoms[1]) != 4:
            raise NetError("its second bottom needs 4 axes, N x C x H x W")
        rule = ((bottoms[1][2], bottoms[1][3]), None, None) if p.use_blob_size else _interp_rule(p)
        made = cls(*rule, (-p.pad_beg, -p.pad_end))
        height, width = made.sizes(bottoms[0][2:])
        if min(height, width) < 1 or min(bottoms[0][2:]) <= sum(made.cut):
            raise NetError(f"its top would be of {height}x{width}, from what pad_beg and pad_end leave of its bottom")
        return made

    def sizes(self, bottom: Sequence[int]) -> Size:
        """Height and width of the top for those of the bottom."""
        if self.size:
            return self.size
        height, width = (self._size(n - sum(self.cut)) for n in bottom)
        return height, width

    def _size(self, n: int) -> int:
        n = n if self.shrink is None else (n - 1) // self.shrink + 1
        return n if self.zoom is None else n + (n - 1) * (self.zoom - 1)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][:2], *self.sizes(bottoms[0][2:]))]

    def forward(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        size = self.sizes(x.shape[2:]) if like is None else (like.shape[2], like.shape[3])
        if any(self.cut):
            before, behind = self.cut
            x = x[:, :, before : x.shape[2] - behind, before : x.shape[3] - behind]
        return F.interpolate(x, size, mode="bilinear", align_corners=True)

    def emit(self, g: Emitter, x: Value, like: Value | None = None) -> Value:
        size = _part_of_shape(g, like, 2) if like else g.constant(self.size or self.sizes(fixed(x, (2, 3))), "size")
        if any(self.cut):
            before, behind = self.cut
            end = -behind or 2**31
            x = g.op("Slice", x, g.constant([before] * 2, "starts"), g.constant([end] * 2, "ends"),
                     g.constant([2, 3], "axes"))  # fmt: skip
        sizes = g.op("Concat", _part_of_shape(g, x, 0), size, axis=0)
        return g.op("Resize", x, None, None, sizes, mode="linear", coordinate_transformation_mode="align_corners")


def _interp_rule(p: InterpParameter) -> tuple[Size | None, int | None, int | None]:
    """The size, or how it is shrunk and zoomed, by which fields are set."""
    shrinks, zooms = p.HasField("shrink_factor"), p.HasField("zoom_factor")
    if shrinks == zooms and p.HasField("height") and p.HasField("width"):
        return (p.height, p.width), None, None
    if not shrinks and not zooms:
        raise NetError("give shrink_factor, zoom_factor, or height and width")
    if p.shrink_factor < 1 or p.zoom_factor < 1:
        raise NetError(f"shrink_factor {p.shrink_factor} and zoom_factor {p.zoom_factor} must be positive")
    return None, p.shrink_factor if shrinks else None, p.zoom_factor if zooms else None


def _part_of_shape(g: Emitter, x: Value, first: int) -> Value:
    """Two sizes of *x* from axis *first* on, a list."""
    return g.op("Slice", g.op("Shape", x), g.constant([first], "from"), g.constant([first + 2], "to"))


@LAYERS("Resample")
class Resample(Layer):
    """The image at another size: each pixel of the top a weighted mean of those around its place in the bottom.

    bottoms: N x C x H x W, and perhaps an image that the top is as large as; top: N x C x height x width. Row i is at
    i fy + fx / 2 - 0.5, column j at j fx + fy / 2 - 0.5, fy = H / height and fx = W / width, each with half of the
    other's as in the fork. NEAREST takes the pixel there; LINEAR and CUBIC (of a = -0.5) weigh those around it, and
    with antialias, where the image becomes smaller along an axis, over fy x fx times as many.
    Options: height and width, type (LINEAR), antialias (true). Source: FlowNet's layer of this name; there it has no
    gradient.
    """

    message = "resample_param"
    options = frozenset({"height", "width", "type", "antialias"})
    bottoms = (1, 2)
    rows: Tensor
    columns: Tensor

    def __init__(self, bottom: Size, size: Size, kind: str = "LINEAR", antialias: bool = True) -> None:
        super().__init__()
        self.kind = kind
        fy, fx = (np.float32(n) / np.float32(wanted) for n, wanted in zip(bottom, size, strict=True))
        spread = antialias and bool(fx > 1 or fy > 1)
        taps = [_taps(bottom[0], size[0], fy, fx, kind, spread), _taps(bottom[1], size[1], fx, fy, kind, spread)]
        self._taps = [torch.tensor(one, device="cpu") for one in taps]
        for name, one in zip(("rows", "columns"), self._taps, strict=True):
            self.register_buffer(name, torch.empty(one.shape, dtype=one.dtype), persistent=False)

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        return not_in_place(proto)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, shape = proto.resample_param, bottoms[0]
        if any(len(bottom) != 4 for bottom in bottoms):
            raise NetError("its bottoms need 4 axes, N x C x H x W")
        kind = ResampleParameter.ResampleType.Name(p.type)
        if kind == "AREA":
            raise NetError("type AREA is not supported, nor is it by the fork")
        size = (p.height, p.width) if len(bottoms) == 1 else (bottoms[1][2], bottoms[1][3])
        if min(size) < 1:
            raise NetError(f"height {size[0]} and width {size[1]} must be positive")
        return cls((shape[2], shape[3]), size, kind, p.antialias)

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Put the weights of the rows and columns, or which are taken, in their place."""
        self.rows.copy_(self._taps[0])
        self.columns.copy_(self._taps[1])

    def forward(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        if self.kind == "NEAREST":
            return x.index_select(2, self.rows).index_select(3, self.columns)
        return self.rows.to(x.dtype) @ (x @ self.columns.mT.to(x.dtype))

    def emit(self, g: Emitter, x: Value, like: Value | None = None) -> Value:
        rows, columns = (g.constant(one, name) for one, name in zip(self._taps, ("rows", "columns"), strict=True))
        if self.kind == "NEAREST":
            return g.op("Gather", g.op("Gather", x, rows, axis=2), columns, axis=3)
        return g.op("MatMul", rows, g.op("MatMul", x, g.constant(self._taps[1].mT, "turned")))


def _taps(n: int, size: int, step: Any, other: Any, kind: str, spread: bool) -> NDArray[Any]:
    """The weights (size x n) of the *n* pixels of an axis in those of the top, or which ones (size) are taken."""
    half = np.float32(0.5)
    places = np.arange(size, dtype=np.float32) * step + other * half - half
    nearest = np.trunc(places.astype(float) + np.copysign(0.5, places)).astype(int)
    if kind == "NEAREST":
        if nearest.min() < 0 or nearest.max() >= n:
            raise NetError("NEAREST would take pixels outside of its bottom: resize both axes alike")
        return np.asarray(nearest)
    narrow = np.float32(1) / (step if spread else np.float32(1))
    reach = 2 if step < 1 else int(np.ceil(np.float32(4 if kind == "CUBIC" else 2) / narrow))
    pixels = np.arange(n)
    apart = np.abs(narrow * (places[:, None] - pixels.astype(np.float32)))
    near = np.abs(pixels - nearest[:, None]) <= reach
    weights = np.where(near, (_cubic if kind == "CUBIC" else _linear)(apart), np.float32(0))
    total = weights.sum(1, keepdims=True)
    return np.asarray(weights / np.where(total == 0, np.float32(1), total))


def _linear(apart: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.maximum(1 - apart, np.float32(0))


def _cubic(apart: NDArray[np.float32]) -> NDArray[np.float32]:
    inner = apart * apart * (1.5 * apart - 2.5) + 1
    outer = apart * (apart * (-0.5 * apart + 2.5) - 4) + 2
    return np.where(apart <= 1, inner, np.where(apart < 2, outer, 0)).astype(np.float32)


@LAYERS("Upsample")
class Upsample(Layer):
    """Each value at the place that a mask says, zeros elsewhere; without a mask each value scale x scale times.

    bottoms: N x C x H x W and, equal, the mask: the second top of a Pooling layer, places row * width + column in a
    plane of the top (of equal places the last value stays; each gets the gradient there); top: N x C x height x width.

    These are two layers of one name. With the mask (SegNet's): upsample_h and upsample_w are the size of the top;
    without them it is that of the bottom times scale (2), or scale_h and scale_w, less 1 with pad_out_h and pad_out_w
    (false), which go with a scale of 2. Without a mask (YOLO's): scale, a whole number.
    Options: scale, scale_h, scale_w, pad_out_h, pad_out_w, upsample_h, upsample_w.
    """

    message = "upsample_param"
    options = frozenset({"scale", "scale_h", "scale_w", "pad_out_h", "pad_out_w", "upsample_h", "upsample_w"})
    bottoms = (1, 2)
    labels: ClassVar[tuple[int, ...]] = (1,)

    def __init__(self, scale: Size = (2, 2), less: Size = (0, 0), size: Size | None = None) -> None:
        super().__init__()
        self.scale = scale
        self.less = less
        self.size = size

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        return not_in_place(proto)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.upsample_param
        if len(bottoms[0]) != 4:
            raise NetError("its bottom needs 4 axes, N x C x H x W")
        if len(bottoms) == 1:
            return cls(_repeats(p))
        if bottoms[1] != bottoms[0]:
            raise NetError("its second bottom, the mask, must have the shape of the first")
        if p.HasField("upsample_h") != p.HasField("upsample_w"):
            raise NetError("upsample_h and upsample_w are needed both")
        if p.HasField("upsample_h"):
            if min(p.upsample_h, p.upsample_w) < 2:
                raise NetError(f"upsample_h {p.upsample_h} and upsample_w {p.upsample_w} must be at least 2")
            return cls(size=(p.upsample_h, p.upsample_w))
        scale, less = _scale(p), (int(p.pad_out_h), int(p.pad_out_w))
        if any(one and by != 2 for one, by in zip(less, scale, strict=True)):
            raise NetError("pad_out_h and pad_out_w go with a scale of 2")
        return cls(scale, less)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][:2], *self.sizes(bottoms[0][2:]))]

    def sizes(self, bottom: Sequence[int]) -> Size:
        """Height and width of the top for those of the bottom."""
        height, width = (n * by - one for n, by, one in zip(bottom, self.scale, self.less, strict=True))
        return self.size or (height, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return repeated(x, self.scale)
        size = self.sizes(x.shape[2:])
        if not is_plain(x) or not is_last(x):
            return torch.unflatten(self._spread(x.flatten(2), mask.flatten(2), 2, size), 2, size)
        values, places = (blob.permute(0, 2, 3, 1).flatten(1, 2) for blob in (x, mask))
        return torch.unflatten(self._spread(values, places, 1, size), 1, size).permute(0, 3, 1, 2)

    def _spread(self, values: Tensor, mask: Tensor, axis: int, size: Size) -> Tensor:
        """*values* at their places along *axis*, which the planes of the top, *size*, are."""
        places, count = mask.long(), size[0] * size[1]
        lacking = f"place {{}} of its mask is out of range: the top, {shape_text(size)}, has {{}} places"
        check_indices(places, count, lacking)
        shape = [count if i == axis else length for i, length in enumerate(values.shape)]
        return values.new_zeros(shape).scatter(axis, places, values)

    def emit(self, g: Emitter, x: Value, mask: Value | None = None) -> Value:
        if mask is None:
            scales = g.constant([1.0, 1.0, *map(float, self.scale)], "scales")
            return g.op("Resize", x, None, scales, mode="nearest", coordinate_transformation_mode="asymmetric",
                        nearest_mode="floor")  # fmt: skip
        height, width = self.size or self.sizes(fixed(x, (2, 3)))
        flat = g.constant([0, 0, -1], "flat")
        shape = g.op("Concat", _part_of_shape(g, x, 0), g.constant([height * width], "places"), axis=0)
        planes = g.op("Expand", g.constant(0.0, "zero"), shape)
        places = cast(g, g.op("Reshape", mask, flat), "int64")
        spread = g.op("ScatterElements", planes, places, g.op("Reshape", x, flat), axis=2)
        return g.op("Reshape", spread, g.constant([0, 0, height, width], "shape"))


@LAYERS("UpsampleDarknet")
class UpsampleDarknet(Upsample):
    """Each value stride x stride times. bottom: N x C x H x W; top: N x C x H stride x W stride.

    Options: stride (1).
    """

    message = "upsample_darknet_param"
    options = frozenset({"stride"})
    bottoms = (1, 1)
    labels = ()

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        stride = proto.upsample_darknet_param.stride
        if len(bottoms[0]) != 4:
            raise NetError("its bottom needs 4 axes, N x C x H x W")
        if stride < 1:
            raise NetError(f"stride must be positive, not {stride}")
        return cls((stride, stride))


def _repeats(p: UpsampleParameter) -> Size:
    """How often each value stands in the top, along both axes."""
    if others := [field.name for field, _ in p.ListFields() if field.name != "scale"]:
        raise NetError(f"without a mask, a second bottom, it takes scale alone, not {others[0]}")
    if p.scale < 1 or p.scale != int(p.scale):
        raise NetError(f"scale must be set, to a whole number, not {p.scale:g}")
    return int(p.scale), int(p.scale)


def _scale(p: UpsampleParameter) -> Size:
    """What the size of a masked top is a multiple by."""
    by_axis = p.HasField("scale_h") or p.HasField("scale_w")
    if by_axis and (p.HasField("scale") or not (p.HasField("scale_h") and p.HasField("scale_w"))):
        raise NetError("give scale, or both scale_h and scale_w")
    scale = (p.scale_h, p.scale_w) if by_axis else (p.scale if p.HasField("scale") else 2,) * 2
    if min(scale) < 2 or any(by != int(by) for by in scale):
        raise NetError(f"a scale must be a whole number of at least 2, not {min(scale):g}")
    return int(scale[0]), int(scale[1])
