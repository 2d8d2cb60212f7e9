"""Layers that judge a prediction and take no gradient: Accuracy, SegAccuracy, ArgMax."""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from nets.emitter import Emitter, Value, cast
from nets.layer import LAYERS, Layer, Shape, canonical_axis, check_indices
from nets.layers.loss import check_positions, scores_of
from protos.errors import NetError
from protos.schema import LayerParameter


@LAYERS("Accuracy")
class Accuracy(Layer):
    """The share of positions whose label is among the top_k scores; a tie counts against it.

    bottoms: scores N x C x any, labels N x any; tops: scalar, and the share for each class (C) if there is a second
    one. Options: top_k (1), axis (1), ignore_label (none).
    """

    differentiable = False
    message = "accuracy_param"
    options = frozenset({"top_k", "axis", "ignore_label"})
    bottoms = (2, 2)
    tops = (1, 2)

    def __init__(self, top_k: int = 1, axis: int = 1, ignore_label: int | None = None, per_class: bool = False) -> None:
        super().__init__()
        self.top_k = top_k
        self.axis = axis
        self.ignore_label = ignore_label
        self.per_class = per_class

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, (x, label) = proto.accuracy_param, bottoms
        axis = canonical_axis(p.axis, len(x))
        check_positions(x, label, axis)
        if not 1 <= p.top_k <= x[axis]:
            raise NetError(f"top_k {p.top_k} must be 1 to {x[axis]}, the number of classes")
        ignore = p.ignore_label if p.HasField("ignore_label") else None
        return cls(p.top_k, axis, ignore, len(proto.top) == 2)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(), (bottoms[0][self.axis],)] if self.per_class else [()]

    @torch.no_grad()
    def forward(self, x: Tensor, label: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        rows = x if x.dim() == self.axis + 1 == 2 else x.movedim(self.axis, -1).reshape(-1, x.shape[self.axis])
        index = label.reshape(-1, 1).long()
        score = scores_of(rows, index, self.ignore_label)
        kind = torch.promote_types(x.dtype, torch.float32)
        among = _compared(torch.ge, rows, score).sum(1, keepdim=True) <= self.top_k
        if self.ignore_label is None and not self.per_class:
            return among.sum(dtype=kind) / max(1, len(among))
        right = among.to(kind)
        counts = (index != self.ignore_label if self.ignore_label is not None else index >= 0).to(kind)
        right = right * counts
        accuracy = right.sum() / counts.sum().clamp(min=1)
        if not self.per_class:
            return accuracy
        zeros = right.new_zeros(rows.shape[1])
        known = (index * counts.bool()).flatten()
        totals = zeros.index_add(0, known, counts.flatten())
        return accuracy, zeros.index_add(0, known, right.flatten()) / totals.clamp(min=1)


@LAYERS("SegAccuracy")
class SegAccuracy(Layer):
    """How well pixels are classified: the share that is right, the mean share of each class, the mean IoU.

    bottoms: scores N x C x any, labels N x any; top: 1 x 1 x 1 x 3. Of a tie the first class counts. Classes without a
    label stay out of the second figure; in the third, of intersection over union, one that is nowhere counts 1.
    Options: ignore_label (none, or several). The figures are the batch's. Source: DeepLab and PSPNet.
    """

    differentiable = False
    message = "seg_accuracy_param"
    options = frozenset({"ignore_label"})
    bottoms = (2, 2)

    def __init__(self, ignore_labels: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.ignore_labels = ignore_labels

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        if len(bottoms[0]) < 2:
            raise NetError("its first bottom needs at least 2 axes, N x C")
        check_positions(bottoms[0], bottoms[1], 1)
        return cls(tuple(proto.seg_accuracy_param.ignore_label))

    @torch.no_grad()
    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        classes = x.shape[1]
        found, wanted = x.argmax(1).flatten(), label.flatten().long()
        counts = torch.ones_like(wanted, dtype=torch.bool)
        for ignored in self.ignore_labels:
            counts &= wanted != ignored
        wanted = torch.where(counts, wanted, 0)
        check_indices(wanted, classes, "label {} is out of range: there are {} classes, counted from 0")
        pairs = torch.zeros(classes * classes, device=x.device)  # wanted x found
        pairs = pairs.index_add(0, wanted * classes + found, counts.float()).view(classes, classes)
        right, labels = pairs.diagonal(), pairs.sum(1)
        union = labels + pairs.sum(0) - right
        recall = (right / labels.clamp(min=1)).sum() / (labels > 0).sum().clamp(min=1)
        overlap = torch.where(union > 0, right / union.clamp(min=1), 1.0).mean()
        return torch.stack((right.sum() / pairs.sum().clamp(min=1), recall, overlap)).view(1, 1, 1, 3)


@LAYERS("ArgMax")
class ArgMax(Layer):
    """The indices of the top_k greatest values, or with out_max_val the values; of a tie, the greater index first.

    Without axis: bottom N x any, top N x 1 x top_k, or with out_max_val N x 2 x top_k, indices then values. With axis:
    the same shape as the bottom, top_k along the axis. Options: out_max_val (false), top_k (1), axis (none).
    """

    differentiable = False
    message = "argmax_param"
    options = frozenset({"out_max_val", "top_k", "axis"})

    def __init__(self, top_k: int = 1, axis: int | None = None, out_max_val: bool = False) -> None:
        super().__init__()
        self.top_k = top_k
        self.axis = axis
        self.out_max_val = out_max_val

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, shape = proto.argmax_param, bottoms[0]
        axis = canonical_axis(p.axis, len(shape)) if p.HasField("axis") else None
        size = torch.Size(shape[1:]).numel() if axis is None else shape[axis]
        if not 1 <= p.top_k <= size:
            raise NetError(f"top_k {p.top_k} must be 1 to {size}")
        return cls(p.top_k, axis, p.out_max_val)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        x = bottoms[0]
        if self.axis is not None:
            return [(*x[: self.axis], self.top_k, *x[self.axis + 1 :])]
        return [(x[0], 1 + self.out_max_val, self.top_k) + (1,) * (len(x) - 3)]

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        rows = x if self.axis is not None else x.flatten(1) if x.dim() > 1 else x[:, None]
        axis = 1 if self.axis is None else self.axis
        size = rows.shape[axis]
        if self.top_k == 1:
            values = rows.amax(axis, keepdim=True)
            ramp = torch.arange(size, dtype=torch.float32, device=x.device).reshape(-1, *(1,) * (rows.dim() - axis - 1))
            indices = _compared(torch.eq, rows, values).mul_(ramp).amax(axis, keepdim=True).to(x.dtype)
        else:
            values, places = torch.sort(rows.flip(axis), dim=axis, descending=True, stable=True)
            values = values.narrow(axis, 0, self.top_k)
            indices = (size - 1 - places.narrow(axis, 0, self.top_k)).to(x.dtype)
        if self.axis is not None:
            return values if self.out_max_val else indices
        tops = torch.stack((indices, values), 1) if self.out_max_val else indices[:, None]
        return tops.reshape(tops.shape + (1,) * max(0, x.dim() - 3))

    def emit(self, g: Emitter, x: Value) -> Value:
        axis = 1 if self.axis is None else self.axis
        rows = g.op("Flatten", x) if self.axis is None and len(x.shape) != 2 else x
        if self.top_k == 1 and not self.out_max_val:
            y = cast(g, g.op("ArgMax", rows, axis=axis, select_last_index=1))
            indices = values = y
        else:
            values, indices = self._emit_top(g, rows, axis)
        if self.axis is not None:
            return values if self.out_max_val else indices
        pair = [g.op("Unsqueeze", y, g.constant([1], "axis")) for y in (indices, values)]
        y = g.op("Concat", *pair, axis=1) if self.out_max_val else pair[0]
        more = len(g.tops[0]) - 3
        return g.op("Unsqueeze", y, g.constant(list(range(3, 3 + more)), "axes")) if more > 0 else y

    def _emit_top(self, g: Emitter, rows: Value, axis: int) -> tuple[Value, Value]:
        """Values and indices; TopK prefers the lower index of a tie, so that it runs over the axis reversed."""
        ends = [g.constant([n], name) for n, name in ((-1, "from"), (-(2**62), "to"), (axis, "along"), (-1, "by"))]
        k = g.constant([self.top_k], "top_k")
        values, places = g.ops("TopK", 2, g.op("Slice", rows, *ends), k, axis=axis)
        last = g.op("Sub", g.op("Gather", g.op("Shape", rows), g.constant(axis, "axis")), g.constant(1, "one"))
        return values, cast(g, g.op("Sub", last, places))


def _compared(by: Callable[..., Tensor], x: Tensor, y: Tensor) -> Tensor:
    """1 or 0 in float32, which sums several times faster than booleans do."""
    return by(x, y, out=torch.empty(x.shape, dtype=torch.float32, device=x.device))
