"""Pooling and SPP, with Caffe's rounding, clipping and divisors; their windows serve for any number of axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value, cast, fixed
from nets.layer import LAYERS, Layer, Shape, shape_text
from nets.layers.layout import is_last
from nets.layers.plain import is_plain
from protos.errors import NetError
from protos.schema import LayerParameter, PoolingParameter, SPPParameter

LOWEST = torch.finfo(torch.float32).min  # what the original begins a maximum with
SIDES = ("pad_t", "pad_b", "pad_l", "pad_r")
MAXIMA = {2: F.max_pool2d, 3: F.max_pool3d}  # by the number of spatial axes
MEANS = {2: F.avg_pool2d, 3: F.avg_pool3d}
FEW = 4096  # values that float32 adds up one after the other without a loss that counts


@dataclass(frozen=True)
class Axis:
    """How a window of ``kernel`` moves by ``stride`` along one axis with ``pad`` before and ``pad_end`` behind."""

    kernel: int
    stride: int = 1
    pad: int = 0
    pad_end: int = 0

    def steps(self, size: int, floor: bool, clip: bool) -> int:
        """The number of windows along an axis of *size*: rounded up (or down), the last cut off if outside."""
        room = size + self.pad + self.pad_end - self.kernel
        steps = (room if floor else room + self.stride - 1) // self.stride + 1
        if steps < 1:
            raise NetError(f"the kernel of {self.kernel} does not fit into {size} pixels with padding {self.pad}")
        return steps - 1 if clip and (steps - 1) * self.stride >= size + self.pad else steps

    def end(self, size: object, floor: bool, clip: bool) -> int:
        """The padding behind an axis with which the same windows fit by rounding down; *size* may be left open."""
        if isinstance(size, int):
            return max(0, (self.steps(size, floor, clip) - 1) * self.stride + self.kernel - self.pad - size)
        end = self.pad_end if floor else self.pad_end + self.stride - 1  # rounding up, for any size
        return min(end, self.kernel - 1) if clip else end


class Windows:
    """The windows of one image size: what is left of choosing between torch's pooling and explicit padding."""

    def __init__(self, axes: tuple[Axis, ...], size: tuple[int, ...], floor: bool) -> None:
        clip = any(axis.pad or axis.pad_end for axis in axes)
        self.axes = axes
        self.size = size
        self.out = tuple(axis.steps(n, floor, clip) for axis, n in zip(axes, size, strict=True))
        self.kernel = tuple(axis.kernel for axis in axes)
        self.stride = tuple(axis.stride for axis in axes)
        self.pad = tuple(axis.pad for axis in axes)
        # The rounding by which torch's pooling makes the same windows from these figures; None where it cannot.
        self.ceil = next((ceil for ceil in (False, True) if self._is_native(ceil)), None)

    def _is_native(self, ceil: bool) -> bool:
        """Whether torch's pooling, rounding up or down, makes these windows (its padding: at most half a kernel)."""
        return all(
            2 * axis.pad <= axis.kernel and axis.pad == axis.pad_end and _torch_steps(axis, n, ceil) == out
            for axis, n, out in zip(self.axes, self.size, self.out, strict=True)
        )

    def spread(self, x: Tensor, value: float) -> Tensor:
        """*x* padded with *value* (or cut) so that exactly these windows fit without any rounding."""
        sides = []
        for axis, n, out in zip(reversed(self.axes), reversed(self.size), reversed(self.out), strict=True):
            sides += [axis.pad, (out - 1) * axis.stride + axis.kernel - axis.pad - n]
        return F.pad(x, sides, value=value)

    def areas(self, x: Tensor, include_pad: bool) -> Tensor:
        """The pixels in each window (windows along each axis): with those of the padding, or of the image alone."""
        counts = []
        for axis, n, out in zip(self.axes, self.size, self.out, strict=True):
            start = torch.arange(out, device=x.device) * axis.stride - axis.pad
            end = (start + axis.kernel).clamp(max=n + axis.pad_end if include_pad else n)
            counts.append(end - (start if include_pad else start.clamp(min=0)))
        return reduce(lambda outer, inner: outer[..., None] * inner, counts).to(x.dtype)


