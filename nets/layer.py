"""The base of all layers, and the registry that maps Caffe's type names to them.

A layer is an ``nn.Module`` built from plain values. ``from_proto`` is the only place that reads protobuf. What
Caffe calls blobs are its parameters (learned by gradient) and buffers (kept by the layer itself), under the names in
``blob_names``, in Caffe's order and shape.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from nets.emitter import Emitted, Emitter
from nets.fillers import Filler
from nets.recording import is_recording, readable
from protos.errors import NetError
from protos.registry import Registry
from protos.schema import LayerParameter

Shape = tuple[int, ...]
Count = tuple[int, int | None]  # the least and the most; None: no upper bound

LAYERS: Registry[type["Layer"]] = Registry("layer type")


class Layer(nn.Module):
    """One Caffe layer: ``forward`` takes the bottoms and gives the top, or a tuple of tops.

    A subclass states as class attributes what the graph has to know before there is an instance:

    - ``message``: the field of LayerParameter with its options, "" for none;
    - ``options``: the fields of that message which it honours; ``hints``: those that only steer the original's choice
      of implementation and change no number. Any other field that is set to more than its default is refused;
    - ``bottoms``, ``tops``: how many it takes, ``(least, most)``;
    - ``blob_names``: its blobs in Caffe's order;
    - ``any_ones``: its blobs are read from files whatever their axes of 1, in which the forks that wrote them differ;
    - ``is_loss``: its first top has a loss weight of 1 by default, and a missing top is made up;
    - ``loss_options``: the fields of loss_param that it honours;
    - ``labels``: the indices of bottoms that take no gradient; ``differentiable``: whether any does;
    - ``fp32``: under autocast it computes in float32;
    - ``alike``: its one top has the shape of its first bottom;
    - ``open_axis``: the axis of its tops whose size shows only with values; ``top_shapes`` says the most there can be;
    - ``phases``: how TRAIN and TEST differ, for the table of layers;
    - ``rereads``: the original's backward pass reads its bottom or top again, see ``slope``;
    - ``reads_signs``: of those only the signs count;
    - ``rereads_itself``: working in place, it has itself overwritten what that pass reads, to another effect.

    ``carried`` are the tensors, without gradient, that a pass leaves to the next one; they belong to a solver's state.
    """

    message: ClassVar[str] = ""
    options: ClassVar[frozenset[str]] = frozenset()
    hints: ClassVar[frozenset[str]] = frozenset()
    bottoms: ClassVar[Count] = (1, 1)
    tops: ClassVar[Count] = (1, 1)
    blob_names: ClassVar[tuple[str, ...]] = ()
    any_ones: ClassVar[bool] = False
    loss_options: ClassVar[frozenset[str]] = frozenset()
    is_loss: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    open_axis: ClassVar[int | None] = None
    phases: ClassVar[str] = ""
    labels: ClassVar[tuple[int, ...]] = ()
    fp32: ClassVar[bool] = False
    alike: ClassVar[bool] = False
    rereads: ClassVar[bool] = False
    reads_signs: bool = False
    rereads_itself: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.fillers: dict[str, Filler] = {}
        self.carried: tuple[Tensor, ...] = ()

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        """The layer that *proto* describes, for bottoms of these shapes. Raises NetError where they do not fit."""
        return cls()

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        """Problems of *proto* that show without any shape, a line each."""
        return ()

    def likes_channels_last(self, x: Shape) -> bool:
        """Whether on a CPU it is faster where its bottom, of shape *x* (N x C x H x W), lies channels last."""
        return False

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        """dy/dx at each value, as the original works it out in its backward pass from the blobs x and y.

        Layers that ``rereads`` say define it. Where a later layer worked in place the original finds that layer's
        values in its own blobs, and nets have been trained with the gradient that comes of it.
        """
        raise NotImplementedError

    def gradient(self, x: Tensor, seen: Tensor, y: Tensor, upstream: Tensor) -> Tensor:
        """The gradient to its bottom *x*, from what the original then finds in its bottom's (*seen*) and top's place.

        Layers that ``rereads`` and whose gradient is no product with a slope define this instead.
        """
        return upstream * self.slope(seen, y)

    def absorbs(self, follower: "Layer", axes: int) -> bool:
        """Whether, given the blobs of *follower* as further bottoms, it makes what *follower* would make of its top.

        *axes*: how many there are to its bottom.
        """
        return False

    def replaces(self, bottoms: Sequence[Shape]) -> Sequence[str]:
        """The blobs whose gradient each pass writes anew in the original, where it should be added to that before."""
        return ()

    def emit(self, g: Emitter, *bottoms: Any) -> Emitted:
        """Write the layer, as it works in testing, to *g* as ONNX nodes over the values *bottoms*; the tops' values.

        A loss gives its prediction instead (where it ``activates``). Raises NetError where ONNX has no words.
        """
        raise NetError("has no form in ONNX")

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """The shapes of the tops. Raises NetError where there are none for these *bottoms*.

        Where a subclass does not say them they are found by running the layer on meta tensors, the first of which takes
        more than a second: PyTorch loads its compiler for them.
        """
        if self.alike:
            return [bottoms[0]]
        tops = self(*[torch.empty(shape, device="meta") for shape in bottoms])
        return [tuple(top.shape) for top in (tops if isinstance(tops, tuple) else (tops,))]

    def add_blob(self, name: str, shape: Shape | None, filler: Filler) -> None:
        """Add a learnable blob *name*, which ``reset`` fills from *filler*; with *shape* None it is absent."""
        self.register_parameter(name, None if shape is None else nn.Parameter(torch.empty(shape)))
        self.fillers[name] = filler

    def add_statistic(self, name: str, shape: Shape) -> None:
        """Add a blob that the layer keeps by itself, outside the gradient; it starts at zero."""
        self.register_buffer(name, torch.empty(shape))
        self.fillers[name] = Filler("constant")

    def share_blob(self, name: str, owner: "Layer", owner_name: str) -> None:
        """Let blob *name* be the memory of *owner*'s blob *owner_name*, seen in this layer's own shape."""
        shape = getattr(self, name).shape
        del self._parameters[name]
        # A class of its own for this instance: a property is found before nn.Module looks for a parameter.
        view = property(lambda layer: getattr(layer.shared[name][0], layer.shared[name][1]).view(shape))
        self.__class__ = type(type(self).__name__, (type(self),), {name: view})
        self.shared = {**self.__dict__.get("shared", {}), name: (owner, owner_name)}

    @property
    def blob_items(self) -> list[tuple[str, Tensor]]:
        """``(name, tensor)`` for each blob that this instance has, in Caffe's order."""
        return [(name, blob) for name in self.blob_names if (blob := getattr(self, name, None)) is not None]

    @property
    def blobs(self) -> list[Tensor]:
        """The blobs that this instance has, in Caffe's order and shape."""
        return [blob for _, blob in self.blob_items]

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw all blobs anew from their fillers."""
        for name, blob in self.blob_items:
            self.fillers[name].fill(blob, generator)


def canonical_axis(axis: int, dims: int) -> int:
    """*axis* counted from the front: -1 is the last of *dims* axes. Raises NetError when there is no such axis.

    >>> canonical_axis(-1, 4)
    3
    """
    if not -dims <= axis < dims:
        raise NetError(f"axis {axis} does not exist in a blob of {dims} axes")
    return axis % dims


def not_in_place(proto: LayerParameter) -> Iterable[str]:
    """The problem of a layer that cannot overwrite its bottom, if it is told to."""
    return ("does not work in place: give its top a name of its own",) if set(proto.top) & set(proto.bottom) else ()


def check_indices(values: Tensor, size: int, message: str, ignore: int | None = None) -> None:
    """Raise NetError, *message* with the value and *size*, where *values* are not all 0 to *size* - 1, or *ignore*.

    A look at the values of a GPU would wait for it: there the device's own assertion speaks.
    """
    if is_recording():
        fits = (values >= 0) & (values < size)
        torch._assert_async((fits if ignore is None else fits | (values == ignore)).all(), "an index is out of range")
    if not readable(values):
        return
    low, high = (int(value) for value in torch.aminmax(values))
    if low >= 0 and high < size:
        return
    bad = (values < 0) | (values >= size)
    if ignore is not None:
        bad &= values != ignore
    if bad.any():
        raise NetError(message.format(int(values[bad][0]), size))


def shape_text(shape: Sequence[int]) -> str:
    """A shape as people write it.

    >>> shape_text((1, 3, 8, 8))
    '1x3x8x8'
    """
    return "x".join(map(str, shape)) or "scalar"
