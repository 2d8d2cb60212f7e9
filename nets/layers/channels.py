"""Axpy, ShuffleChannel and Reorg: what forks of Caffe do with whole channels."""

from collections.abc import Iterable, Sequence
from typing import Self

import torch
from torch import Tensor

from nets.emitter import Emitter, Value, fixed
from nets.layer import LAYERS, Layer, Shape, not_in_place, shape_text
from nets.layers.layout import led_back
from nets.layers.plain import is_plain
from protos.errors import NetError
from protos.schema import LayerParameter


@LAYERS("Axpy")
class Axpy(Layer):
    """y = a x + b, with one a for each channel. bottoms: a (N x C, or N x C x 1 x 1), x and b (N x C x any, equal);
    top: as x.

    Source: SENet's layer of this name.
    """

    bottoms = (3, 3)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        a, x, b = bottoms
        if len(x) < 2 or a[:2] != x[:2] or any(size != 1 for size in a[2:]):
            wanted = f"{shape_text(x[:2])}, or that with axes of 1 behind it"
            raise NetError(f"its first bottom must be one factor for each channel of the second: {wanted}")
        if b != x:
            raise NetError("its second and third bottom must have one shape")
        return cls()

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [bottoms[1]]

    def forward(self, a: Tensor, x: Tensor, b: Tensor) -> Tensor:
        return torch.addcmul(b, a.reshape(a.shape[:2] + (1,) * (x.dim() - 2)), x)

    def emit(self, g: Emitter, a: Value, x: Value, b: Value) -> Value:
        more = len(x.shape) - len(a.shape)
        if more > 0:
            a = g.op("Unsqueeze", a, g.constant(list(range(len(a.shape), len(x.shape))), "axes"))
        if more < 0:
            a = g.op("Squeeze", a, g.constant(list(range(len(x.shape), len(a.shape))), "axes"))
        return g.op("Add", g.op("Mul", a, x), b)


@LAYERS("ShuffleChannel")
class ShuffleChannel(Layer):
    """The channels, as group rows of C / group, read by columns. bottom, top: N x C x any, equal.

    Options: group (1), a divisor of C. Source: ShuffleNet's layer of this name.
    """

    alike = True
    message = "shuffle_channel_param"
    options = frozenset({"group"})

    def __init__(self, channels: int, group: int) -> None:
        super().__init__()
        if group < 1 or channels % group:
            raise NetError(f"group {group} must divide the number of its channels, {channels}")
        self.group = group

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        return not_in_place(proto)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        if len(bottoms[0]) < 2:
            raise NetError("its bottom needs at least 2 axes, N x C")
        return cls(bottoms[0][1], proto.shuffle_channel_param.group)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4 and is_plain(x):  # in either layout
            return torch.channel_shuffle(x, self.group)
        return torch.unflatten(x, 1, (self.group, -1)).transpose(1, 2).flatten(1, 2)

    def emit(self, g: Emitter, x: Value) -> Value:
        (channels,) = fixed(x, [1])
        order = torch.arange(channels).view(self.group, -1).T.reshape(-1)
        return g.op("Gather", x, g.constant(order, "order"), axis=1)


@LAYERS("Reorg")
class Reorg(Layer):
    """Squares of stride x stride pixels become channels, or with ``reverse`` channels become squares.

    bottom: N x C x H x W; top: N x C stride^2 x H / stride x W / stride, reversed N x C / stride^2 x H stride x
    W stride. stride^2 divides C both ways: in Darknet's order the bottom is read as C / stride^2 channels of
    H stride x W stride, pixel (h stride + i, w stride + j) of channel c goes to (h, w) of channel
    (i stride + j) C / stride^2 + c, and these C channels of H x W are read as the top. Reversed, the channels go back
    to pixels in the same way. Options: stride, reverse (false).
    Source: the layer of this name for YOLO v2.
    """

    message = "reorg_param"
    options = frozenset({"stride", "reverse"})

    def __init__(self, stride: int, reverse: bool = False) -> None:
        super().__init__()
        self.stride = stride
        self.reverse = reverse

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        return not_in_place(proto)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, shape = proto.reorg_param, bottoms[0]
        if len(shape) != 4:
            raise NetError("its bottom needs 4 axes, N x C x H x W")
        if p.stride < 1:
            raise NetError("stride must be set and positive")
        if shape[1] % p.stride**2:
            raise NetError(f"stride {p.stride} squared must divide the number of its channels, {shape[1]}")
        if not p.reverse and (shape[2] % p.stride or shape[3] % p.stride):
            raise NetError(f"stride {p.stride} must divide the size of its image, {shape[2]}x{shape[3]}")
        return cls(p.stride, p.reverse)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][:1], *self._shapes(bottoms[0][1:])[2])]

    def _shapes(self, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """How the bottom is read, the order of its axes then, and the top, all without the batch."""
        s, (c, h, w) = self.stride, shape
        if self.reverse:
            return (s, s, c // s**2, h, w), (3, 4, 1, 5, 2), (c // s**2, h * s, w * s)
        return (c // s**2, h, s, w, s), (3, 5, 1, 2, 4), (c * s**2, h // s, w // s)

    def forward(self, x: Tensor) -> Tensor:
        read, order, top = self._shapes(x.shape[1:])
        return led_back(x).reshape(x.shape[0], *read).permute(0, *order).reshape(x.shape[0], *top)

    def emit(self, g: Emitter, x: Value) -> Value:
        read, order, top = self._shapes(fixed(x, (1, 2, 3)))
        parts = g.op("Reshape", x, g.constant([0, *read], "squares"))
        return g.op("Reshape", g.op("Transpose", parts, perm=[0, *order]), g.constant([0, *top], "shape"))
