"""Convolution3D and Pooling3D, C3D's layers for films: one figure for height and width, another along the time."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Self

from torch import Tensor

from nets.emitter import Emitter, Value
from nets.fillers import Filler
from nets.layer import LAYERS, Layer, Shape
from nets.layers.convolution import Convolution, Window
from nets.layers.pooling import Axis, Windows, average_pool, emit_pool, max_pool
from protos.errors import NetError
from protos.schema import (
    Convolution3DParameter,
    ConvolutionParameter,
    LayerParameter,
    Pooling3DParameter,
    PoolingParameter,
)

Options = ConvolutionParameter | Convolution3DParameter | PoolingParameter | Pooling3DParameter
FIGURES = frozenset({"kernel_size", "kernel_depth", "stride", "temporal_stride", "pad", "temporal_pad"})


class _OverTime(Layer):
    """What both share: where their options stand, of which the later forks made a message of its own."""

    image_message: ClassVar[str]

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        if proto.HasField(cls.message) and proto.HasField(cls.image_message):
            yield f"takes {cls.message} or {cls.image_message}, not both"
        for field, _ in getattr(proto, cls.image_message).ListFields():
            if field.name not in cls.options | cls.hints:
                yield f"option {cls.image_message}.{field.name} is not supported"

    @classmethod
    def given(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Options:
        """The options, for bottoms of five axes."""
        if len(bottoms[0]) != 5:
            raise NetError("its bottom needs 5 axes, N x C x L x H x W")
        found: Options = getattr(proto, cls.message if proto.HasField(cls.message) else cls.image_message)
        return found


def _window(p: Options) -> Window:
    """The window that *p* describes, along L, H and W."""
    kernel = _figures(p, "kernel_size", "kernel_depth", 0)
    stride = _figures(p, "stride", "temporal_stride", 1)
    if not all(kernel) or not all(stride):
        raise NetError("kernel_size, kernel_depth and strides must be set and positive")
    return Window(kernel, stride, _figures(p, "pad", "temporal_pad", 0), (1, 1, 1))


def _figures(p: Options, space: str, time: str, default: int) -> tuple[int, int, int]:
    figures = getattr(p, space)
    if not isinstance(figures, int):
        if len(figures) > 1:
            raise NetError(f"{space} takes one figure, for height and width")
        figures = figures[0] if figures else default
    names = {field.name for field, _ in p.ListFields()}
    return (getattr(p, time) if time in names else default), figures, figures


@LAYERS("Convolution3D")
class Convolution3D(_OverTime, Convolution):
    """y = w * x + b, a correlation with zero padding. bottom: N x C x L x H x W; top: N x num_output x L x H x W.

    Options: num_output, kernel_size and, along L, kernel_depth, stride (1) and temporal_stride (1), pad (0) and
    temporal_pad (0), group (1), bias_term (true), weight_filler and bias_filler (constant 0); in convolution_param or
    convolution3d_param. Blobs: weight (num_output x C/group x kernel), bias (num_output). Source: C3D.
    """

    message = "convolution3d_param"
    image_message = "convolution_param"
    options = FIGURES | {"num_output", "group", "bias_term", "weight_filler", "bias_filler"}
    hints = Convolution.hints | {"filter_group"}  # how many filters are worked out at a time
    bottoms = (1, 1)
    tops = (1, 1)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = cls.given(proto, bottoms)
        assert isinstance(p, ConvolutionParameter | Convolution3DParameter)
        weight, bias = Filler.from_proto(p.weight_filler), Filler.from_proto(p.bias_filler)
        window = _window(p)
        window.places(bottoms[0][2:])
        return cls(bottoms[0][1], p.num_output, window, p.group, p.bias_term, weight, bias)


@LAYERS("Pooling3D")
class Pooling3D(_OverTime):
    """The maximum or mean of each window, with the rounding, clipping and divisors of Pooling.

    bottom: N x C x L x H x W; top: the same with fewer values. Options: pool (MAX; AVE), kernel_size and, along L,
    kernel_depth, stride (1) and temporal_stride (1), pad (0) and temporal_pad (0); in pooling_param or pooling3d_param.
    Source: C3D.
    """

    message = "pooling3d_param"
    image_message = "pooling_param"
    options = FIGURES | {"pool"}
    hints = frozenset({"engine"})

    def __init__(self, method: str, axes: tuple[Axis, ...]) -> None:
        super().__init__()
        self.method = method
        self.axes = axes

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = cls.given(proto, bottoms)
        assert isinstance(p, PoolingParameter | Pooling3DParameter)
        method = p.PoolMethod.Name(p.pool)
        if method not in ("MAX", "AVE"):
            raise NetError(f"pool {method} is not supported")
        window = _window(p)
        if any(pad >= kernel for pad, kernel in zip(window.pad, window.kernel, strict=True)):
            raise NetError("pad must be smaller than the kernel")
        sizes = zip(window.kernel, window.stride, window.pad, window.pad, strict=True)
        return cls(method, tuple(Axis(*figures) for figures in sizes))

    def forward(self, x: Tensor) -> Tensor:
        windows = Windows(self.axes, tuple(x.shape[2:]), floor=False)
        return average_pool(x, windows) if self.method == "AVE" else max_pool(x, windows, False)[0]

    def emit(self, g: Emitter, x: Value) -> Value:
        return emit_pool(g, x, self.method, self.axes, False, True)
