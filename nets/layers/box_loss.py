"""Losses of Fast R-CNN and R-FCN: SmoothL1Loss, and what mines hard examples online (OHEM)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.layer import LAYERS, Layer, Shape, shape_text
from nets.layers.layout import led_back
from nets.layers.loss import (
    LOSS_OPTIONS,
    MOST_SURPRISED,
    NO_LABEL,
    Loss,
    SoftmaxLoss,
    check_alike,
    check_labels,
    floored,
    normalization,
    unsupported,
)
from protos.errors import NetError
from protos.schema import LayerParameter, LossParameter

MINED_OPTIONS = LOSS_OPTIONS | {"pre_fixed_normalizer"}


def smooth_l1(x: Tensor, sigma: float = 1.0) -> Tensor:
    """0.5 (sigma x)^2 where |x| is below 1 / sigma^2, |x| - 0.5 / sigma^2 elsewhere."""
    squared = sigma * sigma
    return F.smooth_l1_loss(x, torch.zeros_like(x), reduction="none", beta=1 / squared)


def worth(x: Tensor, value: Tensor) -> Tensor:
    """*value*, with the gradient of *x*."""
    return x + (value - x).detach()


@LAYERS("SmoothL1Loss")
class SmoothL1Loss(Loss):
    """The sum of w f(v (a - b)), by N; f(x) is 0.5 (sigma x)^2 where |x| < 1 / sigma^2, |x| - 0.5 / sigma^2 elsewhere.

    bottoms: a and b, N x any, and perhaps v, and w, as many values in each; top: scalar. It gives a gradient to a and
    b, and none to v and w: without w that of f alone, v f'(v (a - b)) with it, as in the forks with three and with four
    bottoms. torch's smooth_l1_loss divides by the values instead. Options: sigma (1). Source: Fast R-CNN; w: Faster
    R-CNN.
    """

    message = "smooth_l1_loss_param"
    options = frozenset({"sigma"})
    bottoms = (2, 4)

    def __init__(self, sigma: float = 1.0) -> None:
        super().__init__()
        self.sigma = sigma

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        check_alike(bottoms)
        sigma = proto.smooth_l1_loss_param.sigma
        if sigma <= 0:
            raise NetError(f"sigma {sigma:g} must be positive")
        return cls(sigma)

    def forward(self, a: Tensor, b: Tensor, inside: Tensor | None = None, outside: Tensor | None = None) -> Tensor:
        apart = led_back(a - b.reshape(a.shape))
        if inside is not None:
            weighted = inside.detach().reshape(a.shape) * apart
            apart = worth(apart, weighted) if outside is None else weighted
        losses = smooth_l1(apart, self.sigma)
        weights = 1.0 if outside is None else outside.detach().reshape(a.shape)
        return (weights * losses).sum() / max(1, a.shape[0])


@dataclass(frozen=True)
class Normalizer:
    """What a sum of losses is divided by, a ``fixed`` figure for the mode PRE_FIXED: never by less than 1."""

    mode: str = "VALID"
    fixed: float = 1.0

    @classmethod
    def from_proto(cls, param: LossParameter) -> Self:
        """What loss_param says."""
        if param.HasField("normalization") and param.normalization == LossParameter.PRE_FIXED:
            return cls("PRE_FIXED", param.pre_fixed_normalizer)
        return cls(normalization(param, "VALID"))

    def apply(self, total: Tensor, items: int, positions: int, valid: Tensor | None = None) -> Tensor:
        """*total* by the *items*, by all *positions*, or by those that are *valid*."""
        if self.mode == "VALID" and valid is not None:
            return total / valid.clamp(min=1)
        counts = {"NONE": 1, "PRE_FIXED": self.fixed, "BATCH_SIZE": items}
        return total / max(1, counts.get(self.mode, positions))


@LAYERS("SmoothL1LossOHEM")
class SmoothL1LossOHEM(Loss):
    """The sum of f(w (a - b)), normalised; f(x) is 0.5 x^2 where |x| < 1, |x| - 0.5 elsewhere.

    bottoms: a and b, N x C x any, and perhaps w, as many values in each; tops: scalar, and if there is a second one,
    the sums over the channels, N x 1 x any, which take no gradient. The gradient of a is that of f: it is not weighted
    once more. Options: loss_param.normalization (VALID and FULL:
    by all positions; BATCH_SIZE: by N, PRE_FIXED: by pre_fixed_normalizer, NONE), normalize (old: VALID or BATCH_SIZE).
    Source: R-FCN.
    """

    bottoms = (2, 3)
    tops = (1, 2)
    labels = (2,)
    loss_options = MINED_OPTIONS - {"ignore_label"}

    def __init__(self, normalizer: Normalizer, with_losses: bool = False) -> None:
        super().__init__()
        self.normalizer = normalizer
        self.with_losses = with_losses

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        return unsupported(proto.loss_param, cls.loss_options)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        check_alike(bottoms)
        if len(proto.top) == 2 and len(bottoms[0]) < 2:
            raise NetError("its bottoms need at least 2 axes, N x C")
        return cls(Normalizer.from_proto(proto.loss_param), len(proto.top) == 2)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        x = bottoms[0]
        return [(), (x[0], 1, *x[2:])] if self.with_losses else [()]

    def forward(self, a: Tensor, b: Tensor, weights: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        apart = led_back(a - b.reshape(a.shape))
        losses = smooth_l1(apart if weights is None else worth(apart, weights.reshape(a.shape) * apart))
        loss = self.normalizer.apply(losses.sum(), a.shape[0], a.shape[0] * a.shape[2:].numel())
        return (loss, losses.detach().sum(1, keepdim=True)) if self.with_losses else loss


@LAYERS("SoftmaxWithLossOHEM")
class SoftmaxWithLossOHEM(SoftmaxLoss):
    """-log softmax(x)[label], summed and normalised, and each by itself. bottoms: N x C x any, labels N x any (whole
    numbers below C); tops: scalar, and if there are more, the probabilities, and each label's loss, 0 where it does not
    count.

    Only the first top gives a gradient. Options: softmax_param.axis (1); loss_param as SoftmaxWithLoss, and
    normalization PRE_FIXED, by pre_fixed_normalizer. Source: R-FCN.
    """

    message = "softmax_param"
    options = frozenset({"axis"})
    hints = frozenset({"engine"})
    labels = (1,)
    tops = (1, 3)
    loss_options = MINED_OPTIONS

    def __init__(self, axis: int, normalizer: Normalizer, ignore_label: int | None, tops: int) -> None:
        super().__init__(axis, normalizer.mode, ignore_label, tops > 1)
        self.normalizer = normalizer
        self.with_losses = tops > 2

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        axis, ignore = cls.checked(proto, bottoms)
        return cls(axis, Normalizer.from_proto(proto.loss_param), ignore, len(proto.top))

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [*super().top_shapes(bottoms), *[bottoms[1]] * self.with_losses]

    def forward(self, x: Tensor, label: Tensor) -> Tensor | tuple[Tensor, ...]:
        rows, index = self.logits(x, label)
        logs = floored(torch.log_softmax(rows, 1), -MOST_SURPRISED)
        skip = NO_LABEL if self.ignore_label is None else self.ignore_label
        try:
            losses = F.nll_loss(logs, index, ignore_index=skip, reduction="none")
        except (IndexError, RuntimeError):
            check_labels(index, rows.shape[1], self.ignore_label)
            raise
        valid = None if self.ignore_label is None else (index != self.ignore_label).sum()
        loss = self.normalizer.apply(losses.sum(), index.shape[0], index.numel(), valid)
        made = (loss, torch.softmax(x.detach(), self.axis), losses.detach().reshape(label.shape))
        return made if self.with_losses else made[:2] if self.with_prob else loss


@LAYERS("BoxAnnotatorOHEM")
class BoxAnnotatorOHEM(Layer):
    """Keeps the labels and weights of the roi_per_img regions of each item with the greatest losses.

    bottoms: regions N x 5 x any (item, x1, y1, x2, y2), their losses and labels, N x 1 x any, and weights N x C x any;
    tops: the labels, ignore_label elsewhere, and the weights, 0 elsewhere, with axes of 1 up to four. Of equal losses
    the first counts. Options: roi_per_img, ignore_label (-1). Source: R-FCN.
    """

    differentiable = False
    message = "box_annotator_ohem_param"
    options = frozenset({"roi_per_img", "ignore_label"})
    bottoms = (4, 4)
    tops = (2, 2)

    def __init__(self, count: int, ignore_label: int = -1) -> None:
        super().__init__()
        self.count = count
        self.ignore_label = ignore_label

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, (rois, losses, labels, weights) = proto.box_annotator_ohem_param, bottoms
        if not p.roi_per_img:
            raise NetError("roi_per_img must be set and positive")
        if not 2 <= len(rois) <= 4 or rois[1] != 5:
            raise NetError(f"its first bottom, the regions, needs five figures each, not {shape_text(rois)}")
        positions = rois[0] * torch.Size(rois[2:]).numel()
        if any(shape[:1] != rois[:1] or torch.Size(shape).numel() != positions for shape in (losses, labels)):
            raise NetError(f"needs {positions} losses and labels, one for each region")
        if weights[:1] != rois[:1] or not 2 <= len(weights) <= 4 or _tail(weights) != _tail(rois):
            raise NetError(f"its last bottom, the weights, {shape_text(weights)} must lie as the regions do")
        return cls(p.roi_per_img, p.ignore_label)

    @torch.no_grad()
    def forward(self, rois: Tensor, losses: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        count, tail = rois.shape[0], _tail(rois.shape)
        items = rois.select(1, 0).reshape(-1)
        by_loss = losses.reshape(-1).sort(descending=True, stable=True).indices
        order = by_loss[items[by_loss].sort(stable=True).indices]  # item after item, the greatest losses first
        sorted_items = items[order]
        rank = torch.arange(order.shape[0], device=rois.device) - torch.searchsorted(sorted_items, sorted_items)
        kept = torch.zeros_like(items, dtype=torch.bool).scatter(0, order, rank < self.count).reshape(count, 1, *tail)
        marks = labels.reshape(count, 1, *tail)
        return torch.where(kept, marks, self.ignore_label), torch.where(
            kept, weights.reshape(count, weights.shape[1], *tail), 0.0
        )


def _tail(shape: Sequence[int]) -> tuple[int, int]:
    """The third and fourth size, 1 where there is none."""
    sizes = (*shape[2:], 1, 1)
    return sizes[0], sizes[1]
