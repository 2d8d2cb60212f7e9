"""Arithmetic of boxes, rows of x1, y1, x2, y2: overlaps, what is suppressed beside a better box, SSD's codes."""

import torch
from torch import Tensor

BLOCK = 128  # boxes of a list that are compared with each other at once
PAIRS = {"cpu": 2**21, "cuda": 2**26}  # pairs that are compared at once: what a CPU's cache and a GPU's memory hold
DECAYS_ABOVE = 0.5  # SSD's adaptive threshold falls no further than just below this

CODES = ("CORNER", "CENTER_SIZE", "CORNER_SIZE")


def areas(boxes: Tensor, pixel: float = 0.0) -> Tensor:
    """The areas of *boxes* (... x 4), 0 where a side is negative; *pixel* 1 counts the last row and column too."""
    return (boxes[..., 2:] - boxes[..., :2] + pixel).clamp(min=0).prod(-1)


def overlaps(a: Tensor, b: Tensor, pixel: float = 0.0) -> Tensor:
    """Intersection over union of all pairs: ... x M x 4 and ... x K x 4 to ... x M x K, 0 where nothing is shared."""
    (left, top, right, bottom), others = a[..., None].unbind(-2), b.mT.contiguous()[..., None, :].unbind(-3)
    shared = torch.minimum(right, others[2]).sub_(torch.maximum(left, others[0]))
    high = torch.minimum(bottom, others[3]).sub_(torch.maximum(top, others[1]))
    if pixel:
        shared, high = shared.add_(pixel), high.add_(pixel)
    shared = shared.clamp_(min=0).mul_(high.clamp_(min=0))
    union = (areas(a, pixel)[..., None] + areas(b, pixel)[..., None, :]).sub_(shared)
    return shared.div_(union.clamp_(min=torch.finfo(union.dtype).tiny))


def suppress(
    boxes: Tensor,
    valid: Tensor,
    threshold: float,
    eta: float = 1.0,
    pixel: float = 0.0,
    most: int | None = None,
) -> Tensor:
    """Greedy non-maximum suppression in G lists of boxes (G x K x 4), each in falling order of score: G x K, kept.

    A box that is *valid* (G x K) goes where it overlaps a better one that was kept by more than *threshold*. With *eta*
    below 1 each box kept multiplies the threshold by it, as long as that is above 0.5. What is kept beyond the first
    *most* of a list may be wrong.
    """
    if eta < 1:
        return _one_by_one(boxes, valid, threshold, eta, pixel)
    lists = max(1, PAIRS.get(boxes.device.type, 2**21) // (BLOCK * max(1, boxes.shape[1])))
    kept = []
    for start in range(0, len(boxes), lists):
        part = slice(start, start + lists)
        kept.append(_in_blocks(boxes[part], valid[part], threshold, pixel, most))
    return torch.cat(kept) if kept else torch.zeros_like(valid)


def _in_blocks(boxes: Tensor, valid: Tensor, threshold: float, pixel: float, most: int | None) -> Tensor:
    kept = torch.zeros_like(valid)
    place = torch.arange(boxes.shape[1], device=boxes.device).expand_as(valid)
    boxes, valid, place = _first(valid, boxes, valid, place)
    while valid.shape[1]:
        head, rest = boxes[:, :BLOCK], boxes[:, BLOCK:]
        inside = _settled(overlaps(head, head, pixel) > threshold, valid[:, :BLOCK])
        kept.scatter_(1, place[:, :BLOCK], inside)
        if not rest.shape[1] or (most is not None and bool((kept.sum(1) >= most).all())):
            break
        best, there = _first(inside, head, inside)
        hit = ((overlaps(best, rest, pixel) > threshold) & there[:, :, None]).any(1)
        alive = valid[:, BLOCK:] & ~hit
        boxes, valid, place = _first(alive, rest, alive, place[:, BLOCK:])
    return kept


def _first(wanted: Tensor, *lists: Tensor) -> tuple[Tensor, ...]:
    """Of each of the *lists* (G x K x any) the *wanted* places (G x K), in their order, as long as the longest."""
    longest = int(wanted.sum(1).max()) if wanted.numel() else 0
    order = torch.sort(~wanted, dim=1, stable=True).indices[:, :longest]
    rows = torch.arange(len(wanted), device=wanted.device)[:, None]
    return tuple(values[rows, order] for values in lists)


def _settled(over: Tensor, valid: Tensor) -> Tensor:
    """What stays of a block (G x B) whose boxes suppress each other where *over* (G x B x B) says so.

    A box stays where no box before it that stays suppresses it. From the guess that all stay each round settles at
    least one more box for good, and most nets' boxes in a few rounds.
    """
    before = torch.triu(over, diagonal=1).to(torch.float32)
    kept = valid
    while True:
        hits = torch.bmm(kept.to(torch.float32)[:, None], before)[:, 0]
        again = valid & (hits == 0)
        if torch.equal(again, kept):
            return kept
        kept = again


def _one_by_one(boxes: Tensor, valid: Tensor, threshold: float, eta: float, pixel: float) -> Tensor:
    """``suppress`` with a threshold that changes with each box kept: box after box, in all lists at once."""
    kept = torch.zeros_like(valid)
    worst = torch.zeros_like(boxes[..., 0])  # the greatest overlap with a box kept so far
    limit = boxes.new_full((len(boxes), 1), threshold)
    place = torch.arange(boxes.shape[1], device=boxes.device)
    last = torch.full_like(limit, -1)
    rows = torch.arange(len(boxes), device=boxes.device)
    while True:
        free = valid & (place > last) & (worst <= limit)
        found = free.any(1)
        if not found.any():
            return kept
        best = free.int().argmax(1)
        kept[rows[found], best[found]] = True
        overlap = overlaps(boxes[rows, best][:, None], boxes, pixel)[:, 0]
        worst = torch.where(found[:, None], torch.maximum(worst, overlap), worst)
        last = torch.where(found, best, boxes.shape[1])[:, None].to(limit.dtype)
        limit = torch.where(limit > DECAYS_ABOVE, limit * eta, limit)


def decode(code: str, priors: Tensor, variances: Tensor | float, offsets: Tensor) -> Tensor:
    """The boxes that *offsets* (... x 4) mean beside *priors* and *variances* (both as wide), see SSD.

    CORNER: prior + v offset; CORNER_SIZE: that with the offset in sides of the prior; CENTER_SIZE: the center moves by
    v offset sides, the sides grow by exp(v offset).
    """
    scaled = offsets * variances
    if code == "CORNER":
        return priors + scaled
    sides = priors[..., 2:] - priors[..., :2]
    if code == "CORNER_SIZE":
        return priors + scaled * torch.cat((sides, sides), -1)
    centers = scaled[..., :2] * sides + (priors[..., :2] + priors[..., 2:]) / 2
    halves = scaled[..., 2:].exp() * sides / 2
    return torch.cat((centers - halves, centers + halves), -1)


def encode(code: str, priors: Tensor, variances: Tensor | float, boxes: Tensor) -> Tensor:
    """The offsets that ``decode`` makes *boxes* of."""
    if code == "CORNER":
        return (boxes - priors) / variances
    sides = priors[..., 2:] - priors[..., :2]
    if code == "CORNER_SIZE":
        return (boxes - priors) / torch.cat((sides, sides), -1) / variances
    centers = ((boxes[..., :2] + boxes[..., 2:]) - (priors[..., :2] + priors[..., 2:])) / 2 / sides
    grown = ((boxes[..., 2:] - boxes[..., :2]) / sides).log()
    return torch.cat((centers, grown), -1) / variances
