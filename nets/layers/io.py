"""Layers that write what passes: HDF5Output."""

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from data.hdf5_writer import Hdf5Writer
from nets.eager import eager
from nets.layer import LAYERS, Layer, Shape, shape_text
from protos.errors import NetError
from protos.schema import LayerParameter


@LAYERS("HDF5Output")
class HDF5Output(Layer):
    """Adds its bottoms to the data sets ``data`` and ``label`` of an HDF5 file. bottoms: N x any, N x any; no tops.

    The data sets have four axes, those that a bottom has not being 1. The file appears whole, with all batches (the
    original takes one only), on ``close()`` or at the end of the layer's life. Options: file_name (required).
    """

    differentiable = False
    message = "hdf5_output_param"
    options = frozenset({"file_name"})
    bottoms = (2, 2)
    tops = (0, 0)

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._writer: Hdf5Writer | None = None
        self._append = eager(HDF5Output.append)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.hdf5_output_param
        if not p.file_name:
            raise NetError("hdf5_output_param needs file_name")
        if bottoms[0][:1] != bottoms[1][:1]:
            raise NetError(f"its bottoms hold {shape_text(bottoms[0][:1])} and {shape_text(bottoms[1][:1])} items")
        if any(0 in shape[1:] or not 1 <= len(shape) <= 4 for shape in bottoms):
            raise NetError("its bottoms need 1 to 4 axes, and values in each item")
        return cls(Path(p.file_name))

    def forward(self, data: Tensor, label: Tensor) -> tuple[Tensor, ...]:
        if data.device.type != "meta":
            self._append(self, data, label)
        return ()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_writer": None, "_finish": None}  # a copy begins a file of its own

    def close(self) -> None:
        """Give the file its name; a further batch begins it anew."""
        if self._writer is not None:
            self._finish()
            self._writer = None

    def append(self, data: Tensor, label: Tensor) -> None:
        """Add a batch to the file."""
        if self._writer is None:
            self._writer = Hdf5Writer(self.path)
            self._finish = weakref.finalize(self, self._writer.__exit__, None, None, None)
        blobs = {"data": data, "label": label}
        try:
            self._writer.append({name: _four_axes(blob).detach().float().cpu().numpy() for name, blob in blobs.items()})
        except BaseException:  # the writer has given its file up
            self._writer = None
            raise


def _four_axes(blob: Tensor) -> Tensor:
    return blob.reshape(*blob.shape, *(1,) * (4 - blob.dim()))
