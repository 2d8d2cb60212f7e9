"""``BatchIterator``: the batches of an epoch, with room for augmentation in ``transform``."""

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np


def picked(x: Any, index: Any) -> Any:
    """The items of an array, or of each array of a dict."""
    return {key: value[index] for key, value in x.items()} if isinstance(x, dict) else x[index]


def length(x: Any) -> int:
    """The number of items."""
    return len(next(iter(x.values()))) if isinstance(x, dict) else len(x)


class BatchIterator:
    """Calling it with X and y, then running over it, gives batches (Xb, yb), each through ``transform``.

    With *shuffle* each call shuffles the caller's arrays in place, from one generator with *seed*.
    """

    def __init__(self, batch_size: int, shuffle: bool = False, seed: int = 42) -> None:
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.random = np.random.RandomState(seed)
        self.X: Any = None
        self.y: Any = None

    def __call__(self, X: Any, y: Any = None) -> Self:
        if self.shuffle:
            self._shuffle_arrays([X] if y is None else [X, y], self.random)
        self.X, self.y = X, y
        return self

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for start in range(0, self.n_samples, self.batch_size):
            part = slice(start, start + self.batch_size)
            yield self.transform(picked(self.X, part), None if self.y is None else self.y[part])

    @staticmethod
    def _shuffle_arrays(arrays: Sequence[Any], random: np.random.RandomState) -> None:
        state = random.get_state()
        for array in arrays:
            for part in array.values() if isinstance(array, dict) else [array]:
                random.set_state(state)
                random.shuffle(part)

    @property
    def n_samples(self) -> int:
        """The number of items."""
        return length(self.X)

    def transform(self, Xb: Any, yb: Any) -> tuple[Any, Any]:
        """The batch as it goes into the net."""
        return Xb, yb
