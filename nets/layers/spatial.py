"""Upscale, ConstantPad, LocallyConnected, Standardize and GaussianNoise, which Lasagne's nets need."""

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value, fixed
from nets.fillers import Filler
from nets.layer import LAYERS, Layer, Shape, canonical_axis
from nets.layers.layout import repeated
from nets.layers.windows import around
from protos.errors import NetError
from protos.schema import LayerParameter


@LAYERS("Upscale")
class Upscale(Layer):
    """Every value ``scale`` times along each axis behind the second, or with ``dilate`` once, with zeros behind it.

    bottom: N x C x spatial; top: N x C x spatial * scale. Options: scale, one an axis; dilate (false).
    Source: this project, for Lasagne's Upscale1DLayer, Upscale2DLayer and Upscale3DLayer.
    """

    message = "upscale_param"
    options = frozenset({"scale", "dilate"})

    def __init__(self, scale: tuple[int, ...], dilate: bool = False) -> None:
        super().__init__()
        self.scale = scale
        self.dilate = dilate

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        scale = tuple(proto.upscale_param.scale)
        if len(scale) != len(bottoms[0]) - 2 or not all(scale):
            raise NetError(f"scale needs {len(bottoms[0]) - 2} positive figures, one for each axis behind the second")
        return cls(scale, proto.upscale_param.dilate)

    def _mask(self, sizes: Sequence[int], like: Tensor | None = None) -> Tensor:
        mask = torch.zeros(tuple(sizes)) if like is None else like.new_zeros(tuple(sizes))
        mask[tuple(slice(None, None, step) for step in self.scale)] = 1
        return mask

    def forward(self, x: Tensor) -> Tensor:
        x = repeated(x, self.scale)
        return x * self._mask(x.shape[2:], x) if self.dilate else x

    def emit(self, g: Emitter, x: Value) -> Value:
        scales = g.constant([1.0, 1.0, *map(float, self.scale)], "scales")
        y = g.op("Resize", x, None, scales, mode="nearest", coordinate_transformation_mode="asymmetric",
                 nearest_mode="floor")  # fmt: skip
        if not self.dilate:
            return y
        sizes = [n * factor for n, factor in zip(fixed(x, range(2, len(x.shape))), self.scale, strict=True)]
        return g.op("Mul", y, g.constant(self._mask(sizes), "mask"))


@LAYERS("ConstantPad")
class ConstantPad(Layer):
    """``value`` before and behind each axis. bottom: any shape; top: larger by before + after.

    Options: before, after, one an axis each, the first axes too; value (0).
    Source: this project, for Lasagne's PadLayer.
    """

    message = "constant_pad_param"
    options = frozenset({"before", "after", "value"})

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...], value: float = 0.0) -> None:
        super().__init__()
        self.before = before
        self.after = after
        self.value = value

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, axes = proto.constant_pad_param, len(bottoms[0])
        if not len(p.before) == len(p.after) == axes:
            raise NetError(f"before and after need {axes} figures each, one an axis of its bottom")
        return cls(tuple(p.before), tuple(p.after), p.value)

    def forward(self, x: Tensor) -> Tensor:
        pairs = zip(reversed(self.before), reversed(self.after), strict=True)
        return F.pad(x, [width for pair in pairs for width in pair], value=self.value)

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("Pad", x, g.constant([*self.before, *self.after], "pads"), g.constant(self.value, "value"))