def _torch_steps(axis: Axis, size: int, ceil: bool) -> int:
    room = size + 2 * axis.pad - axis.kernel
    steps = (room + axis.stride - 1 if ceil else room) // axis.stride + 1
    return steps - 1 if ceil and (steps - 1) * axis.stride >= size + axis.pad else steps


def max_pool(x: Tensor, windows: Windows, indices: bool) -> tuple[Tensor, Tensor | None]:
    """The maximum of each window, and its place in the plane (row * width + column) if asked for."""
    if windows.ceil is not None:
        k, s, p = windows.kernel, windows.stride, windows.pad
        if indices:
            y, mask = F.max_pool2d_with_indices(x, k, s, p, ceil_mode=windows.ceil)
            return y, mask
        return MAXIMA[len(k)](x, k, s, p, ceil_mode=windows.ceil), None
    lowest = max(LOWEST, torch.finfo(x.dtype).min)
    wide = windows.spread(x, lowest)
    if not indices:
        return MAXIMA[len(windows.kernel)](wide, windows.kernel, windows.stride), None
    y, mask = F.max_pool2d_with_indices(wide, windows.kernel, windows.stride)
    width = wide.shape[3]
    rows, columns = mask // width - windows.pad[0], mask % width - windows.pad[1]
    return y, torch.where(y > lowest, rows * windows.size[1] + columns, -1)


def average_pool(x: Tensor, windows: Windows, include_pad: bool = True) -> Tensor:
    """The mean of each window: its sum over the image, by its area clipped to the padded image (or to the image).

    torch's compiler gets the gradient of windows that reach beyond the padding wrong, so that it is given sums.
    """
    if windows.ceil is not None and not (windows.ceil and torch.compiler.is_compiling()):
        k, s, p = windows.kernel, windows.stride, windows.pad
        return MEANS[len(k)](x, k, s, p, ceil_mode=windows.ceil, count_include_pad=include_pad)
    return sum_pool(x, windows) / windows.areas(x, include_pad)


def sum_pool(x: Tensor, windows: Windows) -> Tensor:
    """The sum of each window; what lies outside of the image counts as zero."""
    return MEANS[len(windows.kernel)](windows.spread(x, 0.0), windows.kernel, windows.stride, divisor_override=1)


def stochastic_pool(x: Tensor, windows: Windows, training: bool) -> Tensor:
    """In training one value of each window, drawn with a probability in proportion to it; else their weighted mean.

    The values must not be negative. An all-zero window gives 0.
    """
    if not training:
        total = sum_pool(x, windows)
        return torch.where(total > 0, sum_pool(x * x, windows) / total.clamp(min=torch.finfo(x.dtype).tiny), 0.0)
    n, c = x.shape[:2]
    values = F.unfold(windows.spread(x, 0.0), windows.kernel, stride=windows.stride).view(n, c, -1, *windows.out)
    running = values.detach().cumsum(2)
    draw = torch.rand_like(running[:, :, -1:]) * running[:, :, -1:]
    chosen = (running < draw).sum(2, keepdim=True).clamp(max=values.shape[2] - 1)
    return values.gather(2, chosen)[:, :, 0]


