"""DetectionOutput: the boxes that an SSD net has found, from its offsets, its confidences and its prior boxes."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from nets.emitter import Emitter, Value
from nets.layer import LAYERS, Layer, Shape, shape_text
from nets.layers.boxes import decode, suppress
from nets.layers.suppression import Search, decoded, folded
from protos.errors import NetError
from protos.schema import LayerParameter, PriorBoxParameter

log = logging.getLogger("caffe")

NMS_OPTIONS = frozenset({"nms_threshold", "top_k", "eta"})


def check_priors(loc: Shape, conf: Shape, prior: Shape, classes: int, loc_classes: int) -> None:
    """Raise NetError unless there are offsets and confidences for each prior box and class."""
    if len(prior) < 3 or prior[:2] != (1, 2) or prior[2] % 4:
        raise NetError(f"its third bottom must be prior boxes, 1 x 2 x 4P, not {shape_text(prior)}")
    count = prior[2] // 4
    if loc[:1] != conf[:1]:
        raise NetError("its first two bottoms must have the same number of items")
    for shape, wanted, what in ((loc, 4 * count * loc_classes, "offsets"), (conf, count * classes, "confidences")):
        if torch.Size(shape[1:]).numel() != wanted:
            raise NetError(f"needs {wanted} {what} an item for {count} prior boxes, not {shape_text(shape)}")


@dataclass(frozen=True)
class Selection:
    """What is kept of the boxes: those above ``confidence``, of them the ``top_k`` best of each class, of them what is
    not suppressed at ``threshold`` (``eta``: see ``boxes.suppress``), of them the ``keep`` best of an image."""

    confidence: float | None = None
    top_k: int | None = None
    threshold: float = 0.3
    eta: float = 1.0
    keep: int | None = None

    def most(self, classes: int, priors: int) -> int:
        """The most boxes that are kept of an image."""
        found = classes * (priors if self.top_k is None else min(self.top_k, priors))
        return found if self.keep is None else min(self.keep, found)

    def pick(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The classes and places of what is kept of boxes (C x P x 4) with scores (C x P), the best of a class first"""
        priors = scores.shape[1]
        best, order = scores.sort(dim=1, descending=True, stable=True)
        best, order = best[:, : self.top_k], order[:, : self.top_k]
        valid = torch.ones_like(best, dtype=torch.bool) if self.confidence is None else best > self.confidence
        longest = int(valid.sum(1).max()) if valid.numel() else 0
        order, valid = order[:, :longest], valid[:, :longest]
        chosen = boxes.expand(len(scores), priors, 4).gather(1, order[..., None].expand(-1, -1, 4))
        label, rank = suppress(chosen, valid, self.threshold, self.eta).nonzero(as_tuple=True)
        if self.keep is not None and len(label) > self.keep:
            kept = best[label, rank].sort(dim=0, descending=True, stable=True).indices[: self.keep].sort().values
            label, rank = label[kept], rank[kept]
        return label, order[label, rank]


