"""Python layers: the user's own class with setup, reshape, forward and backward on NumPy-like blobs.

They run the user's code, so a net with one loads only where the caller allows it. A module written for the original
says ``import caffe`` and derives from ``caffe.Layer``; where no such package is installed, a stand-in with that class
is put in its place.
"""

import importlib
import importlib.util
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from importlib.machinery import PathFinder
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets.eager import eager
from nets.fillers import ZERO
from nets.layer import LAYERS, Layer, Shape
from nets.layers.plain import once
from protos.errors import NetError
from protos.schema import TEST, TRAIN, LayerParameter


class Sized(ABC):
    """What has a ``shape``, of which scripts ask in the original's words."""

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """The sizes of all axes."""

    @property
    def count(self) -> int:
        """The number of values."""
        return prod(self.shape)

    def _legacy(self, axis: int) -> int:
        return self.shape[axis] if axis < len(self.shape) else 1

    @property
    def num(self) -> int:
        """The size of axis 0."""
        return self._legacy(0)

    @property
    def channels(self) -> int:
        """The size of axis 1."""
        return self._legacy(1)

    @property
    def height(self) -> int:
        """The size of axis 2."""
        return self._legacy(2)

    @property
    def width(self) -> int:
        """The size of axis 3."""
        return self._legacy(3)


class ArrayBlob(Sized):
    """A blob as a Python layer sees it: ``data`` and ``diff`` are float arrays of ``shape``."""

    def __init__(self, shape: Sequence[int] = ()) -> None:
        self.data: NDArray[Any] = np.zeros(tuple(shape), np.float32)
        self.diff: NDArray[Any] = np.zeros(tuple(shape), np.float32)

    def reshape(self, *shape: int) -> None:
        """Take another shape; the values are kept where their number stays the same, and zero otherwise."""
        if prod(shape) == self.data.size:
            self.data, self.diff = self.data.reshape(shape), self.diff.reshape(shape)
        else:
            self.data, self.diff = np.zeros(shape, self.data.dtype), np.zeros(shape, self.data.dtype)

    def put(self, values: Tensor) -> None:
        """Take a copy of *values*, and zeros as the gradient; in the arrays that there are, where they fit."""
        values = values.detach() if values.dtype == torch.float64 else values.detach().float()
        found = values.cpu().numpy()
        if found.shape == self.data.shape and found.dtype == self.data.dtype:
            np.copyto(self.data, found)
            self.diff.fill(0)
        else:
            self.data, self.diff = np.array(found), np.zeros_like(found)

    def put_gradient(self, gradient: Tensor) -> None:
        """Take a copy of *gradient*, and leave the values."""
        self.diff = np.array(gradient.to("cpu", torch.from_numpy(self.data).dtype).numpy())

    def take_type(self, dtype: torch.dtype) -> None:
        """Hold float64 where that is *dtype*, and float32 otherwise, as the original always does."""
        wanted = np.float64 if dtype == torch.float64 else np.float32
        if self.data.dtype != wanted:
            self.data, self.diff = self.data.astype(wanted), self.diff.astype(wanted)

    @property
    def shape(self) -> Shape:
        """The sizes of all axes."""
        return self.data.shape


class ArrayBlobs(list[ArrayBlob]):
    """The learnable blobs of a Python layer, which its ``setup`` adds."""

    def add_blob(self, *shape: int) -> ArrayBlob:
        """Add a blob of *shape*, zero at first."""
        self.append(ArrayBlob(shape))
        return self[-1]


class UserPhase(int):
    """``caffe.TRAIN`` or ``caffe.TEST``; as text it is the name, by which py-faster-rcnn's layers look up options."""

    def __str__(self) -> str:
        return "TRAIN" if int(self) == int(TRAIN) else "TEST"


