"""The losses of the last iterations; those of a GPU stay there, so that no step waits for a number."""

from collections import deque
from itertools import islice
from math import isfinite

import torch
from torch import Tensor


def lasting(value: Tensor | float) -> Tensor | float:
    """A scalar as it can be kept for long: itself on a GPU, else the number.

    Thousands of tiny tensors in the memory of a CPU, each where large ones were freed around it, would keep the C
    library from using that memory for large ones again.
    """
    return value.detach() if isinstance(value, Tensor) and value.is_cuda else float(value)


class Trace:
    """A ring of the last *size* scalars.

    >>> trace = Trace(3)
    >>> for x in (1.0, 2.0, 3.0):
    ...     trace.append(torch.tensor(x))
    >>> trace.append(4.0)
    >>> trace.last(2), trace.last(10)
    ([3.0, 4.0], [2.0, 3.0, 4.0])
    """

    def __init__(self, size: int) -> None:
        self._ring: deque[Tensor | float] = deque(maxlen=size)

    def append(self, value: Tensor | float) -> None:
        """Add a number, or a scalar that nobody writes to any more."""
        self._ring.append(lasting(value))

    def last(self, n: int) -> list[float]:
        """The last *n* numbers, fewer if there have not been so many, oldest first."""
        values = list(islice(self._ring, max(0, len(self._ring) - n), None))
        there = [value for value in values if isinstance(value, Tensor)]
        numbers = iter(torch.stack(there).tolist() if there else ())
        return [next(numbers) if isinstance(value, Tensor) else value for value in values]

    def first_bad(self, n: int) -> int | None:
        """How many numbers ago, among the last *n*, the first came that is not finite; None for none."""
        values = self.last(n)
        bad = [i for i, value in enumerate(values) if not isfinite(value)]
        return len(values) - bad[0] if bad else None
