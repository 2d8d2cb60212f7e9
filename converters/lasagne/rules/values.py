"""Normalisation, noise, biases, nonlinearities."""

from typing import Any

import numpy as np

from converters.lasagne import layers as ll
from converters.lasagne.rules.registry import rule
from converters.lasagne.writer import Blob, Writer, weights
from protos.errors import NetError


@rule(ll.BatchNormLayer)
def _batch_norm(w: Writer, layer: Any, bottoms: list[str]) -> str:
    if sorted(layer.axes) != [0, *range(2, len(layer.input_shape))]:
        return _scaled_by_averages(w, layer, bottoms)
    name, mean, inv_std = w.name(layer), weights(layer.mean), weights(layer.inv_std)
    variance = 1 / inv_std**2 - layer.epsilon
    alone = layer.beta is None and layer.gamma is None
    if w.training and not 0 < layer.alpha <= 1:
        raise NetError(f"{layer}: alpha {layer.alpha} leaves the averages as they are, which BatchNorm of Caffe cannot")
    # In training the divisor starts where it stays, so that a new figure weighs alpha from the first step on.
    divisor = 1 / layer.alpha if w.training else 1.0
    figures = [mean * divisor, variance * divisor, np.full(1, divisor)]
    made = w.add("BatchNorm", name, bottoms, name if alone else w.free(f"{name}_in"), figures)
    made.batch_norm_param.eps = layer.epsilon
    made.batch_norm_param.moving_average_fraction = 1 - layer.alpha
    if alone:
        return made.top[0]
    gamma = np.ones_like(mean) if layer.gamma is None else Blob.of(layer, "gamma")
    beta = [] if layer.beta is None else [Blob.of(layer, "beta")]
    scale = w.add("Scale", w.free(f"{name}_scale"), [made.top[0]], name, [gamma, *beta])
    scale.scale_param.bias_term = bool(beta)
    return scale.top[0]


def _scaled_by_averages(w: Writer, layer: Any, bottoms: list[str]) -> str:
    """Batch normalisation over other axes than Caffe's: with fixed averages it is a scale and a shift."""
    if w.training:
        raise NetError(f"{layer}: BatchNorm of Caffe normalises all axes but the second, not {layer.axes}")
    scale = weights(layer.inv_std) * (1 if layer.gamma is None else weights(layer.gamma))
    shift = (0 if layer.beta is None else weights(layer.beta)) - weights(layer.mean) * scale
    made = w.main(layer, "Scale", bottoms, [scale, shift])
    made.scale_param.axis, made.scale_param.num_axes = _span(layer, layer.axes)
    made.scale_param.bias_term = True
    return made.top[0]


@rule(ll.LocalResponseNormalization2DLayer)
def _lrn(w: Writer, layer: Any, bottoms: list[str]) -> str:
    made = w.main(layer, "LRN", bottoms)
    p = made.lrn_param
    p.local_size, p.alpha, p.beta, p.k = layer.n, layer.alpha * layer.n, layer.beta, layer.k
    return made.top[0]


@rule(ll.StandardizationLayer)
def _standardize(w: Writer, layer: Any, bottoms: list[str]) -> str:
    ndim = len(layer.input_shape)
    if layer.axes != tuple(range(layer.axes[0], ndim)):
        raise NetError(f"{layer}: its axes must be the last ones, not {layer.axes}")
    made = w.main(layer, "Standardize", bottoms)
    made.standardize_param.axis, made.standardize_param.eps = layer.axes[0], layer.epsilon
    return made.top[0]


@rule(ll.DropoutLayer)
def _dropout(w: Writer, layer: Any, bottoms: list[str]) -> str:
    if w.training and (layer.shared_axes or not layer.rescale):
        own = w.main(layer, "SharedDropout", bottoms)
        own.shared_dropout_param.dropout_ratio, own.shared_dropout_param.rescale = float(layer.p), layer.rescale
        own.shared_dropout_param.shared_axis.extend(axis % len(layer.input_shape) for axis in layer.shared_axes)
        return own.top[0]
    made = w.main(layer, "Dropout", bottoms)
    made.dropout_param.dropout_ratio = float(layer.p)
    return made.top[0]


