"""Layers that join blobs value by value: Eltwise, Scale, Bias."""

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Self

import torch
from torch import Tensor

from nets.emitter import Emitter, Value, times
from nets.fillers import ONE, ZERO, Filler
from nets.layer import LAYERS, Layer, Shape, canonical_axis, shape_text
from nets.layers.choice import larger
from protos.errors import NetError
from protos.schema import EltwiseParameter, LayerParameter


@LAYERS("Eltwise")
class Eltwise(Layer):
    """y = x1 * x2 * ..., c1 x1 + c2 x2 + ..., or max(x1, x2, ...). bottoms: 2 or more of one shape; top: the same.

    Options: operation (SUM; PROD, MAX), coeff (1 each; SUM only), stable_prod_grad (true; the product's gradient is
    always the stable one here). Where the maximum is tied the gradient goes whole to the later of the first two, to
    the earlier of all others, as in the original; torch's maximum divides it.
    """

    alike = True
    message = "eltwise_param"
    options = frozenset({"operation", "coeff", "stable_prod_grad"})
    hints = frozenset({"engine"})
    bottoms = (2, None)

    def __init__(self, operation: str = "SUM", coeff: Sequence[float] = ()) -> None:
        super().__init__()
        self.operation = operation
        self.coeff = tuple(coeff)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.eltwise_param
        if any(shape != bottoms[0] for shape in bottoms):
            raise NetError("its bottoms must have one shape")
        if p.coeff and p.operation == EltwiseParameter.PROD:
            raise NetError("coeff goes with the operation SUM, not PROD")
        if p.coeff and len(p.coeff) != len(bottoms):
            raise NetError(f"has {len(bottoms)} bottoms but {len(p.coeff)} coeff: give none, or one for each")
        operation = EltwiseParameter.EltwiseOp.Name(p.operation)
        if operation not in ("PROD", "SUM", "MAX"):
            raise NetError(f"operation {operation} is not supported")
        return cls(operation, p.coeff)

    def forward(self, *xs: Tensor) -> Tensor:
        if self.operation == "SUM":
            return self._sum(*xs)
        return _product(*xs) if self.operation == "PROD" else _maximum(*xs)

    def emit(self, g: Emitter, *xs: Value) -> Value:
        if self.operation == "PROD":
            return reduce(lambda y, x: g.op("Mul", y, x), xs)
        if self.operation == "MAX":
            return g.op("Max", *xs)
        if self.coeff == (1.0, -1.0):
            return g.op("Sub", *xs)
        terms = [times(g, x, c, "coeff") for x, c in zip(xs, self.coeff or (1.0,) * len(xs), strict=True)]
        return g.op("Add" if len(terms) == 2 else "Sum", *terms)

    def _sum(self, *xs: Tensor) -> Tensor:
        coeff = self.coeff or (1.0,) * len(xs)
        y = xs[0] if coeff[0] == 1 else xs[0] * coeff[0]
        for x, c in zip(xs[1:], coeff[1:], strict=True):
            y = torch.add(y, x, alpha=c)
        return y


def _product(*xs: Tensor) -> Tensor:
    y = xs[0]
    for x in xs[1:]:
        y = y * x
    return y


def _maximum(first: Tensor, second: Tensor, *others: Tensor) -> Tensor:
    y = larger(first, second)
    for x in others:
        y = larger(x, y)
    return y


class _Broadcast(Layer):
    """What Scale and Bias share: a blob or second bottom that lies along some axes of the first."""

    alike = True
    bottoms = (1, 2)

    def __init__(self, trailing: int) -> None:
        super().__init__()
        self.trailing = trailing

    def spread(self, learned: Tensor | None, given: Tensor | None) -> Tensor:
        """The *learned* blob, or the bottom *given* in its place, with axes of 1 behind it to line up with x."""
        blob = learned if given is None else given
        if blob is None:
            raise NetError("needs its second bottom")
        return blob.reshape(tuple(blob.shape) + (1,) * self.trailing)

    def emit_spread(self, g: Emitter, name: str, given: Value | None) -> Value:
        """The blob *name*, or the bottom *given* in its place, with axes of 1 behind it to line up with x."""
        if given is None:
            return g.blob(name, (*getattr(self, name).shape, *(1,) * self.trailing))
        if not self.trailing or not given.shape:
            return given
        axes = range(len(given.shape), len(given.shape) + self.trailing)
        return g.op("Unsqueeze", given, g.constant(list(axes), "axes"))


