"""Writing HDF5 files that HDF5Data, here and in the original, reads; HDF5Output is this, too."""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy import float32
from numpy.typing import NDArray

from data.hdf5_file import on_disk
from protos.errors import DataError
from protos.files import reason

_CHUNK_BYTES = 1 << 18


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
            self._file, self._disk = stack.enter_context(on_disk(self.path))
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
