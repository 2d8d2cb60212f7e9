"""The fast way through a store of plain Datums: by their common layout on the wire."""

from collections.abc import Sequence

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from protos.schema import Datum


class RawReader:
    """Reads Datums of ``data`` bytes that are laid out like *sample*, one Datum's bytes that hold *values*.

    Such records are a common head (the shape), the values, and a tail (the label), which is a message by itself.
    """

    def __init__(self, sample: bytes, values: bytes) -> None:
        self._size = len(values)
        self._head = sample[: sample.find(values)] if values else b""
        self._labels: dict[bytes, float] = {}  # by tail

    def read(self, records: Sequence[bytes], out: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Write the values of *records* to *out* (B x size, contiguous); their labels (B,).

        None where one of them has another layout; *out* is then of no use.
        """
        if not self._head or out.nbytes != len(records) * self._size:
            return None
        labels = []
        target, place = out.data.cast("B"), 0
        start, stop = len(self._head), len(self._head) + self._size
        for record in records:
            label = self._label(record[stop:])
            if label is None or len(record) < stop or not record.startswith(self._head):
                return None
            target[place : place + self._size] = record[start:stop]
            labels.append(label)
            place += self._size
        return np.array(labels, np.float32)

    def _label(self, tail: bytes) -> float | None:
        label = self._labels.get(tail)
        if label is None:
            label = _parse(tail)
            if label is not None:
                self._labels[tail] = label
        return label


def _parse(tail: bytes) -> float | None:
    """The label of a Datum's last fields; None where there is more among them than a label."""
    try:
        datum = Datum.FromString(tail)
    except DecodeError:
        return None
    more = {field.name for field, _ in datum.ListFields()} - {"label", "encoded"}
    return None if more or datum.encoded else float(datum.label)
