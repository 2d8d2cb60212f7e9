"""Losses by how far apart things are: EuclideanLoss, and of forks L1Loss, TripletLoss and CenterLoss."""

from collections.abc import Sequence
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.fillers import Filler
from nets.layer import LAYERS, Shape, canonical_axis
from nets.layers.layout import led_back
from nets.layers.loss import Loss, check_alike, check_items, check_labels
from nets.layers.plain import applied, once
from protos.errors import NetError
from protos.schema import CenterLossParameter, LayerParameter, MarginInnerProductParameter


class _Apart(Loss):
    """Base of those that compare two bottoms value by value."""

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        check_alike(bottoms)
        return cls()


@LAYERS("EuclideanLoss")
class EuclideanLoss(_Apart):
    """The sum of (a - b)^2, by 2N. bottoms: two, N x any, as many values in each; top: scalar.

    Unlike other losses it gives a gradient to both bottoms. torch's mse_loss divides by the values instead.
    """

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = led_back(a), led_back(b)
        return F.mse_loss(a, b if b.shape == a.shape else b.reshape(a.shape), reduction="sum") / (2 * a.shape[0])


@LAYERS("L1Loss")
class L1Loss(Loss):
    """The sum of abs(a - b), by N. bottoms: two, N x C x any, as many values in each, or their difference; top: scalar.

    It gives a gradient to both bottoms, none where they are equal. Source: DIGITS' layer of this name, or with
    l1_loss_param FlowNet 2.0's, in which a difference that is not a number counts as 0, and has no gradient. Options:
    l2_per_location (false; true: the sum of sqrt(epsilon + the sum of (a - b)^2 over the channels)), epsilon (0.01),
    l2_prescale_by_channels (false; true: their mean), plateau (0; less than that counts as 0),
    normalize_by_num_entries (false; true: by the values that are numbers / C instead of N).
    """

    message = "l1_loss_param"
    options = frozenset(
        {"l2_per_location", "l2_prescale_by_channels", "epsilon", "plateau", "normalize_by_num_entries"}
    )  # fmt: skip
    bottoms = (1, 2)

    def __init__(
        self, skips_nan: bool = False, per_location: bool = False, mean: bool = False, epsilon: float = 0.01,
        plateau: float = 0.0, by_entries: bool = False,
    ) -> None:  # fmt: skip
        """*per_location*, *mean*, *by_entries*: l2_per_location, l2_prescale_by_channels, normalize_by_num_entries."""
        super().__init__()
        self.skips_nan = skips_nan
        self.per_location = per_location
        self.mean = mean
        self.epsilon = epsilon
        self.plateau = plateau
        self.by_entries = by_entries

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.l1_loss_param
        check_alike(bottoms)
        if len(bottoms[0]) < 2 and (p.l2_per_location or p.normalize_by_num_entries):
            raise NetError("its bottoms need at least 2 axes, N x C")
        return cls(
            proto.HasField("l1_loss_param"), p.l2_per_location, p.l2_prescale_by_channels, p.epsilon, p.plateau,
            p.normalize_by_num_entries,
        )  # fmt: skip

    def forward(self, a: Tensor, b: Tensor | None = None) -> Tensor:
        apart = a if b is None else a - b.reshape(a.shape)
        if not self.skips_nan:
            return apart.abs().sum() / a.shape[0]
        known = ~apart.isnan()
        apart = torch.where(known, apart, 0.0)
        if self.per_location:
            squares = apart.square().mean(1) if self.mean else apart.square().sum(1)
            total = (torch.where(squares < self.plateau**2, 0.0, squares) + self.epsilon).sqrt().sum()
        else:
            total = torch.where(apart.abs() < self.plateau, 0.0, apart).abs().sum()
        return total / (known.sum() / a.shape[1] if self.by_entries else a.shape[0])


@LAYERS("TripletLoss")
class TripletLoss(Loss):
    """The sum of max(0, margin + |a - p|^2 - |a - n|^2), by 2N: a is to be nearer to p than to n.

    bottoms: a, p and n, N x any, as many values in each; top: scalar. Options: margin (1). Source: the layer of this
    name with three bottoms, as most forks have it.
    """

    message = "triplet_loss_param"
    options = frozenset({"margin"})
    bottoms = (3, 3)
    predicted = 3

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        check_alike(bottoms)
        if len(bottoms[0]) < 2:
            raise NetError("its bottoms need at least 2 axes, N x any")
        return cls(proto.triplet_loss_param.margin)

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        near, far = ((anchor - x.reshape(anchor.shape)).square().flatten(1).sum(1) for x in (positive, negative))
        return F.relu(self.margin + near - far).sum() / (2 * anchor.shape[0])


def check_classes(p: CenterLossParameter | MarginInnerProductParameter, x: Shape, label: Shape) -> None:
    """Raise NetError unless *x* is N x any, *label* one for each item, and *p* says how many classes there are."""
    if canonical_axis(p.axis, len(x)) != 1:
        raise NetError(f"axis must be 1, not {p.axis}")
    if torch.Size(label).numel() != x[0]:
        raise NetError("its second bottom needs one label for each item")
    if not p.num_output:
        raise NetError("num_output must be set and positive")


@LAYERS("CenterLoss")
class CenterLoss(Loss):
    """The sum of the squares of x - center[label], by 2N; with distance_type L1 that of its magnitudes, by N.

    bottoms: x (N x any), labels (N, whole numbers below num_output); top: scalar. The gradient of x is the slope. The
    centers', as in the original, is not, and does not depend on the loss weight: the sum of center - x (L1: of its
    signs) over the items of a class, by one more than there are of these.
    Options: num_output (M), center_filler (constant 0), distance_type (L2), axis (1). Blobs: center (M x values of an
    item). Source: the layer of this name for the recognition of faces.
    """

    message = "center_loss_param"
    options = frozenset({"num_output", "center_filler", "distance_type", "axis"})
    labels = (1,)
    blob_names = ("center",)
    center: Tensor

    def __init__(self, count: int, size: int, squared: bool = True, filler: Filler | None = None) -> None:
        super().__init__()
        self.squared = squared
        self.add_blob("center", (count, size), filler or Filler())

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, (x, label) = proto.center_loss_param, bottoms
        check_classes(p, x, label)
        if p.distance_type not in ("L1", "L2"):
            raise NetError(f"distance_type {p.distance_type} is neither L1 nor L2")
        size = torch.Size(x[1:]).numel()
        return cls(p.num_output, size, p.distance_type == "L2", Filler.from_proto(p.center_filler))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        index = label.reshape(-1).long()
        check_items(x.shape, index.shape)
        try:
            loss = applied(_Centered, x.flatten(1), self.center, index, self.squared)
        except (IndexError, RuntimeError):
            check_labels(index, len(self.center), None)
            raise
        return cast(Tensor, loss)


class _Centered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, center: Tensor, index: Tensor, squared: bool) -> Tensor:
        apart = x - center.index_select(0, index)
        ctx.save_for_backward(apart if squared else apart.sign(), center, index, x)
        return (apart * apart).sum() / (2 * len(x)) if squared else apart.abs().sum() / len(x)

    @staticmethod
    @once
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        slope, center, index, _ = ctx.saved_tensors
        counts = center.new_ones(len(center)).index_add_(0, index, torch.ones_like(index, dtype=center.dtype))
        moved = torch.zeros_like(center).index_add_(0, index, -slope)
        return upstream / len(slope) * slope, moved / counts[:, None], None, None