def _aligned(axis: int, num_axes: int, bottoms: Sequence[Shape]) -> tuple[Shape, int]:
    """The shape that lies along the first bottom from *axis* on, and how many axes follow it."""
    x = bottoms[0]
    if len(bottoms) == 2:
        shape = bottoms[1]
        start = canonical_axis(axis, len(x)) if shape else 0
        if x[start : start + len(shape)] != shape:
            raise NetError(f"its second bottom {shape_text(shape)} does not lie along the first from axis {start} on")
    else:
        start = canonical_axis(axis, len(x))
        end = len(x) if num_axes == -1 else start + num_axes
        if num_axes < -1 or end > len(x):
            raise NetError(f"num_axes {num_axes} from axis {start} on goes beyond the {len(x)} axes of its bottom")
        shape = x[start:end]
    return shape, len(x) - start - len(shape) if shape else 0


@LAYERS("Scale")
class Scale(_Broadcast):
    """y = w * x (+ b), with w and b along axes axis .. axis + num_axes of x; w is learned, or the second bottom.

    bottoms: x (any shape), and w if it is not learned (a run of x's sizes from axis on, or a scalar); top: as x.
    Options: axis (1), num_axes (1; -1: to the last, 0: one scalar), filler (constant 1), bias_term (false),
    bias_filler (constant 0). Blobs: weight (absent with two bottoms), bias.
    With iter_size above 1 and a batch of 1 the weight learns from the last pass alone, as in the original.
    """

    message = "scale_param"
    options = frozenset({"axis", "num_axes", "filler", "bias_term", "bias_filler"})
    blob_names = ("weight", "bias")
    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        shape: Shape,
        trailing: int,
        learned: bool = True,
        bias_term: bool = False,
        filler: Filler = ONE,
        bias_filler: Filler = ZERO,
    ) -> None:
        super().__init__(trailing)
        self.add_blob("weight", shape if learned else None, filler)
        self.add_blob("bias", shape if bias_term else None, bias_filler)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.scale_param
        shape, trailing = _aligned(p.axis, p.num_axes, bottoms)
        filler = Filler.from_proto(p.filler) if p.HasField("filler") else ONE
        return cls(shape, trailing, len(bottoms) == 1, p.bias_term, filler, Filler.from_proto(p.bias_filler))

    def scales_channels(self, channels: int, axes: int) -> bool:
        """Whether it has one learned factor for each of the *channels*, the second of *axes*."""
        return self.weight is not None and self.weight.shape == (channels,) and self.trailing == axes - 2

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        weight = self.spread(self.weight, scale)
        return x * weight if self.bias is None else torch.addcmul(self.spread(self.bias, None), x, weight)

    def replaces(self, bottoms: Sequence[Shape]) -> Sequence[str]:
        if self.weight is None:
            return ()
        ahead = bottoms[0][: len(bottoms[0]) - self.trailing - self.weight.dim()]
        behind = bottoms[0][len(bottoms[0]) - self.trailing :]
        return ("weight",) if prod(ahead) == 1 and (self.weight.numel() > 1 or prod(behind) == 1) else ()

    def emit(self, g: Emitter, x: Value, scale: Value | None = None) -> Value:
        y = g.op("Mul", x, self.emit_spread(g, "weight", scale))
        return y if self.bias is None else g.op("Add", y, self.emit_spread(g, "bias", None))


@LAYERS("Bias")
class Bias(_Broadcast):
    """y = x + b, with b along axes axis .. axis + num_axes of x; b is learned, or the second bottom.

    bottoms: x (any shape), and b if it is not learned (a run of x's sizes from axis on, or a scalar); top: as x.
    Options: axis (1), num_axes (1; -1: to the last, 0: one scalar), filler (constant 0). Blobs: bias (with one bottom).
    """

    message = "bias_param"
    options = frozenset({"axis", "num_axes", "filler"})
    blob_names = ("bias",)
    bias: Tensor | None

    def __init__(self, shape: Shape, trailing: int, learned: bool = True, filler: Filler = ZERO) -> None:
        super().__init__(trailing)
        self.add_blob("bias", shape if learned else None, filler)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.bias_param
        shape, trailing = _aligned(p.axis, p.num_axes, bottoms)
        return cls(shape, trailing, len(bottoms) == 1, Filler.from_proto(p.filler))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        return x + self.spread(self.bias, bias)

    def emit(self, g: Emitter, x: Value, bias: Value | None = None) -> Value:
        return g.op("Add", x, self.emit_spread(g, "bias", bias))
