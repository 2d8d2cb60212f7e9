"""Layers that map each value by itself. bottom, top: any shape, equal."""

from collections.abc import Iterable, Sequence
from math import e, inf, log
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value, cast, plus, times
from nets.fillers import Filler
from nets.layer import LAYERS, Layer, Shape, not_in_place
from nets.layers.choice import clamped, sloped
from nets.layers.drops import dropout
from protos.errors import NetError
from protos.schema import LayerParameter

QUARTER = Filler(value=0.25)


@LAYERS("ReLU")
class ReLU(Layer):
    """y = x where x > 0, negative_slope * x elsewhere; with ``relu6`` (a fork's option) at most 6.

    Options: negative_slope (0), relu6 (false).
    """

    alike = True
    rereads = True
    message = "relu_param"
    options = frozenset({"negative_slope", "relu6"})
    hints = frozenset({"engine", "fuse"})

    def __init__(self, negative_slope: float = 0.0, most: float | None = None) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.rereads_itself = negative_slope < 0
        self.reads_signs = most is None
        self.most = most

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        return cls(proto.relu_param.negative_slope, 6.0 if proto.relu_param.relu6 else None)

    def forward(self, x: Tensor) -> Tensor:
        if self.negative_slope == 0 and self.most is not None:
            return F.hardtanh(x, 0.0, self.most)  # no gradient at the limits themselves
        y = F.leaky_relu(x, self.negative_slope) if self.negative_slope else F.relu(x)
        return y if self.most is None else F.hardtanh(y, -inf, self.most)

    def emit(self, g: Emitter, x: Value) -> Value:
        y = g.op("LeakyRelu", x, alpha=self.negative_slope) if self.negative_slope else g.op("Relu", x)
        return y if self.most is None else g.op("Min", y, g.constant(self.most, "most"))

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        slopes = (x > 0).to(x.dtype)
        slopes = slopes + self.negative_slope * (x <= 0) if self.negative_slope else slopes
        return slopes if self.most is None else slopes * (x < self.most)


@LAYERS("ReLU6")
class ReLU6(ReLU):
    """y = x where x > 0, negative_slope * x elsewhere, but at most threshold.

    Options: negative_slope (0), threshold (6). Source: the layer of this name for MobileNet v2.
    """

    message = "relu6_param"
    options = frozenset({"negative_slope", "threshold"})
    hints = frozenset({"engine"})

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.relu6_param
        if p.threshold <= 0:
            raise NetError(f"threshold must be positive, not {p.threshold:g}")
        return cls(p.negative_slope, p.threshold)


@LAYERS("PReLU")
class PReLU(Layer):
    """y = x where x > 0, a_c * x elsewhere, with a learned slope for each channel (axis 1), or one for all.

    Options: filler (constant 0.25), channel_shared (false). Blobs: weight, (C,) or scalar when shared.
    """

    alike = True
    message = "prelu_param"
    options = frozenset({"filler", "channel_shared"})
    blob_names = ("weight",)
    weight: Tensor

    def __init__(self, channels: int, channel_shared: bool = False, filler: Filler = QUARTER) -> None:
        super().__init__()
        self.add_blob("weight", () if channel_shared else (channels,), filler)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.prelu_param
        if len(bottoms[0]) < 2:
            raise NetError("its bottom needs at least 2 axes, N x C")
        filler = Filler.from_proto(p.filler) if p.HasField("filler") else QUARTER
        return cls(bottoms[0][1], p.channel_shared, filler)

    def forward(self, x: Tensor) -> Tensor:
        return sloped(x, self.weight)

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("PRelu", x, g.blob("weight", (self.weight.numel(),) + (1,) * (len(x.shape) - 2)))


@LAYERS("ELU")
class ELU(Layer):
    """y = x where x > 0, alpha * (exp(x) - 1) elsewhere. Options: alpha (1)."""

    alike = True
    rereads = True
    message = "elu_param"
    options = frozenset({"alpha"})

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha
        self.rereads_itself = alpha < 0

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        return cls(proto.elu_param.alpha)

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(x, self.alpha)

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("Elu", x, alpha=self.alpha)

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.where(x > 0, 1.0, y + self.alpha)


