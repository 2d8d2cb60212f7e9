"""DetectionEvaluate: which of the boxes found are right, for SSD's test nets."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from nets.layer import LAYERS, Layer, Shape
from nets.layers.boxes import overlaps
from nets.layers.matching import Truth
from protos import files
from protos.errors import CaffeError, NetError
from protos.schema import LayerParameter


@LAYERS("DetectionEvaluate")
class DetectionEvaluate(Layer):
    """How many boxes of ground truth each class has, and which of the boxes found are right.

    bottoms: boxes found 1 x 1 x D x 7 (item, class, confidence, x1, y1, x2, y2; item -1: none), ground truth 1 x 1 x
    G x 8 (item, class, any, x1, y1, x2, y2, difficult); top: 1 x 1 x rows x 5, first a row -1, class, count, -1, -1 for
    each class, then item, class, confidence, right, wrong for each box found, by item, class and falling confidence. A
    box is right if what it overlaps most in its item and class, by overlap_threshold at least, has no better box.
    Options: num_classes, background_label_id (0), overlap_threshold (0.5), evaluate_difficult_gt (true; false: these do
    not count, and make no box right or wrong), name_size_file (none; lines of name, height and width of the items, one
    after the other, in whose pixels boxes are compared). Source: SSD.
    """

    differentiable = False
    message = "detection_evaluate_param"
    options = frozenset({
        "num_classes", "background_label_id", "overlap_threshold", "evaluate_difficult_gt", "name_size_file",
    })  # fmt: skip
    hints = frozenset({"resize_param"})
    bottoms = (2, 2)
    fp32 = True

    def __init__(
        self,
        labels: Sequence[int],
        threshold: float = 0.5,
        with_difficult: bool = True,
        sizes: str = "",
    ) -> None:
        """*labels*: all classes but the background; *sizes*: the file with the sizes of the items, read when needed."""
        super().__init__()
        self.labels_found = list(labels)
        self.threshold = threshold
        self.with_difficult = with_difficult
        self.sizes = sizes
        self._read: list[tuple[int, int]] = []
        self._next = 0  # the place of the next item among them

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, (found, truth) = proto.detection_evaluate_param, bottoms
        if not p.num_classes:
            raise NetError("num_classes must be set and positive")
        if p.overlap_threshold <= 0:
            raise NetError(f"overlap_threshold {p.overlap_threshold:g} must be positive")
        if len(found) != 4 or found[:2] != (1, 1) or found[3] != 7:
            raise NetError("its first bottom, the boxes found, must be 1 x 1 x D x 7")
        if len(truth) != 4 or truth[:2] != (1, 1) or truth[3] != 8:
            raise NetError("its second bottom, the ground truth, must be 1 x 1 x G x 8")
        labels = [label for label in range(p.num_classes) if label != p.background_label_id]
        return cls(labels, p.overlap_threshold, p.evaluate_difficult_gt, p.name_size_file)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1, 1, len(self.labels_found) + bottoms[0][2], 5)]

    @torch.no_grad()
    def forward(self, found: Tensor, truth: Tensor) -> Tensor:
        rows = found.reshape(-1, 7)
        order = rows[:, 2].sort(descending=True, stable=True).indices
        for column in (1, 0):
            order = order[rows[order, column].sort(stable=True).indices]
        rows = rows[order]
        there = rows[:, 0] >= 0
        right, wrong = self._judged(rows, there, truth)
        marks = torch.stack((rows[:, 0], rows[:, 1], rows[:, 2], right.to(rows), wrong.to(rows)), 1) * there[:, None]
        marks = marks[(~there).sort(stable=True).indices]  # what is no box comes last, as zeros
        return torch.cat((self._counts(truth).to(rows), marks))[None, None]

    def _judged(self, rows: Tensor, there: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each of the sorted *rows* is right, and whether it is wrong."""
        known = truth.reshape(-1, 8)
        boxes, others = self._scaled(rows, there, known)
        alike = (rows[:, None, :2] == known[None, :, :2]).all(-1) & there[:, None]
        shared = overlaps(boxes, others, 1.0 if self.sizes else 0.0).masked_fill(~alike, -1)
        most, best = shared.max(1) if known.shape[0] else (torch.full_like(rows[:, 0], -1), rows[:, 0].long() * 0)
        hit = most >= self.threshold
        if not known.shape[0]:
            return hit, there
        difficult = (known[:, 7] != 0)[best] & hit
        counts = hit if self.with_difficult else hit & ~difficult
        mine = counts[:, None] & (best[:, None] == torch.arange(known.shape[0], device=rows.device))
        first = (mine & (mine.cumsum(0) == 1)).any(1)
        return first, there & torch.where(hit, counts & ~first, True)

    def _scaled(self, rows: Tensor, there: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """The boxes of *rows* and of ground truth, in pixels where the items' sizes are known."""
        if not self.sizes:
            return rows[:, 3:], known[:, 3:7]
        self._read = self._read or _read_sizes(self.sizes)
        items = torch.unique(rows[there, 0])
        taken = [self._read[(self._next + i) % len(self._read)] for i in range(items.shape[0])]
        self._next = (self._next + items.shape[0]) % len(self._read)
        scales = torch.tensor([[w, h, w, h] for h, w in taken] or [[1] * 4], device=rows.device).to(rows)
        at = [torch.searchsorted(items, one[:, 0].contiguous()).clamp(max=len(scales) - 1) for one in (rows, known)]
        return rows[:, 3:] * scales[at[0]], known[:, 3:7] * scales[at[1]]

    def _counts(self, truth: Tensor) -> Tensor:
        """A row for each class: -1, the class, how many boxes of ground truth it has, -1, -1."""
        known = Truth.of(truth, self.with_difficult)
        labels = torch.tensor(self.labels_found, dtype=torch.long, device=truth.device)
        counts = (labels[:, None] == known.labels).sum(1)
        none = torch.full_like(labels, -1)
        return torch.stack((none, labels, counts, none, none), 1)


def _read_sizes(path: str) -> list[tuple[int, int]]:
    """Height and width of each line of name, height and width. Raises NetError where that is not so."""
    try:
        lines = [line.split() for line in files.read(path).decode("utf-8", "replace").splitlines()]
        sizes = [(int(line[-2]), int(line[-1])) for line in lines if line]
    except (ValueError, IndexError) as error:
        raise NetError(f"name_size_file {path}: a line must be a name, a height and a width") from error
    except CaffeError as error:
        raise NetError(f"name_size_file: {error}") from error
    if not sizes:
        raise NetError(f"name_size_file {path}: is empty")
    return sizes
