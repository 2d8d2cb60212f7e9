"""Proposal: the regions that Faster R-CNN's region proposal network proposes."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from nets.emitter import Emitter, Value, cast, fixed, plus, times
from nets.layer import LAYERS, Layer, Shape, shape_text
from nets.layers.boxes import suppress
from nets.layers.suppression import LOWEST, column, stacked
from protos.errors import NetError
from protos.schema import LayerParameter

RATIOS, SCALES = (0.5, 1.0, 2.0), (8.0, 16.0, 32.0)  # py-faster-rcnn's, where none are set


def anchors(base: int, ratios: Sequence[float], scales: Sequence[float]) -> list[tuple[float, ...]]:
    """Boxes x1, y1, x2, y2 around a square of *base* pixels: of its area with each ratio, height by width, times each
    scale. Sides are rounded before they are scaled.

    >>> anchors(16, [0.5], [8])
    [(-84.0, -40.0, 99.0, 55.0)]
    """
    center = (base - 1) / 2
    found: list[tuple[float, ...]] = []
    for ratio in ratios:
        width = float(int((base * base / ratio) ** 0.5 + 0.5))
        height = float(int(width * ratio + 0.5))
        for scale in scales:
            x, y = (width * scale - 1) / 2, (height * scale - 1) / 2
            found.append((center - x, center - y, center + x, center + y))
    return found


@LAYERS("Proposal")
class Proposal(Layer):
    """The best regions of anchors that are moved and grown by offsets, without those that overlap better ones.

    bottoms: scores N x 2A x H x W, of which the second A count, offsets N x 4A x H x W, image facts, a row of height,
    width and scale (or scales of height and width), one for all items or one for each; tops: regions R x 5 (item, x1,
    y1, x2, y2), the best of each item first, and if there is a second one, their scores (R). Regions are clipped to the
    image; the score of those below min_size times the scale is 0, so that they come last; of the pre_nms_topn best of
    an item those go that overlap a better one by more than nms_thresh; post_nms_topn of them at most stay (0: all).
    Options: feat_stride (16), base_size (16),
    min_size (16), ratio (0.5, 1, 2), scale (8, 16, 32), pre_nms_topn (6000), post_nms_topn (300), nms_thresh (0.7).
    Source: PVANet and mini-caffe, after py-faster-rcnn, which leaves regions that are too small out.
    """

    differentiable = False
    open_axis = 0
    message = "proposal_param"
    options = frozenset({
        "feat_stride", "base_size", "min_size", "ratio", "scale", "pre_nms_topn", "post_nms_topn", "nms_thresh",
    })  # fmt: skip
    bottoms = (3, 3)
    tops = (1, 2)
    fp32 = True
    anchors: Tensor

    def __init__(
        self,
        boxes: Sequence[Sequence[float]],
        stride: int = 16,
        least: int = 16,
        before: int = 6000,
        after: int = 300,
        threshold: float = 0.7,
        with_scores: bool = False,
    ) -> None:
        """*boxes*: the anchors at the first pixel; *before* and *after*: how many stay of an item, 0 for all."""
        super().__init__()
        self._given = torch.tensor(boxes, device="cpu")
        self.stride = stride
        self.least = least
        self.before = before
        self.after = after
        self.threshold = threshold
        self.with_scores = with_scores
        self.register_buffer("anchors", torch.empty(len(boxes), 4), persistent=False)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, (scores, offsets, facts) = proto.proposal_param, bottoms
        ratios, scales = list(p.ratio) or RATIOS, list(p.scale) or SCALES
        if min(*ratios, *scales, p.feat_stride, p.base_size) <= 0:
            raise NetError("feat_stride, base_size, ratio and scale must be positive")
        made = anchors(p.base_size, ratios, scales)
        if len(scores) != 4 or scores[1] != 2 * len(made):
            raise NetError(
                f"its first bottom, the scores, must be N x {2 * len(made)} x H x W, not {shape_text(scores)}"
            )
        if offsets != (scores[0], 4 * len(made), *scores[2:]):
            raise NetError(f"its second bottom, the offsets, must be N x {4 * len(made)} x H x W")
        rows = facts[0] if len(facts) > 1 else 1
        if rows not in (1, scores[0]) or torch.Size(facts).numel() < 3 * rows:
            raise NetError("its third bottom needs a row of height, width and scale, or one for each item")
        figures = p.feat_stride, p.min_size, p.pre_nms_topn, p.post_nms_topn, p.nms_thresh
        return cls(made, *figures, len(proto.top) == 2)

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Put the anchors in their place."""
        self.anchors.copy_(self._given)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """The most regions that there can be; how many there are shows only with values."""
        count, total = bottoms[0][0], bottoms[0][2] * bottoms[0][3] * len(self._given)
        most = count * min(total, self.before or total, self.after or total)
        return [(most, 5), (most,)] if self.with_scores else [(most, 5)]

    def _places(self, height: int, width: int) -> Tensor:
        """The anchors at all pixels, row by row: T x 4."""
        ys, xs = (torch.arange(n, device=self.anchors.device) * self.stride for n in (height, width))
        shifts = torch.stack((xs.expand(height, -1), ys[:, None].expand(-1, width)), -1).repeat(1, 1, 2)
        return (shifts[:, :, None] + self.anchors).reshape(-1, 4)

    def _moved(self, offsets: Tensor) -> Tensor:
        """The regions that the offsets mean: N x T x 4."""
        count, _, height, width = offsets.shape
        places = self._places(height, width)
        by_anchor = offsets.reshape(count, -1, 4, height, width).permute(0, 3, 4, 1, 2).reshape(count, -1, 4)
        sides = places[:, 2:] - places[:, :2] + 1
        centers = by_anchor[..., :2] * sides + places[:, :2] + sides / 2
        halves = by_anchor[..., 2:].exp() * sides / 2
        return torch.cat((centers - halves, centers + halves), -1)

    @torch.no_grad()
    def forward(self, scores: Tensor, offsets: Tensor, facts: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        rows = facts.reshape(facts.shape[0] if facts.dim() > 1 else 1, 1, -1)
        limits = torch.stack((rows[..., 1], rows[..., 0]) * 2, -1) - 1
        boxes = self._moved(offsets).clamp(min=0).minimum(limits)
        least = self.least * torch.stack((rows[..., 3 if rows.shape[2] > 3 else 2], rows[..., 2]), -1)
        large = (boxes[..., 2:] - boxes[..., :2] + 1 >= least).all(-1)
        own = scores[:, len(self.anchors) :].permute(0, 2, 3, 1).reshape(len(scores), -1)
        best, order = own.masked_fill(~large, 0).sort(dim=1, descending=True, stable=True)
        best, order = best[:, : self.before or None], order[:, : self.before or None]
        boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
        all_ = torch.ones_like(best, dtype=torch.bool)
        kept = suppress(boxes, all_, self.threshold, pixel=1, most=self.after or None)
        if self.after:
            kept &= kept.cumsum(1) <= self.after
        item, place = kept.nonzero(as_tuple=True)
        found = torch.cat((item[:, None].to(boxes), boxes[item, place]), 1)
        return (found, best[item, place]) if self.with_scores else found

    # ---- ONNX

    def emit(self, g: Emitter, scores: Value, offsets: Value, facts: Value) -> Value | tuple[Value, Value]:
        height, width = fixed(scores, (2, 3))
        total, count = height * width * len(self.anchors), len(self.anchors)
        before = min(total, self.before or total)
        (figures_,) = fixed(facts, [len(facts.shape) - 1])
        facts = g.op("Reshape", facts, g.constant([-1, 1, figures_], "facts_shape"))
        facts.shape = (None, 1, figures_)
        boxes = self._emit_boxes(g, offsets, facts, height, width)
        own = g.op(
            "Slice", scores, *(g.constant([n], name) for n, name in ((count, "from"), (2 * count, "to"), (1, "axis")))
        )
        own = g.op("Reshape", g.op("Transpose", own, perm=[0, 2, 3, 1]), g.constant([-1, total], "scores_shape"))
        own = g.op("Where", self._emit_large(g, boxes, facts), own, g.constant(0.0, "zero"))
        best, order = g.ops("TopK", 2, own, g.constant([before], "before"), axis=1)
        boxes = g.op("GatherND", boxes, g.op("Unsqueeze", order, g.constant([2], "last")), batch_dims=1)
        low, high = g.ops("Split", 2, boxes, axis=-1)
        whole = g.op("Concat", low, plus(g, high, 1.0, "pixel"), axis=-1)  # its boxes end where their last pixel does
        most = min(before, self.after or before)
        figures = ([most], "most"), ([min(self.threshold, 1.0)], "threshold"), ([LOWEST], "confidence")
        listed = g.op("Unsqueeze", best, g.constant([1], "axis"))
        kept = g.op("NonMaxSuppression", whole, listed, *(g.constant(*figure) for figure in figures))
        item, place = column(g, kept, 0), column(g, kept, 2)
        at = stacked(g, item, place)
        item = g.op("Unsqueeze", cast(g, item), g.constant([1], "axis"))
        found = g.op("Concat", item, g.op("GatherND", boxes, at), axis=1)
        return (found, g.op("GatherND", best, at)) if self.with_scores else found

    def _emit_boxes(self, g: Emitter, offsets: Value, facts: Value, height: int, width: int) -> Value:
        """The regions, clipped to the image: N x T x 4."""
        places = self._places(height, width)
        sides = places[:, 2:] - places[:, :2] + 1
        parted = g.op("Reshape", offsets, g.constant([-1, len(self.anchors), 4, height, width], "offsets_shape"))
        parted = g.op("Transpose", parted, perm=[0, 3, 4, 1, 2])
        shift, growth = g.ops(
            "Split", 2, g.op("Reshape", parted, g.constant([-1, len(places), 4], "flat_shape")), axis=-1
        )
        wide = g.constant(sides, "sides")
        centers = g.op("Add", g.op("Mul", shift, wide), g.constant(places[:, :2] + sides / 2, "centers"))
        halves = times(g, g.op("Mul", g.op("Exp", growth), wide), 0.5, "half")
        boxes = g.op("Concat", g.op("Sub", centers, halves), g.op("Add", centers, halves), axis=-1)
        limits = plus(g, g.op("Gather", facts, g.constant([1, 0, 1, 0], "sizes"), axis=2), -1.0, "pixel")
        return g.op("Min", g.op("Max", boxes, g.constant(0.0, "origin")), limits)

    def _emit_large(self, g: Emitter, boxes: Value, facts: Value) -> Value:
        """Whether both sides of a region are long enough: N x T."""
        low, high = g.ops("Split", 2, boxes, axis=-1)
        sides = plus(g, g.op("Sub", high, low), 1.0, "pixel")
        scales = g.op("Gather", facts, g.constant([3 if facts.shape[2] != 3 else 2, 2], "scales"), axis=2)
        short = g.op("Less", sides, times(g, scales, float(self.least), "least"))
        return g.op("Equal", g.op("ReduceMax", cast(g, short), axes=[2], keepdims=0), g.constant(0.0, "none"))