@LAYERS("Sigmoid")
class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x))."""

    alike = True
    rereads = True
    message = "sigmoid_param"
    hints = frozenset({"engine"})

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("Sigmoid", x)

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return y * (1 - y)


@LAYERS("TanH")
class TanH(Layer):
    """y = tanh(x)."""

    alike = True
    rereads = True
    message = "tanh_param"
    hints = frozenset({"engine"})

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("Tanh", x)

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return 1 - y * y


@LAYERS("AbsVal")
class AbsVal(Layer):
    """y = abs(x); not in place, as in the original."""

    alike = True
    rereads = True

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        return not_in_place(proto)

    def forward(self, x: Tensor) -> Tensor:
        return x.abs()

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("Abs", x)

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return x.sign()


@LAYERS("BNLL")
class BNLL(Layer):
    """y = log(1 + exp(x)), torch's softplus."""

    alike = True
    rereads = True
    rereads_itself = True
    fp32 = True

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x)

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("Softplus", x)

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.sigmoid(x)


@LAYERS("Swish")
class Swish(Layer):
    """y = x * sigmoid(beta * x); torch's SiLU at beta = 1. Options: beta (1)."""

    alike = True
    rereads = True
    message = "swish_param"
    options = frozenset({"beta"})

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = beta

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        return cls(proto.swish_param.beta)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x) if self.beta == 1 else x * torch.sigmoid(self.beta * x)

    def gradient(self, x: Tensor, seen: Tensor, y: Tensor, upstream: Tensor) -> Tensor:
        return upstream * (self.beta * y + torch.sigmoid(self.beta * x) * (1 - self.beta * y))

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("Mul", x, g.op("Sigmoid", times(g, x, self.beta, "beta")))


