"""Layers that move values, and merges."""

from collections.abc import Sequence
from typing import Any

from converters.lasagne import layers as ll
from converters.lasagne.rules.registry import rule
from converters.lasagne.theano.tensor import ops
from converters.lasagne.writer import Shape, Writer
from nets.aliases import ONE_DIFF
from protos.errors import NetError


def reshape(w: Writer, name: str, bottom: str, dims: Sequence[int]) -> str:
    """A Reshape of this *name*; its top."""
    made = w.add("Reshape", name, [bottom])
    made.reshape_param.shape.dim.extend(dims)
    return made.top[0]


@rule(ll.FlattenLayer)
def _flatten(w: Writer, layer: Any, bottoms: list[str]) -> str:
    maker = next((one for one in reversed(w.net.layer) if {*bottoms} & {*one.top} - {*one.bottom}), None)
    if maker is not None and maker.type in ONE_DIFF:  # a Flatten would keep the gradient from it
        return reshape(w, w.name(layer), bottoms[0], [*[0] * (layer.outdim - 1), -1])
    made = w.main(layer, "Flatten", bottoms)
    made.flatten_param.axis = layer.outdim - 1
    return made.top[0]


@rule(ll.ReshapeLayer)
def _reshaped(w: Writer, layer: Any, bottoms: list[str]) -> str:
    dims = []
    for place, size in enumerate(layer.shape):
        if isinstance(size, list) and size[0] == place:
            dims.append(0)
        elif isinstance(size, list):
            dims.append(w.before(layer)[0][size[0]])
        else:
            dims.append(size)
    if not all(isinstance(size, int) for size in dims):
        raise NetError(f"{layer}: the sizes of its shape {layer.shape} must be known: fix the sizes of the input")
    return reshape(w, w.name(layer), bottoms[0], dims)


@rule(ll.DimshuffleLayer)
def _dimshuffle(w: Writer, layer: Any, bottoms: list[str]) -> str:
    kept = [axis for axis in layer.pattern if axis != "x"]
    same = len(kept) == len(layer.pattern) == len(layer.input_shape)
    top, name = bottoms[0], w.name(layer)
    if kept != sorted(kept):
        made = w.add("Permute", name if same else w.free(f"{name}_permute"), [top])
        made.permute_param.order.extend(kept)
        top = made.top[0]
    if same:
        return top if kept != sorted(kept) else w.add("Split", name, [top]).top[0]
    dims = [-1 if axis == 0 else size for axis, size in zip(layer.pattern, w.shape(layer), strict=True)]
    if None in dims:
        raise NetError(f"{layer}: the sizes of its input must be fixed: name them in input_shapes")
    return reshape(w, name, top, dims)


@rule(ll.PadLayer)
def _pad(w: Writer, layer: Any, bottoms: list[str]) -> str:
    made = w.main(layer, "ConstantPad", bottoms)
    p = made.constant_pad_param
    pairs = [(0, 0)] * layer.batch_ndim + layer.borders(len(layer.input_shape))
    p.before.extend(pair[0] for pair in pairs)
    p.after.extend(pair[1] for pair in pairs)
    p.value = float(layer.val)
    return made.top[0]


@rule(ll.SliceLayer)
def _slice(w: Writer, layer: Any, bottoms: list[str]) -> str:
    shape, name = w.before(layer)[0], w.name(layer)
    axis = layer.axis % len(shape)
    if shape[axis] is None:
        raise NetError(f"{layer}: the size of axis {axis} of its input must be fixed: name it in input_shapes")
    if not isinstance(layer.slice, int):
        return cut(w, name, bottoms[0], axis, shape[axis], range(shape[axis])[layer.slice], name)
    place = range(shape[axis])[layer.slice]
    part = cut(w, f"{name}_part", bottoms[0], axis, shape[axis], range(place, place + 1))
    rest = w.shape(layer)
    return reshape(w, name, part, [0 if axis > 0 else rest[0], *rest[1:]])