@rule(ll.GaussianNoiseLayer)
def _noise(w: Writer, layer: Any, bottoms: list[str]) -> str:
    made = w.main(layer, "GaussianNoise", bottoms)
    made.gaussian_noise_layer_param.sigma = float(layer.sigma)
    return made.top[0]


def _span(layer: Any, shared: Any = None) -> tuple[int, int]:
    """The first axis along which a parameter differs, and how many there are. Raises NetError where they are apart."""
    own = [axis for axis in range(len(layer.input_shape)) if axis not in (shared or layer.shared_axes)]
    if own and own != list(range(own[0], own[-1] + 1)):
        raise NetError(f"{layer}: Caffe's Bias and Scale differ along neighbouring axes only, not {own}")
    return (own[0], len(own)) if own else (0, 0)


@rule(ll.BiasLayer)
def _bias(w: Writer, layer: Any, bottoms: list[str]) -> str:
    if layer.b is None:
        return w.add("Split", w.name(layer), bottoms).top[0]
    made = w.main(layer, "Bias", bottoms, [Blob.of(layer, "b")])
    made.bias_param.axis, made.bias_param.num_axes = _span(layer)
    return made.top[0]


@rule(ll.ScaleLayer)
def _scale(w: Writer, layer: Any, bottoms: list[str]) -> str:
    made = w.main(layer, "Scale", bottoms, [Blob.of(layer, "scales")])
    made.scale_param.axis, made.scale_param.num_axes = _span(layer)
    return made.top[0]


@rule(ll.ParametricRectifierLayer)
def _prelu(w: Writer, layer: Any, bottoms: list[str]) -> str:
    alpha = Blob.of(layer, "alpha")
    if alpha.values.ndim and _span(layer) != (1, 1):
        return _prelu_of_parts(w, layer, bottoms, alpha)
    made = w.main(layer, "PReLU", bottoms, [alpha])
    made.prelu_param.channel_shared = alpha.values.ndim == 0
    return made.top[0]


def _prelu_of_parts(w: Writer, layer: Any, bottoms: list[str], alpha: Blob) -> str:
    """relu(x) - alpha * relu(-x), where PReLU of Caffe has one slope a channel, or one for all."""
    name = w.name(layer)
    positive = w.add("ReLU", w.free(f"{name}_positive"), bottoms)
    turned = w.add("Power", w.free(f"{name}_turned"), bottoms)
    turned.power_param.scale = -1
    negative = w.add("ReLU", w.free(f"{name}_negative"), [turned.top[0]])
    scaled = w.add("Scale", w.free(f"{name}_scaled"), [negative.top[0]], None, [alpha])
    scaled.scale_param.axis, scaled.scale_param.num_axes = _span(layer)
    made = w.add("Eltwise", name, [positive.top[0], scaled.top[0]])
    made.eltwise_param.coeff.extend([1.0, -1.0])
    return made.top[0]


@rule(ll.RandomizedRectifierLayer)
def _rrelu(w: Writer, layer: Any, bottoms: list[str]) -> str:
    lower, upper = float(layer.lower), float(layer.upper)
    if w.training and lower != upper:
        own = w.main(layer, "RReLU", bottoms)
        own.rrelu_param.lower, own.rrelu_param.upper = lower, upper
        own.rrelu_param.shared_axis.extend(layer.shared_axes)
        return own.top[0]
    made = w.main(layer, "ReLU", bottoms)
    made.relu_param.negative_slope = (lower + upper) / 2
    return made.top[0]


@rule(ll.NonlinearityLayer)
def _nonlinearity(w: Writer, layer: Any, bottoms: list[str]) -> str:
    w.name(layer)
    top = w.activate(layer, bottoms[0])
    return top if top != bottoms[0] else w.add("Split", w.name(layer), bottoms).top[0]