@LAYERS("Pooling")
class Pooling(Layer):
    """The maximum, mean or a random value of each window. bottom: N x C x H x W; tops: the same with fewer pixels,
    and with MAX, if there is a second one, the place of each maximum in its plane.

    The size is rounded up, and the last window dropped only when there is padding and it starts outside. AVE divides
    by the window clipped to the padded image. A window wholly outside gives the lowest float. torch rounds down.
    Options: pool (MAX; AVE, STOCHASTIC), kernel_size or kernel_h and kernel_w, stride (1) or stride_h and stride_w,
    pad (0) or pad_h and pad_w, global_pooling (false), round_mode (CEIL; FLOOR); of forks: ceil_mode (true),
    avg_include_pad (true), AVE_EXC_PAD or its old name AVE_TF, and pad_t, pad_b, pad_l, pad_r, added to pad.
    """

    phases = "STOCHASTIC draws in TRAIN, weighs in TEST"
    message = "pooling_param"
    options = frozenset(f"{kind}{suffix}" for kind in ("pad", "stride") for suffix in ("", "_h", "_w")) | {
        "pool", "kernel_size", "kernel_h", "kernel_w", "global_pooling", "round_mode", "ceil_mode", "avg_include_pad",
        *SIDES,
    }  # fmt: skip
    hints = frozenset({"engine"})
    tops = (1, 2)

    def __init__(
        self,
        method: str,
        axes: tuple[Axis, Axis] | None,
        floor: bool = False,
        include_pad: bool = True,
        with_mask: bool = False,
    ) -> None:
        super().__init__()
        self.method = method
        self.axes = axes
        self.floor = floor
        self.include_pad = include_pad
        self.with_mask = with_mask
        self._last: Windows | None = None

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.pooling_param
        if len(bottoms[0]) != 4:
            raise NetError("its bottom needs 4 axes, N x C x H x W")
        method = PoolingParameter.PoolMethod.Name(p.pool)
        include_pad = p.avg_include_pad if p.HasField("avg_include_pad") else True
        if method in ("AVE_EXC_PAD", "AVE_TF"):
            method, include_pad = "AVE", False
        if method not in ("MAX", "AVE", "STOCHASTIC"):
            raise NetError(f"pool {method} is not supported")
        if len(proto.top) == 2 and method != "MAX":
            raise NetError("a second top, the mask, goes with MAX only")
        floor = p.round_mode == PoolingParameter.FLOOR or not p.ceil_mode
        return cls(method, _axes(p, method), floor, include_pad, len(proto.top) == 2)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        batch, channels, *size = bottoms[0]
        out = self._windows(size).out
        return [(batch, channels, *out)] * (1 + self.with_mask)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if self.axes is None and self.method == "AVE":
            if is_plain(x) and is_last(x) and x.shape[2] * x.shape[3] <= FEW:  # the gradient lies so then
                return F.avg_pool2d(x, (x.shape[2], x.shape[3]))
            return x.mean((2, 3), keepdim=True)
        windows = self._windows(x.shape[2:])
        if self.method == "STOCHASTIC":
            return stochastic_pool(x, windows, self.training)
        if self.method == "AVE":
            return average_pool(x, windows, self.include_pad)
        y, mask = max_pool(x, windows, self.with_mask)
        if mask is None or not self.with_mask:
            return y
        return y, mask.to(torch.promote_types(x.dtype, torch.float32))  # half precision has no place beyond 2,048

    def emit(self, g: Emitter, x: Value) -> Value | tuple[Value, ...]:
        if self.axes is None and self.method != "STOCHASTIC" and not self.with_mask:
            return g.op("GlobalAveragePool" if self.method == "AVE" else "GlobalMaxPool", x)
        axes = self.axes or _whole(x)
        if not self.with_mask:
            return emit_pool(g, x, self.method, axes, self.floor, self.include_pad)
        frame = _Frame(x, axes, self.floor)
        if frame.beyond:
            raise NetError("has windows outside of its image, whose maximum has no place")
        height, width = fixed(x, (2, 3))
        y, places = g.ops("MaxPool", 2, x, kernel_shape=frame.kernel, strides=frame.stride, pads=frame.pads)
        return y, cast(g, g.op("Mod", places, g.constant(height * width, "plane")))

    def _windows(self, pixels: Sequence[int]) -> Windows:
        size = (pixels[0], pixels[1])
        if self._last is None or self._last.size != size:
            axes = self.axes or (Axis(size[0]), Axis(size[1]))
            self._last = Windows(axes, size, self.floor)
        return self._last


