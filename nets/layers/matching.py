"""Which ground truth a predicted or prior box stands for, as SSD matches them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nets.layers.boxes import overlaps

UNMATCHED, IGNORED = -1, -2
LEAST_OVERLAP = 1e-6  # two boxes that share less share nothing


@dataclass(frozen=True)
class Truth:
    """The ground truth of a batch: ``items``, ``labels`` (G each) and ``boxes`` (G x 4)."""

    items: Tensor
    labels: Tensor
    boxes: Tensor

    @classmethod
    def of(cls, rows: Tensor, with_difficult: bool) -> "Truth":
        """From rows of item, label, a number, x1, y1, x2, y2, difficult; those of item -1 are padding."""
        rows = rows.detach().reshape(-1, 8)
        kept = rows[:, 0] >= 0
        if not with_difficult:
            kept = kept & (rows[:, 7] == 0)
        rows = rows[kept]
        return cls(rows[:, 0].long(), rows[:, 1].long(), rows[:, 3:7])

    def of_item(self, item: int) -> Tensor:
        """The places of the ground truth of *item*."""
        return (self.items == item).nonzero()[:, 0]


@dataclass(frozen=True)
class Rule:
    """How boxes are matched: each ground truth to the box it overlaps most, and if not ``bipartite`` besides each box
    to what it overlaps most, by ``threshold`` at least. ``inside``: boxes that reach beyond the image are ignored."""

    threshold: float = 0.5
    bipartite: bool = False
    inside: bool = False

    def match(self, boxes: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """For each of *boxes* (P x 4) the row of *truth* (M x 4) that it stands for, UNMATCHED or IGNORED, and how much
        it overlaps that, or else what it overlaps most."""
        shared = overlaps(boxes, truth)
        ignored = ((boxes < 0) | (boxes > 1)).any(1) if self.inside else torch.zeros_like(boxes[:, 0], dtype=torch.bool)
        shared = shared.masked_fill((shared <= LEAST_OVERLAP) | ignored[:, None], 0)
        most, best = shared.max(1) if truth.shape[0] else (shared.sum(1), torch.zeros_like(ignored).long())
        found = torch.full_like(best, UNMATCHED).masked_fill(ignored, IGNORED)
        left = shared.clone()
        for _ in range(truth.shape[0]):
            greatest, place = left.reshape(-1).max(0)
            row, column = place // truth.shape[0], place % truth.shape[0]
            new = greatest > 0
            found[row] = torch.where(new, column, found[row])
            most[row] = torch.where(new, greatest, most[row])
            left[row] = 0
            left[:, column] = 0
        if not self.bipartite:
            found = torch.where((found == UNMATCHED) & (most > 0) & (most >= self.threshold), best, found)
        return found, most


def match_all(rule: Rule, boxes: Sequence[Tensor], truth: Truth, labels: Sequence[int | None]) -> tuple[Tensor, Tensor]:
    """``Rule.match`` of the boxes of each item, with places in the whole *truth*: N x L x P each.

    *boxes* are L x P x 4 an item; of *labels*, one for each L, None stands for all.
    """
    found, shared = [], []
    for item, own in enumerate(boxes):
        mine = truth.of_item(item)
        for boxes_of_label, label in zip(own, labels, strict=True):
            chosen = mine if label is None else mine[truth.labels[mine] == label]
            rows, most = rule.match(boxes_of_label, truth.boxes[chosen])
            found.append(torch.where(rows >= 0, chosen[rows.clamp(min=0)], rows) if len(chosen) else rows)
            shared.append(most)
    shape = (len(boxes), len(labels), -1)
    return torch.stack(found).reshape(shape), torch.stack(shared).reshape(shape)
