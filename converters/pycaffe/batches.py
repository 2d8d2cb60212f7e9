"""Inputs of any number of items, cut into batches, and what comes out put together."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from converters.pycaffe.blob import Array


class Whole:
    """What came out of batch after batch, as ``arrays`` of the *count* items that went in."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._parts: dict[str, list[Array]] = {}

    def add(self, found: Mapping[str, Array]) -> None:
        """Take what came out of a batch."""
        for name, values in found.items():
            self._parts.setdefault(name, []).extend(values.copy())

    @property
    def arrays(self) -> dict[str, Array]:
        """All of it by name, without the items that filled up the last batch."""
        return {name: np.asarray(parts[: self._count]) for name, parts in self._parts.items()}


def batches(arrays: Mapping[str, Any], size: int) -> Iterator[dict[str, Any]]:
    """*arrays* in batches of *size* items, the last one filled up with zeros."""
    for at in range(0, count_of(arrays), size):
        yield {name: _filled(np.asarray(values[at : at + size], np.float32), size) for name, values in arrays.items()}


def _filled(part: Array, size: int) -> Array:
    missing = size - len(part)
    return np.concatenate([part, np.zeros((missing, *part.shape[1:]), np.float32)]) if missing else part


def count_of(arrays: Mapping[str, Any]) -> int:
    """How many items *arrays* have."""
    return len(next(iter(arrays.values()))) if arrays else 0
