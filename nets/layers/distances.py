"""Losses by how far apart things are: EuclideanLoss, and of forks L1Loss and CenterLoss."""

from collections.abc import Sequence
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.fillers import Filler
from nets.layer import LAYERS, Shape, canonical_axis
from nets.layers.loss import Loss, check_alike, check_labels
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
        return F.mse_loss(a, b if b.shape == a.shape else b.reshape(a.shape), reduction="sum") / (2 * a.shape[0])


@LAYERS("L1Loss")
class L1Loss(_Apart):
    """The sum of abs(a - b), by N. bottoms: two, N x any, as many values in each; top: scalar.

    It gives a gradient to both bottoms, none where they are equal. Source: DIGITS' layer of this name.
    """

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b.reshape(a.shape)).abs().sum() / a.shape[0]


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
        try:
            loss = _Centered.apply(x.flatten(1), self.center, index, self.squared)  # type: ignore[no-untyped-call]
        except (IndexError, RuntimeError):
            check_labels(index, len(self.center), None)
            raise
        return cast(Tensor, loss)


class _Centered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, center: Tensor, index: Tensor, squared: bool) -> Tensor:
        apart = x - center.index_select(0, index)
        ctx.save_for_backward(apart if squared else apart.sign(), center, index)
        return (apart * apart).sum() / (2 * len(x)) if squared else apart.abs().sum() / len(x)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        slope, center, index = ctx.saved_tensors
        counts = center.new_ones(len(center)).index_add_(0, index, torch.ones_like(index, dtype=center.dtype))
        moved = torch.zeros_like(center).index_add_(0, index, -slope)
        return upstream / len(slope) * slope, moved / counts[:, None], None, None