class UserLayer:
    """What ``caffe.Layer`` is in the original: the base of the user's class."""

    type = "Python"
    param_str: str = ""
    phase: int = TEST
    blobs: ArrayBlobs

    @property
    def param_str_(self) -> str:
        """``param_str``, as it was called up to 2015."""
        return self.param_str

    def setup(self, bottom: list[ArrayBlob], top: list[ArrayBlob]) -> None:
        """Read ``param_str``, check the bottoms, add blobs; once."""

    def reshape(self, bottom: list[ArrayBlob], top: list[ArrayBlob]) -> None:
        """Give the tops their shapes; before each forward pass."""

    def forward(self, bottom: list[ArrayBlob], top: list[ArrayBlob]) -> None:
        """Fill ``top[i].data``."""
        raise NotImplementedError("it has no forward")

    def backward(self, top: list[ArrayBlob], propagate_down: list[bool], bottom: list[ArrayBlob]) -> None:
        """Fill ``bottom[i].diff`` from ``top[i].diff``."""
        raise NotImplementedError("it has no backward")


OWN = ("converters", "data", "nets", "protos")  # a user's modules may be called as this project's packages are


def _module(name: str) -> ModuleType:
    """The user's module *name*; one that is called as a package of this project is ``script_data`` and so on."""
    top = name.partition(".")[0]
    if top not in OWN:
        return importlib.import_module(name)
    own = f"script_{top}"
    if own not in sys.modules and importlib.util.find_spec(own) is None:
        here = Path(__file__).parents[2]
        folders = [folder for folder in sys.path if Path(folder).resolve() != here]
        spec = PathFinder.find_spec(top, folders)
        if spec is None or spec.loader is None:
            return importlib.import_module(name)
        spec.name = spec.loader.name = own  # type: ignore[attr-defined]  # of a loader of files
        sys.modules[own] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[own])
    return importlib.import_module(f"script_{name}")


def _user_class(module: str, name: str) -> type[UserLayer]:
    if "caffe" not in sys.modules and importlib.util.find_spec("caffe") is None:
        stand_in = ModuleType("caffe", "Stands in for the original where a Python layer imports it.")
        stand_in.Layer = UserLayer  # type: ignore[attr-defined]
        stand_in.TRAIN, stand_in.TEST = TRAIN, TEST  # type: ignore[attr-defined]
        sys.modules["caffe"] = stand_in
    try:
        return getattr(_module(module), name)  # type: ignore[no-any-return]
    except ImportError as error:
        own = error.name is None or f"{module}.".startswith(f"{error.name}.")
        remedy = "add its folder to PYTHONPATH" if own else "install it"
        raise NetError(f"its module '{module}' cannot be imported: {error}; {remedy}") from error
    except AttributeError as error:
        raise NetError(f"module '{module}' has no class '{name}'") from error


class UserError(NetError):
    """What the user's code raised, which is its cause."""


class _Call(torch.autograd.Function):
    """The user's forward and backward as one step of autograd."""

    @staticmethod
    def forward(ctx: Any, layer: "Python", *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.layer = layer
        ctx.tensors = tensors  # not saved: user code may have its own ways with their memory
        tops = layer.run_forward(tensors)
        ctx.diffs = [blob.diff.copy() if blob.diff.any() else None for blob in layer.bottom]
        return tops

    @staticmethod
    @once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *ctx.layer.run_backward(ctx.tensors, gradients, ctx.needs_input_grad[1:], ctx.diffs))


