"""Squeeze: axes of one place go."""

from collections.abc import Iterable, Sequence
from typing import Self

import torch
from torch import Tensor

from nets.emitter import Emitter, Value
from nets.layer import LAYERS, Layer, Shape, canonical_axis, not_in_place
from protos.errors import NetError
from protos.schema import LayerParameter


@LAYERS("Squeeze")
class Squeeze(Layer):
    """The bottom without its axes of 1. bottom: any shape; top: as many values.

    Options: axis (none: all of them go), dim (another fork's name of it).
    """

    message = "squeeze_param"
    options = frozenset({"axis", "dim"})

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = axes

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        return not_in_place(proto)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, shape = proto.squeeze_param, bottoms[0]
        axes = {canonical_axis(axis, len(shape)) for axis in (*p.axis, *p.dim)}
        if wrong := [axis for axis in sorted(axes) if shape[axis] != 1]:
            raise NetError(f"axis {wrong[0]} has a size of {shape[wrong[0]]}: only an axis of 1 can go")
        return cls(tuple(sorted(axes or (axis for axis, size in enumerate(shape) if size == 1))))

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [tuple(size for axis, size in enumerate(bottoms[0]) if axis not in self.axes)]

    def forward(self, x: Tensor) -> Tensor:
        return torch.squeeze(x, self.axes)

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("Squeeze", x, g.constant(self.axes, "axes"))
