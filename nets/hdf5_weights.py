"""Weights as the original keeps them in HDF5: ``data/<layer>/<index of the blob>``, gradients under ``diff``.

Every layer has a group, with or without blobs. A blob that a layer shares with an earlier one is not
repeated. A layer name with slashes makes nested groups, which the original can neither write nor read.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from data.hdf5_file import reading, writing
from protos.errors import WeightsError
from protos.files import decoded

SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Blob:
    """A blob that is still in its file."""

    dataset: h5py.Dataset
    legacy: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, as exact as in the original: no axes are left out."""
        return tuple(self.dataset.shape)

    def read(self, out: NDArray[Any]) -> None:
        """Copy the values, in C order, to *out*: flat, and as long as the blob."""
        if out.size:
            self.dataset.read_direct(out.reshape(self.shape))


class Layer(NamedTuple):
    """A layer to write: its own blobs by index, and the gradients of all its blobs or None."""

    name: str
    blobs: Iterable[tuple[int, NDArray[np.float32]]]
    diffs: Iterable[NDArray[np.float32]] | None


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Mapping[str, Mapping[int, Blob]]]:
    """The layers in the file at *path*, which is open as long as the block runs.

    Raises WeightsError where it holds no weights, DataError where it is damaged.
    """
    with reading(path) as file:
        data = file.get("data")
        if not isinstance(data, h5py.Group):
            raise WeightsError(f"{os.fspath(path)}: no group 'data' in this HDF5 file: it holds no Caffe weights")
        layers: dict[str, dict[int, Blob]] = {}

        def visit(link: str | bytes, item: h5py.HLObject) -> None:
            name = decoded(link) if isinstance(link, bytes) else link  # bytes where it is no UTF-8
            if isinstance(item, h5py.Group):
                layers.setdefault(name, {})
                return
            layer, _, index = name.rpartition("/")
            if index.isdecimal() and isinstance(item, h5py.Dataset):  # what is neither is a type that has a name
                layers.setdefault(layer, {})[int(index)] = Blob(item)

        data.visititems(visit)
        yield {name: dict(sorted(blobs.items())) for name, blobs in layers.items()}


def write(path: str | os.PathLike[str], layers: Iterable[Layer]) -> None:
    """Write *layers* to *path*, whole or not at all. Raises CaffeError."""
    with writing(path) as file:
        data = file.create_group("data")
        for layer in layers:
            group = data.require_group(layer.name)
            for i, values in layer.blobs:
                group.create_dataset(str(i), data=values)
            if layer.diffs is not None:
                group = file.require_group("diff").require_group(layer.name)
                for i, values in enumerate(layer.diffs):
                    group.create_dataset(str(i), data=values)
