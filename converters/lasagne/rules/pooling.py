"""Pooling and upscaling."""

from typing import Any

import numpy as np

from converters.lasagne import layers as ll
from converters.lasagne.rules.form import reshape
from converters.lasagne.rules.registry import rule
from converters.lasagne.theano.tensor import ops
from converters.lasagne.writer import Writer
from protos.errors import NetError


@rule(ll.Pool1DLayer, ll.Pool2DLayer, ll.Pool3DLayer)
def _pool(w: Writer, layer: Any, bottoms: list[str]) -> str:
    return _pooled(w, w.name(layer), bottoms, layer.mode, layer.pool_size, layer.stride, layer.pad, layer.ignore_border)


def _pooled(w: Writer, name: str, bottoms: list[str], mode: str, size: Any, stride: Any, pad: Any, whole: bool) -> str:
    """Caffe's Pooling where it has the windows: two axes, and max or the mean of whole windows."""
    caffe = len(size) == 2 and whole and mode in ("max", "average_inc_pad")
    if caffe and all(p < k for p, k in zip(pad, size, strict=True)):
        made = w.add("Pooling", name, bottoms)
        p = made.pooling_param
        p.pool = p.MAX if mode == "max" else p.AVE
        p.kernel_h, p.kernel_w = size
        p.stride_h, p.stride_w = stride
        p.pad_h, p.pad_w = pad
        p.round_mode = p.FLOOR
        return made.top[0]
    made = w.add("WindowPooling", name, bottoms)
    q = made.window_pooling_param
    methods = {"max": q.MAX, "average_inc_pad": q.AVE, "average_exc_pad": q.AVE_EXC_PAD, "sum": q.SUM}
    q.pool = methods[mode]
    q.kernel_size.extend(size)
    q.stride.extend(stride)
    q.pad.extend(pad)
    q.partial = not whole
    return made.top[0]


@rule(ll.GlobalPoolLayer)
def _global(w: Writer, layer: Any, bottoms: list[str]) -> str:
    name, modes = w.name(layer), {ops.mean: "average_inc_pad", ops.max_: "max", ops.sum_: "sum"}
    sizes = w.before(layer)[0][2:]
    if len(sizes) == 2 and layer.pool_function in (ops.mean, ops.max_):
        made = w.add("Pooling", w.free(f"{name}_pool"), bottoms)
        made.pooling_param.pool = made.pooling_param.AVE if layer.pool_function is ops.mean else made.pooling_param.MAX
        made.pooling_param.global_pooling = True
        return reshape(w, name, made.top[0], [0, -1])
    if layer.pool_function not in modes or None in sizes:
        raise NetError(f"{layer}: its pool_function must be T.mean, T.max or T.sum, and the size of its input fixed")
    flat = w.add("Reshape", w.free(f"{name}_flat"), bottoms)
    flat.reshape_param.shape.dim.extend([0, 0, -1])
    size = int(np.prod(sizes))
    pooled = _pooled(w, w.free(f"{name}_pool"), [flat.top[0]], modes[layer.pool_function], (size,), (size,), (0,), True)
    return reshape(w, name, pooled, [0, -1])


@rule(ll.FeaturePoolLayer)
def _maxout(w: Writer, layer: Any, bottoms: list[str]) -> str:
    modes = {ops.mean: "average_inc_pad", ops.max_: "max", ops.sum_: "sum"}
    axis, shape = layer.axis % len(layer.input_shape), w.before(layer)[0]
    if layer.pool_function not in modes or axis == 0 or None in shape[1:]:
        raise NetError(f"{layer}: its pool_function must be T.mean, T.max or T.sum, and the size of its input fixed")
    name, behind = w.name(layer), int(np.prod(shape[axis + 1 :]))
    split = reshape(w, w.free(f"{name}_split"), bottoms[0], [0, int(np.prod(shape[1:axis])), shape[axis], behind])
    size = (layer.pool_size, 1)
    pooled = _pooled(w, w.free(f"{name}_pool"), [split], modes[layer.pool_function], size, size, (0, 0), True)
    return reshape(w, name, pooled, [0, *w.shape(layer)[1:]])


@rule(ll.SpatialPyramidPoolingLayer)
def _pyramid(w: Writer, layer: Any, bottoms: list[str]) -> str:
    name, sizes = w.name(layer), w.before(layer)[0][2:]
    if None in sizes:
        raise NetError(f"{layer}: the size of its input must be fixed: name it in input_shapes")
    if layer.implementation == "kaiming" and any(s % n for s in sizes for n in layer.pool_dims):
        regions = w.main(layer, "RegionPooling", bottoms)
        regions.regions_param.pool = regions.regions_param.MAX if layer.mode == "max" else regions.regions_param.AVE
        regions.regions_param.regions.extend(layer.pool_dims)
        return regions.top[0]
    levels = []
    for n in layer.pool_dims:
        size, stride = [-(-s // n) for s in sizes], [s // n for s in sizes]
        top = _pooled(w, w.free(f"{name}_{n}x{n}"), bottoms, layer.mode, size, stride, (0, 0), True)
        levels.append(reshape(w, w.free(f"{name}_{n}x{n}_flat"), top, [0, 0, -1]))
    made = w.add("Concat", name, levels)
    made.concat_param.axis = 2
    return made.top[0]


@rule(ll.FeatureWTALayer)
def _winners(w: Writer, layer: Any, bottoms: list[str]) -> str:
    made = w.main(layer, "WinnerTakeAll", bottoms)
    made.winner_take_all_param.pool_size, made.winner_take_all_param.axis = layer.pool_size, layer.axis
    return made.top[0]


@rule(ll.Upscale1DLayer, ll.Upscale2DLayer, ll.Upscale3DLayer)
def _upscale(w: Writer, layer: Any, bottoms: list[str]) -> str:
    made = w.main(layer, "Upscale", bottoms)
    made.upscale_param.scale.extend(layer.scale_factor)
    made.upscale_param.dilate = layer.mode == "dilate"
    return made.top[0]