@LAYERS("Python")
class Python(Layer):
    """The user's class. bottoms and tops: what it says. Runs on the CPU; refused unless the caller allows it.

    Options: module, layer (the class), param_str, share_in_parallel (of no effect: each process has its own).
    Blobs: those its setup adds.
    """

    message = "python_param"
    options = frozenset({"module", "layer", "param_str", "share_in_parallel"})
    bottoms = (0, None)
    tops = (0, None)
    fp32 = True
    place: Tensor

    def __init__(self, module: str, layer: str, param_str: str, tops: int) -> None:
        super().__init__()
        self._run_user = eager(_Call.apply)
        self.user = _user_class(module, layer)()
        self.user.param_str = param_str
        self.user.blobs = ArrayBlobs()
        self.bottom: list[ArrayBlob] = []
        self.top = [ArrayBlob() for _ in range(tops)]
        self.register_buffer("place", torch.empty(0), persistent=False)  # it says on which device the tops belong

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        p = proto.python_param
        return () if p.module and p.layer else ("python_param needs module and layer",)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.python_param
        return cls(p.module, p.layer, p.param_str, len(proto.top))

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """What the user's setup and reshape say."""
        self.user.phase = UserPhase(TRAIN if self.training else TEST)
        self.bottom = [ArrayBlob(shape) for shape in bottoms]
        self._call(self.user.setup, self.bottom, self.top)
        self._call(self.user.reshape, self.bottom, self.top)
        self.blob_names = tuple(f"blob{i}" for i in range(len(self.user.blobs)))  # type: ignore[misc]  # the user's
        for name, blob in zip(self.blob_names, self.user.blobs, strict=True):
            self.add_blob(name, blob.shape, ZERO)
        return [blob.shape for blob in self.top]

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Take the values that the user's setup left in its blobs."""
        for parameter, blob in zip(self.blobs, self.user.blobs, strict=True):
            parameter.copy_(torch.from_numpy(blob.data))

    def forward(self, *xs: Tensor) -> tuple[Tensor, ...]:
        return self._run_user(self, *xs, *self.blobs)  # type: ignore[no-any-return]

    def run_forward(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The tops of *tensors*: the bottoms, then the blobs."""
        self._put(tensors)
        self.user.phase = UserPhase(TRAIN if self.training else TEST)
        like = tensors[0] if tensors else self.place
        for blob in self.top:
            blob.take_type(like.dtype)
        self._call(self.user.reshape, self.bottom, self.top)
        self._call(self.user.forward, self.bottom, self.top)
        self._keep_blobs()
        return tuple(torch.tensor(blob.data, dtype=like.dtype, device=like.device) for blob in self.top)

    def run_backward(
        self,
        tensors: Sequence[Tensor],
        gradients: Sequence[Tensor],
        needed: Sequence[bool],
        diffs: Sequence[NDArray[Any] | None],
    ) -> list[Tensor | None]:
        """The gradients of *tensors* from those of the tops; None where none is *needed*.

        *diffs* is what the user's forward left in those of the bottoms, which its backward may build on.
        """
        self._put(tensors)
        for blob, diff in zip(self.bottom, diffs, strict=True):
            if diff is not None:
                np.copyto(blob.diff, diff)
        for blob, gradient in zip(self.top, gradients, strict=True):
            blob.put_gradient(gradient)
        self._call(self.user.backward, self.top, list(needed[: len(self.bottom)]), self.bottom)
        blobs = [*self.bottom, *self.user.blobs]
        return [
            torch.tensor(blob.diff, dtype=tensor.dtype, device=tensor.device) if need else None
            for blob, tensor, need in zip(blobs, tensors, needed, strict=True)
        ]

    def _put(self, tensors: Sequence[Tensor]) -> None:
        for blob, tensor in zip([*self.bottom, *self.user.blobs], tensors, strict=True):
            blob.put(tensor)

    def _keep_blobs(self) -> None:
        """Let the parameters have what the user's forward wrote to its blobs, such as running means."""
        for parameter, blob in zip(self.blobs, self.user.blobs, strict=True):
            parameter.data.copy_(torch.from_numpy(blob.data))

    def _call(self, method: Any, *args: Any) -> None:
        try:
            method(*args)
        except Exception as error:  # the user's code may raise anything; the message names it
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise UserError(
                f"{type(self.user).__name__}.{method.__name__} raised {type(error).__name__}: {error}"
                f" ({Path(last.filename).name}, line {last.lineno})"
            ) from error
