"""How well predictions do where labels are known: accuracy by class, and which classes are taken for which."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from protos.errors import DataError

MATRIX = 30  # classes; with more, the commonest mistakes are listed in its place
MISTAKES = 20


class Scores:
    """Counts pairs of label and prediction. ``matrix``: label x prediction."""

    def __init__(self, classes: int) -> None:
        self.matrix: NDArray[np.int64] = np.zeros((classes, classes), np.int64)

    def add(self, label: int, predicted: int) -> None:
        """Count one item. Raises DataError for a label that is no class."""
        if not 0 <= label < len(self.matrix):
            raise DataError(f"label {label} is out of range: the net has {len(self.matrix)} classes, from 0")
        self.matrix[label, predicted] += 1

    @property
    def count(self) -> int:
        """The number of items."""
        return int(self.matrix.sum())

    def report(self, names: Sequence[str]) -> str:
        """Accuracy, accuracy of each class, and the confusion matrix or the commonest mistakes."""
        right, totals = np.diag(self.matrix), self.matrix.sum(1)
        lines = [f"accuracy {right.sum() / self.count:.4f} ({right.sum()} of {self.count})", ""]
        width = max(map(len, (*names, "class")))
        lines.append(f"{'class':{width}}  accuracy   items")
        lines += [
            f"{name:{width}}  {hit / total:8.4f}  {total:6}"
            for name, hit, total in zip(names, right, totals, strict=True)
            if total
        ]
        return "\n".join([*lines, "", *(self._grid(names) if len(names) <= MATRIX else self._mistakes(names))])

    def _grid(self, names: Sequence[str]) -> list[str]:
        width = max(map(len, names))
        cell = max(len(str(self.matrix.max())), len(str(len(names))), 2) + 1
        head = "".join(f"{i:{cell}}" for i in range(len(names)))
        rows = [
            f"{i:3} {name:{width}}" + "".join(f"{count or '.':>{cell}}" for count in row)
            for i, (name, row) in enumerate(zip(names, self.matrix, strict=True))
        ]
        return ["confusion: a row for each label, a column for each prediction", f"{'':{width + 4}}{head}", *rows]

    def mistakes(self) -> list[tuple[int, int, int]]:
        """The commonest mistakes, at most ``MISTAKES``: how often, the label, what it was taken for."""
        wrong = self.matrix.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(wrong, axis=None, kind="stable")[::-1][:MISTAKES]
        found = [divmod(int(at), len(wrong)) for at in order]
        return [(int(wrong[a, b]), a, b) for a, b in found if wrong[a, b]]

    def _mistakes(self, names: Sequence[str]) -> list[str]:
        lines = [f"{count:6}  {names[a]} taken for {names[b]}" for count, a, b in self.mistakes()]
        return ["commonest mistakes", *lines] if lines else []
