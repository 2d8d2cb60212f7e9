"""What a source of records reads: an indexed sequence of C x H x W values with a label each."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from os import cpu_count
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from data import datum, images
from data.datum import Values
from data.order import Indices
from data.raw import RawReader
from data.stores import open_store
from protos.errors import DataError
from protos.files import reason

Raw = TypeVar("Raw")
Example = tuple[Values, float]
Labels = NDArray[np.float32]
WORKERS = min(8, cpu_count() or 1)


class MixedShapesError(Exception):
    """Records of several shapes cannot be one array."""


class Records(ABC, Generic[Raw]):
    """Examples by index; *first* is the first, decoded. ``read`` runs in one thread, ``decode`` in many."""

    def __init__(self) -> None:
        if not len(self):
            raise DataError(f"{self}: there are no records in it")
        self.first: Example = self.decode(self.read(np.zeros(1, np.int64))[0])

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, indices: Indices) -> list[Raw]:
        """What is read from the disk for *indices*, undecoded."""

    @abstractmethod
    def decode(self, raw: Raw) -> Example:
        """One example: C x H x W values, label."""

    def decode_plain(self, raws: Sequence[Raw], out: Values) -> Labels | None:
        """Write values to *out* (B x C x H x W, contiguous) at one go, where the records allow that; labels (B,)."""
        return None

    def decode_all(self, raws: Sequence[Raw], out: Values, pool: ThreadPoolExecutor) -> Labels:
        """Write values to *out*; labels (B,). MixedShapesError where one differs in shape or type from the first."""
        labels = self.decode_plain(raws, out)
        if labels is not None:
            return labels
        examples = list(pool.map(self.decode, raws))
        for target, (values, _) in zip(out, examples, strict=True):
            if values.shape != target.shape or values.dtype != target.dtype:
                raise MixedShapesError
            target[...] = values
        return np.array([label for _, label in examples], np.float32)

    def close(self) -> None:
        """Let go of what is open."""


class StoreRecords(Records[tuple[int, bytes]]):
    """The Datums of an LMDB or LevelDB, read in the order of the keys; for shuffled orders, all keys are kept."""

    def __init__(self, path: str, color: bool | None) -> None:
        self._store = open_store(path)
        self._color = color
        self._scan = self._store.scan()
        self._at = 0  # the index that the running scan gives next
        try:
            super().__init__()
            self._raw = self._raw_reader()
        except DataError:
            self.close()
            raise

    def _raw_reader(self) -> RawReader:
        _, value = self.read(np.zeros(1, np.int64))[0]
        first = datum.parse(value)
        return RawReader(value, b"" if first.encoded else first.data)

    def __str__(self) -> str:
        return str(self._store.path)

    def __len__(self) -> int:
        return len(self._store)

    def read(self, indices: Indices) -> list[tuple[int, bytes]]:
        """Pairs of index and Datum bytes."""
        steps = np.diff(indices)
        if np.count_nonzero((steps < 0) | (steps >= _STEP)) > _JUMPS:
            return [(index, self._find(index)) for index in indices.tolist()]
        out: list[tuple[int, bytes]] = []
        for run in np.split(indices, np.flatnonzero(steps != 1) + 1):
            out.extend(self._read_run(int(run[0]), len(run)))
        return out

    def _find(self, index: int) -> bytes:
        try:
            return self._store[self._keys[index]]
        except LookupError:
            raise DataError(f"{self}: record {index} cannot be found by its key: the store is damaged") from None

    @cached_property
    def _keys(self) -> list[bytes]:
        return list(self._store)

    def _read_run(self, start: int, length: int) -> list[tuple[int, bytes]]:
        if not 0 <= start - self._at < _STEP:
            self._scan, self._at = self._store.scan(start), start
        values = [value for _, value in islice(self._scan, start - self._at, start - self._at + length)]
        self._at = start + length
        if len(values) < length:
            raise DataError(f"{self}: ends after {start + len(values)} of {len(self)} records")
        return list(zip(range(start, start + length), values, strict=True))

    def decode(self, raw: tuple[int, bytes]) -> Example:
        """See :meth:`Records.decode`."""
        where = f"{self}, record {raw[0]}"
        record = datum.parse(raw[1], where)
        return datum.values(record, self._color, where), float(record.label)

    def decode_plain(self, raws: Sequence[tuple[int, bytes]], out: Values) -> Labels | None:
        """See :meth:`Records.decode_plain`."""
        return self._raw.read([value for _, value in raws], out) if out.dtype == np.uint8 else None  # type: ignore[arg-type]

    def close(self) -> None:
        """See :meth:`Records.close`."""
        self._scan = iter(())
        self._store.close()


_STEP = 64  # a gap up to this is read over; behind a wider one a new scan begins
_JUMPS = 2  # with more of these in a batch, as when shuffled, records are looked up by key


class ImageRecords(Records[int]):
    """The images that a list file names, ``path label`` a line, resized to *size* = (height, width)."""

    def __init__(self, list_file: str, root: str, color: bool, size: tuple[int, int] | None) -> None:
        self._list = list_file
        self._root = root
        self._color = color
        self._size = size
        self.entries = read_list(list_file)
        super().__init__()

    def __str__(self) -> str:
        return self._list

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, indices: Indices) -> list[int]:
        """The indices themselves: files are read where they are decoded."""
        return indices.tolist()  # type: ignore[no-any-return]

    def decode(self, raw: int) -> Example:
        """See :meth:`Records.decode`."""
        name, label = self.entries[raw]
        pixels = images.decode(Path(self._root + name), self._color)
        return (images.resize(pixels, *self._size) if self._size else pixels), float(label)


def read_list(path: str | Path) -> list[tuple[str, int]]:
    """Pairs of name and label of a list file; names may hold blanks. DataError for a bad line."""
    try:
        lines = Path(path).read_text("utf-8-sig", "surrogateescape").splitlines()
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from None
    entries = []
    for number, line in enumerate(lines, 1):
        name, _, label = line.rstrip().rpartition(" ")
        if not line.strip():
            continue
        if not name or not _is_integer(label):
            raise DataError(f"{path}, line {number}: {line[:80]!r} is not a name, a blank and a label (an integer)")
        entries.append((name, int(label)))
    return entries


def _is_integer(text: str) -> bool:
    return text.lstrip("+-").isdecimal()
