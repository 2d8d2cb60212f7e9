"""HDF5Data: batches of the datasets in HDF5 files."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate, pairwise
from math import prod
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.feed import free_memory
from data.hdf5_file import reading
from data.loader import Loader
from data.order import Indices, Order
from data.source import SOURCES, Place, Shapes, Source, check_batch_size, check_options
from protos.errors import DataError
from protos.files import reason
from protos.schema import LayerParameter

Arrays = list[NDArray[np.float32]]


class Hdf5Files:
    """The files of a list, seen as one table: a row of float32 values for each of *names*.

    Raises DataError for a missing file or dataset, and where rows or shapes do not agree.
    """

    def __init__(self, list_file: str, names: tuple[str, ...]) -> None:
        self._list = list_file
        self._names = names
        self.paths = _read_paths(list_file)
        shapes = [self._inspect(path) for path in self.paths]
        self.sizes = [found[0][0] for found in shapes]
        self.shapes = [shape[1:] for shape in shapes[0]]
        for path, found in zip(self.paths, shapes, strict=True):
            if [shape[1:] for shape in found] != self.shapes:
                raise DataError(f"{path}: its datasets have other shapes than those of {self.paths[0]}")
        self._starts = np.array([0, *accumulate(self.sizes)])
        self._loaded: tuple[int, Arrays] = (-1, [])

    def __len__(self) -> int:
        return sum(self.sizes)

    def _inspect(self, path: str) -> list[tuple[int, ...]]:
        with reading(path) as file:
            missing = [name for name in self._names if not isinstance(file.get(name), h5py.Dataset)]
            if missing:
                raise DataError(f"{path}: no dataset {', '.join(missing)}; it has {', '.join(file) or 'none'}")
            shapes: list[tuple[int, ...]] = [file[name].shape for name in self._names]
        if any(not shape for shape in shapes) or len({shape[0] for shape in shapes}) != 1:
            raise DataError(f"{path}: datasets {', '.join(self._names)} differ in rows: {shapes}")
        if not shapes[0][0]:
            raise DataError(f"{path}: there are no rows in it")
        return shapes

    def read(self, indices: Indices) -> Arrays:
        """The rows of *indices*, an array for each name. One file at a time is held in memory."""
        out = [np.empty((len(indices), *shape), np.float32) for shape in self.shapes]
        files = np.searchsorted(self._starts, indices, "right") - 1
        for number in dict.fromkeys(files.tolist()):
            mine = files == number
            for target, values in zip(out, self._load(number), strict=True):
                target[mine] = values[indices[mine] - self._starts[number]]
        return out

    def read_stretches(self, indices: Indices) -> Arrays:
        """What ``read`` gives, straight from the files where most of the *indices* follow one another."""
        files = np.searchsorted(self._starts, indices, "right") - 1
        bounds = np.flatnonzero((np.diff(indices) != 1) | (np.diff(files) != 0)) + 1
        if len(bounds) > 2 * len(self.paths):
            return self.read(indices)
        out = [np.empty((len(indices), *shape), np.float32) for shape in self.shapes]
        for first, end in pairwise((0, *bounds.tolist(), len(indices))):
            at = int(indices[first] - self._starts[files[first]])
            with self._opened(files[first]) as datasets:
                for target, dataset in zip(out, datasets, strict=True):
                    _copy(dataset, at, target[first:end])
        return out

    def _load(self, number: int) -> Arrays:
        if self._loaded[0] != number:
            with self._opened(number) as datasets:
                found = [dataset[()].astype(np.float32, copy=False) for dataset in datasets]
            self._loaded = (number, found)
        return self._loaded[1]

    @contextmanager
    def _opened(self, number: int) -> Iterator[list[h5py.Dataset]]:
        """The datasets of a file, of the shapes that they had at the start; DataError where they have others."""
        with reading(self.paths[number]) as file:
            datasets = [file[name] for name in self._names]
            for dataset, shape in zip(datasets, self.shapes, strict=True):
                if dataset.shape != (self.sizes[number], *shape):
                    raise ValueError(f"{dataset.name} was {(self.sizes[number], *shape)} and now is {dataset.shape}")
            yield datasets


def _copy(dataset: h5py.Dataset, at: int, target: NDArray[np.float32]) -> None:
    """The rows of *dataset* from *at* on, as many as *target* has."""
    rows = slice(at, at + len(target))
    if dataset.dtype == np.float32:
        dataset.read_direct(target, rows)
    else:
        target[...] = dataset[rows]


@SOURCES("HDF5Data")
class Hdf5Source(Source):
    """HDF5Data: for each top, the dataset of its name, from the files that a list file names.

    Files and rows come in order; with ``shuffle``, files and the rows of each file come in a new order in
    each pass. Nothing is transformed.
    """

    def __init__(self, layer: LayerParameter, phase: str, place: Place) -> None:
        super().__init__(layer, phase, place)
        self.shapes, self._files = _open(layer)
        self.records = len(self._files)
        self._place = place
        self._dealt = (place.rank, place.world_size) if phase == "TRAIN" else (0, 1)
        self._shuffle = layer.hdf5_data_param.shuffle
        self._size = layer.hdf5_data_param.batch_size
        self._loader: Loader[Arrays, Arrays] | None = None
        self._resident: list[Tensor] = []
        if self._shuffle and self._dealt[1] > 1 and place.seed is None:
            raise DataError(f"layer {layer.name!r}: shuffling for several ranks needs a common seed (random_seed)")
        self._reseed()

    @classmethod
    def peek(cls, layer: LayerParameter, phase: str) -> Shapes:
        """See :meth:`Source.peek`."""
        return _open(layer)[0]

    def _reseed(self) -> None:
        self.close()
        rank, world_size = self._dealt
        shuffle_seed = self.seed if self._shuffle else None
        self._order = Order(
            len(self._files),
            rank=rank,
            world_size=world_size,
            shuffle_seed=shuffle_seed,
            blocks=self._files.sizes,
        )

    def _batch(self, number: int) -> dict[str, Tensor]:
        if not self._resident and self._loader is None:
            self._start()
        if self._loader is None:
            return dict(zip(self.tops, self._rows(number * self._size), strict=True))
        arrays = [torch.from_numpy(x).to(self._place.device, non_blocking=True) for x in self._loader[number]]
        return dict(zip(self.tops, arrays, strict=True))

    def _start(self) -> None:
        """Take all rows to the device, in the order of reading, where they fit; read ahead otherwise."""
        order = np.arange(len(self._files))
        if not self._order.shuffled:
            order = self._order.indices(0, self._order.period + self._size - 1)
        row = 4 * sum(prod(shape) for shape in self._files.shapes)
        budget = self._place.budget
        if len(order) * row <= (free_memory(self._place.device) // 4 if budget is None else budget):
            self._resident = [torch.from_numpy(x).to(self._place.device) for x in self._files.read_stretches(order)]
        else:
            self._loader = Loader(self._read, lambda _, arrays: arrays, 1, 4)

    def _read(self, number: int) -> Arrays:
        return self._files.read(self._order.indices(number * self._size, self._size))

    def _rows(self, first: int) -> list[Tensor]:
        if self._order.shuffled:
            indices = torch.from_numpy(self._order.indices(first, self._size)).to(self._place.device)
            return [array[indices] for array in self._resident]
        at = first % self._order.period
        return [array[at : at + self._size] for array in self._resident]

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._resident = []
        if self._loader is not None:
            self._loader.close()
            self._loader = None


def _open(layer: LayerParameter) -> tuple[Shapes, Hdf5Files]:
    param = layer.hdf5_data_param
    check_options(layer, param, ("source", "batch_size", "shuffle"))
    check_batch_size(layer, param.batch_size)
    if layer.HasField("transform_param"):
        raise DataError(f"layer {layer.name!r}: HDF5Data does not transform its data; remove transform_param")
    files = Hdf5Files(param.source, tuple(layer.top))
    shapes = {top: (param.batch_size, *shape) for top, shape in zip(layer.top, files.shapes, strict=True)}
    return shapes, files


def _read_paths(list_file: str) -> list[str]:
    try:
        lines = Path(list_file).read_text("utf-8-sig", "surrogateescape").splitlines()
    except OSError as error:
        raise DataError(f"{list_file}: {reason(error)}") from None
    if any("\0" in line for line in lines):
        raise DataError(f"{list_file}: not a list of files; HDF5Data takes a text file with a path a line")
    # the original parts at every blank, so that lists may have several names in a line
    paths = [path for line in lines for path in ([line.strip()] if Path(line.strip()).is_file() else line.split())]
    if not paths:
        raise DataError(f"{list_file}: it names no HDF5 files")
    return paths
