"""The losses of the last iterations, kept where they are so that no step waits for a number."""

from collections import deque
from itertools import islice
from math import isfinite

import torch
from torch import Tensor


class Trace:
    """A ring of the last *size* scalars.

    >>> trace = Trace(3)
    >>> for x in (1.0, 2.0, 3.0, 4.0):
    ...     trace.append(torch.tensor(x))
    >>> trace.last(2), trace.last(10)
    ([3.0, 4.0], [2.0, 3.0, 4.0])
    """

    def __init__(self, size: int) -> None:
        self._ring: deque[Tensor] = deque(maxlen=size)

    def append(self, value: Tensor) -> None:
        """Add a scalar that nobody writes to any more."""
        self._ring.append(value.detach())

    def last(self, n: int) -> list[float]:
        """The last *n* numbers, fewer if there have not been so many, oldest first."""
        values = list(islice(self._ring, max(0, len(self._ring) - n), None))
        numbers: list[float] = torch.stack(values).tolist() if values else []
        return numbers

    def first_bad(self, n: int) -> int | None:
        """How many numbers ago, among the last *n*, the first came that is not finite; None for none."""
        values = self.last(n)
        bad = [i for i, value in enumerate(values) if not isfinite(value)]
        return len(values) - bad[0] if bad else None
