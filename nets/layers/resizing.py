"""ResizeNearestNeighbor and ResizeBilinear: TensorFlow's ways to resize an image, as a fork of Caffe has them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from nets.emitter import Emitter, Value, fixed
from nets.layer import LAYERS, Layer, Shape, not_in_place
from nets.layers.layout import led_back
from protos.errors import NetError
from protos.schema import LayerParameter, ResizeBilinearParameter, ResizeNearestNeighborParameter

Size = tuple[int, int]
NAMES = ("output_height", "output_width", "scale_height", "scale_width", "data_format", "align_corners")
MODES = {  # how a pixel of the top finds its place in the bottom, and ONNX's word for it
    "": "asymmetric",
    "align_corners": "align_corners",
    "half_pixel_centers": "half_pixel",
    "pytorch_half_pixel": "pytorch_half_pixel",
}


class _Resize(Layer):
    """What the two have in common: the size, the axes, and where pixel i of the top lies in the bottom.

    The size of a scale is n scale, rounded down; as in the fork it is computed in float32, where 10 times 0.7 is 7.
    With s = n / size: i s; with align_corners i (n - 1) / (size - 1), but for a size of 1; with half_pixel_centers
    (i + 0.5) s - 0.5, and so with pytorch_half_pixel, but for a size of 1: -0.5.
    """

    modes: ClassVar[tuple[str, ...]]

    def __init__(self, size: tuple[int | None, int | None], scale: tuple[float, float], mode: str, last: bool) -> None:
        """*size*: that of the top, None where *scale* times that of the bottom; *last*: the channels are last."""
        super().__init__()
        self.size = size
        self.scale = scale
        self.mode = mode
        self.last = last

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        return not_in_place(proto)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p: ResizeNearestNeighborParameter | ResizeBilinearParameter = getattr(proto, cls.message)
        if len(bottoms[0]) != 4:
            raise NetError("its bottom needs 4 axes, N x H x W x C, or with data_format NCHW N x C x H x W")
        if p.data_format not in ("NHWC", "NCHW"):
            raise NetError(f"data_format {p.data_format} is neither NHWC nor NCHW")
        modes = [name for name in cls.modes if getattr(p, name)]
        if len(modes) > 1:
            raise NetError(f"{modes[0]} and {modes[1]} exclude each other")
        size = (
            p.output_height if p.HasField("output_height") else None,
            p.output_width if p.HasField("output_width") else None,
        )
        made = cls(size, (p.scale_height, p.scale_width), "".join(modes), p.data_format == "NHWC")
        sizes = made.sizes(bottoms[0][1:3] if made.last else bottoms[0][2:])
        if min(sizes) < 1:
            raise NetError(f"its top would be of {sizes[0]}x{sizes[1]}: set output_height and output_width, or scales")
        return made

    def sizes(self, bottom: Sequence[int]) -> Size:
        """Height and width of the top for those of the bottom."""
        rule = zip(self.size, self.scale, bottom, strict=True)
        height, width = (_scaled(n, scale) if size is None else size for size, scale, n in rule)
        return height, width

    def forward(self, x: Tensor) -> Tensor:
        x, first = led_back(x), 1 if self.last else 2
        for axis, size in zip((first, first + 1), self.sizes(x.shape[first : first + 2]), strict=True):
            x = self.resized(x, axis, size)
        return x

    def places(self, n: int, size: int, device: torch.device) -> Tensor:
        """Where the pixels of the top lie among the *n* of the bottom, in float32 as in the fork."""
        i = torch.arange(size, dtype=torch.float32, device=device)
        if self.mode == "align_corners" and size > 1:
            return i * ((n - 1) / (size - 1))
        if self.mode == "pytorch_half_pixel" and size == 1:
            return i - 0.5
        if self.mode in ("half_pixel_centers", "pytorch_half_pixel"):
            return (i + 0.5) * (n / size) - 0.5
        return i * (n / size)

    def resized(self, x: Tensor, axis: int, size: int) -> Tensor:
        """*x* with another *size* of one axis."""
        raise NotImplementedError

    def emit(self, g: Emitter, x: Value) -> Value:
        first = 1 if self.last else 2
        sizes = self.sizes(fixed(x, (first, first + 1)) if None in self.size else (0, 0))
        if self.last:
            x = g.op("Transpose", x, perm=[0, 3, 1, 2])
        lead = g.op("Slice", g.op("Shape", x), g.constant([0], "first"), g.constant([2], "third"))
        shape = g.op("Concat", lead, g.constant(sizes, "size"), axis=0)
        y = g.op("Resize", x, None, None, shape, coordinate_transformation_mode=MODES[self.mode],
                 **dict(self.onnx_mode()))  # fmt: skip
        return g.op("Transpose", y, perm=[0, 2, 3, 1]) if self.last else y

    def onnx_mode(self) -> Iterator[tuple[str, str]]:
        """The attributes of ONNX's Resize beside that of the places."""
        raise NotImplementedError