def _axes(p: PoolingParameter, method: str) -> tuple[Axis, Axis] | None:
    """The windows along height and width; None for the whole image."""
    if p.global_pooling:
        if p.HasField("kernel_size") or p.HasField("kernel_h") or p.HasField("kernel_w"):
            raise NetError("global_pooling takes no kernel size")
        if any(_pair(p, "pad", "pad", 0)) or any(stride != 1 for stride in _pair(p, "stride", "stride", 1)):
            raise NetError("global_pooling goes with pad 0 and stride 1")
        return None
    kernel, stride, pad = (
        _pair(p, "kernel_size", "kernel", 0),
        _pair(p, "stride", "stride", 1),
        _pair(p, "pad", "pad", 0),
    )
    if not all(kernel) or not all(stride):
        raise NetError("kernel sizes and strides must be set and positive")
    sides = [getattr(p, side) for side in SIDES]
    rows = Axis(kernel[0], stride[0], pad[0] + sides[0], pad[0] + sides[1])
    columns = Axis(kernel[1], stride[1], pad[1] + sides[2], pad[1] + sides[3])
    if any(max(axis.pad, axis.pad_end) >= axis.kernel for axis in (rows, columns)):
        raise NetError("pad must be smaller than the kernel")
    if method == "STOCHASTIC" and any(axis.pad or axis.pad_end for axis in (rows, columns)):
        raise NetError("pad goes with MAX and AVE only")
    return rows, columns


def _pair(p: PoolingParameter, name: str, stem: str, default: int) -> tuple[int, int]:
    """The figure *name* for height and width, from one field or from two; never both.

    Beside kernel_size the original overlooks a kernel_h or kernel_w that stands alone.
    """
    both = [p.HasField(f"{stem}_h"), p.HasField(f"{stem}_w")]
    overlooked = stem == "kernel" and p.HasField(name) and not all(both)
    if any(both) and not overlooked:
        if p.HasField(name) or not all(both):
            raise NetError(f"give {name}, or both {stem}_h and {stem}_w")
        return getattr(p, f"{stem}_h"), getattr(p, f"{stem}_w")
    value = getattr(p, name) if p.HasField(name) else default
    return value, value


@LAYERS("SPP")
class SPP(Layer):
    """Spatial pyramid pooling: level i pools the image into 2^i x 2^i bins; the top lists them all.

    bottom: N x C x H x W; top: N x C * (1 + 4 + ... + 4^(h-1)), or N x C x 1 x 1 with a pyramid of one level.
    Options: pyramid_height (required), pool (MAX; AVE, STOCHASTIC).
    """

    phases = "STOCHASTIC draws in TRAIN, weighs in TEST"
    message = "spp_param"
    options = frozenset({"pyramid_height", "pool"})
    hints = frozenset({"engine"})

    def __init__(self, height: int, method: str = "MAX") -> None:
        super().__init__()
        if height < 1:
            raise NetError("pyramid_height must be at least 1")
        self.height = height
        self.method = method

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.spp_param
        if len(bottoms[0]) != 4:
            raise NetError("its bottom needs 4 axes, N x C x H x W")
        return cls(p.pyramid_height, SPPParameter.PoolMethod.Name(p.pool))

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        batch, channels, *size = bottoms[0]
        levels = [self._windows(size, 2**i).out for i in range(self.height)]
        return [(batch, channels, *levels[0]) if self.height == 1 else (batch, channels * sum(map(prod, levels)))]

    def forward(self, x: Tensor) -> Tensor:
        levels = [self._level(x, 2**i) for i in range(self.height)]
        return levels[0] if self.height == 1 else torch.cat([level.flatten(1) for level in levels], 1)

    def emit(self, g: Emitter, x: Value) -> Value:
        size = fixed(x, (2, 3))
        levels = []
        for i in range(self.height):
            axes = (_bin_axis(size[0], 2**i), _bin_axis(size[1], 2**i))
            levels.append(emit_pool(g, x, self.method, axes, False, True))
        return levels[0] if self.height == 1 else g.op("Concat", *[g.op("Flatten", y) for y in levels], axis=1)

    def _windows(self, pixels: Sequence[int], bins: int) -> Windows:
        size = (pixels[0], pixels[1])
        windows = Windows((_bin_axis(size[0], bins), _bin_axis(size[1], bins)), size, floor=False)
        if self.method == "STOCHASTIC" and any(windows.pad):
            raise NetError(
                f"{bins} bins need padding around {shape_text(size)} pixels, which goes with MAX and AVE only"
            )
        return windows

    def _level(self, x: Tensor, bins: int) -> Tensor:
        windows = self._windows(x.shape[2:], bins)
        if self.method == "STOCHASTIC":
            return stochastic_pool(x, windows, self.training)
        return average_pool(x, windows) if self.method == "AVE" else max_pool(x, windows, False)[0]


