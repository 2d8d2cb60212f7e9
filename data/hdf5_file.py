"""HDF5 files: written whole or not at all, and read without the library's many kinds of errors."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import h5py

from protos.errors import DataError
from protos.files import reason, replacing


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """The HDF5 file at *path*; DataError where it is missing or, whenever that comes out in the block, damaged."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{os.fspath(path)}: no such HDF5 file") from None
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise DataError(f"{os.fspath(path)}: cannot be read as HDF5 ({' '.join(str(error).split())})") from None


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """An HDF5 file to write, which takes the place of *path* when the block ends without an exception.

    Raises CaffeError where it cannot be written, a full disk included.
    """
    with on_disk(path) as (file, _):
        yield file


@contextmanager
def on_disk(path: str | os.PathLike[str]) -> Iterator[tuple[h5py.File, "_Disk"]]:
    """The file of :func:`writing`, and the disk below it, for a look in between whether it is full."""
    with replacing(path) as temporary, _Disk(temporary, path) as disk:
        with h5py.File(disk, "w") as file:
            yield file, disk
        disk.check()


class _Disk(io.RawIOBase):
    """The file behind h5py. It keeps the first failure to itself, because the library crashes on a full disk."""

    def __init__(self, file: IO[bytes], path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = path
        self._file = io.FileIO(file.name, "r+")
        self._at = 0
        self._size = 0
        self.error: OSError | None = None

    def check(self) -> None:
        """Raise a DataError where something could not be written."""
        if self.error is not None:
            raise DataError(f"{os.fspath(self._path)}: cannot be written: {reason(self.error)}") from self.error

    def write(self, values: Any) -> int:
        try:
            self._file.seek(self._at)
            done = 0
            while self.error is None and done < len(values):
                done += self._file.write(values[done:])
        except OSError as error:
            self.error = error
        self._at += len(values)
        self._size = max(self._size, self._at)
        return len(values)

    def readinto(self, values: Any) -> int:
        self._file.seek(self._at)
        found = 0
        while count := self._file.readinto(values[found:]):
            found += count
        values[found:] = bytes(len(values) - found)
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
            self._file.truncate(self._size)
        except OSError as error:
            self.error = self.error or error
        return self._size

    def close(self) -> None:
        self._file.close()
        super().close()