@LAYERS("Power")
class Power(Layer):
    """y = (shift + scale * x) ^ power. Options: power (1), scale (1), shift (0).

    In place, the original's backward pass overwrites the gradient that it is about to read; the right one is here.
    """

    alike = True
    rereads = True
    message = "power_param"
    options = frozenset({"power", "scale", "shift"})
    fp32 = True

    def __init__(self, power: float = 1.0, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.power = power
        self.scale = scale
        self.shift = shift

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.power_param
        return cls(p.power, p.scale, p.shift)

    def forward(self, x: Tensor) -> Tensor:
        if self.power == 0 or self.scale == 0:  # a constant, still joined to the graph so that its gradient is 0
            value = torch.full((), self.shift, device=x.device).pow(self.power).to(x.dtype)
            return torch.where(torch.ones((), dtype=torch.bool, device=x.device), value, x)
        y = x if self.scale == 1 else x * self.scale
        y = y if self.shift == 0 else y + self.shift
        return y if self.power == 1 else torch.pow(y, self.power)

    def emit(self, g: Emitter, x: Value) -> Value:
        if self.power == 0 or self.scale == 0:
            return plus(g, times(g, x, 0.0), float(self.shift**self.power))
        y = plus(g, times(g, x, self.scale), self.shift)
        return y if self.power == 1 else g.op("Pow", y, g.constant(self.power, "power"))

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        if self.power == 0 or self.scale == 0 or self.power == 1:
            return torch.full_like(x, self.power * self.scale)
        if self.power == 2:
            return 2 * self.scale * (self.scale * x + self.shift)
        return self.power * self.scale * y / (self.scale * x + self.shift)


@LAYERS("Exp")
class Exp(Layer):
    """y = base ^ (shift + scale * x). Options: base (-1, which stands for e), scale (1), shift (0)."""

    alike = True
    rereads = True
    message = "exp_param"
    options = frozenset({"base", "scale", "shift"})
    fp32 = True

    def __init__(self, base: float = -1.0, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        if base != -1 and base <= 0:
            raise NetError(f"base must be positive, or -1 for e, not {base:g}")
        self.inner = scale if base == -1 else scale * log(base)
        self.outer = (e if base == -1 else base) ** shift

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.exp_param
        return cls(p.base, p.scale, p.shift)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.exp(x if self.inner == 1 else x * self.inner)
        return y if self.outer == 1 else y * self.outer

    def emit(self, g: Emitter, x: Value) -> Value:
        return times(g, g.op("Exp", times(g, x, self.inner)), self.outer, "factor")

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return y * self.inner


@LAYERS("Log")
class Log(Layer):
    """y = log(shift + scale * x) to the base. Options: base (-1, which stands for e), scale (1), shift (0).

    In place, the original's backward pass overwrites the gradient that it is about to read; the right one is here.
    """

    alike = True
    rereads = True
    message = "log_param"
    options = frozenset({"base", "scale", "shift"})
    fp32 = True

    def __init__(self, base: float = -1.0, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        if base != -1 and (base <= 0 or base == 1):
            raise NetError(f"base must be positive and not 1, or -1 for e, not {base:g}")
        self.factor = 1.0 if base == -1 else 1.0 / log(base)
        self.scale = scale
        self.shift = shift

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.log_param
        return cls(p.base, p.scale, p.shift)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.scale == 1 else x * self.scale
        y = torch.log(y if self.shift == 0 else y + self.shift)
        return y if self.factor == 1 else y * self.factor

    def emit(self, g: Emitter, x: Value) -> Value:
        return times(g, g.op("Log", plus(g, times(g, x, self.scale), self.shift)), self.factor, "factor")

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return self.scale * self.factor / (self.scale * x + self.shift)


@LAYERS("Clip")
class Clip(Layer):
    """y = min(max(x, low), high). Options: min and max, both required. The gradient passes at the bounds."""

    alike = True
    rereads = True
    rereads_itself = True
    message = "clip_param"
    options = frozenset({"min", "max"})

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low = low
        self.high = high

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.clip_param
        if not (p.HasField("min") and p.HasField("max")):
            raise NetError("clip_param needs both min and max")
        if p.min > p.max:
            raise NetError(f"min {p.min:g} lies above max {p.max:g}")
        return cls(p.min, p.max)

    def forward(self, x: Tensor) -> Tensor:
        return clamped(x, self.low, self.high)

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("Clip", x, g.constant(self.low, "min"), g.constant(self.high, "max"))

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return ((x >= self.low) & (x <= self.high)).to(x.dtype)


@LAYERS("Threshold")
class Threshold(Layer):
    """y = 1 where x > threshold, 0 elsewhere; no gradient. Options: threshold (0). Not torch's Threshold."""

    alike = True
    differentiable = False
    message = "threshold_param"
    options = frozenset({"threshold"})

    def __init__(self, threshold: float = 0.0) -> None:
        super().__init__()
        self.threshold = threshold

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        return cls(proto.threshold_param.threshold)

    def forward(self, x: Tensor) -> Tensor:
        return (x > self.threshold).to(x.dtype)

    def emit(self, g: Emitter, x: Value) -> Value:
        return cast(g, g.op("Greater", x, g.constant(self.threshold, "threshold")))


@LAYERS("Dropout")
class Dropout(Layer):
    """In training y = x * mask / (1 - ratio), the mask 0 with probability ratio; otherwise y = x.

    Options: dropout_ratio (0.5); of forks: scale_train (true; false scales by 1 - ratio in testing instead),
    sample_weights_test (false; true drops in testing too).
    """

    alike = True
    phases = "TRAIN drops; TEST passes all"
    message = "dropout_param"
    options = frozenset({"dropout_ratio", "scale_train", "sample_weights_test"})
    hints = frozenset({"engine"})

    def __init__(self, ratio: float = 0.5, scale_train: bool = True, sample_test: bool = False) -> None:
        super().__init__()
        if not 0 <= ratio < 1:
            raise NetError(f"dropout_ratio must be at least 0 and below 1, not {ratio:g}")
        self.ratio = ratio
        self.scale_train = scale_train
        self.sample_test = sample_test

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.dropout_param
        return cls(p.dropout_ratio, p.scale_train, p.sample_weights_test)

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.sample_test:
            y = dropout(x, self.ratio)
            return y if self.scale_train else y * (1 - self.ratio)
        return x if self.scale_train else x * (1 - self.ratio)

    def emit(self, g: Emitter, x: Value) -> Value:
        if self.sample_test:
            raise NetError("drops at random in testing too (sample_weights_test)")
        return x if self.scale_train else times(g, x, 1 - self.ratio)
