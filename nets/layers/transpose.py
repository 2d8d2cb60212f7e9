"""Transpose: the axes in another order, as CTPN's fork spells it."""

from collections.abc import Sequence
from typing import Self

from nets.layer import LAYERS, Shape
from nets.layers.regions import Permute
from protos.errors import NetError
from protos.schema import LayerParameter


@LAYERS("Transpose")
class Transpose(Permute):
    """The axes in another order: axis i of the top is axis dim[i] of the bottom. bottom: any shape; top: its sizes in
    the order.

    Options: dim, all axes. Source: CTPN's layer of this name.
    """

    message = "transpose_param"
    options = frozenset({"dim"})

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        order, axes = list(proto.transpose_param.dim), len(bottoms[0])
        if sorted(order) != list(range(axes)):
            raise NetError(f"dim {order} must name the axes of its bottom, 0 to {axes - 1}, each once")
        return cls(tuple(order))