@LAYERS("LocallyConnected")
class LocallyConnected(Layer):
    """A correlation whose weights differ from place to place, padded so that the size stays.

    bottom: N x C x H x W; top: N x K x H x W. With ``channelwise`` each filter sees its own channel only, and K is C.
    Options: num_output, kernel_h, kernel_w (odd), channelwise (false), bias_term (true), fillers.
    Blobs: weight (K x C x kernel_h x kernel_w x H x W, C being 1 with channelwise), bias (K).
    Source: this project, for Lasagne's LocallyConnected2DLayer.
    """

    message = "locally_connected_param"
    options = frozenset(
        {"num_output", "kernel_h", "kernel_w", "channelwise", "bias_term", "weight_filler", "bias_filler"}
    )
    blob_names = ("weight", "bias")
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, shape: tuple[int, ...], weight_filler: Filler, bias_filler: Filler | None, channelwise: bool = False
    ) -> None:
        super().__init__()
        self.channelwise = channelwise
        self.kernel = shape[2:4]
        self.add_blob("weight", shape, weight_filler)
        self.add_blob("bias", None if bias_filler is None else shape[:1], bias_filler or Filler())

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.locally_connected_param
        if len(bottoms[0]) != 4:
            raise NetError("its bottom needs 4 axes, N x C x H x W")
        _, channels, height, width = bottoms[0]
        if p.num_output <= 0 or p.kernel_h % 2 == 0 or p.kernel_w % 2 == 0:
            raise NetError("num_output must be positive, kernel_h and kernel_w odd")
        if p.channelwise and p.num_output != channels:
            raise NetError(f"channelwise goes with as many outputs as channels, {channels}")
        shape = (p.num_output, 1 if p.channelwise else channels, p.kernel_h, p.kernel_w, height, width)
        bias = Filler.from_proto(p.bias_filler) if p.bias_term else None
        return cls(shape, Filler.from_proto(p.weight_filler), bias, p.channelwise)

    def forward(self, x: Tensor) -> Tensor:
        seen = around(x, self.kernel)
        rule = "nkhwij,kcijhw->nkhw" if self.channelwise else "nchwij,kcijhw->nkhw"
        y = torch.einsum(rule, seen, self.weight.to(seen.dtype))
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]

    def emit(self, g: Emitter, x: Value) -> Value:
        (rows, columns), (height, width) = self.kernel, self.weight.shape[4:]
        border = [0, 0, rows // 2, columns // 2]
        wide = g.op("Pad", x, g.constant([*border, *border], "pads"))
        total: Value | None = None
        for i in range(rows):
            for j in range(columns):
                ends = g.constant([i, j], "starts"), g.constant([i + height, j + width], "ends")
                part = g.op("Slice", wide, *ends, g.constant([2, 3], "along"))
                weight = self.weight[:, :, i, j]
                if self.channelwise:
                    term = g.op("Mul", part, g.constant(weight[:, 0], "weight"))
                else:
                    spread = g.op("Unsqueeze", part, g.constant([1], "output"))
                    product = g.op("Mul", spread, g.constant(weight, "weight"))
                    term = g.op("ReduceSum", product, axes=(2,), keepdims=0)
                total = term if total is None else g.op("Add", total, term)
        assert total is not None
        return total if self.bias is None else g.op("Add", total, g.blob("bias", (len(self.bias), 1, 1)))


@LAYERS("Standardize")
class Standardize(Layer):
    """(x - mean) / sqrt(variance + eps), the figures of each item's own values from ``axis`` on.

    bottom, top: any shape, equal. Options: axis (2), eps (1e-4). MVN adds its eps outside of the root.
    Source: this project, for Lasagne's StandardizationLayer, instance_norm and layer_norm.
    """

    alike = True
    message = "standardize_param"
    options = frozenset({"axis", "eps"})
    fp32 = True

    def __init__(self, axes: tuple[int, ...], eps: float = 1e-4) -> None:
        super().__init__()
        self.axes = axes
        self.eps = eps

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, dims = proto.standardize_param, len(bottoms[0])
        return cls(tuple(range(canonical_axis(p.axis, dims), dims)), p.eps)

    def forward(self, x: Tensor) -> Tensor:
        kind = torch.promote_types(x.dtype, torch.float32)
        x = x.to(kind)
        x = x - x.mean(self.axes, keepdim=True)
        return x / torch.sqrt((x * x).mean(self.axes, keepdim=True) + self.eps)

    def emit(self, g: Emitter, x: Value) -> Value:
        x = g.op("Sub", x, g.op("ReduceMean", x, axes=self.axes))
        variance = g.op("ReduceMean", g.op("Mul", x, x), axes=self.axes)
        return g.op("Div", x, g.op("Sqrt", g.op("Add", variance, g.constant(self.eps, "eps"))))


@LAYERS("GaussianNoise")
class GaussianNoise(Layer):
    """In training x + sigma * normal noise, in testing x. bottom, top: any shape, equal. Options: sigma (0.1).

    Source: this project, for Lasagne's GaussianNoiseLayer.
    """

    alike = True
    message = "gaussian_noise_layer_param"
    options = frozenset({"sigma"})

    def __init__(self, sigma: float = 0.1) -> None:
        super().__init__()
        self.sigma = sigma

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        return cls(proto.gaussian_noise_layer_param.sigma)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sigma * torch.randn_like(x) if self.training else x.clone()

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("Identity", x)
