"""Pad: a constant around a blob, as a fork spells it."""

from collections.abc import Sequence
from typing import Self

from nets.layer import LAYERS, Shape
from nets.layers.spatial import ConstantPad
from protos.errors import NetError
from protos.schema import LayerParameter


@LAYERS("Pad")
class Pad(ConstantPad):
    """``constant_values`` before and behind each axis. bottom: any shape; top: larger by the paddings.

    Options: paddings, two an axis, that before and that behind it, the first axes too; constant_values (0).
    """

    message = "pad_param"
    options = frozenset({"paddings", "constant_values"})

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        paddings, axes = list(proto.pad_param.paddings), len(bottoms[0])
        if len(paddings) != 2 * axes:
            raise NetError(f"paddings need {2 * axes} figures, two for each axis of its bottom, not {len(paddings)}")
        return cls(tuple(paddings[::2]), tuple(paddings[1::2]), proto.pad_param.constant_values)