@LAYERS("DetectionOutput")
class DetectionOutput(Layer):
    """The boxes found: a row of item, class, confidence, x1, y1, x2, y2 each, by item, then class, the best first.

    bottoms: offsets N x 4PL, confidences N x PC, prior boxes 1 x 2 x 4P, and perhaps the image, which is not looked at;
    top: 1 x 1 x rows x 7. Where nothing is found there is a row for each item: its number, and -1 for all else.
    Options: num_classes (C), share_location (true: L is 1, else C), background_label_id (0; it is never found; -1:
    there is none), code_type (CORNER; CENTER_SIZE, CORNER_SIZE), variance_encoded_in_target (false; true: the variances
    do not count), confidence_threshold (none), nms_param with nms_threshold (0.3), top_k (all) and eta (1), keep_top_k
    (-1: all).
    No files are written, whatever save_output_param says, and nothing is shown. Source: SSD.
    """

    differentiable = False
    open_axis = 2
    message = "detection_output_param"
    options = frozenset({
        "num_classes", "share_location", "background_label_id", "nms_param", "code_type", "keep_top_k",
        "variance_encoded_in_target", "confidence_threshold",
    })  # fmt: skip
    hints = frozenset({"save_output_param", "visualize", "visualize_threshold", "save_file", "engine"})
    bottoms = (3, 4)
    fp32 = True

    def __init__(
        self,
        classes: int,
        selection: Selection,
        code: str = "CORNER",
        background: int = 0,
        share_location: bool = True,
        use_variances: bool = True,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.selection = selection
        self.code = code
        self.share_location = share_location
        self.use_variances = use_variances
        self.labels_found = [label for label in range(classes) if label != background]

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        p = proto.detection_output_param
        for field, value in p.nms_param.ListFields():
            if field.name not in NMS_OPTIONS and value != field.default_value:
                yield f"option detection_output_param.nms_param.{field.name} is not supported"
        if p.save_output_param.output_directory or p.visualize:
            log.warning("layer '%s': DetectionOutput writes no files and shows nothing", proto.name)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.detection_output_param
        if not p.num_classes:
            raise NetError("num_classes must be set and positive")
        check_priors(bottoms[0], bottoms[1], bottoms[2], p.num_classes, 1 if p.share_location else p.num_classes)
        nms = p.nms_param
        if nms.nms_threshold < 0 or not 0 < nms.eta <= 1:
            raise NetError("nms_threshold must not be negative, and eta above 0 and at most 1")
        selection = Selection(
            p.confidence_threshold if p.HasField("confidence_threshold") else None,
            nms.top_k if nms.HasField("top_k") and nms.top_k >= 0 else None,
            nms.nms_threshold,
            nms.eta,
            p.keep_top_k if p.keep_top_k >= 0 else None,
        )
        code = PriorBoxParameter.CodeType.Name(p.code_type)
        used = not p.variance_encoded_in_target
        return cls(p.num_classes, selection, code, p.background_label_id, p.share_location, used)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """The most rows that there can be; how many there are shows only with values."""
        most = self.selection.most(len(self.labels_found), bottoms[2][2] // 4)
        return [(1, 1, bottoms[0][0] * max(1, most), 7)]

    @torch.no_grad()
    def forward(self, loc: Tensor, conf: Tensor, prior: Tensor, image: Tensor | None = None) -> Tensor:
        items, count = loc.shape[0], prior.shape[2] // 4
        priors, variances = prior.reshape(2, 1, count, 4)
        offsets = loc.reshape(items, count, -1, 4).transpose(1, 2)
        boxes = decode(self.code, priors, variances if self.use_variances else 1.0, offsets)
        scores = conf.reshape(items, count, self.classes).transpose(1, 2)
        rows = torch.cat([boxes.new_empty(0, 7), *self._rows(boxes, scores)])
        if not len(rows):
            rows = torch.cat((torch.arange(items).to(boxes)[:, None], boxes.new_full((items, 6), -1)), 1)
        return rows[None, None]

    def _rows(self, boxes: Tensor, scores: Tensor) -> Iterator[Tensor]:
        """The rows of each item, from boxes N x L x P x 4 and scores N x C x P."""
        labels = torch.tensor(self.labels_found, dtype=torch.long, device=boxes.device)
        for i, (places, marks) in enumerate(zip(boxes, scores, strict=True)):
            chosen = places if self.share_location else places[labels]
            label, place = self.selection.pick(chosen, marks[labels])
            found = torch.stack((torch.full_like(label, i), labels[label]), 1).to(boxes)
            spot = chosen[torch.zeros_like(label) if self.share_location else label, place]
            yield torch.cat((found, marks[labels[label], place][:, None], spot), 1)

    # ---- ONNX

    def emit(self, g: Emitter, loc: Value, conf: Value, prior: Value, image: Value | None = None) -> Value:
        if self.selection.eta < 1:
            raise NetError("has no form in ONNX with nms_param.eta below 1")
        (size,) = prior.shape[2:3]
        if not isinstance(size, int):
            raise NetError("needs a fixed number of prior boxes: it cannot be exported with that left open")
        count, chosen = size // 4, self.selection
        priors, variances = g.ops(
            "Split", 2, g.op("Reshape", prior, g.constant([2, count, 1, 4], "priors_shape")), axis=0
        )
        offsets = folded(g, loc, (count, 1 if self.share_location else self.classes, 4))
        scaled = g.op("Mul", offsets, variances) if self.use_variances else offsets
        labels = g.constant(self.labels_found, "labels")
        boxes = decoded(g, self.code, priors, scaled)
        if not self.share_location:
            boxes = g.op("Gather", boxes, labels, axis=2)
        scores = g.op("Gather", folded(g, conf, (count, self.classes)), labels, axis=2)
        search = Search(
            g, g.op("Transpose", boxes, perm=[0, 2, 1, 3]), g.op("Transpose", scores, perm=[0, 2, 1]),
            self.labels_found, count,
        )  # fmt: skip
        kept = search.found(self.share_location, chosen.threshold, chosen.confidence, chosen.top_k)
        if chosen.keep is not None:
            kept = search.best(kept, chosen.keep)
        return search.rows(kept, self.share_location)