def _bin_axis(size: int, bins: int) -> Axis:
    kernel = -(-size // bins)
    pad = (kernel * bins - size + 1) // 2
    if pad >= kernel:
        raise NetError(f"{bins} bins do not fit into {size} pixels")
    return Axis(kernel, kernel, pad, pad)


# ---- the same windows in ONNX: always by rounding down, with explicit padding behind


class _Frame:
    """What ONNX has to know of windows over *x*, whose size may be left open; ``beyond``: some lie wholly outside."""

    def __init__(self, x: Value, axes: tuple[Axis, ...], floor: bool) -> None:
        clip = any(axis.pad or axis.pad_end for axis in axes)
        self.kernel = tuple(axis.kernel for axis in axes)
        self.stride = tuple(axis.stride for axis in axes)
        self.before = tuple(axis.pad for axis in axes)
        self.behind = tuple(axis.pad_end for axis in axes)
        self.ends = tuple(axis.end(n, floor, clip) for axis, n in zip(axes, x.shape[2:], strict=True))
        self.pads = (*self.before, *self.ends)
        self.beyond = any(end >= kernel for end, kernel in zip(self.ends, self.kernel, strict=True))
        self.padded = clip


def _whole(x: Value) -> tuple[Axis, Axis]:
    height, width = fixed(x, (2, 3))
    return Axis(height), Axis(width)


def emit_pool(g: Emitter, x: Value, method: str, axes: tuple[Axis, ...], floor: bool, include_pad: bool) -> Value:
    """The nodes of ONNX for windows over *x*; *floor*: rounding down; *include_pad*: AVE divides by padding, too."""
    frame = _Frame(x, axes, floor)
    if method == "MAX":
        return _emit_max(g, x, frame)
    if frame.beyond:
        raise NetError("has windows outside of its image, which have no mean")
    if method == "AVE":
        return _emit_average(g, x, frame, include_pad)
    total = _emit_average(g, x, frame, include_pad)
    weighted = g.op("Div", _emit_average(g, g.op("Mul", x, x), frame, include_pad), total)
    zero = g.constant(0.0, "zero")
    return g.op("Where", g.op("Greater", total, zero), weighted, zero)


def _emit_max(g: Emitter, x: Value, frame: _Frame) -> Value:
    if not frame.beyond:
        return g.op("MaxPool", x, kernel_shape=frame.kernel, strides=frame.stride, pads=frame.pads)
    pads = g.constant([0, 0, *frame.before, 0, 0, *frame.ends], "pads")
    wide = g.op("Pad", x, pads, g.constant(LOWEST, "lowest"))
    return g.op("MaxPool", wide, kernel_shape=frame.kernel, strides=frame.stride)


def _emit_average(g: Emitter, x: Value, frame: _Frame, include_pad: bool) -> Value:
    """The divisor is the window clipped to the padded image, or with *include_pad* false to the image itself."""
    pads, counted = frame.pads, False
    if frame.padded and include_pad:
        over = [end - behind for end, behind in zip(frame.ends, frame.behind, strict=True)]
        counted = max(over) <= 0
        if not counted:
            x = g.op("Pad", x, g.constant([0, 0, *frame.before, 0, 0, *frame.behind], "pads"))
            pads = (*[0] * len(over), *(max(0, more) for more in over))
    return g.op("AveragePool", x, kernel_shape=frame.kernel, strides=frame.stride, pads=pads,
                count_include_pad=int(counted))  # fmt: skip