def cut(w: Writer, stem: str, bottom: str, axis: int, size: int, taken: range, top: str | None = None) -> str:
    """The values *taken* of the *size* along an axis, as the blob *top* if that is named; the blob."""
    if taken == range(size):
        return bottom if top is None else w.add("Split", top, [bottom]).top[0]
    part = top or w.free(stem)
    if taken.step != 1:
        made = w.add("StridedSlice", part, [bottom])
        p = made.strided_slice_param
        p.axis, p.start, p.step = axis, taken.start, taken.step
        if taken.stop >= 0:
            p.stop = taken.stop
        return part
    points = [point for point in (taken.start, taken.stop) if 0 < point < size]
    made = w.add("Slice", w.free(f"{part}_slice"), [bottom], part)
    made.slice_param.axis = axis
    made.slice_param.slice_point.extend(points)
    del made.top[:]
    made.top.extend(part if start == taken.start else w.free(f"{part}_rest") for start in (0, *points))
    silence = w.add("Silence", w.free(f"{part}_silence"), [one for one in made.top if one != part])
    del silence.top[:]
    return part


@rule(ll.ConcatLayer)
def _concat(w: Writer, layer: Any, bottoms: list[str]) -> str:
    made_of, _ = _cropped(w, layer, bottoms)
    made = w.main(layer, "Concat", made_of)
    made.concat_param.axis = layer.axis
    return made.top[0]


def _cropped(w: Writer, layer: Any, bottoms: list[str]) -> tuple[list[str], list[Shape]]:
    """The inputs of a merge, cut as its cropping says, and their shapes."""
    shapes = w.before(layer)
    tops, modes = list(bottoms), list(layer.cropping or ())
    for axis, mode in enumerate(modes[: len(shapes[0])]):
        sizes = [shape[axis] for shape in shapes]
        if mode is None:
            continue
        if None in sizes:
            raise NetError(f"{layer}: to be cropped, its inputs must have fixed sizes: name them in input_shapes")
        least = min(sizes)
        for i, size in enumerate(sizes):
            first = {"lower": 0, "upper": size - least, "center": (size - least) // 2}[mode]
            tops[i] = cut(w, f"{w.name(layer)}_crop", tops[i], axis, size, range(first, first + least))
            shapes[i] = (*shapes[i][:axis], least, *shapes[i][axis + 1 :])
    return tops, shapes


def _widened(w: Writer, layer: Any, tops: list[str], shapes: list[Shape]) -> list[str]:
    """The inputs of an element-wise merge, those of size 1 repeated where others are larger."""
    found = list(tops)
    for i, shape in enumerate(shapes):
        for axis, (size, wanted) in enumerate(zip(shape, w.shape(layer), strict=True)):
            if size == 1 and wanted not in (1, None):
                made = w.add("Tile", w.free(f"{w.name(layer)}_tile"), [found[i]])
                made.tile_param.axis, made.tile_param.tiles = axis, wanted
                found[i] = made.top[0]
    return found


@rule(ll.ElemwiseSumLayer, ll.ElemwiseMergeLayer)
def _elemwise(w: Writer, layer: Any, bottoms: list[str]) -> str:
    made = w.main(layer, "Eltwise", _widened(w, layer, *_cropped(w, layer, bottoms)))
    p = made.eltwise_param
    kinds = {ops.add: p.SUM, ops.mul: p.PROD, ops.maximum: p.MAX, ops.sub: p.SUM}
    if layer.merge_function not in kinds:
        raise NetError(f"{layer}: Eltwise of Caffe knows T.add, T.sub, T.mul and T.maximum")
    p.operation = kinds[layer.merge_function]
    coefficients = [1, *[-1] * (len(bottoms) - 1)] if layer.merge_function is ops.sub else getattr(layer, "coeffs", [])
    if any(c != 1 for c in coefficients):
        p.coeff.extend(float(c) for c in coefficients)
    return made.top[0]
