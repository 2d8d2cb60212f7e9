"""Layers that normalise: BatchNorm, LRN, MVN, Normalize. They compute in float32 under autocast."""

from collections.abc import Iterable, Sequence
from math import nan, sqrt
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value, plus, times
from nets.fillers import ONE, ZERO, Filler
from nets.layer import LAYERS, Layer, Shape
from nets.layers.elementwise import Scale
from nets.layers.layout import led_back, settled
from nets.layers.plain import applied, is_followed, once
from protos.errors import NetError
from protos.schema import LayerParameter, LRNParameter

ALIGNED = 128  # values; PyTorch's own memory begins at 512 bytes, and a GPU's library may count on it


@LAYERS("BatchNorm")
class BatchNorm(Layer):
    """y = (x - mean_c) / sqrt(var_c + eps), without a learned scale: Scale follows it. bottom, top: N x C x any.

    mean and var are the batch's in training, and the stored ones with use_global_stats. The stored ones are sums that
    decay by moving_average_fraction with each batch; the third blob is the weight they have gathered and divides them.
    The stored variance is the unbiased one. torch's BatchNorm stores averages and their weight nowhere.

    Options: use_global_stats (false in TRAIN, true in TEST), moving_average_fraction (0.999), eps (1e-5); of a fork:
    add_eps_before_sqrt (true; false, with stored statistics alone: (x - mean_c) / (sqrt(var_c) + eps)), and NVIDIA's
    scale_bias (false), scale_filler (constant 1), bias_filler (0). With any of these y = scale_c * that + bias_c, eps
    is at least 1e-5, and the stored ones are averages, of the first batch to begin with, their factor 1 (the fork
    forgets the first batch with the second).
    Blobs: mean (C), variance (C), factor (1), which take no gradient; scale (C), bias (C).
    """

    phases = "TRAIN: the batch's statistics, and they are stored; TEST: the stored ones"
    message = "batch_norm_param"
    options = frozenset(
        {"use_global_stats", "moving_average_fraction", "eps", "add_eps_before_sqrt", "scale_bias", "scale_filler",
         "bias_filler"}
    )  # fmt: skip
    hints = frozenset({"engine"})
    blob_names = ("mean", "variance", "factor", "scale", "bias")
    fp32 = True
    mean: Tensor
    variance: Tensor
    factor: Tensor
    scale: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        channels: int,
        use_global_stats: bool | None = None,
        fraction: float = 0.999,
        eps: float = 1e-5,
        before_sqrt: bool = True,
        fillers: tuple[Filler, Filler] | None = None,
    ) -> None:
        """*fillers*: those of the learned scale and bias, None for neither."""
        super().__init__()
        self.use_global_stats = use_global_stats
        self.fraction = fraction
        self.before_sqrt = before_sqrt
        self.eps = eps or torch.finfo(torch.float32).tiny  # torch refuses 0
        self.add_statistic("mean", (channels,))
        self.add_statistic("variance", (channels,))
        self.add_statistic("factor", (1,))
        for name, filler in zip(("scale", "bias"), fillers or (ONE, ZERO), strict=True):
            self.add_blob(name, (channels,) if fillers else None, filler)

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        learned = any(spec.lr_mult != 0 for spec in proto.param[:3])
        return ("its blobs are statistics, which no rate applies to: leave out param, or set lr_mult: 0",) * learned

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.batch_norm_param
        use_global_stats = p.use_global_stats if p.HasField("use_global_stats") else None
        if len(bottoms[0]) < 2:
            raise NetError("its bottom needs at least 2 axes, N x C")
        fillers, eps = None, p.eps
        if p.scale_bias or p.HasField("scale_filler") or p.HasField("bias_filler"):
            scale = Filler.from_proto(p.scale_filler) if p.HasField("scale_filler") else ONE
            fillers, eps = (scale, Filler.from_proto(p.bias_filler)), max(eps, 1e-5)
        return cls(bottoms[0][1], use_global_stats, p.moving_average_fraction, eps, p.add_eps_before_sqrt, fillers)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        self._uses_stored()
        return [bottoms[0]]

    def absorbs(self, follower: Layer, axes: int) -> bool:
        return self.scale is None and isinstance(follower, Scale) and follower.scales_channels(len(self.mean), axes)

    def forward(self, x: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """*scale*, *bias*: the blobs of the Scale behind it, if that is done at once."""
        x = settled(x)
        affine = (self.scale, self.bias) if scale is None else (scale, bias)
        return self._by_stored(x, *affine) if self._uses_stored() else self._by_batch(x, *affine)

    def _uses_stored(self) -> bool:
        """Whether the statistics are the stored ones."""
        stored = not self.training if self.use_global_stats is None else self.use_global_stats
        if not stored and not self.before_sqrt:
            raise NetError("add_eps_before_sqrt: false goes with stored statistics alone, as in TEST")
        return stored

    def _by_stored(self, x: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
        mean, variance, eps = self._statistics()
        return F.batch_norm(x, mean, variance, scale, bias, training=False, eps=eps)

    def _statistics(self) -> tuple[Tensor, Tensor, float]:
        """The stored mean and variance, and what is added to the variance before its root is taken."""
        weight = self.factor.reciprocal().nan_to_num(nan, 0.0, 0.0)  # a factor of 0: nothing is stored yet
        mean, variance = self.mean * weight, self.variance * weight
        if self.before_sqrt:
            return mean, variance, self.eps
        return mean, (variance.sqrt() + self.eps) ** 2, torch.finfo(torch.float32).tiny

    def _by_batch(self, x: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
        if not x.numel():
            return x * 1  # an empty batch has no statistics to keep
        channels = x.shape[1]
        room = -(-channels // ALIGNED) * ALIGNED
        fresh = torch.ones(2 * room + 1, dtype=self.mean.dtype, device=x.device)
        mean, variance, weight = fresh[:channels], fresh[room : room + channels], fresh[2 * room :]
        if x.numel() > channels:
            # With a momentum of 1 torch leaves the batch's mean and unbiased variance in the running ones.
            y = F.batch_norm(x, mean, variance, scale, bias, training=True, momentum=1.0, eps=self.eps)
        else:
            mean, variance, y = x.detach().reshape(-1), variance - 1, x * 0  # one value a channel is its own mean
            y = y if scale is None else y * _along(scale, x)
            y = y if bias is None else y + _along(bias, x)
        self._store([mean, variance, weight])
        return y

    @torch.no_grad()
    def _store(self, fresh: list[Tensor]) -> None:
        """Take over a batch's mean and variance, and 1."""
        stored = [self.mean, self.variance, self.factor]
        if self.scale is None:
            torch._foreach_mul_(stored, self.fraction)
            torch._foreach_add_(stored, fresh)
        else:
            share = torch.where(self.factor == 0, torch.ones_like(self.factor), 1 - self.fraction)
            for old, new in zip(stored, fresh, strict=True):
                old.lerp_(new, share)

    def emit(self, g: Emitter, x: Value) -> Value:
        if self.use_global_stats is False:
            axes = [0, *range(2, len(x.shape))]
            x = g.op("Sub", x, g.op("ReduceMean", x, axes=axes))
            variance = g.op("ReduceMean", g.op("Mul", x, x), axes=axes)
            y = g.op("Div", x, g.op("Sqrt", plus(g, variance, self.eps, "eps")))
            if self.scale is None or self.bias is None:
                return y
            shape = (-1, *(1,) * (len(axes) - 1))
            return g.op("Add", g.op("Mul", y, g.blob("scale", shape)), g.blob("bias", shape))
        *stored, eps = self._statistics()
        if self.scale is None:
            affine = g.constant(torch.ones_like(self.mean), "scale"), g.constant(torch.zeros_like(self.mean), "bias")
        else:
            affine = g.blob("scale"), g.blob("bias")
        mean, variance = (g.constant(*one) for one in zip(stored, ("mean", "variance"), strict=True))
        return g.op("BatchNormalization", x, *affine, mean, variance, epsilon=eps)


def _along(blob: Tensor, x: Tensor) -> Tensor:
    """*blob*, a value a channel, to be broadcast over *x*."""
    return blob.view(1, -1, *(1,) * (x.dim() - 2))


@LAYERS("LRN")
class LRN(Layer):
    """y = x / (k + alpha / n * sum of squares in a window) ^ beta. bottom, top: N x C x H x W.

    ACROSS_CHANNELS: the window is local_size channels, n = local_size. WITHIN_CHANNEL: it is local_size x local_size
    pixels, n its area, zeros around the image included, and k is 1 whatever is set, as in the original; torch has none.
    In place the original reads again what it has overwritten; the right values are here.
    Options: local_size (5, odd), alpha (1), beta (0.75), norm_region (ACROSS_CHANNELS), k (1).
    """

    alike = True
    rereads = True
    message = "lrn_param"
    options = frozenset({"local_size", "alpha", "beta", "norm_region", "k"})
    hints = frozenset({"engine"})
    fp32 = True

    def __init__(
        self, size: int = 5, alpha: float = 1.0, beta: float = 0.75, k: float = 1.0, within_channel: bool = False
    ) -> None:
        super().__init__()
        if size % 2 == 0:
            raise NetError(f"local_size must be odd, not {size}")
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k
        self.within_channel = within_channel

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.lrn_param
        if len(bottoms[0]) != 4:
            raise NetError("its bottom needs 4 axes, N x C x H x W")
        return cls(p.local_size, p.alpha, p.beta, p.k, p.norm_region == LRNParameter.WITHIN_CHANNEL)

    def forward(self, x: Tensor) -> Tensor:
        if self.within_channel:
            mean = F.avg_pool2d(x * x, self.size, 1, self.size // 2)
            return x * (1 + self.alpha * mean) ** -self.beta
        if is_followed():
            return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)
        return applied(_AcrossChannels, x, self)  # type: ignore[no-any-return]

    def gradient(self, x: Tensor, seen: Tensor, y: Tensor, upstream: Tensor) -> Tensor:
        if self.within_channel:  # in the original a net of its own, which keeps its blobs
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return torch.autograd.grad(self.forward(x), x, upstream)[0]
        scale = self.scale_across(x)
        return self.gradient_across(seen, y, scale, negative_power(scale, self.beta), upstream)

    def scale_across(self, x: Tensor) -> Tensor:
        """k + alpha / n * the sum of squares over neighbouring channels."""
        return channel_windows(x * x, self.size).mul_(self.alpha / self.size).add_(self.k)

    def gradient_across(self, x: Tensor, y: Tensor, scale: Tensor, power: Tensor, upstream: Tensor) -> Tensor:
        """The gradient to x; *power* is scale ^ -beta."""
        shares = channel_windows(upstream * y / scale, self.size)
        return torch.addcmul(upstream * power, x, shares, value=-2 * self.alpha * self.beta / self.size)

    def emit(self, g: Emitter, x: Value) -> Value:
        if not self.within_channel:
            return g.op("LRN", x, size=self.size, alpha=self.alpha, beta=self.beta, bias=self.k)
        pad, kernel = self.size // 2, (self.size, self.size)
        mean = g.op("AveragePool", g.op("Mul", x, x), kernel_shape=kernel, pads=(pad,) * 4, count_include_pad=1)
        base = plus(g, times(g, mean, self.alpha, "alpha"), 1.0, "one")
        return g.op("Mul", x, g.op("Pow", base, g.constant(-self.beta, "power")))


class _AcrossChannels(torch.autograd.Function):
    """LRN across channels, with its gradient in closed form: half the passes over memory that autograd would make."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: LRN) -> Tensor:
        scale = layer.scale_across(x)
        power = negative_power(scale, layer.beta)
        y = x * power
        ctx.save_for_backward(x, y, scale, power)
        ctx.layer = layer
        return y

    @staticmethod
    @once
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        x, y, scale, power = ctx.saved_tensors
        return ctx.layer.gradient_across(x, y, scale, power, upstream), None


def channel_windows(x: Tensor, size: int) -> Tensor:
    """The sum of *size* neighbouring channels around each channel; there is nothing beyond the first and the last."""
    if x.is_cuda and x.shape[1] >= size:
        return pooled_windows(x, size)
    total = x.clone()
    for step in range(1, min(size // 2 + 1, x.shape[1])):
        total[:, step:].add_(x[:, :-step])  # not by +=, which copies the sum to where it is already
        total[:, :-step].add_(x[:, step:])
    return total


def pooled_windows(x: Tensor, size: int) -> Tensor:
    """``channel_windows`` in one pass, of at least *size* channels: a CPU takes longer so, a GPU does not."""
    return F.avg_pool3d(x[:, None], (size, 1, 1), 1, (size // 2, 0, 0), divisor_override=1)[:, 0]


def negative_power(x: Tensor, power: float) -> Tensor:
    """x ^ -power; the usual 0.75 by two square roots, several times faster than a general power."""
    if power != 0.75:
        return x**-power
    root = x.rsqrt()
    return root.sqrt().mul_(root)


@LAYERS("MVN")
class MVN(Layer):
    """y = (x - mean) / (deviation + eps) over each image's channel, or over each whole image with across_channels.

    bottom: N x C x any; top: the same, with axes of 1 up to four. The deviation is the biased one; eps is added to it
    and not to the variance. In place, the original's backward pass overwrites the gradient that it is about to read;
    the right one is here.
    Options: normalize_variance (true), across_channels (false), eps (1e-9).
    """

    rereads = True
    message = "mvn_param"
    options = frozenset({"normalize_variance", "across_channels", "eps"})
    fp32 = True

    def __init__(self, normalize_variance: bool = True, across_channels: bool = False, eps: float = 1e-9) -> None:
        super().__init__()
        self.normalize_variance = normalize_variance
        self.start = 1 if across_channels else 2
        self.eps = eps

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.mvn_param
        return cls(p.normalize_variance, p.across_channels, p.eps)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [bottoms[0] + (1,) * (4 - len(bottoms[0]))]

    def forward(self, x: Tensor) -> Tensor:
        rows = self._rows(led_back(x))
        if not self.normalize_variance:
            rows = rows - rows.mean(-1, keepdim=True)
        elif is_followed():
            rows = rows - rows.mean(-1, keepdim=True)
            deviation = self._deviation(rows)
            fixed = deviation.detach()
            # The original's gradient takes eps for a part of the deviation; without it the factor behind would be 1.
            rows = rows / (fixed + self.eps + (deviation - fixed) * (fixed / (fixed + self.eps)))
        else:
            rows = cast(Tensor, applied(_Normalised, rows, self))
        return rows.reshape(tuple(x.shape) + (1,) * (4 - x.dim()))

    def _rows(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[: self.start], x.shape[self.start :].numel())

    def _deviation(self, centred: Tensor) -> Tensor:
        """By the norm, whose gradient is finite where all values are equal; that of the variance's root is not."""
        norm: Tensor = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
        return norm * (1 / sqrt(max(1, centred.shape[-1])))

    def normalised(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The top's *rows*, and what each was divided by."""
        centred = rows - rows.mean(-1, keepdim=True)
        divisor = self._deviation(centred).add_(self.eps)
        return centred.div_(divisor), divisor

    def gradient(self, x: Tensor, seen: Tensor, y: Tensor, upstream: Tensor) -> Tensor:
        rows, tops, flow = (self._rows(blob) for blob in (x, y, upstream))
        if not self.normalize_variance:
            return (flow - flow.mean(-1, keepdim=True)).reshape(x.shape)
        return gradient_of_normalised(tops, self.normalised(rows)[1], flow).reshape(x.shape)

    def emit(self, g: Emitter, x: Value) -> Value:
        dims = len(x.shape)
        if dims < 4:
            x = g.op("Unsqueeze", x, g.constant(list(range(dims, 4)), "axes"))
        axes = list(range(self.start, max(dims, 4)))
        x = g.op("Sub", x, g.op("ReduceMean", x, axes=axes))
        if not self.normalize_variance:
            return x
        deviation = g.op("Sqrt", g.op("ReduceMean", g.op("Mul", x, x), axes=axes))
        return g.op("Div", x, plus(g, deviation, self.eps, "eps"))


def gradient_of_normalised(tops: Tensor, divisor: Tensor, upstream: Tensor) -> Tensor:
    """The gradient to rows that were centred and divided by their deviation, eps for a part of it."""
    shares = (upstream * tops).mean(-1, keepdim=True)
    return (upstream - upstream.mean(-1, keepdim=True)).addcmul_(tops, shares, value=-1).div_(divisor)


class _Normalised(torch.autograd.Function):
    """MVN of rows, with its gradient in closed form: half the passes over memory that autograd would make."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, layer: MVN) -> Tensor:
        y, divisor = layer.normalised(rows)
        ctx.save_for_backward(y, divisor)
        return y

    @staticmethod
    @once
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        y, divisor = ctx.saved_tensors
        return gradient_of_normalised(y, divisor, upstream), None


@LAYERS("Normalize")
class Normalize(Layer):
    """y = scale x / sqrt(eps + sum of x^2) over each image, or over the channels of each pixel.

    bottom, top: N x C x any, equal. Options: across_spatial (true: over the image), channel_shared (true: one scale,
    else one a channel), scale_filler (1), eps (1e-10). Blob: scale (a scalar, or C). With a scale for each channel the
    gradient of x is, as in the original, that without scales times the scale: the derivative where all are equal.
    Source: SSD. Without norm_param there is no scale: y = x / |x|, the layer of this name in forks for faces.
    """

    alike = True
    message = "norm_param"
    options = frozenset({"across_spatial", "channel_shared", "scale_filler", "eps"})
    blob_names = ("scale",)
    fp32 = True
    scale: Tensor | None

    def __init__(
        self, scales: Shape | None = (), across_spatial: bool = True, eps: float = 1e-10, filler: Filler = ONE
    ) -> None:
        """*scales*: () for one that all channels share, (C,), or None for none."""
        super().__init__()
        self.across_spatial = across_spatial
        self.eps = eps
        self.add_blob("scale", scales, filler)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.norm_param
        if len(bottoms[0]) < 2:
            raise NetError("its bottom needs at least 2 axes, N x C")
        if not proto.HasField("norm_param"):
            return cls(None)
        filler = Filler.from_proto(p.scale_filler) if p.HasField("scale_filler") else ONE
        return cls(() if p.channel_shared else bottoms[0][1:2], p.across_spatial, p.eps, filler)

    def _axes(self, axes: int) -> list[int]:
        return list(range(1, axes)) if self.across_spatial else [1]

    def _scale_shape(self, scale: Tensor, axes: int) -> tuple[int, ...]:
        return (1,) * axes if scale.dim() == 0 else (-1, *[1] * (axes - 2))

    def forward(self, x: Tensor) -> Tensor:
        axes = self._axes(x.dim())
        scale = None if self.scale is None else self.scale.reshape(self._scale_shape(self.scale, x.dim()))
        if self.scale is not None and self.scale.dim():
            return applied(_ScaledLast, x, scale, axes, self.eps)  # type: ignore[no-any-return]
        y = x * ((x * x).sum(axes, keepdim=True) + self.eps).rsqrt()
        return y if scale is None else y * scale

    def emit(self, g: Emitter, x: Value) -> Value:
        squares = g.op("ReduceSumSquare", x, axes=self._axes(len(x.shape)), keepdims=1)
        y = g.op("Div", x, g.op("Sqrt", plus(g, squares, self.eps, "eps")))
        if self.scale is None:
            return y
        shape = tuple(self.scale.reshape(self._scale_shape(self.scale, len(x.shape))).shape)
        return g.op("Mul", y, g.blob("scale", shape))


class _ScaledLast(torch.autograd.Function):
    """Normalize with a scale for each channel, and its gradient, see there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, axes: list[int], eps: float) -> Tensor:
        shrink = ((x * x).sum(axes, keepdim=True) + eps).rsqrt()
        unit = x * shrink
        ctx.save_for_backward(unit, shrink, scale, x)
        ctx.axes = axes
        return unit * scale

    @staticmethod
    @once
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        unit, shrink, scale, _ = ctx.saved_tensors
        product = upstream * unit
        along = product.sum(ctx.axes, keepdim=True)
        return (upstream - unit * along) * shrink * scale, product.sum_to_size(scale.shape), None, None
