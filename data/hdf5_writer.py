"""Writing HDF5 files, whole or not at all: weights, solver states, and the tables that HDF5Data reads."""

import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import h5py
from numpy import float32
from numpy.typing import NDArray

from protos.errors import DataError
from protos.files import reason, replacing

_CHUNK_BYTES = 1 << 18


@contextmanager
def hdf5_file(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """An HDF5 file to write, which takes the place of *path* when the block ends without an exception.

    Raises CaffeError where it cannot be written, a full disk included.
    """
    with _on_disk(path) as (file, _):
        yield file


@contextmanager
def _on_disk(path: str | os.PathLike[str]) -> Iterator[tuple[h5py.File, "_Disk"]]:
    with replacing(path) as temporary, _Disk(temporary, path) as disk:
        with h5py.File(disk, "w") as file:
            yield file, disk
        disk.check()


class Hdf5Writer:
    """Writes arrays into an HDF5 file, for a ``with`` statement; the file appears whole when it ends.

    HDF5Output writes the datasets ``data`` and ``label``. Raises DataError where *path* exists (unless
    *overwrite*), cannot be written, or rows change their shape.
    """

    def __init__(self, path: str | Path, overwrite: bool = True) -> None:
        self.path = Path(path)
        if self.path.exists() and not overwrite:
            raise DataError(f"{path}: exists already; --overwrite replaces it")
        with ExitStack() as stack:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DataError(f"{path}: cannot be written: {reason(error)}") from None
            self._file, self._disk = stack.enter_context(_on_disk(self.path))
            self._stack = stack.pop_all()

    def append(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add rows: float32, for each dataset the same number of them along the first axis.

        After an error the file is given up: nothing appears.
        """
        try:
            for name, values in arrays.items():
                self._append(name, values)
            self._disk.check()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise

    def _append(self, name: str, values: NDArray[Any]) -> None:
        shape = values.shape[1:]
        if name not in self._file:
            chunks = (max(1, _CHUNK_BYTES // (4 * max(1, prod(shape)))), *shape)
            self._file.create_dataset(name, (0, *shape), float32, maxshape=(None, *shape), chunks=chunks)
        dataset = self._file[name]
        if dataset.shape[1:] != shape:
            raise DataError(f"{self.path}: rows of {name} change from {dataset.shape[1:]} to {shape}")
        count = len(dataset)
        dataset.resize(count + len(values), 0)
        dataset[count:] = values

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


class _Disk(io.RawIOBase):
    """The file behind h5py. It keeps the first failure to itself, because the library crashes on a full disk."""

    def __init__(self, file: IO[bytes], path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = path
        self._file = os.open(file.name, os.O_RDWR)
        self._at = 0
        self._size = 0
        self.error: OSError | None = None

    def check(self) -> None:
        """Raise a DataError where something could not be written."""
        if self.error is not None:
            raise DataError(f"{os.fspath(self._path)}: cannot be written: {reason(self.error)}") from self.error

    def write(self, values: Any) -> int:
        try:
            done = 0
            while self.error is None and done < len(values):
                done += os.pwrite(self._file, values[done:], self._at + done)
        except OSError as error:
            self.error = error
        self._at += len(values)
        self._size = max(self._size, self._at)
        return len(values)

    def readinto(self, values: Any) -> int:
        content = os.pread(self._file, len(values), self._at)
        values[: len(content)] = content
        values[len(content) :] = bytes(len(values) - len(content))
        self._at += len(values)
        return len(values)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int | None = None) -> int:
        self._size = self._at if size is None else size
        try:
            os.ftruncate(self._file, self._size)
        except OSError as error:
            self.error = self.error or error
        return self._size

    def close(self) -> None:
        if not self.closed:
            os.close(self._file)
        super().close()
