"""DetectionOutput in ONNX: the codes of its boxes, NonMaxSuppression, and what is kept of that."""

from collections.abc import Sequence

import torch

from nets.emitter import Dim, Emitter, Value, cast, reshaped, times

LOWEST = torch.finfo(torch.float32).min


def decoded(g: Emitter, code: str, priors: Value, scaled: Value) -> Value:
    """The boxes (... x 4) that *scaled* offsets mean beside *priors*, see ``boxes.decode``."""
    if code == "CORNER":
        return g.op("Add", priors, scaled)
    low, high = g.ops("Split", 2, priors, axis=-1)
    sides = g.op("Sub", high, low)
    if code == "CORNER_SIZE":
        return g.op("Add", priors, g.op("Mul", scaled, g.op("Concat", sides, sides, axis=-1)))
    shift, growth = g.ops("Split", 2, scaled, axis=-1)
    centers = g.op("Add", g.op("Mul", shift, sides), times(g, g.op("Add", low, high), 0.5, "half"))
    halves = times(g, g.op("Mul", g.op("Exp", growth), sides), 0.5, "half")
    return g.op("Concat", g.op("Sub", centers, halves), g.op("Add", centers, halves), axis=-1)


def column(g: Emitter, rows: Value, i: int) -> Value:
    """Column *i* of rows x columns."""
    return g.op("Gather", rows, g.constant(torch.tensor(i), "column"), axis=1)


def stacked(g: Emitter, *columns: Value) -> Value:
    """Columns (each K) side by side: K x columns."""
    axis = g.constant([1], "axis")
    return g.op("Concat", *(g.op("Unsqueeze", one, axis) for one in columns), axis=1)


def filled(g: Emitter, value: float, like: Value) -> Value:
    """A tensor of the shape of *like* that holds *value* everywhere."""
    return g.op("Expand", g.constant(value, "fill"), g.op("Shape", like))


def best_of(g: Emitter, scores: Value, count: int) -> Value:
    """*scores* with all but the *count* greatest along the last axis at the lowest float."""
    values, places = g.ops("TopK", 2, scores, g.constant([count], "count"), axis=-1)
    return g.op("ScatterElements", filled(g, LOWEST, scores), places, values, axis=-1)


class Search:
    """Boxes N x M x P x 4 (M: 1, or one for each class) and scores N x C x P to the rows of DetectionOutput."""

    def __init__(self, g: Emitter, boxes: Value, scores: Value, labels: Sequence[int], priors: int) -> None:
        self.g = g
        self.boxes = boxes
        self.scores = scores
        self.labels = labels
        self.priors = priors

    def found(self, shared: bool, threshold: float, confidence: float | None, top_k: int | None) -> Value:
        """(item, class, place) of each box that NonMaxSuppression keeps, K x 3."""
        g, scores = self.g, self.scores
        most = self.priors if top_k is None else min(top_k, self.priors)
        if most < self.priors:
            scores = best_of(g, scores, most)
        low, high = g.ops("Split", 2, self.boxes, axis=-1)
        whole = g.op("Concat", low, g.op("Max", low, high), axis=-1)  # its inverted boxes have an area
        groups = [-1, self.priors, 4], [-1, len(self.labels) if shared else 1, self.priors]
        kept = g.op(
            "NonMaxSuppression",
            g.op("Reshape", whole, g.constant(groups[0], "boxes_shape")),
            g.op("Reshape", scores, g.constant(groups[1], "scores_shape")),
            g.constant([most], "most"),
            g.constant([min(threshold, 1.0)], "threshold"),
            g.constant([LOWEST if confidence is None else max(confidence, LOWEST)], "confidence"),
        )
        if shared:
            return kept
        group, classes = column(g, kept, 0), g.constant(torch.tensor(len(self.labels)), "classes")
        return stacked(g, g.op("Div", group, classes), g.op("Mod", group, classes), column(g, kept, 2))

    def best(self, kept: Value, keep: int) -> Value:
        """Those of the rows *kept* that are among the *keep* best of their items."""
        g, total = self.g, len(self.labels) * self.priors
        if keep >= total:
            return kept
        marks = g.op("ScatterND", filled(g, LOWEST, self.scores), kept, g.op("GatherND", self.scores, kept))
        flat = g.op("Reshape", marks, g.constant([-1, total], "flat"))
        values, places = g.ops("TopK", 2, flat, g.constant([keep], "keep"), axis=-1)
        ones = filled(g, 1.0, values)
        chosen = g.op("ScatterElements", filled(g, 0.0, flat), places, ones, axis=-1)
        there = g.op("GatherND", g.op("Reshape", chosen, g.op("Shape", self.scores)), kept)
        return g.op("Compress", kept, g.op("Greater", there, g.constant(0.5, "half")), axis=0)

    def rows(self, kept: Value, shared: bool) -> Value:
        """The rows of all boxes *kept*; where there are none, one of -1 for each item."""
        g = self.g
        item, label, place = (column(g, kept, i) for i in range(3))
        group = g.op("Sub", label, label) if shared else label
        corners = g.op("GatherND", self.boxes, stacked(g, item, group, place))
        label = g.op("Gather", g.constant(self.labels, "labels"), label)
        facts = stacked(g, cast(g, item), cast(g, label), g.op("GatherND", self.scores, kept))
        found = g.op("Concat", facts, corners, axis=1)
        absent = self._none()
        empty = g.op("Equal", g.op("Size", item), g.constant(torch.tensor(0), "zero"))
        flags = g.op("Expand", g.op("Not", empty), g.op("Shape", item)), self._flags(empty)
        picked = g.op("Compress", g.op("Concat", found, absent, axis=0), g.op("Concat", *flags, axis=0), axis=0)
        return g.op("Unsqueeze", picked, g.constant([0, 1], "axes"))

    def _items(self) -> Value:
        """How many items there are, [N]."""
        g = self.g
        return g.op("Gather", g.op("Shape", self.scores), g.constant([0], "first"))

    def _flags(self, empty: Value) -> Value:
        return self.g.op("Expand", empty, self._items())

    def _none(self) -> Value:
        """A row for each item: its number, and -1."""
        g = self.g
        bounds = g.constant(torch.tensor(0), "zero"), g.op("Squeeze", self._items()), g.constant(torch.tensor(1), "one")
        numbers = g.op("Unsqueeze", cast(g, g.op("Range", *bounds)), g.constant([1], "axis"))
        wide = g.op("Concat", self._items(), g.constant([6], "six"), axis=0)
        return g.op("Concat", numbers, g.op("Expand", g.constant(-1.0, "absent"), wide), axis=1)


def folded(g: Emitter, x: Value, sizes: Sequence[Dim]) -> Value:
    """*x* in the shape *sizes*, the first of them its own first."""
    return reshaped(g, x, (x.shape[0], *sizes))
