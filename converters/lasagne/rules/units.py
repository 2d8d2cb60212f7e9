"""Layers with weights: dense, convolved, embedded."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.lasagne import layers as ll
from converters.lasagne.rules.form import cut
from converters.lasagne.rules.registry import rule
from converters.lasagne.writer import Array, Blob, Writer
from protos.errors import NetError
from protos.schema import LayerParameter


def _turned(arrays: list[Array]) -> Array:
    return arrays[0].T


def _bias(layer: Any) -> list[Blob]:
    return [] if layer.b is None else [Blob.of(layer, "b")]


@rule(ll.DenseLayer)
def _dense(w: Writer, layer: Any, bottoms: list[str]) -> str:
    blobs = [Blob.of(layer, "W", join=_turned), *_bias(layer)]
    made = w.main(layer, "InnerProduct", bottoms, blobs)
    made.inner_product_param.num_output = layer.num_units
    made.inner_product_param.bias_term = layer.b is not None
    if layer.num_leading_axes != 1:
        made.inner_product_param.axis = layer.num_leading_axes
    return w.activate(layer, made.top[0])


def _convolved(w: Writer, layer: Any, kind: str, bottoms: list[str], filters: Blob, groups: int = 1) -> LayerParameter:
    """A convolution, and where biases differ from place to place a Bias layer; the last of them."""
    untied = layer.untie_biases and layer.b is not None
    blobs = [filters, *([] if untied else _bias(layer))]
    if untied:
        made = w.add(kind, w.name(layer), bottoms, w.free(f"{w.name(layer)}_conv"), blobs)
    else:
        made = w.main(layer, kind, bottoms, blobs)
    p = made.convolution_param
    shape = filters.values.shape
    p.num_output = shape[0] if kind == "Convolution" else shape[1] * groups
    p.kernel_size.extend(shape[2:])
    p.bias_term = layer.b is not None and not untied
    if groups != 1:
        p.group = groups
    return made


def _untied(w: Writer, layer: Any, made: LayerParameter) -> str:
    if not (layer.untie_biases and layer.b is not None):
        return w.activate(layer, made.top[0])
    b = Blob.of(layer, "b")
    bias = w.add("Bias", w.free(f"{w.name(layer)}_bias"), [made.top[0]], w.linear_top(layer), [b])
    bias.bias_param.num_axes = b.values.ndim
    return w.activate(layer, bias.top[0])


@rule(ll.BaseConvLayer, ll.Conv1DLayer, ll.Conv2DLayer, ll.Conv3DLayer)
def _conv(w: Writer, layer: Any, bottoms: list[str]) -> str:
    filters = Blob.of(layer, "W", join=_flipped if layer.flip_filters else None)
    made = _convolved(w, layer, "Convolution", bottoms, filters, layer.num_groups)
    made.convolution_param.stride.extend(layer.stride)
    made.convolution_param.pad.extend(layer.borders())
    return _untied(w, layer, made)


def _flipped(arrays: list[Array]) -> Array:
    return np.flip(arrays[0], tuple(range(2, arrays[0].ndim)))


@rule(ll.TransposedConv2DLayer, ll.TransposedConv3DLayer)
def _transposed(w: Writer, layer: Any, bottoms: list[str]) -> str:
    filters = Blob.of(layer, "W", join=None if layer.flip_filters else _flipped)
    sizes = w.before(layer)[0][2:]
    if layer.output_size is not None and None in sizes:
        raise NetError(f"{layer}: output_size needs a fixed size of its input")
    if layer.output_size is not None and any(layer.extra(sizes)):
        return _transposed_to_size(w, layer, bottoms, filters, sizes)
    made = _convolved(w, layer, "Deconvolution", bottoms, filters, layer.num_groups)
    made.convolution_param.stride.extend(layer.stride)
    made.convolution_param.pad.extend(layer.borders())
    return _untied(w, layer, made)


def _transposed_to_size(w: Writer, layer: Any, bottoms: list[str], filters: Blob, sizes: Sequence[int]) -> str:
    """All that the transposed convolution reaches, cut in front, and cut or filled up with zeros behind; its biases."""
    name, shape = w.name(layer), filters.values.shape
    made = w.add("Deconvolution", name, bottoms, w.free(f"{name}_whole"), [filters])
    p = made.convolution_param
    p.num_output, p.bias_term = layer.num_filters, False
    p.kernel_size.extend(shape[2:])
    p.stride.extend(layer.stride)
    p.group = layer.num_groups
    top = made.top[0]
    whole = [(n - 1) * s + k for n, s, k in zip(sizes, layer.stride, shape[2:], strict=True)]
    ends = list(zip(whole, layer.borders(), layer.output_size, strict=True))
    for axis, (length, front, wanted) in enumerate(ends, 2):
        top = cut(w, f"{name}_cut", top, axis, length, range(front, min(length, front + wanted)))
    after = [max(0, front + wanted - length) for length, front, wanted in ends]
    last = w.linear_top(layer)
    if any(after):
        pad = w.add("ConstantPad", w.free(f"{name}_pad"), [top], last if layer.b is None else None)
        pad.constant_pad_param.before.extend([0] * (2 + len(after)))
        pad.constant_pad_param.after.extend([0, 0, *after])
        top = pad.top[0]
    elif layer.b is None:
        top = w.add("Split", w.free(f"{name}_split"), [top], last).top[0]
    if layer.b is not None:
        b = Blob.of(layer, "b")
        bias = w.add("Bias", w.free(f"{name}_bias"), [top], last, [b])
        bias.bias_param.num_axes = b.values.ndim
        top = last
    return w.activate(layer, top)


@rule(ll.DilatedConv2DLayer)
def _dilated(w: Writer, layer: Any, bottoms: list[str]) -> str:
    filters = Blob.of(layer, "W", join=lambda arrays: arrays[0].transpose(1, 0, 2, 3))
    made = _convolved(w, layer, "Convolution", bottoms, filters)
    made.convolution_param.dilation.extend(layer.dilation)
    return _untied(w, layer, made)


@rule(ll.NINLayer)
def _nin(w: Writer, layer: Any, bottoms: list[str]) -> str:
    axes = len(layer.input_shape) - 2
    if not axes:
        made = w.main(layer, "InnerProduct", bottoms, [Blob.of(layer, "W", join=_turned), *_bias(layer)])
        made.inner_product_param.num_output, made.inner_product_param.bias_term = layer.num_units, layer.b is not None
        return w.activate(layer, made.top[0])
    filters = Blob.of(layer, "W", join=lambda arrays: arrays[0].T.reshape(*arrays[0].T.shape, *[1] * axes))
    return _untied(w, layer, _convolved(w, layer, "Convolution", bottoms, filters))


@rule(ll.LocallyConnected2DLayer)
def _local(w: Writer, layer: Any, bottoms: list[str]) -> str:
    def join(arrays: list[Array]) -> Array:
        filters = arrays[0][:, None] if layer.channelwise else arrays[0]
        return filters[:, :, ::-1, ::-1] if layer.flip_filters else filters

    untied = layer.untie_biases and layer.b is not None
    blobs = [Blob.of(layer, "W", join=join), *([] if untied else _bias(layer))]
    made = w.main(layer, "LocallyConnected", bottoms, blobs) if not untied else w.add(
        "LocallyConnected", w.name(layer), bottoms, w.free(f"{w.name(layer)}_conv"), blobs)  # fmt: skip
    p = made.locally_connected_param
    p.num_output = layer.num_filters
    p.kernel_h, p.kernel_w = layer.filter_size
    p.channelwise, p.bias_term = layer.channelwise, len(blobs) == 2
    return _untied(w, layer, made)


@rule(ll.EmbeddingLayer)
def _embedding(w: Writer, layer: Any, bottoms: list[str]) -> str:
    made = w.main(layer, "Embed", bottoms, [Blob.of(layer, "W")])
    p = made.embed_param
    p.input_dim, p.num_output, p.bias_term = layer.input_size, layer.output_size, False
    return made.top[0]
