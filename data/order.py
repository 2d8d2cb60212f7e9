"""Which record comes when: sequential or shuffled, with wrap-around, dealt out between ranks."""

from collections.abc import Sequence
from math import gcd

import numpy as np
from numpy.typing import NDArray

from data import chance

Indices = NDArray[np.int64]


class Order:
    """Maps the n-th record that a rank consumes to its index among *count* records.

    Record number i of the run (counted over the end of the store) goes to rank i mod *world_size*, so that
    ranks never share one. *start* records are left out first. With a *shuffle_seed* each pass over the store
    has its own permutation, the same for all ranks; where the records lie in *blocks* (files) of these sizes,
    the blocks are permuted, and the records within each.
    """

    def __init__(
        self,
        count: int,
        *,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        shuffle_seed: int | None = None,
        blocks: Sequence[int] = (),
    ) -> None:
        self.count = count
        self._blocks = list(blocks) or [count]
        self._start = start + rank
        self._stride = world_size
        self._seed = shuffle_seed
        self._pass = -1
        self._permutation: Indices = np.empty(0, np.int64)

    @property
    def shuffled(self) -> bool:
        """Whether the order differs from pass to pass."""
        return self._seed is not None

    @property
    def period(self) -> int:
        """After how many records a sequential order begins again: all that this rank will ever read."""
        return self.count // gcd(self.count, self._stride)

    def indices(self, first: int, number: int) -> Indices:
        """The indices of *number* records from this rank's *first*-th on: int64 of shape (number,)."""
        run = self._start + self._stride * np.arange(first, first + number, dtype=np.int64)
        passes, places = np.divmod(run, self.count)
        if self._seed is None:
            return places
        out = np.empty_like(places)
        for each in np.unique(passes):
            mine = passes == each
            out[mine] = self._of_pass(int(each))[places[mine]]
        return out

    def _of_pass(self, number: int) -> Indices:
        if number != self._pass:
            assert self._seed is not None
            draws = chance.generator(self._seed, chance.SHUFFLE, number)
            starts = np.cumsum([0, *self._blocks])
            self._permutation = np.concatenate(
                [starts[b] + draws.permutation(self._blocks[b]) for b in draws.permutation(len(self._blocks))]
            )
            self._pass = number
        return self._permutation
