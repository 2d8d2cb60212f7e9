"""Layers that are one matrix or one blob: InnerProduct, Embed, Parameter."""

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value, cast, reshaped
from nets.fillers import ZERO, Filler
from nets.layer import LAYERS, Layer, Shape, canonical_axis, check_indices, shape_text
from nets.layers.layout import led_back
from nets.layers.product import linear
from protos.errors import NetError
from protos.schema import LayerParameter


@LAYERS("InnerProduct")
class InnerProduct(Layer):
    """y = x W^T + b, with all axes of x from ``axis`` on as one. bottom: M... x K...; top: M... x num_output.

    Options: num_output, bias_term (true), weight_filler and bias_filler (constant 0), axis (1), transpose (false).
    Blobs: weight (num_output x K, or K x num_output with transpose), bias (num_output). torch's Linear takes the last
    axis alone.
    """

    message = "inner_product_param"
    options = frozenset({"num_output", "bias_term", "weight_filler", "bias_filler", "axis", "transpose"})
    hints = frozenset({"engine"})
    blob_names = ("weight", "bias")
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        inputs: int,
        num_output: int,
        bias_term: bool = True,
        axis: int = 1,
        transpose: bool = False,
        weight_filler: Filler = ZERO,
        bias_filler: Filler = ZERO,
    ) -> None:
        super().__init__()
        if num_output <= 0:
            raise NetError("num_output must be set and positive")
        self.axis = axis
        self.transpose = transpose
        self.add_blob("weight", (inputs, num_output) if transpose else (num_output, inputs), weight_filler)
        self.add_blob("bias", (num_output,) if bias_term else None, bias_filler)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.inner_product_param
        axis = canonical_axis(p.axis, len(bottoms[0]))
        inputs = torch.Size(bottoms[0][axis:]).numel()
        weight, bias = Filler.from_proto(p.weight_filler), Filler.from_proto(p.bias_filler)
        return cls(inputs, p.num_output, p.bias_term, axis, p.transpose, weight, bias)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][: self.axis], self.weight.shape[int(self.transpose)])]

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != self.axis + 1:
            x = led_back(x).flatten(self.axis)
        return linear(x, self.weight.t() if self.transpose else self.weight, self.bias)

    def emit(self, g: Emitter, x: Value) -> Value:
        if len(x.shape) != 2 or self.axis != 1:
            x = g.op("Flatten", x, axis=self.axis)
        bias = None if self.bias is None else g.blob("bias")
        y = g.op("Gemm", x, g.blob("weight"), bias, transB=None if self.transpose else 1)
        return y if self.axis == 1 else reshaped(g, y, g.tops[0])


@LAYERS("Embed")
class Embed(Layer):
    """y = W[x] + b: row x of W for each index x. bottom: any shape, whole numbers; top: the same x num_output.

    Options: input_dim (how many indices there are), num_output, bias_term (true), weight_filler and bias_filler
    (constant 0). Blobs: weight (input_dim x num_output), bias (num_output).
    """

    message = "embed_param"
    options = frozenset({"input_dim", "num_output", "bias_term", "weight_filler", "bias_filler"})
    labels = (0,)
    blob_names = ("weight", "bias")
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        input_dim: int,
        num_output: int,
        bias_term: bool = True,
        weight_filler: Filler = ZERO,
        bias_filler: Filler = ZERO,
    ) -> None:
        super().__init__()
        if input_dim <= 0 or num_output <= 0:
            raise NetError("input_dim and num_output must be set and positive")
        self.add_blob("weight", (input_dim, num_output), weight_filler)
        self.add_blob("bias", (num_output,) if bias_term else None, bias_filler)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.embed_param
        weight, bias = Filler.from_proto(p.weight_filler), Filler.from_proto(p.bias_filler)
        return cls(p.input_dim, p.num_output, p.bias_term, weight, bias)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0], self.weight.shape[1])]

    def forward(self, x: Tensor) -> Tensor:
        rows = x.long()
        check_indices(rows, self.weight.shape[0], "index {} is out of range: input_dim is {}")
        y = F.embedding(rows, self.weight)
        return y if self.bias is None else y + self.bias

    def emit(self, g: Emitter, x: Value) -> Value:
        y = g.op("Gather", g.blob("weight"), cast(g, x, "int64"))
        return y if self.bias is None else g.op("Add", y, g.blob("bias"))


@LAYERS("Parameter")
class Parameter(Layer):
    """A learnable blob as a top, without bottoms. top: shape. Options: shape. Blobs: weight (shape), zero at first.

    With iter_size above 1 it learns from the last pass alone, as in the original.
    """

    message = "parameter_param"
    options = frozenset({"shape"})
    bottoms = (0, 0)
    blob_names = ("weight",)
    weight: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        if any(size <= 0 for size in shape):
            raise NetError(f"shape {shape_text(shape)} must be positive")
        self.add_blob("weight", shape, ZERO)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        return cls(tuple(proto.parameter_param.shape.dim))

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [tuple(self.weight.shape)]

    def forward(self) -> Tensor:
        return self.weight

    def replaces(self, bottoms: Sequence[Shape]) -> Sequence[str]:
        return ("weight",)

    def emit(self, g: Emitter) -> Value:
        return g.blob("weight")
