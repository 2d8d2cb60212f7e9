"""SpatialTransformer: an image seen through an affine map."""

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value, fixed
from nets.layer import LAYERS, Layer, Shape
from protos.errors import NetError
from protos.schema import LayerParameter

NAMES = ("theta_1_1", "theta_1_2", "theta_1_3", "theta_2_1", "theta_2_2", "theta_2_3")


@LAYERS("SpatialTransformer")
class SpatialTransformer(Layer):
    """Pixel (i, j) of the top is what theta (2i/H' - 1, 2j/W' - 1, 1), two rows by three columns, points at.

    bottoms: N x C x H x W, and those of the six numbers theta, row by row, that are not given as options (N x 6 or
    fewer); top: N x C x H' x W'. Place (a, b) is pixel ((a + 1) H / 2, (b + 1) W / 2), the row first, between its
    neighbours, bilinear; outside there are zeros. torch's grid_sample, whose pixels are half a pixel apart from these.
    Options: output_H and output_W (the bottom's), to_compute_dU (true; false: the image takes no gradient), theta_1_1
    to theta_2_3; transform_type and sampler_type can only be affine and bilinear.
    Source: daerduoCarey's layer of this name.
    """

    message = "st_param"
    options = frozenset({"output_H", "output_W", "to_compute_dU", "transform_type", "sampler_type", *NAMES})
    bottoms = (2, 2)

    def __init__(self, size: tuple[int, int], given: Sequence[float | None], to_image: bool = True) -> None:
        """*given*: of each number of theta its value, None where it is the second bottom's."""
        super().__init__()
        self.size = size
        self.given = given
        self.to_image = to_image

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, (shape, theta) = proto.st_param, bottoms
        if len(shape) != 4:
            raise NetError("its first bottom needs 4 axes, N x C x H x W")
        if p.transform_type != "affine" or p.sampler_type != "bilinear":
            raise NetError("transform_type must be affine, and sampler_type bilinear")
        given = [getattr(p, name) if p.HasField(name) else None for name in NAMES]
        wanted = given.count(None)
        if theta[:1] != shape[:1] or torch.Size(theta[1:]).numel() != wanted:
            raise NetError(f"its second bottom needs {wanted} numbers for each item, six less those that are given")
        size = p.output_H if p.HasField("output_H") else shape[2], p.output_W if p.HasField("output_W") else shape[3]
        if min(size) < 1:
            raise NetError(f"output_H {size[0]} and output_W {size[1]} must be positive")
        return cls(size, given, p.to_compute_dU)

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        parts = iter(theta.flatten(1).unbind(1))
        numbers = [next(parts) if one is None else theta.new_full(theta.shape[:1], one) for one in self.given]
        matrix = torch.stack(numbers, 1).view(-1, 2, 3)
        rows, columns = (torch.arange(n, dtype=theta.dtype, device=theta.device) / n * 2 - 1 for n in self.size)
        grid = torch.stack((*torch.meshgrid(rows, columns, indexing="ij"), torch.ones_like(rows[:, None] * columns)), 2)
        places = grid.view(-1, 3) @ matrix.mT
        places = places.view(-1, *self.size, 2).flip(3) + self._half(x)
        return F.grid_sample(x if self.to_image else x.detach(), places, "bilinear", "zeros", align_corners=False)

    @staticmethod
    def _half(x: Tensor) -> Tensor:
        """Half a pixel, by how much the places of grid_sample are others."""
        return torch.stack((x.new_ones(()) / x.shape[3], x.new_ones(()) / x.shape[2]))

    def emit(self, g: Emitter, x: Value, theta: Value) -> Value:
        height, width = fixed(x, (2, 3))
        rows, columns = (torch.arange(n, device="cpu") / n * 2 - 1 for n in self.size)
        grid = torch.stack((*torch.meshgrid(rows, columns, indexing="ij"), torch.ones(self.size, device="cpu")), 0)
        spread = torch.zeros(self.given.count(None), 6, device="cpu")
        for i, place in enumerate(k for k, one in enumerate(self.given) if one is None):
            spread[i, place] = 1
        known = torch.tensor([one or 0.0 for one in self.given], device="cpu")
        flat = g.op("Reshape", theta, g.constant([-1, len(spread)], "numbers"))
        matrix = g.op("Add", g.op("MatMul", flat, g.constant(spread, "spread")), g.constant(known, "known"))
        matrix = g.op("Reshape", matrix, g.constant([-1, 2, 3], "matrix"))
        places = g.op("MatMul", matrix, g.constant(grid.reshape(3, -1), "grid"))  # N x 2 x places, the rows first
        turned = g.op("Gather", places, g.constant([1, 0], "turned"), axis=1)
        half = g.constant(torch.tensor([[1 / width], [1 / height]], device="cpu"), "half")
        last = g.op("Transpose", g.op("Add", turned, half), perm=[0, 2, 1])
        where = g.op("Reshape", last, g.constant([-1, *self.size, 2], "where"))
        return g.op("GridSample", x, where, mode="bilinear", padding_mode="zeros", align_corners=0)
