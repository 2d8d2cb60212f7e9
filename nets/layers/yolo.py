"""YoloDetectionOutput and Yolov3DetectionOutput: the boxes that a net of MobileNet-YOLO's fork has found."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from nets.emitter import Emitter, Value, cast, fixed, times
from nets.layer import LAYERS, Layer, Shape, shape_text
from nets.layers.boxes import suppress
from nets.layers.suppression import column, filled, stacked
from protos.errors import NetError
from protos.schema import LayerParameter, YoloDetectionOutputParameter, Yolov3DetectionOutputParameter

Anchors = Sequence[tuple[float, float]]  # width and height of each box of a cell, the image's being 1


class _Found(Layer):
    """What both share: candidates of all bottoms, the best first, without those that overlap better ones."""

    differentiable = False
    open_axis = 2
    fp32 = True
    each_class: ClassVar[bool]  # whether a box is a candidate for each class by itself

    def __init__(self, classes: int, anchors: Sequence[Anchors], confidence: float, threshold: float) -> None:
        """*anchors*: those of each bottom; *threshold*: the overlap from which on a box goes."""
        super().__init__()
        self.classes = classes
        self.anchors = anchors
        self.confidence = confidence
        self.threshold = float(np.nextafter(np.float32(threshold), np.float32(-1)))  # at which a box goes, too

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        if not getattr(proto, cls.message).HasField("num_classes"):
            yield f"{cls.message}.num_classes must be set"

    @classmethod
    def anchored(
        cls,
        p: YoloDetectionOutputParameter | Yolov3DetectionOutputParameter,
        bottoms: Sequence[Shape],
        masks: Sequence[Sequence[int]],
        scales: Sequence[int],
    ) -> Self:
        """The layer whose bottom i has the boxes *masks*[i] of ``biases``, in parts of *scales*[i] cells."""
        biases = list(zip(p.biases[::2], p.biases[1::2], strict=False))
        if not all(0 <= i < len(biases) for mask in masks for i in mask):
            raise NetError(f"needs two biases for each of its boxes, not {len(p.biases)} in all")
        deep, anchors = p.num_box * (5 + p.num_classes), []
        for shape, mask, scale in zip(bottoms, masks, scales, strict=True):
            if len(shape) != 4 or shape[0] != 1 or shape[1] != deep or shape[2] != shape[3]:
                raise NetError(f"its bottoms must be 1 x {deep} x S x S, one image with num_box (5 + num_classes) "
                               f"channels, not {shape_text(shape)}")  # fmt: skip
            cells = shape[3] * scale
            anchors.append([(biases[i][0] / cells, biases[i][1] / cells) for i in mask])
        return cls(p.num_classes, anchors, p.confidence_threshold, p.nms_threshold)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """The most rows that there can be; how many there are shows only with values."""
        boxes = sum(len(anchors) * shape[2] * shape[3] for anchors, shape in zip(self.anchors, bottoms, strict=True))
        return [(1, 1, boxes * (self.classes if self.each_class else 1), 7)]

    @torch.no_grad()
    def forward(self, *maps: Tensor) -> Tensor:
        parts = [self._candidates(x, anchors) for x, anchors in zip(maps, self.anchors, strict=True)]
        boxes, labels, scores = (torch.cat(part) for part in zip(*parts, strict=True))
        scores, order = scores.sort(descending=True, stable=True)
        boxes, labels = boxes[order], labels[order]
        kept = suppress(boxes[None], torch.ones_like(labels, dtype=torch.bool)[None], self.threshold)[0]
        facts = torch.zeros_like(scores), labels.to(scores) + 1, scores
        rows = torch.cat((torch.stack(facts, 1), boxes), 1)[kept]
        if not len(rows):
            rows = torch.cat((boxes.new_zeros(1, 1), boxes.new_full((1, 6), -1)), 1)
        return rows[None, None]

    def _candidates(self, x: Tensor, anchors: Anchors) -> tuple[Tensor, Tensor, Tensor]:
        """Corners (K x 4), classes and confidences of the boxes of a map that are confident enough."""
        side = x.shape[3]
        cells = x.reshape(len(anchors), 5 + self.classes, -1).transpose(1, 2)
        offsets, rest = cells[..., :4], cells[..., 4:]
        cell = torch.arange(side * side, device=x.device)
        corner = torch.stack((cell % side, cell.div(side, rounding_mode="floor")), 1)
        centers = (corner + torch.sigmoid(offsets[..., :2])) / side
        halves = torch.exp(offsets[..., 2:]) * x.new_tensor(anchors)[:, None] / 2
        boxes = torch.cat((centers - halves, centers + halves), 2).flatten(0, 1)
        scores = self.class_scores(rest[..., 1:].flatten(0, 1)) * torch.sigmoid(rest[..., :1]).flatten(0, 1)
        if not self.each_class:
            scores, labels = scores.max(1)
            chosen = scores >= self.confidence
            return boxes[chosen], labels[chosen], scores[chosen]
        place, label = (scores > self.confidence).nonzero(as_tuple=True)
        return boxes[place], label, scores[place, label]

    def class_scores(self, x: Tensor) -> Tensor:
        """The probabilities of the classes (K x C) from the net's scores."""
        raise NotImplementedError

    # ---- ONNX

    def emit(self, g: Emitter, *maps: Value) -> Value:
        parts = [self._emit_candidates(g, x, anchors) for x, anchors in zip(maps, self.anchors, strict=True)]
        boxes, labels, scores = (g.op("Concat", *part, axis=0) for part in zip(*parts, strict=True))
        least = self.confidence if self.each_class else float(np.nextafter(np.float32(self.confidence), np.float32(-1)))
        kept = g.op(
            "NonMaxSuppression",
            g.op("Unsqueeze", boxes, g.constant([0], "one_item")),
            g.op("Reshape", scores, g.constant([1, 1, -1], "one_class")),
            g.constant([2**31], "most"),
            g.constant([min(max(self.threshold, 0.0), 1.0)], "threshold"),
            g.constant([least], "confidence"),
        )
        place = column(g, kept, 2)
        score = g.op("Gather", scores, place)
        label = g.op("Add", cast(g, g.op("Gather", labels, place)), g.constant(1.0, "first"))
        corners = g.op("Gather", boxes, place, axis=0)
        found = g.op("Concat", stacked(g, filled(g, 0.0, score), label, score), corners, axis=1)
        absent = g.constant(torch.tensor([[0.0, *[-1.0] * 6]], device="cpu"), "absent")
        empty = g.op("Equal", g.op("Size", place), g.constant(torch.tensor(0), "zero"))
        flags = (
            g.op("Expand", g.op("Not", empty), g.op("Shape", place)),
            g.op("Reshape", empty, g.constant([1], "flag")),
        )
        rows = g.op("Compress", g.op("Concat", found, absent, axis=0), g.op("Concat", *flags, axis=0), axis=0)
        return g.op("Unsqueeze", rows, g.constant([0, 1], "axes"))

    def _emit_candidates(self, g: Emitter, x: Value, anchors: Anchors) -> tuple[Value, Value, Value]:
        """Corners (K x 4), classes and confidences of all boxes of a map, confident or not."""
        (side,) = fixed(x, [3])
        cells = g.op("Reshape", x, g.constant([len(anchors), 5 + self.classes, side * side], "cells"))
        cells = g.op("Transpose", cells, perm=[0, 2, 1])
        ends = (0, 2, 4, 5, 5 + self.classes)
        center, size, object_, classes = (
            g.op("Slice", cells, g.constant([a], "from"), g.constant([b], "to"), g.constant([2], "last"))
            for a, b in pairwise(ends)
        )
        places = torch.arange(side * side, device="cpu")
        corner = g.constant(torch.stack((places % side, places // side), 1).float(), "corner")
        center = times(g, g.op("Add", g.op("Sigmoid", center), corner), 1 / side, "by_side")
        half = g.op("Mul", g.op("Exp", size), g.constant(torch.tensor(anchors, device="cpu")[:, None] / 2, "anchors"))
        boxes = g.op("Concat", g.op("Sub", center, half), g.op("Add", center, half), axis=2)
        scores = g.op("Mul", self.emit_class_scores(g, classes), g.op("Sigmoid", object_))
        flat, rows = g.constant([-1], "flat"), g.constant([-1, 4], "rows")
        if not self.each_class:
            labels = g.op("Reshape", g.op("ArgMax", scores, axis=2), flat)
            return g.op("Reshape", boxes, rows), labels, g.op("Reshape", g.op("ReduceMax", scores, axes=[2]), flat)
        shape = g.constant([len(anchors), side * side, self.classes, 4], "each_class")
        each = g.op("Expand", g.op("Unsqueeze", boxes, g.constant([2], "of_classes")), shape)
        labels = g.constant(torch.arange(self.classes, device="cpu").repeat(len(anchors) * side * side), "labels")
        return g.op("Reshape", each, rows), labels, g.op("Reshape", scores, flat)

    def emit_class_scores(self, g: Emitter, x: Value) -> Value:
        """The probabilities of the classes (... x C) from the net's scores."""
        raise NotImplementedError


@LAYERS("YoloDetectionOutput")
class YoloDetectionOutput(_Found):
    """The boxes found: a row of 0, class + 1, confidence, x1, y1, x2, y2 each, the best first; 0 and -1 where there are
    none.

    bottoms: one or two maps 1 x num_box (5 + num_classes) x S x S, for each box of a cell x, y, width, height, whether
    it is an object, and the classes; top: 1 x 1 x rows x 7. A box is around the cell's corner plus sigmoid (x, y), by
    biases exp (width, height), all in parts of S cells. Its confidence is sigmoid(object) times its best class's
    softmax, at least confidence_threshold; it goes where it overlaps a better one, of any class, by nms_threshold.
    Options: num_classes, num_box (5), biases, confidence_threshold (0.01), nms_threshold (0.45), coords (must be 4).
    Source: MobileNet-YOLO's layer of this name, for YOLO v2.
    """

    message = "yolo_detection_output_param"
    options = frozenset({"num_classes", "num_box", "biases", "confidence_threshold", "nms_threshold", "coords"})
    hints = frozenset({"side", "label_map_file"})
    bottoms = (1, 2)
    each_class = False

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.yolo_detection_output_param
        if p.coords != 4:
            raise NetError(f"coords must be 4, not {p.coords}")
        return cls.anchored(p, bottoms, [range(p.num_box)] * len(bottoms), [1] * len(bottoms))

    def class_scores(self, x: Tensor) -> Tensor:
        return torch.softmax(x, 1)

    def emit_class_scores(self, g: Emitter, x: Value) -> Value:
        return g.op("Softmax", x, axis=2)


@LAYERS("Yolov3DetectionOutput")
class Yolov3DetectionOutput(_Found):
    """The boxes found, as YoloDetectionOutput's rows.

    bottoms: mask_group_num maps as YoloDetectionOutput's; top: 1 x 1 x rows x 7. Box n of a cell of map i has the bias
    mask[i groups + n], groups being the number of masks by that of maps, in parts of S anchors_scale[i] pixels. A box
    is found for each class whose sigmoid times sigmoid(object) is above confidence_threshold.
    Options: num_classes, num_box (3), biases, mask, anchors_scale, mask_group_num (2), confidence_threshold (0.01),
    nms_threshold (0.45). Source: MobileNet-YOLO's layer of this name.
    """

    message = "yolov3_detection_output_param"
    options = frozenset({
        "num_classes", "num_box", "biases", "mask", "anchors_scale", "mask_group_num", "confidence_threshold",
        "nms_threshold",
    })  # fmt: skip
    bottoms = (1, 16)
    each_class = True

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, count = proto.yolov3_detection_output_param, len(bottoms)
        if p.mask_group_num != count or len(p.anchors_scale) < count or min(p.anchors_scale) < 1:
            raise NetError(f"mask_group_num and positive anchors_scale must be as many as its bottoms, {count}")
        groups = len(p.mask) // count
        masks = [p.mask[i * groups : i * groups + p.num_box] for i in range(count)]
        if any(len(mask) != p.num_box for mask in masks):
            raise NetError(f"{len(p.mask)} mask are too few for {count} bottoms with a num_box of {p.num_box}")
        return cls.anchored(p, bottoms, masks, list(p.anchors_scale[:count]))

    def class_scores(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def emit_class_scores(self, g: Emitter, x: Value) -> Value:
        return g.op("Sigmoid", x)
