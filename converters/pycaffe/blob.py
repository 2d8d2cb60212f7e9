"""Blobs as scripts of pycaffe see them: NumPy arrays that stand for what the net computes with."""

from collections.abc import Callable, Iterable
from math import prod
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Parameter

from nets.layer import Layer, Shape
from nets.layers.python import Sized
from protos.errors import CaffeError

Array = NDArray[np.float32]


class One(np.ndarray[Any, np.dtype[np.float32]]):
    """An array of one value with axes, which is also a number: ``float(loss)``, ``losses[i] = loss``.

    NumPy's own were up to 2.4.
    """

    __array_priority__ = -1.0

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __repr__(self) -> str:
        return repr(np.asarray(self))

    def __reduce__(self) -> Any:
        return np.asarray(self).__reduce__()

    def __array_wrap__(self, made: Any, context: Any = None, return_scalar: bool = False) -> Any:
        if return_scalar or not made.ndim:  # NumPy 1 does not say which it wants
            return made[()]
        return made.view(One) if made.size == 1 and made.ndim else np.asarray(made)


class Memory:
    """Values on a device and the array that a script has of them, which stays the same one while their shape does.

    On a CPU both are one memory. On a GPU the array is a copy, made when it is first asked for and brought back
    whenever the values are used.
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values.data  # with no count of versions: scripts write as they like
        self._array: Array | None = None

    @property
    def shape(self) -> Shape:
        """The sizes of all axes."""
        return tuple(self._values.shape)

    @property
    def _is_copied(self) -> bool:
        return self._values.device.type != "cpu"

    @property
    def is_shown(self) -> bool:
        """Whether a script has an array of the values."""
        return self._array is not None

    def array(self) -> Array:
        """The values, to read and to write."""
        if self._array is None:
            if any(step == 0 for step in self._values.stride()):
                self._values = self._values.clone(memory_format=torch.contiguous_format)  # one place for each value
            array = self._values.cpu().numpy()
            self._array = array.view(One) if array.size == 1 and array.ndim else array
        return self._array

    def values(self) -> Tensor:
        """The values on their device, with what was written to the array."""
        if self._array is not None and self._is_copied:
            self._values.copy_(torch.from_numpy(self._array))
        return self._values.data

    def put(self, values: Tensor) -> None:
        """Take other values; an array that was given out shows them where it has their shape."""
        if self._array is None or values.shape != self._values.shape:
            self._values, self._array = values.data, None
            return
        self._values.copy_(values.detach())
        if self._is_copied:
            np.copyto(self._array, self._values.cpu().numpy())


class Blob(Sized):
    """``data`` and ``diff`` are float32 arrays of ``shape``; what is written to them is what the net goes on with."""

    def __init__(self, values: Tensor) -> None:
        self.values = Memory(values)
        self._gradient = Memory(torch.zeros_like(values))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise CaffeError("a blob is not copied or pickled: copy its data and its diff")

    @property
    def gradient(self) -> Memory:
        """The memory of ``diff``, of the shape of ``data``."""
        if self._gradient.shape != self.shape:
            self._gradient = Memory(torch.zeros_like(self.values.values()))
        return self._gradient

    @property
    def data(self) -> Array:
        """The values."""
        return self.values.array()

    @property
    def diff(self) -> Array:
        """The gradient."""
        return self.gradient.array()

    @property
    def shape(self) -> Shape:
        """The sizes of all axes."""
        return self.values.shape

    def reshape(self, *shape: int) -> None:
        """Take another shape; the values are kept where their number stays the same, and zero otherwise."""
        values, sizes = self.values.values(), tuple(map(int, shape))
        if min(sizes, default=0) < 0:
            raise CaffeError(f"a blob cannot be of the shape {', '.join(map(str, shape))}")
        same = prod(sizes) == values.numel()
        self.values = Memory(values.reshape(sizes) if same else values.new_zeros(sizes))

    def tensor(self) -> Tensor:
        """What a layer computes with that takes this as a blob of its own."""
        self.values.array()  # from here on it stays in its place
        return Parameter(self.values.values())


class Learnable(Blob):
    """A blob of a layer, whose tensor is *tensor*: where it takes another shape, so does the layer's."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__(tensor)
        self._tensor = tensor

    def reshape(self, *shape: int) -> None:
        """Take another shape, as `Blob.reshape` does: the net computes with it, and saves it."""
        super().reshape(*shape)
        self._tensor.data, self._tensor.grad = self.values.values(), None

    def tensor(self) -> Tensor:
        """The layer's."""
        return self._tensor


class BlobVec(list[Blob]):
    """The learnable blobs of a *layer*, which takes those that are put in their places; or all blobs of a net.

    *changed* is called when the layer has another blob.
    """

    def __init__(
        self, blobs: Iterable[Blob] = (), layer: Layer | None = None, changed: Callable[[], object] = int
    ) -> None:
        super().__init__(blobs)
        self._layer = layer
        self._changed = changed

    def __setitem__(self, place: Any, blob: Any) -> None:
        """Let the layer compute with *blob*, which may be another layer's, too."""
        if not isinstance(blob, Blob):
            raise TypeError(f"a blob is needed, not {type(blob).__name__}: write its values to data[...]")
        if self._layer is not None:
            name, _ = self._layer.blob_items[place]
            _replace(self._layer, name, blob.tensor())
            self._changed()
        super().__setitem__(place, blob)

    def show(self, blobs: Iterable[Blob]) -> None:
        """Be *blobs*, which the layer has already."""
        super().__setitem__(slice(None), blobs)

    def add_blob(self, *shape: int) -> None:
        """Add a blob of *shape*, zero at first, which is saved with the layer's others."""
        added = Parameter(self[0].values.values().new_zeros(shape) if self else torch.zeros(shape))
        if self._layer is not None:
            name = f"blob{len(self)}"
            self._layer.register_parameter(name, added)
            self._layer.blob_names = (*self._layer.blob_names, name)  # type: ignore[misc]  # of this one
        self.append(Learnable(added))


def _replace(layer: Layer, name: str, tensor: Tensor) -> None:
    """Let *layer* have *tensor* as its blob *name*."""
    if name not in {**layer._parameters, **layer._buffers}:
        raise CaffeError(f"blob '{name}' is one that its layer shares with another: put the blob in the other's place")
    delattr(layer, name)
    if isinstance(tensor, Parameter):
        layer.register_parameter(name, tensor)
    else:
        layer.register_buffer(name, tensor)
