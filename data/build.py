"""Building stores: examples in, an LMDB, a LevelDB or an HDF5 file out, whole or not at all."""

import argparse
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data import datum
from data.hdf5_writer import Hdf5Writer
from data.stores import create_store
from protos.errors import DataError
from protos.files import read, replacing

_HDF5_ROWS = 256


@dataclass(frozen=True)
class Item:
    """One example: C x H x W *values*, or the bytes of an *encoded* image, with a label (None: without)."""

    values: NDArray[np.generic] | None
    label: int | None
    encoded: bytes = b""
    name: str = ""

    def key(self, number: int) -> bytes:
        """``%08d``, or ``%08d_name``."""
        return f"{number:08d}{'_' if self.name else ''}{self.name}".encode(errors="surrogateescape")

    def pack(self) -> bytes:
        """The bytes of its Datum."""
        if self.encoded:
            return datum.pack_encoded(self.encoded, self.label)
        assert self.values is not None
        return datum.pack(self.values, self.label)


class Dataset(ABC):
    """Examples by index."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Item:
        """One example; DataError where it cannot be read."""

    def items(self, indices: Iterable[int]) -> Iterator[Item | DataError]:
        """The examples of *indices* in their order, an error in the place of each that cannot be read."""
        for index in indices:
            try:
                yield self[index]
            except DataError as error:
                yield error


class Arrays(Dataset):
    """Examples in memory: *values* N x C x H x W, *labels* (N,) or None."""

    def __init__(self, values: NDArray[np.generic], labels: NDArray[np.integer] | None) -> None:
        self._values = values
        self._labels = None if labels is None else labels.tolist()
        if labels is not None and len(labels) != len(values):
            raise DataError(f"{len(labels)} labels for {len(values)} examples")

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: int) -> Item:
        return Item(self._values[index], None if self._labels is None else self._labels[index])


@dataclass(frozen=True)
class Options:
    """How to build: see :func:`data.command.add_build_options`; *skip_bad* leaves out what cannot be read."""

    backend: str = "lmdb"
    shuffle: bool = False
    seed: int = 0
    limit: int | None = None
    overwrite: bool = False
    skip_bad: bool = False

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> "Options":
        """From parsed command-line options."""
        return cls(
            args.backend,
            args.shuffle,
            args.seed,
            args.limit,
            args.overwrite,
            getattr(args, "skip_bad", False),
        )

    def store(self, out: Path, name: str) -> Path:
        """The path of the store called *name* in the folder *out*: ``out/name_lmdb``, ``out/name.h5``."""
        return out / (f"{name}.h5" if self.backend == "hdf5" else f"{name}_{self.backend}")


def build(path: Path, dataset: Dataset, options: Options) -> tuple[int, int]:
    """Write *dataset* to *path*; how many records were written, and how many were bad and left out.

    An HDF5 file gets a list file beside it, *path* with the suffix ``.txt``, for HDF5Data to read. Raises
    DataError, and leaves nothing, where a record is bad (unless *skip_bad*) or nothing is to be written.
    """
    count = len(dataset)
    order = np.random.default_rng(options.seed).permutation(count) if options.shuffle else np.arange(count)
    indices = order[: options.limit].tolist()
    bad = _Bad(options.skip_bad)
    items = bad.leave_out(dataset.items(tqdm(indices, desc=path.name, unit=" records", disable=None, leave=False)))
    write = _write_hdf5 if options.backend == "hdf5" else _write_store
    return write(path, items, options), bad.count


class _Bad:
    """Counts and leaves out what could not be read, or raises it."""

    def __init__(self, skip: bool) -> None:
        self._skip = skip
        self.count = 0

    def leave_out(self, items: Iterable[Item | DataError]) -> Iterator[Item]:
        for item in items:
            if isinstance(item, Item):
                yield item
            elif self._skip:
                self.count += 1
                tqdm.write(f"left out: {item}")
            else:
                raise item


def _write_store(path: Path, items: Iterator[Item], options: Options) -> int:
    with create_store(path, options.backend, options.overwrite) as store:
        for number, item in enumerate(items):
            store.put(item.key(number), item.pack())
        _check_some(path, store.count)
    return store.count


def _write_hdf5(path: Path, items: Iterator[Item], options: Options) -> int:
    count = 0
    list_file = path.with_suffix(".txt")
    if list_file == path or (list_file.exists() and not _lists(list_file, path)):
        raise DataError(f"{list_file}: is where the list of {path} goes, and is another file; rename one of them")
    with Hdf5Writer(path, options.overwrite) as file:
        while rows := list(islice(items, _HDF5_ROWS)):
            file.append(_columns(path, rows))
            count += len(rows)
        _check_some(path, count)
    with replacing(list_file) as listing:
        listing.write(os.fsencode(path) + b"\n")
    return count


def _lists(list_file: Path, path: Path) -> bool:
    """Whether *list_file* names the file *path*, wherever that was, and nothing else."""
    return Path(read(list_file).decode(errors="replace").strip()).name == path.name


def _columns(path: Path, rows: list[Item]) -> dict[str, NDArray[np.float32]]:
    values = [row.values for row in rows if row.values is not None]
    if len(values) < len(rows):
        raise DataError(f"{path}: HDF5 files hold values, not encoded images; leave --encoded out")
    if len({each.shape for each in values}) > 1:
        raise DataError(f"{path}: examples of several shapes do not go into one HDF5 file; --resize them")
    columns = {"data": np.array(values, np.float32)}
    if rows[0].label is not None:
        columns["label"] = np.array([row.label for row in rows], np.float32)
    return columns


def _check_some(path: Path, count: int) -> None:
    if not count:
        raise DataError(f"{path}: there is not a single example to store")
