"""Chance that can be asked for at any point: every draw is a function of a seed, a stream and an index.

A source therefore resumes, skips and reads ahead without replaying: its random state is the seed and a batch
number.
"""

import os

import numpy as np
from numpy.typing import NDArray

AUGMENT, SHUFFLE, SKIP, FILL, WINDOW = range(5)  # the streams: independent uses of one seed


def fresh_seed() -> int:
    """A seed of 63 bits from the operating system."""
    return int.from_bytes(os.urandom(8), "little") >> 1


def generator(seed: int, stream: int, index: int = 0, rank: int = 0) -> np.random.Generator:
    """A NumPy generator for one use; equal arguments give equal draws on every machine."""
    counter = np.array([0, 0, index, rank], np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=np.array([seed, stream], np.uint64)))


class Draws:
    """Rows of uniform numbers in [0, 1) for each batch: ``draws[b]`` is float64 of *shape*.

    Many batches are drawn at once, so that a batch costs a lookup.
    """

    _VALUES = 1 << 14

    def __init__(self, shape: tuple[int, ...], seed: int, rank: int = 0) -> None:
        self._shape = shape
        self._seed = seed
        self._rank = rank
        self._block = max(1, self._VALUES // max(1, int(np.prod(shape))))
        self._index = -1
        self._values = np.empty(0)

    def __getitem__(self, batch: int) -> NDArray[np.float64]:
        index, row = divmod(batch, self._block)
        if index != self._index:
            chance = generator(self._seed, AUGMENT, index, self._rank)
            self._values = chance.random((self._block, *self._shape))
            self._index = index
        return self._values[row]  # type: ignore[no-any-return]  # one axis less is still an array
