"""Convolution, Deconvolution and Im2col over any number of spatial axes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Dims, Emitter, Value, fixed, reshaped
from nets.fillers import ZERO, Filler
from nets.layer import LAYERS, Count, Layer, Shape, canonical_axis, shape_text
from nets.layers.plain import is_plain
from protos.errors import NetError
from protos.schema import ConvolutionParameter, LayerParameter

WINDOW_OPTIONS = frozenset(
    f"{kind}{suffix}" for kind in ("pad", "stride") for suffix in ("", "_h", "_w")
) | {"kernel_size", "kernel_h", "kernel_w", "dilation", "axis"}  # fmt: skip
SIDES = ("pad_t", "pad_b", "pad_l", "pad_r")
# Convolutions of a batch with fewer multiplications than this cost the CPU's library more to set up than to run.
TINY = 2**21
# With this many times as many weights as values in bottom and top, laying out the weights takes the time.
HEAVY = 6
ABREAST = 16  # float32 values in a register of oneDNN's


@dataclass(frozen=True)
class Window:
    """How a kernel moves over the spatial axes; one figure an axis. ``extra``: fork padding, as F.pad takes it."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    extra: tuple[int, ...] = ()

    @classmethod
    def from_proto(cls, p: ConvolutionParameter, axes: int) -> "Window":
        """The window that *p* describes over *axes* spatial axes."""
        kernel = _spatial(p, "kernel_size", "kernel", axes, None)
        if not all(kernel):
            raise NetError("kernel sizes must be positive")
        stride = _spatial(p, "stride", "stride", axes, 1)
        if not all(stride):
            raise NetError("strides must be positive")
        pad = _spatial(p, "pad", "pad", axes, 0)
        dilation = _spatial(p, "dilation", "", axes, 1)
        if not all(dilation):
            raise NetError("dilations must be positive")
        return cls(kernel, stride, pad, dilation, _extra_padding(p, axes))

    @cached_property
    def _axes(self) -> list[tuple[int, int, int]]:
        """The padding at both ends, the extent of the kernel and its stride, of each spatial axis."""
        around = [sum(sides) for sides in zip(*_both_sides(self), strict=True)]
        spans = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        return list(zip(around, spans, self.stride, strict=True))

    def places(self, spatial: Sequence[int]) -> list[int]:
        """How often the kernel fits along each of the *spatial* axes. Raises NetError where it does not.

        It may reach beyond the end of the padding by less than a stride, as in the original, which rounds to zero.
        """
        found: list[int] = []
        for size, (around, span, stride) in zip(spatial, self._axes, strict=True):
            room = size + around - span
            if room <= -stride:
                raise NetError(
                    f"the kernel does not fit into spatial axis {len(found)}: it spans {span} of {span + room}"
                )
            found.append(max(room, 0) // stride + 1)
        return found

    def beyond(self, spatial: Sequence[int]) -> list[int]:
        """By how much the kernel reaches beyond the end of each of the *spatial* axes."""
        return [max(0, span - size - around) for size, (around, span, _) in zip(spatial, self._axes, strict=True)]

    def padded(self, x: Tensor) -> Tensor:
        """*x* with zeros where the kernel reaches beyond its end, and the fork's one-sided padding, if any."""
        beyond = self.beyond(x.shape[x.dim() - len(self.kernel) :])
        if any(beyond):
            x = F.pad(x, [n for end in reversed(beyond) for n in (0, end)])
        return F.pad(x, self.extra) if self.extra else x


def _spatial(p: ConvolutionParameter, name: str, stem: str, axes: int, default: int | None) -> tuple[int, ...]:
    """The figure *name* for each spatial axis: as two fields ``stem_h`` and ``stem_w``, or repeated."""
    values = tuple(getattr(p, name))
    if stem and (p.HasField(f"{stem}_h") or p.HasField(f"{stem}_w")):
        return _by_axis(p, name, stem, axes, default)
    if not values and default is not None:
        return (default,) * axes
    if len(values) not in (1, axes):
        raise NetError(f"{name} has {len(values)} figures where it needs 1, or one for each of {axes} spatial axes")
    return values if len(values) == axes else values * axes


def _by_axis(p: ConvolutionParameter, name: str, stem: str, axes: int, default: int | None) -> tuple[int, ...]:
    if axes != 2 or getattr(p, name):
        raise NetError(f"{stem}_h and {stem}_w go with two spatial axes, and without {name}")
    fields = (f"{stem}_h", f"{stem}_w")
    if default != 0 and not all(p.HasField(field) for field in fields):
        raise NetError(f"{stem}_h and {stem}_w are needed both")
    return tuple(int(getattr(p, field)) for field in fields)


def _extra_padding(p: ConvolutionParameter, axes: int) -> tuple[int, ...]:
    top, bottom, left, right = (getattr(p, side) for side in SIDES)
    if not (top or bottom or left or right):
        return ()
    if axes != 2:
        raise NetError("pad_t, pad_b, pad_l and pad_r go with two spatial axes")
    return left, right, top, bottom


class _Filtering(Layer):
    """What Convolution and Deconvolution share. Several bottoms go through the same weights, each to its own top."""

    message = "convolution_param"
    options = WINDOW_OPTIONS | {"num_output", "bias_term", "group", "weight_filler", "bias_filler"}
    hints = frozenset({"engine", "force_nd_im2col", "conv_algorithm", "conv_algos_override",
                       "cudnn_convolution_algo_seeker", "cudnn_flavor"})  # fmt: skip
    bottoms: ClassVar[Count] = (1, None)
    tops: ClassVar[Count] = (1, None)
    blob_names = ("weight", "bias")
    transposed: ClassVar[bool]
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        channels: int,
        num_output: int,
        window: Window,
        group: int = 1,
        bias_term: bool = True,
        weight_filler: Filler = ZERO,
        bias_filler: Filler = ZERO,
    ) -> None:
        super().__init__()
        if num_output <= 0:
            raise NetError("num_output must be set and positive")
        if group <= 0 or channels % group or num_output % group:
            raise NetError(f"num_output {num_output} and {channels} channels must divide into {group} groups")
        self.num_output = num_output
        self.window = window
        self.group = group
        rows, columns = (channels, num_output) if self.transposed else (num_output, channels)
        self.add_blob("weight", (rows, columns // group, *window.kernel), weight_filler)
        self.add_blob("bias", (num_output,) if bias_term else None, bias_filler)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.convolution_param
        axis = canonical_axis(p.axis, len(bottoms[0]))
        if any(shape != bottoms[0] for shape in bottoms):
            raise NetError("its bottoms must have one shape")
        if len(proto.top) != len(bottoms):
            raise NetError(f"has {len(bottoms)} bottoms but {len(proto.top)} tops: each bottom makes one top")
        window = Window.from_proto(p, len(bottoms[0]) - axis - 1)
        weight, bias = Filler.from_proto(p.weight_filler), Filler.from_proto(p.bias_filler)
        return cls(bottoms[0][axis], p.num_output, window, p.group, p.bias_term, weight, bias)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        lead = len(bottoms[0]) - len(self.window.kernel)
        return [(*x[: lead - 1], self.num_output, *self.sizes(x[lead:])) for x in bottoms]

    def sizes(self, spatial: Shape) -> list[int]:
        """The spatial axes of the top for those of the bottom."""
        raise NotImplementedError

    def forward(self, *xs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self._one(xs[0]) if len(xs) == 1 else tuple(self._one(x) for x in xs)

    def _one(self, x: Tensor) -> Tensor:
        axes = len(self.window.kernel)
        if x.dim() == axes + 2:
            return self.filter(x)
        lead = x.shape[: x.dim() - axes - 1]  # axes before the channels all count as images
        y = self.filter(x.reshape(-1, *x.shape[len(lead) :]))
        return y.reshape(*lead, *y.shape[1:])

    def filter(self, x: Tensor) -> Tensor:
        """The top of one bottom, N x C x spatial axes."""
        raise NotImplementedError

    def emit(self, g: Emitter, *xs: Value) -> tuple[Value, ...]:
        return tuple(self._emit_one(g, x, top) for x, top in zip(xs, g.tops, strict=True))

    def _emit_one(self, g: Emitter, x: Value, top: Dims) -> Value:
        axes = len(self.window.kernel)
        lead, spatial = len(x.shape) - axes - 1, x.shape[len(x.shape) - axes :]
        if lead != 1:  # axes before the channels all count as images
            x = g.op("Reshape", x, g.constant([-1, *fixed(x, range(lead, len(x.shape)))], "images"))
        y = self.emit_filter(g, x, spatial)
        return y if lead == 1 else reshaped(g, y, top)

    def emit_filter(self, g: Emitter, x: Value, spatial: Dims) -> Value:
        """The node for one bottom, N x C x *spatial* axes."""
        w = self.window
        bias = None if self.bias is None else g.blob("bias")
        if not w.kernel:
            if self.group != 1:
                raise NetError("has groups but no spatial axes")
            return g.op("Gemm", x, g.blob("weight"), bias, transB=None if self.transposed else 1)
        before, behind = _both_sides(w)
        sizes = [size for size in spatial if isinstance(size, int)]
        if not self.transposed and len(sizes) == len(spatial):
            behind = [end + more for end, more in zip(behind, w.beyond(sizes), strict=True)]
        kind = "ConvTranspose" if self.transposed else "Conv"
        return g.op(kind, x, g.blob("weight"), bias, kernel_shape=w.kernel, strides=w.stride, dilations=w.dilation,
                    pads=(*before, *behind), group=self.group)  # fmt: skip


@LAYERS("Convolution")
class Convolution(_Filtering):
    """y = w * x + b, a correlation with zero padding. bottom: N x C x spatial; top: N x num_output x spatial.

    Options: num_output, kernel_size (or kernel_h, kernel_w), stride (1), pad (0), dilation (1), group (1),
    bias_term (true), axis (1: that of the channels), weight_filler and bias_filler (constant 0); of forks: pad_t,
    pad_b, pad_l, pad_r, added to pad. Blobs: weight (num_output x C/group x kernel), bias (num_output).
    """

    options = _Filtering.options | frozenset(SIDES)
    transposed = False

    def sizes(self, spatial: Shape) -> list[int]:
        return self.window.places(spatial)

    def is_tiny(self, x: Sequence[int]) -> bool:
        """Whether PyTorch's own kernel is the quicker one on a CPU for a bottom of shape *x*."""
        w = self.window
        if len(x) != 4 or len(w.kernel) != 2 or self.group != 1 or w.dilation != (1, 1) or w.extra:
            return False
        return x[0] * prod(w.places(x[2:])) * self.weight.numel() < TINY and not any(w.beyond(x[2:]))

    def is_heavy(self, x: Sequence[int]) -> bool:
        """Whether on a CPU a bottom of shape *x* had better not lie channels last: the many weights would have to."""
        room = self.weight.numel() // HEAVY - prod(x)  # for the values of the top
        if room <= 0 or len(x) != 4 or len(self.window.kernel) != 2:
            return False
        return x[0] * len(self.weight) * prod(self.window.places(x[2:])) < room

    def likes_channels_last(self, x: Sequence[int]) -> bool:
        return len(self.window.kernel) == 2 and not self.is_tiny(x) and not self.is_heavy(x)

    def filter(self, x: Tensor) -> Tensor:
        w = self.window
        if self.weight.is_contiguous() and is_plain(x, self.weight):
            if x.is_contiguous():
                if self.is_tiny(x.shape):
                    if x.stride(1) == 1:  # images of a pixel may pass for channels last, and the gradients fail
                        x = x.flatten().view(x.shape)
                    y: Tensor = torch.ops.aten.thnn_conv2d(x, self.weight, w.kernel, self.bias, w.stride, w.pad)
                    return y
            elif self.is_heavy(x.shape):
                x = x.contiguous()
        return convolve(w.padded(x), self.weight, self.bias, w.stride, w.pad, w.dilation, self.group)


def correlate(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (),
    padding: Sequence[int] = (),
    dilation: Sequence[int] = (),
    groups: int = 1,
) -> Tensor:
    """torch's function over the spatial axes of *weight* (M x C x 1 to 3 axes), one figure an axis.

    Where single pixels of few channels lie channels last, oneDNN 3.12 writes beyond its memory in the backward pass
    with strides: the pixels are picked first.
    """
    axes = weight.dim() - 2
    ones = (1,) * axes
    stride = tuple(stride) or ones
    few = x.device.type == "cpu" and weight.shape[1] < ABREAST
    if few and weight.shape[2:] == ones != stride and not any(padding):
        x, stride = x[tuple(slice(None, None, step) for step in (1, 1, *stride))], ones
    run = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    return run(x, weight, bias, stride, padding or (0,) * axes, dilation or ones, groups)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    pad: tuple[int, ...],
    dilation: tuple[int, ...],
    group: int,
) -> Tensor:
    """Correlation over any number of spatial axes; torch itself has 1 to 3."""
    axes = len(stride)
    if axes == 0:
        return F.conv1d(x[..., None], weight[..., None], bias, groups=group)[..., 0]
    if axes <= 3:
        return correlate(x, weight, bias, stride, pad, dilation, group)
    # Beyond 3 the first spatial axis unrolls: a sum over its kernel positions of convolutions over the others.
    x = F.pad(x, (0, 0) * (axes - 1) + (pad[0], pad[0]))
    out = (x.shape[2] - dilation[0] * (weight.shape[2] - 1) - 1) // stride[0] + 1
    total: Tensor | None = None
    for k in range(weight.shape[2]):
        start = k * dilation[0]
        rows = x[:, :, start : start + (out - 1) * stride[0] + 1 : stride[0]].transpose(1, 2)
        flat = rows.reshape(-1, *rows.shape[2:])
        y = convolve(flat, weight[:, :, k], bias if k == 0 else None, stride[1:], pad[1:], dilation[1:], group)
        y = y.reshape(*rows.shape[:2], *y.shape[1:]).transpose(1, 2)
        total = y if total is None else total + y
    if total is None:
        raise NetError("kernel sizes must be positive")
    return total


@LAYERS("Deconvolution")
class Deconvolution(_Filtering):
    """The transpose of Convolution. bottom: N x C x spatial; top: N x num_output x spatial.

    A size n becomes stride (n - 1) + dilation (kernel - 1) + 1 - 2 pad. Options: as Convolution's, without those of
    forks. Blobs: weight (C x num_output/group x kernel), bias (num_output).
    """

    transposed = True

    def sizes(self, spatial: Shape) -> list[int]:
        w = self.window
        figures = zip(spatial, w.kernel, w.stride, w.pad, w.dilation, strict=True)
        found = [s * (n - 1) + d * (k - 1) + 1 - 2 * p for n, k, s, p, d in figures]
        if found and min(found) < 1:
            raise NetError(f"its top would be of {shape_text(found)} pixels: pad is too large")
        return found

    def filter(self, x: Tensor) -> Tensor:
        w = self.window
        return deconvolve(x, self.weight, self.bias, w.stride, w.pad, w.dilation, self.group)


def deconvolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    pad: tuple[int, ...],
    dilation: tuple[int, ...],
    group: int,
) -> Tensor:
    """The transpose of ``convolve``, over any number of spatial axes."""
    axes = len(stride)
    if axes == 0:
        return F.conv_transpose1d(x[..., None], weight[..., None], bias, groups=group)[..., 0]
    if axes <= 3:
        run = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[axes - 1]
        return run(x, weight, bias, stride, pad, groups=group, dilation=dilation)
    # Beyond 3 each row along the first spatial axis spreads to one row for each of its kernel positions.
    rows = x.transpose(1, 2)
    size = (x.shape[2] - 1) * stride[0] + dilation[0] * (weight.shape[2] - 1) + 1
    total: Tensor | None = None
    for k in range(weight.shape[2]):
        flat = rows.reshape(-1, *rows.shape[2:])
        y = deconvolve(flat, weight[:, :, k], None, stride[1:], pad[1:], dilation[1:], group)
        y = y.reshape(*rows.shape[:2], *y.shape[1:])
        if total is None:
            total = y.new_zeros(y.shape[0], size, *y.shape[2:])
        places = torch.arange(x.shape[2], device=x.device) * stride[0] + k * dilation[0]
        total = total.index_add(1, places, y)
    if total is None:
        raise NetError("kernel sizes must be positive")
    total = total.transpose(1, 2).narrow(2, pad[0], size - 2 * pad[0])
    return total if bias is None else total + bias.reshape(-1, *(1,) * axes)


@LAYERS("Im2col")
class Im2col(Layer):
    """The patches under a moving window, as channels. bottom: N x C x spatial; top: N x (C * kernel) x positions.

    Options: kernel_size (or kernel_h, kernel_w), stride (1), pad (0), dilation (1), axis (1).
    torch's unfold also flattens the positions.
    """

    message = "convolution_param"
    options = WINDOW_OPTIONS
    hints = frozenset({"engine", "force_nd_im2col", "num_output", "bias_term", "group", "weight_filler", "bias_filler"})

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.convolution_param
        axes = len(bottoms[0]) - canonical_axis(p.axis, len(bottoms[0])) - 1
        if not axes:
            raise NetError(f"axis {p.axis} leaves no spatial axis behind it")
        return cls(Window.from_proto(p, axes))

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        kernel = self.window.kernel
        lead = len(bottoms[0]) - len(kernel)
        *items, channels = bottoms[0][:lead]
        return [(*items, channels * prod(kernel), *self.window.places(bottoms[0][lead:]))]

    def forward(self, x: Tensor) -> Tensor:
        w = self.window
        lead = x.dim() - len(w.kernel)  # the leading axes, the channels last among them
        sizes = w.places(x.shape[lead:])
        x = w.padded(x)
        if len(w.kernel) == lead == 2:
            patches = F.unfold(x, w.kernel, w.dilation, w.pad, w.stride)
            return patches.reshape(x.shape[0], x.shape[1] * prod(w.kernel), *sizes)
        axes = len(w.kernel)
        x = F.pad(x, [p for pad in reversed(w.pad) for p in (pad, pad)])
        places = []
        for i, (k, s, d, out) in enumerate(zip(w.kernel, w.stride, w.dilation, sizes, strict=True)):
            place = torch.arange(k, device=x.device)[:, None] * d + torch.arange(out, device=x.device) * s
            places.append(place.reshape((1,) * i + (k,) + (1,) * (axes - 1) + (out,) + (1,) * (axes - 1 - i)))
        patches = x[(..., *places)]  # type: ignore[index]  # leading axes, kernel axes, positions
        return patches.reshape(*x.shape[: lead - 1], -1, *patches.shape[lead + axes :])

    def emit(self, g: Emitter, x: Value) -> Value:
        w = self.window
        lead = len(x.shape) - len(w.kernel)
        spatial = fixed(x, range(lead, len(x.shape)))
        behind = [p + more for p, more in zip(w.pad, w.beyond(spatial), strict=True)]
        sizes = [p + n + end for p, n, end in zip(w.pad, spatial, behind, strict=True)]
        if any(behind):
            x = g.op("Pad", x, g.constant([0] * lead + list(w.pad) + [0] * lead + behind, "pads"))
        flat = g.op("Reshape", x, g.constant([0] * lead + [-1], "pixels"))
        numbers = torch.arange(torch.Size(sizes).numel()).reshape(1, *sizes)
        places = Im2col(replace(w, pad=(0,) * len(w.pad)))(numbers)
        patches = g.op("Gather", flat, g.constant(places.reshape(places.shape[0], -1), "places"), axis=lead)
        return g.op("Reshape", patches, g.constant([*([0] * (lead - 1)), -1, *places.shape[1:]], "shape"))


def _both_sides(w: Window) -> tuple[list[int], list[int]]:
    """The padding before and behind each spatial axis, the fork's one-sided padding included."""
    extra = [(w.extra[i], w.extra[i + 1]) for i in range(len(w.extra) - 2, -1, -2)] or [(0, 0)] * len(w.pad)
    pairs = list(zip(w.pad, extra, strict=True))
    return [p + e[0] for p, e in pairs], [p + e[1] for p, e in pairs]
