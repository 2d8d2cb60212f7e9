"""The losses of the last iterations, kept on the device so that no step waits for a number."""

from math import isfinite

import torch
from torch import Tensor


class Trace:
    """A ring of the last *size* numbers.

    >>> trace = Trace(3, torch.device("cpu"))
    >>> for x in (1.0, 2.0, 3.0, 4.0):
    ...     trace.append(torch.tensor(x))
    >>> trace.last(2), trace.last(10), trace.count
    ([3.0, 4.0], [2.0, 3.0, 4.0], 4)
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.count = 0
        self._ring = torch.zeros(size, device=device)

    def append(self, value: Tensor) -> None:
        """Add a scalar."""
        self._ring[self.count % len(self._ring)].copy_(value.detach())
        self.count += 1

    def last(self, n: int) -> list[float]:
        """The last *n* numbers, fewer if there have not been so many, oldest first."""
        n = min(n, self.count, len(self._ring))
        places = torch.arange(self.count - n, self.count, device=self._ring.device) % len(self._ring)
        values: list[float] = self._ring[places].tolist()
        return values

    def first_bad(self, n: int) -> int | None:
        """How many numbers ago, among the last *n*, the first came that is not finite; None for none."""
        values = self.last(n)
        bad = [i for i, value in enumerate(values) if not isfinite(value)]
        return len(values) - bad[0] if bad else None
