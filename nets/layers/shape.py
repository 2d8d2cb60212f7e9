"""Layers that move values and change none: Concat, Slice, Split, Flatten, Reshape, Tile, Crop, Reduction, ..."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import prod
from typing import Self

import torch
from torch import Tensor

from nets.emitter import Emitter, Value, cast, fixed, reshaped, times
from nets.layer import LAYERS, Layer, Shape, canonical_axis, check_indices, not_in_place, shape_text
from nets.layers.layout import led_back
from protos.errors import NetError
from protos.schema import LayerParameter, ReductionParameter


@LAYERS("Concat")
class Concat(Layer):
    """The bottoms one after the other along an axis. bottoms: 1 or more, equal in all other axes; top: the same there.

    Options: axis (1), concat_dim (its old name).
    """

    message = "concat_param"
    options = frozenset({"axis", "concat_dim"})
    hints = frozenset({"engine"})
    bottoms = (1, None)

    def __init__(self, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.concat_param
        if p.HasField("axis") and p.HasField("concat_dim"):
            raise NetError("give axis or concat_dim, not both")
        axis = canonical_axis(p.concat_dim if p.HasField("concat_dim") else p.axis, len(bottoms[0]))
        rest = [shape[:axis] + shape[axis + 1 :] for shape in bottoms]
        if any(len(shape) != len(bottoms[0]) for shape in bottoms) or any(shape != rest[0] for shape in rest):
            raise NetError(f"all its bottoms must agree in all axes but axis {axis}")
        return cls(axis)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [_resized(bottoms[0], self.axis, sum(shape[self.axis] for shape in bottoms))]

    def forward(self, *xs: Tensor) -> Tensor:
        return torch.cat(xs, self.axis)

    def emit(self, g: Emitter, *xs: Value) -> Value:
        return g.op("Concat", *xs, axis=self.axis) if len(xs) > 1 else xs[0]


@LAYERS("Slice")
class Slice(Layer):
    """The parts of the bottom along an axis, a top each: equal ones, or cut at slice_point. bottom: any shape;
    tops: the same but for the axis, whose sizes add up.

    Options: axis (1), slice_dim (its old name), slice_point (one fewer than tops, rising).
    """

    message = "slice_param"
    options = frozenset({"axis", "slice_dim", "slice_point"})
    tops = (1, None)

    def __init__(self, axis: int, tops: int, points: Sequence[int], size: int) -> None:
        super().__init__()
        self.axis = axis
        self.count = tops
        self.points = tuple(points)
        self.sizes = self._sizes(size)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, tops = proto.slice_param, len(proto.top)
        if p.HasField("axis") and p.HasField("slice_dim"):
            raise NetError("give axis or slice_dim, not both")
        axis = canonical_axis(p.slice_dim if p.HasField("slice_dim") else p.axis, len(bottoms[0]))
        if p.slice_point and len(p.slice_point) != tops - 1:
            raise NetError(f"has {tops} tops but {len(p.slice_point)} slice points: give one fewer than tops")
        return cls(axis, tops, p.slice_point, bottoms[0][axis])

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [_resized(bottoms[0], self.axis, size) for size in self._sizes(bottoms[0][self.axis])]

    def _sizes(self, size: int) -> list[int]:
        """The sizes of the tops for a bottom of this *size*."""
        if not self.points:
            if size % self.count:
                raise NetError(
                    f"axis {self.axis} of size {size} does not divide into {self.count} equal tops: give slice points"
                )
            return [size // self.count] * self.count
        sizes = [b - a for a, b in pairwise([0, *self.points, size])]
        if min(sizes) <= 0:
            raise NetError(f"slice points {list(self.points)} must rise, and stay below the {size} of axis {self.axis}")
        return sizes

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        size = x.shape[self.axis]
        return torch.split(x, self.sizes if size == sum(self.sizes) else self._sizes(size), self.axis)

    def emit(self, g: Emitter, x: Value) -> tuple[Value, ...]:
        if len(self.sizes) == 1:
            return (x,)
        if isinstance(x.shape[self.axis], int):
            return g.ops("Split", len(self.sizes), x, g.constant(self.sizes, "sizes"), axis=self.axis)
        if len(set(self.sizes)) > 1:
            fixed(x)
        return g.ops("Split", len(self.sizes), x, axis=self.axis)


@LAYERS("Split")
class Split(Layer):
    """The bottom again as each of its tops. bottom, tops: any shape, equal."""

    tops = (1, None)

    def __init__(self, tops: int) -> None:
        super().__init__()
        self.copies = tops

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        return cls(len(proto.top))

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [bottoms[0]] * self.copies

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x,) * self.copies

    def emit(self, g: Emitter, x: Value) -> tuple[Value, ...]:
        return (x,) * self.copies


@LAYERS("Silence")
class Silence(Layer):
    """Takes its bottoms, so that they are no outputs of the net. bottoms: 1 or more of any shapes; no tops."""

    bottoms = (1, None)
    tops = (0, 0)
    differentiable = False

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return []

    def forward(self, *xs: Tensor) -> tuple[Tensor, ...]:
        return ()

    def emit(self, g: Emitter, *xs: Value) -> tuple[Value, ...]:
        return ()


@LAYERS("Flatten")
class Flatten(Layer):
    """The axes from axis to end_axis as one. bottom: any shape; top: as many values.

    Options: axis (1), end_axis (-1; the one in front of axis: a new axis of 1).
    """

    message = "flatten_param"
    options = frozenset({"axis", "end_axis"})

    def __init__(self, axis: int = 1, end_axis: int = -1) -> None:
        super().__init__()
        self.axis = axis
        self.end_axis = end_axis

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, dims = proto.flatten_param, len(bottoms[0])
        start, end = canonical_axis(p.axis, dims), canonical_axis(p.end_axis, dims)
        if start > end + 1:
            raise NetError(f"axis {p.axis} lies behind end_axis {p.end_axis}")
        return cls(start, end)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        x = bottoms[0]
        return [(*x[: self.axis], prod(x[self.axis : self.end_axis + 1]), *x[self.end_axis + 1 :])]

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        return not_in_place(proto)

    def forward(self, x: Tensor) -> Tensor:
        x = led_back(x)
        return x.unsqueeze(self.axis) if self.end_axis < self.axis else x.flatten(self.axis, self.end_axis)

    def emit(self, g: Emitter, x: Value) -> Value:
        if self.axis == 1 and self.end_axis == len(x.shape) - 1:
            return g.op("Flatten", x)
        return reshaped(g, x, g.tops[0])


@LAYERS("Reshape")
class Reshape(Layer):
    """The same values in another shape, which replaces num_axes axes from axis on.

    bottom: any shape; top: as many values.
    Options: shape (0: the bottom's size of that axis, -1: what is left, at most once), axis (0), num_axes (-1: all).
    """

    message = "reshape_param"
    options = frozenset({"shape", "axis", "num_axes"})

    def __init__(self, dims: Sequence[int], axis: int = 0, num_axes: int = -1) -> None:
        super().__init__()
        if sum(dim == -1 for dim in dims) > 1 or any(dim < -1 for dim in dims):
            raise NetError(f"shape {list(dims)} may have one -1, and nothing below it")
        self.dims = tuple(dims)
        self.axis = axis
        self.num_axes = num_axes
        self._last: tuple[Sequence[int], Shape] | None = None

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, dims = proto.reshape_param, len(bottoms[0])
        axis = p.axis if p.axis >= 0 else dims + p.axis + 1
        if not 0 <= axis <= dims or p.num_axes < -1 or (p.num_axes >= 0 and axis + p.num_axes > dims):
            raise NetError(f"axis {p.axis} and num_axes {p.num_axes} go beyond the {dims} axes of its bottom")
        return cls(p.shape.dim, axis, p.num_axes)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [self._target(bottoms[0])]

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        return not_in_place(proto)

    def forward(self, x: Tensor) -> Tensor:
        if self._last is None or self._last[0] != x.shape:
            self._last = (x.shape, self._target(x.shape))
        return led_back(x).reshape(self._last[1])

    def _target(self, shape: Sequence[int]) -> Shape:
        end = len(shape) if self.num_axes == -1 else self.axis + self.num_axes
        copied = {self.axis + i for i, dim in enumerate(self.dims) if dim == 0}
        if copied and max(copied) >= len(shape):
            raise NetError(f"shape {list(self.dims)} copies an axis that its bottom does not have")
        # Copied axes cancel, so that what is left is known of an empty batch too.
        room = prod(shape[i] for i in range(self.axis, end) if i not in copied)
        known = prod(dim for dim in self.dims if dim > 0) * prod(shape[i] for i in copied if i >= end)
        if room % known if -1 in self.dims else room != known:
            raise NetError(f"shape {list(self.dims)} does not hold {prod(shape[self.axis : end])} values")
        sizes = (shape[self.axis + i] if dim == 0 else dim for i, dim in enumerate(self.dims))
        middle = [room // known if size == -1 else size for size in sizes]
        return (*shape[: self.axis], *middle, *shape[end:])

    def emit(self, g: Emitter, x: Value) -> Value:
        return reshaped(g, x, g.tops[0])


@LAYERS("Tile")
class Tile(Layer):
    """The bottom repeated along an axis. bottom: any shape; top: the axis times tiles. Options: tiles (required), axis
    (1). torch's tile takes a figure for each axis."""

    message = "tile_param"
    options = frozenset({"axis", "tiles"})
    hints = frozenset({"engine"})

    def __init__(self, tiles: int, axis: int = 1) -> None:
        super().__init__()
        if tiles < 1:
            raise NetError("tiles must be set and positive")
        self.tiles = tiles
        self.axis = axis

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.tile_param
        return cls(p.tiles, canonical_axis(p.axis, len(bottoms[0])))

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [_resized(bottoms[0], self.axis, self.tiles * bottoms[0][self.axis])]

    def forward(self, x: Tensor) -> Tensor:
        return led_back(x).repeat([self.tiles if i == self.axis else 1 for i in range(x.dim())])

    def emit(self, g: Emitter, x: Value) -> Value:
        repeats = [self.tiles if i == self.axis else 1 for i in range(len(x.shape))]
        return g.op("Tile", x, g.constant(repeats, "repeats"))


@LAYERS("Crop")
class Crop(Layer):
    """The first bottom cut to the second one's size in all axes from axis on, starting at offset.

    bottoms: x, and one of at least as many axes, of which only the sizes count; top: as x, and from axis on the other.
    Options: axis (2), offset (0 for all; one for all, or one for each of these axes).
    """

    message = "crop_param"
    options = frozenset({"axis", "offset"})
    bottoms = (2, 2)

    def __init__(self, axis: int, offsets: Sequence[int]) -> None:
        super().__init__()
        self.axis = axis
        self.offsets = tuple(offsets)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, (x, like) = proto.crop_param, bottoms
        axis = canonical_axis(p.axis, len(x))
        count = len(x) - axis
        if len(x) > len(like):
            raise NetError(f"its second bottom needs at least {len(x)} axes, as many as the first")
        if len(p.offset) not in (0, 1, count):
            raise NetError(f"has {len(p.offset)} offsets: give none, one, or one for each of the {count} cropped axes")
        offsets = list(p.offset) if len(p.offset) == count else (list(p.offset) or [0]) * count
        return cls(axis, offsets)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        x, like = bottoms
        self._check(x, like)
        return [x[: self.axis] + like[self.axis : len(x)]]

    def _check(self, x: Sequence[int], like: Sequence[int]) -> None:
        for i, offset in enumerate(self.offsets, self.axis):
            if offset + like[i] > x[i]:
                raise NetError(f"offset {offset} and size {like[i]} go beyond the {x[i]} of axis {i}")

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        sizes = like.shape
        self._check(x.shape, sizes)
        x = led_back(x)
        for i, offset in enumerate(self.offsets, self.axis):
            x = x.narrow(i, offset, sizes[i])
        return x

    def emit(self, g: Emitter, x: Value, like: Value) -> Value:
        axes = list(range(self.axis, len(x.shape)))
        sizes = like.shape[self.axis :]
        starts, along = g.constant(self.offsets, "offset"), g.constant(axes, "axes")
        if all(isinstance(size, int) for size in sizes):
            ends = g.constant([a + b for a, b in zip(self.offsets, fixed(like, axes), strict=True)], "end")
        else:
            size = g.op("Gather", g.op("Shape", like), along)
            ends = g.op("Add", size, starts) if any(self.offsets) else size
        return g.op("Slice", x, starts, ends, along)


@LAYERS("Reduction")
class Reduction(Layer):
    """coeff times the sum (SUM), sum of magnitudes (ASUM), of squares (SUMSQ) or mean (MEAN) of all axes from axis on.

    bottom: any shape; top: its axes before axis. Options: operation (SUM), axis (0), coeff (1).
    """

    message = "reduction_param"
    options = frozenset({"operation", "axis", "coeff"})
    fp32 = True

    def __init__(self, operation: str = "SUM", axis: int = 0, coeff: float = 1.0) -> None:
        super().__init__()
        if operation not in ("SUM", "ASUM", "SUMSQ", "MEAN"):
            raise NetError(f"operation {operation} is not supported")
        self.operation = operation
        self.axis = axis
        self.coeff = coeff

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.reduction_param
        operation = ReductionParameter.ReductionOp.Name(p.operation)
        return cls(operation, canonical_axis(p.axis, len(bottoms[0])), p.coeff)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [bottoms[0][: self.axis]]

    def forward(self, x: Tensor) -> Tensor:
        x, axes = led_back(x), tuple(range(self.axis, x.dim()))
        if self.operation == "MEAN":
            y = x.mean(axes)
        elif self.operation == "ASUM":
            y = x.abs().sum(axes)
        else:
            y = (x.square() if self.operation == "SUMSQ" else x).sum(axes)
        return y if self.coeff == 1 else y * self.coeff

    def emit(self, g: Emitter, x: Value) -> Value:
        kind = {"MEAN": "ReduceMean", "ASUM": "ReduceL1", "SUMSQ": "ReduceSumSquare", "SUM": "ReduceSum"}
        axes = list(range(self.axis, len(x.shape)))
        return times(g, g.op(kind[self.operation], x, axes=axes, keepdims=0), self.coeff, "coeff")


@LAYERS("BatchReindex")
class BatchReindex(Layer):
    """y[i] = x[index[i]]. bottoms: N x any, M (whole numbers below N); top: M x any."""

    bottoms = (2, 2)
    labels = (1,)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        if len(bottoms[1]) != 1:
            raise NetError("its second bottom, the indices, needs 1 axis")
        return cls()

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [bottoms[1] + bottoms[0][1:]]

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        rows = index.long()
        check_indices(rows, x.shape[0], "index {} is out of range: there are {} items")
        return led_back(x).index_select(0, rows)

    def emit(self, g: Emitter, x: Value, index: Value) -> Value:
        return g.op("Gather", x, cast(g, index, "int64"), axis=0)


@LAYERS("Filter")
class Filter(Layer):
    """The items of its bottoms for which the last bottom, the selector, is not 0.

    bottoms: any number of N x any, then N (or N x 1 x ...); tops: as many without the last, M x any, M <= N.
    """

    open_axis = 0
    bottoms = (2, None)
    tops = (1, None)
    labels = (-1,)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        selector = bottoms[-1]
        if len(proto.top) != len(bottoms) - 1:
            raise NetError(f"has {len(bottoms)} bottoms but {len(proto.top)} tops: one fewer is needed")
        if not selector or torch.Size(selector).numel() != selector[0]:
            raise NetError(f"its selector {shape_text(selector)} must have one value an item")
        if any(shape[:1] != selector[:1] for shape in bottoms):
            raise NetError("its bottoms must have the same number of items")
        return cls()

    def forward(self, *xs: Tensor) -> tuple[Tensor, ...]:
        chosen = xs[-1].reshape(-1).nonzero()[:, 0]
        return tuple(led_back(x).index_select(0, chosen) for x in xs[:-1])

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """The most that can be chosen; how many are shows only with values."""
        return list(bottoms[:-1])


def _resized(shape: Shape, axis: int, size: int) -> Shape:
    """*shape* with *size* in the place of its *axis*."""
    return (*shape[:axis], size, *shape[axis + 1 :])
