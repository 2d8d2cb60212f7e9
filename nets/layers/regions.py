"""Permute, StridedSlice, WinnerTakeAll, RegionPooling, SharedDropout and RReLU, for Lasagne's nets; SpatialDropout."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from nets.emitter import Emitter, Value, fixed, reshaped
from nets.layer import LAYERS, Layer, Shape, canonical_axis
from protos.errors import NetError
from protos.schema import LayerParameter, RegionsParameter


@LAYERS("Permute")
class Permute(Layer):
    """The axes in another order: axis i of the top is axis order[i] of the bottom.

    bottom: any shape; top: its sizes in the order. Options: order; axes that it leaves out follow in their own order.
    Source: SSD's layer of this name.
    """

    message = "permute_param"
    options = frozenset({"order"})

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        self.order = order

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        order, axes = list(proto.permute_param.order), range(len(bottoms[0]))
        if len(set(order)) != len(order) or any(axis not in axes for axis in order):
            raise NetError(f"order {order} must name axes of its bottom, 0 to {len(axes) - 1}, each once")
        return cls((*order, *(axis for axis in axes if axis not in order)))

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [tuple(bottoms[0][axis] for axis in self.order)]

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order).contiguous()

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("Transpose", x, perm=list(self.order))


@LAYERS("StridedSlice")
class StridedSlice(Layer):
    """Every step-th part of the bottom along an axis, as Python's ``start:stop:step``; the step may be negative.

    bottom: any shape; top: shorter along the axis. Options: axis (1), start, stop (the ends), step (1).
    Source: this project, for Lasagne's SliceLayer; Caffe's Slice takes neighbours only.
    """

    message = "strided_slice_param"
    options = frozenset({"axis", "start", "stop", "step"})

    def __init__(self, axis: int, taken: range) -> None:
        super().__init__()
        self.axis = axis
        self.taken = taken

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.strided_slice_param
        axis = canonical_axis(p.axis, len(bottoms[0]))
        if p.step == 0:
            raise NetError("step must not be 0")
        start, stop = (getattr(p, name) if p.HasField(name) else None for name in ("start", "stop"))
        taken = range(bottoms[0][axis])[start : stop : p.step]
        if not taken:
            raise NetError(f"start {start}, stop {stop} and step {p.step} leave nothing of {bottoms[0][axis]}")
        return cls(axis, taken)

    def forward(self, x: Tensor) -> Tensor:
        taken = self.taken
        return x.index_select(self.axis, torch.arange(taken.start, taken.stop, taken.step, device=x.device))

    def emit(self, g: Emitter, x: Value) -> Value:
        taken = self.taken
        end = taken.stop if taken.stop >= 0 else -(2**31)
        figures = ((taken.start, "starts"), (end, "ends"), (self.axis, "axes"), (taken.step, "steps"))
        return g.op("Slice", x, *(g.constant([figure], name) for figure, name in figures))


@LAYERS("WinnerTakeAll")
class WinnerTakeAll(Layer):
    """The greatest of each group of pool_size neighbours along an axis stays, the others become 0; of a tie, the first.

    bottom, top: any shape, equal. Options: pool_size (a divisor of the axis' size), axis (1).
    Source: this project, for Lasagne's FeatureWTALayer.
    """

    message = "winner_take_all_param"
    options = frozenset({"pool_size", "axis"})

    def __init__(self, axis: int, pool_size: int) -> None:
        super().__init__()
        self.axis = axis
        self.pool_size = pool_size

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.winner_take_all_param
        axis = canonical_axis(p.axis, len(bottoms[0]))
        if p.pool_size < 1 or bottoms[0][axis] % p.pool_size:
            raise NetError(f"pool_size {p.pool_size} must divide the {bottoms[0][axis]} of axis {axis}")
        return cls(axis, p.pool_size)

    def _places(self, axes: int) -> list[int]:
        return [self.pool_size, *[1] * (axes - self.axis - 1)]

    def forward(self, x: Tensor) -> Tensor:
        groups = torch.unflatten(x, self.axis, (-1, self.pool_size))
        places = torch.arange(self.pool_size, device=x.device).reshape(self._places(x.ndim))
        return (groups * (places == groups.argmax(self.axis + 1, keepdim=True))).reshape(x.shape)

    def emit(self, g: Emitter, x: Value) -> Value:
        (size,) = fixed(x, [self.axis])
        parted = (*x.shape[: self.axis], size // self.pool_size, self.pool_size, *x.shape[self.axis + 1 :])
        groups = reshaped(g, x, parted)
        best = g.op("ArgMax", groups, axis=self.axis + 1, keepdims=1)
        places = g.constant(torch.arange(self.pool_size).reshape(self._places(len(x.shape))), "places")
        kept = g.op("Where", g.op("Equal", places, best), groups, g.constant(0.0, "zero"))
        kept.shape = parted
        return reshaped(g, kept, x.shape)


@LAYERS("RegionPooling")
class RegionPooling(Layer):
    """An image parted n x n times for each n of regions, each region pooled: row i is i H / n to (i + 1) H / n, with
    what they touch.

    bottom: N x C x H x W; top: N x C x the sum of all n^2. Options: pool (MAX, AVE), regions.
    Source: this project, for Lasagne's SpatialPyramidPoolingLayer (kaiming); Caffe's SPP has equal windows.
    """

    message = "regions_param"
    options = frozenset({"pool", "regions"})

    def __init__(self, method: str, regions: tuple[int, ...]) -> None:
        super().__init__()
        self.method = method
        self.regions = regions

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.regions_param
        if len(bottoms[0]) != 4 or not p.regions or not all(p.regions):
            raise NetError("its bottom must be N x C x H x W, and regions list positive numbers")
        return cls(RegionsParameter.Method.Name(p.pool), tuple(p.regions))

    def _cuts(self, sizes: Sequence[int]) -> list[tuple[int, int, int, int]]:
        """The first and last row, then column, of each region."""
        spans = [[[(i * size // n, -(-(i + 1) * size // n)) for i in range(n)] for size in sizes] for n in self.regions]
        return [(*row, *column) for rows, columns in spans for row in rows for column in columns]

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[:, :, a:b, c:d] for a, b, c, d in self._cuts(x.shape[2:])]
        return torch.stack([part.amax((2, 3)) if self.method == "MAX" else part.mean((2, 3)) for part in parts], 2)

    def emit(self, g: Emitter, x: Value) -> Value:
        found = []
        for a, b, c, d in self._cuts(fixed(x, (2, 3))):
            ends = g.constant([a, c], "starts"), g.constant([b, d], "ends"), g.constant([2, 3], "along")
            part = g.op("Slice", x, *ends)
            pooled = g.op("GlobalMaxPool" if self.method == "MAX" else "GlobalAveragePool", part)
            found.append(g.op("Squeeze", pooled, g.constant([3], "last")))
        return g.op("Concat", *found, axis=2)


def _spread(x: Tensor, shared: Sequence[int]) -> list[int]:
    """The shape of what is drawn for *x*: one value along the shared axes."""
    axes = {canonical_axis(axis, x.ndim) for axis in shared}
    return [1 if axis in axes else size for axis, size in enumerate(x.shape)]


@LAYERS("SharedDropout")
class SharedDropout(Layer):
    """In training y = x * mask / (1 - ratio), the mask one for all of ``shared_axis``; in testing x.

    bottom, top: any shape, equal. Options: dropout_ratio (0.5), rescale (true; false leaves out the division),
    shared_axis (none). Source: this project, for Lasagne's DropoutLayer.
    """

    alike = True
    phases = "TRAIN drops; TEST passes all"
    message = "shared_dropout_param"
    options = frozenset({"dropout_ratio", "rescale", "shared_axis"})

    def __init__(self, ratio: float = 0.5, rescale: bool = True, shared: tuple[int, ...] = ()) -> None:
        super().__init__()
        if not 0 <= ratio < 1:
            raise NetError(f"dropout_ratio must be at least 0 and below 1, not {ratio:g}")
        self.ratio = ratio
        self.rescale = rescale
        self.common = shared

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.shared_dropout_param
        return cls(p.dropout_ratio, p.rescale, tuple(canonical_axis(a, len(bottoms[0])) for a in p.shared_axis))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        mask = (torch.rand(_spread(x, self.common), device=x.device) >= self.ratio).to(x.dtype)
        return x * mask / (1 - self.ratio) if self.rescale else x * mask

    def emit(self, g: Emitter, x: Value) -> Value:
        return x


@LAYERS("SpatialDropout")
class SpatialDropout(SharedDropout):
    """In training y = x * mask / (1 - ratio), the mask 0 for whole channels of an item; in testing x.

    bottom, top: N x C x any, equal. torch's Dropout2d. Options: dropout_ratio (0.5), in spatial_dropout_param or in
    dropout_param. Source: Intel's fork and ENet's.
    """

    message = "spatial_dropout_param"
    options = frozenset({"dropout_ratio"})

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        if len(bottoms[0]) < 2:
            raise NetError("its bottom needs at least 2 axes, N x C")
        p = proto.dropout_param if proto.HasField("dropout_param") else proto.spatial_dropout_param
        return cls(p.dropout_ratio, shared=tuple(range(2, len(bottoms[0]))))


@LAYERS("RReLU")
class RReLU(Layer):
    """y = x where x > 0, a * x elsewhere, a drawn between lower and upper in training, their mean in testing.

    bottom, top: any shape, equal. Options: lower (0.3), upper (0.8), shared_axis (none; a is one for all of them).
    Source: this project, for Lasagne's RandomizedRectifierLayer.
    """

    alike = True
    phases = "TRAIN draws; TEST takes the mean"
    message = "rrelu_param"
    options = frozenset({"lower", "upper", "shared_axis"})

    def __init__(self, lower: float = 0.3, upper: float = 0.8, shared: tuple[int, ...] = ()) -> None:
        super().__init__()
        if lower > upper:
            raise NetError(f"lower {lower:g} is above upper {upper:g}")
        self.lower = lower
        self.upper = upper
        self.common = shared

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.rrelu_param
        return cls(p.lower, p.upper, tuple(canonical_axis(a, len(bottoms[0])) for a in p.shared_axis))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return torch.where(x > 0, x, x * ((self.lower + self.upper) / 2))
        slope = torch.empty(_spread(x, self.common), dtype=x.dtype, device=x.device)
        return torch.where(x > 0, x, x * slope.uniform_(self.lower, self.upper))

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("LeakyRelu", x, alpha=(self.lower + self.upper) / 2)
