"""Local: a convolution whose weights differ from place to place, as a fork has it."""

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value
from nets.fillers import Filler
from nets.layer import LAYERS, Layer, Shape
from protos.errors import NetError
from protos.schema import LayerParameter


@LAYERS("Local")
class Local(Layer):
    """A correlation with zero padding whose weights differ from place to place.

    bottom: N x C x H x W; top: N x num_output x H' x W', H' = (H + 2 pad - kernel_size) // stride + 1.
    Options: num_output, kernel_size, stride (1), pad (0), bias_term (true), weight_filler, bias_filler (constant 0).
    Blobs: weight (num_output x 1 x C kernel_size^2 x H' W'), bias (1 x 1 x num_output x H' W').
    Source: caffe-windows' layer of this name.
    """

    message = "local_param"
    options = frozenset({"num_output", "kernel_size", "stride", "pad", "bias_term", "weight_filler", "bias_filler"})
    blob_names = ("weight", "bias")
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, count: int, bottom: Shape, kernel: int, stride: int, pad: int, weight: Filler, bias: Filler | None
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.pad = pad
        height, width = ((n + 2 * pad - kernel) // stride + 1 for n in bottom[2:])
        self.size = height, width
        self.add_blob("weight", (count, 1, bottom[1] * kernel**2, height * width), weight)
        self.add_blob("bias", None if bias is None else (1, 1, count, height * width), bias or Filler())

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, shape = proto.local_param, bottoms[0]
        if len(shape) != 4:
            raise NetError("its bottom needs 4 axes, N x C x H x W")
        if not p.num_output or not p.kernel_size or not p.stride:
            raise NetError("num_output, kernel_size and stride must be positive")
        if min(shape[2:]) < p.kernel_size:
            raise NetError(f"kernel_size {p.kernel_size} is larger than its image, {shape[2]}x{shape[3]}")
        bias = Filler.from_proto(p.bias_filler) if p.bias_term else None
        return cls(p.num_output, shape, p.kernel_size, p.stride, p.pad, Filler.from_proto(p.weight_filler), bias)

    def forward(self, x: Tensor) -> Tensor:
        seen = F.unfold(x, self.kernel, padding=self.pad, stride=self.stride)
        y = torch.einsum("nkp,mkp->nmp", seen, self.weight[:, 0].to(seen.dtype))
        y = y if self.bias is None else y + self.bias[0].to(y.dtype)
        return torch.unflatten(y, 2, self.size)

    def emit(self, g: Emitter, x: Value) -> Value:
        count, _, taps, _ = self.weight.shape
        each = torch.eye(taps, device="cpu").view(taps, -1, self.kernel, self.kernel)
        seen = g.op("Conv", x, g.constant(each, "each"), strides=[self.stride] * 2, pads=[self.pad] * 4)
        spread = g.op("Unsqueeze", seen, g.constant([1], "output"))
        products = g.op("Mul", spread, g.blob("weight", (count, taps, *self.size)))
        y = g.op("ReduceSum", products, axes=(2,), keepdims=0)
        return y if self.bias is None else g.op("Add", y, g.blob("bias", (count, *self.size)))
