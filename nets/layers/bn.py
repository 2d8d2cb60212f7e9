"""BN: the normalisation of SegNet's, of PSPNet's and of caffe-windows' fork, with its scale and shift, in float32."""

from collections.abc import Iterable, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value, plus
from nets.fillers import ONE, ZERO, Filler
from nets.layer import LAYERS, Layer, Shape
from nets.layers.layout import settled
from protos.errors import NetError
from protos.schema import BNParameter, LayerParameter

SEGNET = ("bn_mode",)
PSPNET = ("slope_filler", "bias_filler", "momentum", "eps", "frozen")
WINDOWS = ("var_eps", "decay", "moving_average", "axis")
FILLERS = ("scale_filler", "shift_filler")  # of SegNet's and of caffe-windows'
SEGNET_EPS = 1e-9  # a constant of that fork


@LAYERS("BN")
class BN(Layer):
    """y = scale_c (x - mean_c) / sqrt(var_c + eps) + shift_c, of batch or stored statistics. bottom, top: N x C x any.

    Three layers of one name, told apart by the fields that are set.

    SegNet's (scale_filler, shift_filler, bn_mode) stores no statistics: in the mode LEARN they are the batch's, in
    testing too, with an eps of 1e-9; INFERENCE is scale x + shift, into which its tool has drawn the statistics. The
    second and third top, if any, are the batch's mean and variance (1 x C x 1 x 1, without gradient).
    Blobs: scale, shift (1 x C x 1 x 1).

    PSPNet's (slope_filler, bias_filler, momentum, eps, frozen, and where nothing is set): the batch's statistics in
    training, the stored ones in testing and, with frozen, always, when its scale and shift do not learn either. Stored
    are moving averages, momentum * old + (1 - momentum) * batch, the variance the biased one, as on that fork's own
    CPU; they begin at 0, a frozen variance at 1. Blobs: scale, shift, mean, variance (1 x C x 1 x 1; files may have
    other axes of 1), the latter two without gradient and rate.

    caffe-windows', which CTPN's fork has too (scale_filler, shift_filler, var_eps, decay, moving_average): as PSPNet's,
    but with (1 - decay) * old + decay * batch, and where moving_average is false the batch's statistics in testing,
    too. decay and moving_average must be set: its copies have different defaults for them. Blobs: as PSPNet's.

    Options: scale_filler, shift_filler, slope_filler, bias_filler (constant 0), bn_mode (LEARN), momentum (0.9),
    eps (1e-5), frozen (false), var_eps (1e-10), decay, moving_average, axis (must be 1).
    """

    phases = "PSPNet's, TRAIN: the batch's statistics, and they are stored; TEST: the stored ones"
    message = "bn_param"
    options = frozenset({*SEGNET, *PSPNET, *WINDOWS, *FILLERS})
    hints = frozenset({"engine"})
    tops = (1, 3)
    blob_names = ("scale", "shift", "mean", "variance")
    any_ones = True
    fp32 = True
    scale: Tensor
    shift: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        channels: int,
        mode: str,
        scale: Filler = ZERO,
        shift: Filler = ZERO,
        momentum: float = 0.9,
        eps: float = 1e-5,
        extra: int = 0,
    ) -> None:
        """*mode*: "LEARN" or "INFERENCE" (SegNet's), "MOVING" or "FROZEN" (PSPNet's), "KEPT" (as MOVING, but unused in
        testing); *extra*: tops after the first."""
        super().__init__()
        if extra and mode != "LEARN":
            raise NetError("a second and third top, the batch's statistics, go with SegNet's bn_mode: LEARN alone")
        self.mode = mode
        self.momentum = momentum
        self.eps = eps or torch.finfo(torch.float32).tiny  # torch refuses 0
        self.extra = extra
        shape = (1, channels, 1, 1)
        for name, filler in (("scale", scale), ("shift", shift)):
            if mode == "FROZEN":
                self.add_statistic(name, shape)
                self.fillers[name] = filler
            else:
                self.add_blob(name, shape, filler)
        if mode in ("MOVING", "KEPT", "FROZEN"):
            self.add_statistic("mean", shape)
            self.add_statistic("variance", shape)
        if mode == "FROZEN":
            self.fillers["variance"] = ONE

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        names = [field.name for field, _ in proto.bn_param.ListFields()]
        families = ("SegNet's", (*SEGNET, *FILLERS)), ("PSPNet's", PSPNET), ("caffe-windows'", (*WINDOWS, *FILLERS))
        apart = [
            (name, [whose for whose, fields in families if name in fields]) for name in names if name in cls.options
        ]
        for i, (name, owners) in enumerate(apart):
            for other, others in apart[:i]:
                if not {*owners} & {*others}:
                    yield f"bn_param.{other} is of {others[0]} BN and {name} of {owners[0]}: they do not go together"
                    return

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, shape, extra = proto.bn_param, bottoms[0], len(proto.top) - 1
        if len(shape) < 2:
            raise NetError("its bottom needs at least 2 axes, N x C")
        scale, shift = Filler.from_proto(p.scale_filler), Filler.from_proto(p.shift_filler)
        if any(p.HasField(name) for name in WINDOWS):
            if not (p.HasField("decay") and p.HasField("moving_average")):
                raise NetError("set decay and moving_average: forks have different defaults for them")
            if not 0 <= p.decay <= 1 or p.axis != 1:
                raise NetError(f"decay must be 0 to 1, not {p.decay:g}, and axis 1, not {p.axis:g}")
            mode = "MOVING" if p.moving_average else "KEPT"
            return cls(shape[1], mode, scale, shift, 1 - p.decay, p.var_eps, extra)
        if any(p.HasField(name) for name in (*SEGNET, *FILLERS)):
            mode = BNParameter.BNMode.Name(p.bn_mode)
            return cls(shape[1], mode, scale, shift, eps=SEGNET_EPS, extra=extra)
        if not 0 <= p.momentum <= 1:
            raise NetError(f"momentum must be 0 to 1, not {p.momentum:g}")
        slope, bias = Filler.from_proto(p.slope_filler), Filler.from_proto(p.bias_filler)
        return cls(shape[1], "FROZEN" if p.frozen else "MOVING", slope, bias, p.momentum, p.eps, extra)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [bottoms[0], *[tuple(self.scale.shape)] * self.extra]

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        x = settled(x)
        if self.mode == "INFERENCE":
            shape = (1, -1, *(1,) * (x.dim() - 2))
            return torch.addcmul(self.shift.view(shape), x, self.scale.view(shape))
        if self.mode == "FROZEN" or (self.mode == "MOVING" and not self.training):
            return self._normalised(x, self.mean.flatten(), self.variance.flatten())
        y = self._by_batch(x)
        return (y, *self._statistics(x)[: self.extra]) if self.extra else y

    def _normalised(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return F.batch_norm(x, mean, variance, self.scale.flatten(), self.shift.flatten(), False, 0.0, self.eps)

    @torch.no_grad()
    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The batch's mean and biased variance, 1 x C x 1 x 1."""
        if not x.numel():
            return torch.zeros_like(self.scale), torch.zeros_like(self.scale)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        variance, mean = torch.var_mean(x.detach(), axes, correction=0)
        return mean.view(self.scale.shape), variance.view(self.scale.shape)

    def _by_batch(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        if not x.numel():
            return x * self.scale.sum()  # an empty batch has no statistics to keep
        if x.numel() == channels:  # one value a channel is its own mean
            mean, variance = x.detach().view(self.scale.shape), torch.zeros_like(self.scale)
            y = x * 0 + self.shift.view(1, -1, *(1,) * (x.dim() - 2))
        else:
            # With a momentum of 1 torch leaves the batch's mean and unbiased variance in the running ones.
            means, variances = torch.ones((2, channels), dtype=self.scale.dtype, device=x.device)
            scale, shift = self.scale.flatten(), self.shift.flatten()
            y = F.batch_norm(x, means, variances, scale, shift, True, 1.0, self.eps)
            items = x.numel() // channels
            mean, variance = means.view(self.scale.shape), variances.view(self.scale.shape) * ((items - 1) / items)
        if self.training and self.mode in ("MOVING", "KEPT"):
            with torch.no_grad():
                self.mean.lerp_(mean, 1 - self.momentum)
                self.variance.lerp_(variance.detach(), 1 - self.momentum)
        return y

    def emit(self, g: Emitter, x: Value) -> Value | tuple[Value, ...]:
        wide = (1, -1, *(1,) * (len(x.shape) - 2))
        shape = tuple(self.scale.numel() if size == -1 else size for size in wide)
        if self.mode == "INFERENCE":
            return g.op("Add", g.op("Mul", x, g.blob("scale", shape)), g.blob("shift", shape))
        if self.mode in ("MOVING", "FROZEN"):
            blobs = [g.blob(name, (self.scale.numel(),)) for name in self.blob_names]
            return g.op("BatchNormalization", x, *blobs, epsilon=self.eps)
        axes = [0, *range(2, len(x.shape))]
        mean = g.op("ReduceMean", x, axes=axes)
        x = g.op("Sub", x, mean)
        variance = g.op("ReduceMean", g.op("Mul", x, x), axes=axes)
        unit = g.op("Div", x, g.op("Sqrt", plus(g, variance, self.eps, "eps")))
        y = g.op("Add", g.op("Mul", unit, g.blob("scale", shape)), g.blob("shift", shape))
        stored = [g.op("Reshape", one, g.constant([1, -1, 1, 1], "shape")) for one in (mean, variance)[: self.extra]]
        return (y, *stored) if stored else y