@LAYERS("ResizeNearestNeighbor")
class ResizeNearestNeighbor(_Resize):
    """Each pixel of the top that of the bottom at its place, rounded down. bottom: N x H x W x C; top: N x
    output_height x output_width x C; with data_format NCHW the channels come second in both.

    The place of i is i n / size; with align_corners i (n - 1) / (size - 1), rounded; with half_pixel_centers
    (i + 0.5) n / size. Options: output_height and output_width, or scale_height and scale_width (1), data_format
    (NHWC), align_corners (false), half_pixel_centers (false). Source: TensorFlow's operator of this name.
    """

    message = "resize_nearest_neighbor_param"
    modes = ("align_corners", "half_pixel_centers")
    options = frozenset({*NAMES, *modes})

    def resized(self, x: Tensor, axis: int, size: int) -> Tensor:
        places = self.places(x.shape[axis], size, x.device)
        nearest = places.floor()
        if self.mode:  # the sum with 0.5 would round
            nearest += places - nearest >= 0.5
        nearest = nearest.long()
        return x.index_select(axis, nearest.clamp(0, x.shape[axis] - 1))

    def onnx_mode(self) -> Iterator[tuple[str, str]]:
        yield "mode", "nearest"
        yield "nearest_mode", "round_prefer_ceil" if self.mode else "floor"


@LAYERS("ResizeBilinear")
class ResizeBilinear(_Resize):
    """Each pixel of the top between its neighbours in the bottom, bilinear. bottom: N x H x W x C; top: N x
    output_height x output_width x C; with data_format NCHW the channels come second in both.

    The place of i is i n / size; with align_corners i (n - 1) / (size - 1); with half_pixel_centers (i + 0.5) n / size
    - 0.5, and with pytorch_half_pixel too, but -0.5 for a size of 1. Options: output_height and output_width, or
    scale_height and scale_width (1), data_format (NHWC), align_corners (false), half_pixel_centers (false),
    pytorch_half_pixel (false). Source: TensorFlow's operator of this name.
    """

    message = "resize_bilinear_param"
    modes = ("align_corners", "half_pixel_centers", "pytorch_half_pixel")
    options = frozenset({*NAMES, *modes})

    def resized(self, x: Tensor, axis: int, size: int) -> Tensor:
        n = x.shape[axis]
        places = self.places(n, size, x.device)
        left = places.floor()
        share = (places - left).to(x.dtype).view(-1, *(1,) * (x.dim() - axis - 1))
        before = x.index_select(axis, left.long().clamp(0, n - 1))
        return torch.lerp(before, x.index_select(axis, places.ceil().long().clamp(0, n - 1)), share)

    def onnx_mode(self) -> Iterator[tuple[str, str]]:
        yield "mode", "linear"


def _scaled(n: int, scale: float) -> int:
    return int(np.float32(n) * np.float32(scale))
