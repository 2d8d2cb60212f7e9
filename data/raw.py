"""The fast way through a store of plain Datums: many records at once, by their common layout."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LABEL = 0x28  # the wire tag of Datum.label, a varint
_NOT_ENCODED = (0x38, 0x00)  # Datum.encoded = false, which the original writes


class RawReader:
    """Reads Datums of ``data`` bytes that share the shape of *sample*, a Datum's bytes with *size* values.

    The wire format of such records is a common head, the values, then a label: three columns of a matrix.
    """

    def __init__(self, sample: bytes, values: bytes) -> None:
        start = sample.find(values) if values else -1
        self._head = np.frombuffer(sample[: max(start, 0)], np.uint8)
        self._size = len(values) if start > 0 else 0

    def read(self, records: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
        """Values (B, size) and labels (B,) of *records*; None where one of them has another layout."""
        if not self._size:
            return None
        values = np.empty((len(records), self._size), np.uint8)
        labels = np.empty(len(records), np.float32)
        by_length: dict[int, list[int]] = defaultdict(list)
        for at, record in enumerate(records):
            by_length[len(record)].append(at)
        start, stop = len(self._head), len(self._head) + self._size
        for length, places in by_length.items():
            chosen = records if len(by_length) == 1 else [records[at] for at in places]
            matrix = np.frombuffer(b"".join(chosen), np.uint8).reshape(-1, length)
            if length < stop or (matrix[:, :start] != self._head).any():
                return None
            decoded = _labels(matrix[:, stop:])
            if decoded is None:
                return None
            values[places], labels[places] = matrix[:, start:stop], decoded
        return values, labels


def _labels(tail: NDArray[np.uint8]) -> NDArray[np.int64] | None:
    """The labels in the bytes after the values; None where these are anything else than a label."""
    if tail.shape[1] > 2 and (tail[:, -2:] == _NOT_ENCODED).all():
        tail = tail[:, :-2]
    if not tail.shape[1]:
        return np.zeros(len(tail), np.int64)
    digits = tail[:, 1:].astype(np.int64)
    whole = 1 <= digits.shape[1] <= 5 and (digits[:, -1] < 128).all() and (digits[:, :-1] >= 128).all()
    if not whole or (tail[:, 0] != _LABEL).any():
        return None
    return ((digits & 127) << (7 * np.arange(digits.shape[1]))).sum(1)  # type: ignore[no-any-return]
