"""DetectionEvaluate: which of the boxes found are right, for SSD's test nets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from nets.layer import LAYERS, Layer, Shape
from nets.layers.boxes import areas, overlaps
from nets.layers.matching import Truth
from protos import files
from protos.errors import CaffeError, NetError
from protos.schema import DetectionEvaluateParameter, LayerParameter, ResizeParameter


@dataclass(frozen=True)
class Pixels:
    """Where the boxes of a net's image lie in the pixels of the image that it was resized from, as SSD works it out.

    ``aspect`` is that of the net's image (width by height) where it was padded, ``unit`` the height and width that its
    boxes count in where these are given.
    """

    aspect: float | None = None
    unit: tuple[int, int] | None = None

    @classmethod
    def from_proto(cls, param: ResizeParameter) -> Self:
        """What a resize_param says. Raises NetError where it says no size."""
        if not (param.height and param.width):
            raise NetError("resize_param needs a height and a width")
        if param.resize_mode == ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
            return cls(aspect=param.width / param.height)
        small = param.resize_mode == ResizeParameter.FIT_SMALL_SIZE and param.height_scale and param.width_scale
        return cls(unit=(param.height_scale, param.width_scale) if small else None)

    def place(self, boxes: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """*boxes* (K x 4) in images of *sizes* (K x 2, height and width), within them; and their areas (K)."""
        limits = sizes.flip(1).repeat(1, 2)
        if self.unit is not None:
            scale = boxes.new_tensor(self.unit).flip(0).repeat(2)
            placed = (boxes * scale).minimum(limits).clamp(min=0)
            return placed, areas(placed)
        if self.aspect is not None:
            boxes = self._unpadded(boxes, sizes)
        placed = boxes.clamp(0, 1) * limits
        valid = (placed[:, 2:] >= placed[:, :2]).all(1)
        pixel = (sizes > 1).any(1, keepdim=True).to(boxes)
        return placed, (placed[:, 2:] - placed[:, :2] + pixel).prod(1) * valid

    def _unpadded(self, boxes: Tensor, sizes: Tensor) -> Tensor:
        """*boxes* in shares of the image without its padding; those that lie in the padding alone stay as they are."""
        assert self.aspect is not None
        relative = sizes[:, 1:] / sizes[:, :1] / self.aspect
        low = ((1 - torch.cat((relative, 1 / relative), 1)) / 2).clamp(min=0)
        there = ((boxes[:, :2] < 1 - low) & (boxes[:, 2:] > low)).all(1, keepdim=True)
        shares = (boxes - low.repeat(1, 2)) / (1 - 2 * low).repeat(1, 2)
        return torch.where(there, shares.clamp(0, 1), boxes)


def pixel_overlaps(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    """Intersection over union of all pairs of boxes with areas (K x 4, K), the last row and column counted.

    As in the original two that share nothing share one pixel.
    """
    first, second = a[0][:, None], b[0][None]
    apart = ((second[..., :2] > first[..., 2:]) | (second[..., 2:] < first[..., :2])).any(-1, keepdim=True)
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    sides = torch.where(apart, 0.0, high - low) + 1
    shared = sides.prod(-1)
    return torch.where((sides > 0).all(-1), shared / (a[1][:, None] + b[1] - shared), 0.0)


@LAYERS("DetectionEvaluate")
class DetectionEvaluate(Layer):
    """How many boxes of ground truth each class has, and which of the boxes found are right.

    bottoms: boxes found 1 x 1 x D x 7 (item, class, confidence, x1, y1, x2, y2; item -1: none), ground truth 1 x 1 x
    G x 8 (item, class, any, x1, y1, x2, y2, difficult; up to the first of item -1); top: 1 x 1 x rows x 5, first a row
    -1, class, count, -1, -1 for each class, then item, class, confidence, right, wrong for each box found, by item,
    class and, where there is ground truth, falling confidence. A box is right if what it overlaps most in its item and
    class, by overlap_threshold at least, has no better box. Options: num_classes, background_label_id (0),
    overlap_threshold (0.5), evaluate_difficult_gt (true; false: these do not count, and make no box right or wrong),
    name_size_file (none; lines of name, height and width of the items in which something was found, one after the
    other, in whose pixels boxes are compared, clipped), resize_param (what was done to the images). Source: SSD.
    """

    differentiable = False
    open_axis = 2
    message = "detection_evaluate_param"
    options = frozenset({
        "num_classes", "background_label_id", "overlap_threshold", "evaluate_difficult_gt", "name_size_file",
        "resize_param",
    })  # fmt: skip
    bottoms = (2, 2)
    fp32 = True

    def __init__(
        self,
        labels: Sequence[int],
        threshold: float = 0.5,
        with_difficult: bool = True,
        sizes: str = "",
        pixels: Pixels | None = None,
    ) -> None:
        """*labels*: all classes but the background; *sizes*: the file with the sizes of the items, read when needed."""
        super().__init__()
        self.labels_found = list(labels)
        self.threshold = threshold
        self.with_difficult = with_difficult
        self.sizes = sizes
        self.pixels = pixels or Pixels()
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
        return cls(labels, p.overlap_threshold, p.evaluate_difficult_gt, p.name_size_file, _pixels(p))

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1, 1, len(self.labels_found) + bottoms[0][2], 5)]

    @torch.no_grad()
    def forward(self, found: Tensor, truth: Tensor) -> Tensor:
        rows, known = found.reshape(-1, 7), truth.reshape(-1, 8)
        known = known[(known[:, 0] != -1).cumprod(0) > 0]
        judged = (rows[:, None, :2] == known[None, :, :2]).all(-1).any(1)
        order = torch.where(judged, rows[:, 2], 0.0).sort(descending=True, stable=True).indices
        for column in (1, 0):
            order = order[rows[order, column].sort(stable=True).indices]
        rows = rows[order]
        right, wrong = self._judged(rows, known)
        there, counted = (rows[:, :2] != -1).all(1), rows[:, 1] != -1
        marks = torch.stack((rows[:, 0], rows[:, 1], rows[:, 2], right.to(rows), wrong.to(rows)), 1) * there[:, None]
        marks = marks[(~there).sort(stable=True).indices][: int(counted.sum())]  # rows of no item come last, as zeros
        return torch.cat((self._counts(known).to(rows), marks))[None, None]

    def _judged(self, rows: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each of the sorted *rows* is right, and whether it is wrong."""
        alike = (rows[:, None, :2] == known[None, :, :2]).all(-1)
        shared = self._overlaps(rows, known).masked_fill(~alike, -1)
        if not known.shape[0]:
            return torch.zeros_like(rows[:, 0], dtype=torch.bool), torch.ones_like(rows[:, 0], dtype=torch.bool)
        most, best = shared.max(1)
        hit = most >= self.threshold
        difficult = (known[:, 7] != 0)[best] & hit
        counts = hit if self.with_difficult else hit & ~difficult
        mine = counts[:, None] & (best[:, None] == torch.arange(known.shape[0], device=rows.device))
        first = (mine & (mine.cumsum(0) == 1)).any(1)
        return first, torch.where(hit, counts & ~first, True)

    def _overlaps(self, rows: Tensor, known: Tensor) -> Tensor:
        """How much the boxes of *rows* overlap those of ground truth, in pixels where the items' sizes are known."""
        if not self.sizes:
            return overlaps(rows[:, 3:], known[:, 3:7])
        self._read = self._read or _read_sizes(self.sizes)
        items = torch.unique(rows[rows[:, 0] != -1, 0])
        taken = [self._read[(self._next + i) % len(self._read)] for i in range(items.shape[0])]
        self._next = (self._next + items.shape[0]) % len(self._read)
        sizes = torch.tensor(taken or [(1, 1)], device=rows.device).to(rows)
        places = [torch.searchsorted(items, one[:, 0].contiguous()).clamp(max=len(sizes) - 1) for one in (rows, known)]
        found = self.pixels.place(rows[:, 3:], sizes[places[0]])
        return pixel_overlaps(found, self.pixels.place(known[:, 3:7], sizes[places[1]]))

    def _counts(self, truth: Tensor) -> Tensor:
        """A row for each class: -1, the class, how many boxes of ground truth it has, -1, -1."""
        known = Truth.of(truth, self.with_difficult)
        labels = torch.tensor(self.labels_found, dtype=torch.long, device=truth.device)
        counts = (labels[:, None] == known.labels).sum(1)
        none = torch.full_like(labels, -1)
        return torch.stack((none, labels, counts, none, none), 1)


def _pixels(p: DetectionEvaluateParameter) -> Pixels | None:
    return Pixels.from_proto(p.resize_param) if p.name_size_file and p.HasField("resize_param") else None


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
