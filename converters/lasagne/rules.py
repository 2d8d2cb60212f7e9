"""How each class of ``lasagne.layers`` is written as layers of a net; what has no meaning there is refused by name."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from converters.lasagne import layers as ll
from converters.lasagne.nonlinearities import identity, rectify, sigmoid, tanh
from converters.lasagne.theano.tensor import ops
from converters.lasagne.writer import Writer, weights
from protos.errors import NetError
from protos.schema import LayerParameter

Rule = Callable[[Writer, Any, list[str]], str]
RULES: dict[type, Rule] = {}


def rule(*kinds: type) -> Callable[[Rule], Rule]:
    """Register a function for these classes."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


def rule_of(layer: Any) -> Rule:
    """The rule for a layer's class, or for the one it inherits all computation from. Raises NetError for none."""
    for kind in type(layer).__mro__:
        if kind in RULES:
            return RULES[kind]
        if {"forward", "get_output_for", "convolve"} & set(vars(kind)):
            break
    raise NetError(f"{layer}: {type(layer).__name__} has no meaning in a net: keep it in Python, or build the part "
                   "behind it as a net of its own")  # fmt: skip


# ---- weights


@rule(ll.DenseLayer)
def _dense(w: Writer, layer: Any, bottoms: list[str]) -> str:
    blobs = [weights(layer.W).T] + ([] if layer.b is None else [weights(layer.b)])
    made = w.main(layer, "InnerProduct", bottoms, blobs)
    made.inner_product_param.num_output = layer.num_units
    made.inner_product_param.bias_term = layer.b is not None
    if layer.num_leading_axes != 1:
        made.inner_product_param.axis = layer.num_leading_axes
    return w.activate(layer, made.top[0])


def _convolved(w: Writer, layer: Any, kind: str, bottoms: list[str], filters: Any, groups: int = 1) -> LayerParameter:
    """A convolution, and where biases differ from place to place a Bias layer; the last of them."""
    untied = layer.untie_biases and layer.b is not None
    blobs = [filters] + ([] if layer.b is None or untied else [weights(layer.b)])
    if untied:
        made = w.add(kind, w.name(layer), bottoms, w.free(f"{w.name(layer)}_conv"), blobs)
    else:
        made = w.main(layer, kind, bottoms, blobs)
    p = made.convolution_param
    p.num_output = filters.shape[0] if kind == "Convolution" else filters.shape[1] * groups
    p.kernel_size.extend(filters.shape[2:])
    p.bias_term = layer.b is not None and not untied
    if groups != 1:
        p.group = groups
    return made


def _untied(w: Writer, layer: Any, made: LayerParameter) -> str:
    if not (layer.untie_biases and layer.b is not None):
        return w.activate(layer, made.top[0])
    b = weights(layer.b)
    bias = w.add("Bias", w.free(f"{w.name(layer)}_bias"), [made.top[0]], w.linear_top(layer), [b])
    bias.bias_param.num_axes = b.ndim
    return w.activate(layer, bias.top[0])


@rule(ll.BaseConvLayer, ll.Conv1DLayer, ll.Conv2DLayer, ll.Conv3DLayer)
def _conv(w: Writer, layer: Any, bottoms: list[str]) -> str:
    filters = weights(layer.W)
    if layer.flip_filters:
        filters = np.flip(filters, tuple(range(2, filters.ndim)))
    made = _convolved(w, layer, "Convolution", bottoms, filters, layer.num_groups)
    made.convolution_param.stride.extend(layer.stride)
    made.convolution_param.pad.extend(layer.borders())
    return _untied(w, layer, made)


@rule(ll.TransposedConv2DLayer, ll.TransposedConv3DLayer)
def _transposed(w: Writer, layer: Any, bottoms: list[str]) -> str:
    if None not in layer.input_shape[2:] and any(layer.extra(layer.input_shape[2:])):
        raise NetError(f"{layer}: Caffe's Deconvolution makes the smallest output that fits: leave out output_size, "
                       "and put a PadLayer behind it")  # fmt: skip
    filters = weights(layer.W)
    if not layer.flip_filters:
        filters = np.flip(filters, tuple(range(2, filters.ndim)))
    made = _convolved(w, layer, "Deconvolution", bottoms, filters, layer.num_groups)
    made.convolution_param.stride.extend(layer.stride)
    made.convolution_param.pad.extend(layer.borders())
    return _untied(w, layer, made)


@rule(ll.DilatedConv2DLayer)
def _dilated(w: Writer, layer: Any, bottoms: list[str]) -> str:
    filters = weights(layer.W).transpose(1, 0, 2, 3)
    filters = filters[:, :, ::-1, ::-1] if layer.flip_filters else filters
    made = _convolved(w, layer, "Convolution", bottoms, filters)
    made.convolution_param.dilation.extend(layer.dilation)
    return _untied(w, layer, made)


@rule(ll.NINLayer)
def _nin(w: Writer, layer: Any, bottoms: list[str]) -> str:
    matrix = weights(layer.W).T
    axes = len(layer.input_shape) - 2
    made = _convolved(w, layer, "Convolution", bottoms, matrix.reshape(*matrix.shape, *[1] * axes))
    return _untied(w, layer, made)


@rule(ll.LocallyConnected2DLayer)
def _local(w: Writer, layer: Any, bottoms: list[str]) -> str:
    filters = weights(layer.W)
    filters = filters[:, None] if layer.channelwise else filters
    filters = filters[:, :, ::-1, ::-1] if layer.flip_filters else filters
    untied = layer.untie_biases and layer.b is not None
    blobs = [filters] + ([] if layer.b is None or untied else [weights(layer.b)])
    made = w.main(layer, "LocallyConnected", bottoms, blobs) if not untied else w.add(
        "LocallyConnected", w.name(layer), bottoms, w.free(f"{w.name(layer)}_conv"), blobs)  # fmt: skip
    p = made.locally_connected_param
    p.num_output = layer.num_filters
    p.kernel_h, p.kernel_w = layer.filter_size
    p.channelwise, p.bias_term = layer.channelwise, len(blobs) == 2
    return _untied(w, layer, made)


@rule(ll.EmbeddingLayer)
def _embedding(w: Writer, layer: Any, bottoms: list[str]) -> str:
    made = w.main(layer, "Embed", bottoms, [weights(layer.W)])
    p = made.embed_param
    p.input_dim, p.num_output, p.bias_term = layer.input_size, layer.output_size, False
    return made.top[0]


# ---- pooling


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
    sizes = layer.input_shape[2:]
    if len(sizes) == 2 and layer.pool_function in (ops.mean, ops.max_):
        made = w.add("Pooling", w.free(f"{name}_pool"), bottoms)
        made.pooling_param.pool = made.pooling_param.AVE if layer.pool_function is ops.mean else made.pooling_param.MAX
        made.pooling_param.global_pooling = True
        return _reshape(w, name, made.top[0], [0, -1])
    if layer.pool_function not in modes or None in sizes:
        raise NetError(f"{layer}: its pool_function must be T.mean, T.max or T.sum, and the size of its input fixed")
    flat = w.add("Reshape", w.free(f"{name}_flat"), bottoms)
    flat.reshape_param.shape.dim.extend([0, 0, -1])
    size = int(np.prod(sizes))
    pooled = _pooled(w, w.free(f"{name}_pool"), [flat.top[0]], modes[layer.pool_function], (size,), (size,), (0,), True)
    return _reshape(w, name, pooled, [0, -1])


@rule(ll.FeaturePoolLayer)
def _maxout(w: Writer, layer: Any, bottoms: list[str]) -> str:
    modes = {ops.mean: "average_inc_pad", ops.max_: "max", ops.sum_: "sum"}
    axis, shape = layer.axis % len(layer.input_shape), layer.input_shape
    if layer.pool_function not in modes or axis == 0 or None in shape[1:]:
        raise NetError(f"{layer}: its pool_function must be T.mean, T.max or T.sum, and the size of its input fixed")
    name, behind = w.name(layer), int(np.prod(shape[axis + 1 :]))
    split = _reshape(w, w.free(f"{name}_split"), bottoms[0], [0, int(np.prod(shape[1:axis])), shape[axis], behind])
    size = (layer.pool_size, 1)
    pooled = _pooled(w, w.free(f"{name}_pool"), [split], modes[layer.pool_function], size, size, (0, 0), True)
    return _reshape(w, name, pooled, [0, *layer.output_shape[1:]])


@rule(ll.SpatialPyramidPoolingLayer)
def _pyramid(w: Writer, layer: Any, bottoms: list[str]) -> str:
    name, sizes = w.name(layer), layer.input_shape[2:]
    if None in sizes or (layer.implementation == "kaiming" and any(s % n for s in sizes for n in layer.pool_dims)):
        raise NetError(f"{layer}: the size of its input must be fixed, and for 'kaiming' divisible by pool_dims")
    levels = []
    for n in layer.pool_dims:
        size, stride = [-(-s // n) for s in sizes], [s // n for s in sizes]
        top = _pooled(w, w.free(f"{name}_{n}x{n}"), bottoms, layer.mode, size, stride, (0, 0), True)
        levels.append(_reshape(w, w.free(f"{name}_{n}x{n}_flat"), top, [0, 0, -1]))
    made = w.add("Concat", name, levels)
    made.concat_param.axis = 2
    return made.top[0]


@rule(ll.Upscale1DLayer, ll.Upscale2DLayer, ll.Upscale3DLayer)
def _upscale(w: Writer, layer: Any, bottoms: list[str]) -> str:
    made = w.main(layer, "Upscale", bottoms)
    made.upscale_param.scale.extend(layer.scale_factor)
    made.upscale_param.dilate = layer.mode == "dilate"
    return made.top[0]


# ---- normalisation, noise, biases


@rule(ll.BatchNormLayer)
def _batch_norm(w: Writer, layer: Any, bottoms: list[str]) -> str:
    ndim = len(layer.input_shape)
    if layer.axes != (0, *range(2, ndim)):
        raise NetError(f"{layer}: BatchNorm of Caffe normalises all axes but the second, not {layer.axes}")
    name, mean, inv_std = w.name(layer), weights(layer.mean), weights(layer.inv_std)
    variance = 1 / inv_std**2 - layer.epsilon
    alone = layer.beta is None and layer.gamma is None
    made = w.add("BatchNorm", name, bottoms, name if alone else w.free(f"{name}_in"), [mean, variance, np.ones(1)])
    made.batch_norm_param.eps = layer.epsilon
    made.batch_norm_param.moving_average_fraction = 1 - layer.alpha
    if alone:
        return made.top[0]
    gamma = np.ones_like(mean) if layer.gamma is None else weights(layer.gamma)
    beta = [] if layer.beta is None else [weights(layer.beta)]
    scale = w.add("Scale", w.free(f"{name}_scale"), [made.top[0]], name, [gamma, *beta])
    scale.scale_param.bias_term = bool(beta)
    if layer.gamma is None:
        scale.param.add(lr_mult=0)
    return scale.top[0]


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
        raise NetError(f"{layer}: Dropout of Caffe rescales and drops single values: "
                       "use DropoutLayer(p=...) without shared_axes, with rescale=True")  # fmt: skip
    made = w.main(layer, "Dropout", bottoms)
    made.dropout_param.dropout_ratio = float(layer.p)
    return made.top[0]


@rule(ll.GaussianNoiseLayer)
def _noise(w: Writer, layer: Any, bottoms: list[str]) -> str:
    made = w.main(layer, "GaussianNoise", bottoms)
    made.gaussian_noise_layer_param.sigma = float(layer.sigma)
    return made.top[0]


def _span(layer: Any) -> tuple[int, int]:
    """The first axis along which a parameter differs, and how many there are. Raises NetError where they are apart."""
    own = [axis for axis in range(len(layer.input_shape)) if axis not in layer.shared_axes]
    if own and own != list(range(own[0], own[-1] + 1)):
        raise NetError(f"{layer}: Caffe's Bias and Scale differ along neighbouring axes only, not {own}")
    return (own[0], len(own)) if own else (0, 0)


@rule(ll.BiasLayer)
def _bias(w: Writer, layer: Any, bottoms: list[str]) -> str:
    if layer.b is None:
        return w.add("Split", w.name(layer), bottoms).top[0]
    made = w.main(layer, "Bias", bottoms, [weights(layer.b)])
    made.bias_param.axis, made.bias_param.num_axes = _span(layer)
    return made.top[0]


@rule(ll.ScaleLayer)
def _scale(w: Writer, layer: Any, bottoms: list[str]) -> str:
    made = w.main(layer, "Scale", bottoms, [weights(layer.scales)])
    made.scale_param.axis, made.scale_param.num_axes = _span(layer)
    return made.top[0]


@rule(ll.ParametricRectifierLayer)
def _prelu(w: Writer, layer: Any, bottoms: list[str]) -> str:
    alpha = weights(layer.alpha)
    if alpha.ndim and _span(layer) != (1, 1):
        raise NetError(f"{layer}: PReLU of Caffe has one slope a channel, or one for all")
    made = w.main(layer, "PReLU", bottoms, [alpha])
    made.prelu_param.channel_shared = alpha.ndim == 0
    return made.top[0]


@rule(ll.RandomizedRectifierLayer)
def _rrelu(w: Writer, layer: Any, bottoms: list[str]) -> str:
    made = w.main(layer, "ReLU", bottoms)
    made.relu_param.negative_slope = (float(layer.lower) + float(layer.upper)) / 2
    return made.top[0]


@rule(ll.NonlinearityLayer)
def _nonlinearity(w: Writer, layer: Any, bottoms: list[str]) -> str:
    w.name(layer)
    top = w.activate(layer, bottoms[0])
    return top if top != bottoms[0] else w.add("Split", w.name(layer), bottoms).top[0]


# ---- form


def _reshape(w: Writer, name: str, bottom: str, dims: Sequence[int]) -> str:
    made = w.add("Reshape", name, [bottom])
    made.reshape_param.shape.dim.extend(dims)
    return made.top[0]


@rule(ll.FlattenLayer)
def _flatten(w: Writer, layer: Any, bottoms: list[str]) -> str:
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
            dims.append(layer.input_shape[size[0]])
        else:
            dims.append(size)
    if not all(isinstance(size, int) for size in dims):
        raise NetError(f"{layer}: the sizes of its shape {layer.shape} must be known: fix the sizes of the input")
    return _reshape(w, w.name(layer), bottoms[0], dims)


@rule(ll.DimshuffleLayer)
def _dimshuffle(w: Writer, layer: Any, bottoms: list[str]) -> str:
    kept = [axis for axis in layer.pattern if axis != "x"]
    if kept != sorted(kept) or None in layer.output_shape[1:] or (layer.pattern and layer.pattern[0] != 0):
        raise NetError(f"{layer}: a net keeps the order of its axes, and the batch in front; pattern {layer.pattern}")
    return _reshape(w, w.name(layer), bottoms[0], [0, *layer.output_shape[1:]])


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
    axis = layer.axis % len(layer.input_shape)
    size, name = layer.input_shape[axis], w.name(layer)
    one = isinstance(layer.slice, int)
    if size is None or (not one and layer.slice.step not in (None, 1)):
        raise NetError(f"{layer}: Slice of Caffe takes every value of an axis of fixed size, not {layer.slice}")
    taken = range(size)[layer.slice : layer.slice + 1 or None] if one else range(size)[layer.slice]
    points = [point for point in (taken.start, taken.stop) if 0 < point < size]
    part = w.free(f"{name}_part") if one else name
    if points:
        made = w.add("Slice", w.free(f"{name}_slice") if one else name, bottoms, part)
        made.slice_param.axis = axis
        made.slice_param.slice_point.extend(points)
        del made.top[:]
        ends = [0, *points]
        made.top.extend(part if start == taken.start else w.free(f"{name}_rest") for start in ends)
        rest = [top for top in made.top if top != part]
        silence = w.add("Silence", w.free(f"{name}_silence"), rest)
        del silence.top[:]
    else:
        w.add("Split", part, bottoms)
    return _reshape(w, name, part, [0, *layer.output_shape[1:]]) if one else part


# ---- merges


@rule(ll.ConcatLayer)
def _concat(w: Writer, layer: Any, bottoms: list[str]) -> str:
    _uncropped(layer)
    made = w.main(layer, "Concat", bottoms)
    made.concat_param.axis = layer.axis
    return made.top[0]


def _uncropped(layer: Any) -> None:
    if layer.cropping is not None and any(layer.cropping):
        raise NetError(f"{layer}: cropping has no place in a net: cut its inputs with SliceLayer")


@rule(ll.ElemwiseSumLayer, ll.ElemwiseMergeLayer)
def _elemwise(w: Writer, layer: Any, bottoms: list[str]) -> str:
    _uncropped(layer)
    made = w.main(layer, "Eltwise", bottoms)
    p = made.eltwise_param
    kinds = {ops.add: p.SUM, ops.mul: p.PROD, ops.maximum: p.MAX}
    if layer.merge_function not in kinds or len({tuple(shape) for shape in layer.input_shapes}) != 1:
        raise NetError(f"{layer}: Eltwise of Caffe knows T.add, T.mul and T.maximum of equal shapes")
    p.operation = kinds[layer.merge_function]
    coefficients = getattr(layer, "coeffs", [])
    if any(c != 1 for c in coefficients):
        p.coeff.extend(float(c) for c in coefficients)
    return made.top[0]


# ---- sequences


def _sequence(w: Writer, layer: Any, kind: str, bottoms: list[str], blobs: Sequence[Any]) -> LayerParameter:
    if w.training and layer.grad_clipping:
        raise NetError(f"{layer}: grad_clipping has no place in a net: clip_gradients of the solver clips all of them")
    if layer.places:
        raise NetError(f"{layer}: first states from a layer have no place in a net: give hid_init as values")
    made = w.add(kind, w.name(layer), bottoms, None, blobs)
    p = made.sequence_param
    p.num_output, p.backwards, p.last_only = layer.num_units, layer.backwards, layer.only_return_final
    if not layer.learn_init:
        for i in range(len(blobs)):
            made.param.add(lr_mult=0 if i == 3 else 1)
    return made


def _gates(layer: Any, names: Sequence[str]) -> list[Any]:
    for name in names:
        wanted = tanh if name in ("cell", "hidden_update") else sigmoid
        if getattr(layer, f"nonlinearity_{name}") is not wanted:
            raise NetError(f"{layer}: the nonlinearity of its {name} must be {wanted.__name__} in a net")
    parts = [[weights(getattr(layer, f"{kind}_{name}")) for name in names] for kind in ("W_in_to", "W_hid_to", "b")]
    return [np.concatenate([m.T for m in parts[0]]), np.concatenate([m.T for m in parts[1]]), np.concatenate(parts[2])]


def _first(layer: Any, *names: str) -> Any:
    if layer.places:
        return np.zeros((len(names), layer.num_units))
    return np.concatenate([weights(getattr(layer, name)) for name in names])


@rule(ll.GRULayer)
def _gru(w: Writer, layer: Any, bottoms: list[str]) -> str:
    blobs = [*_gates(layer, ("updategate", "resetgate", "hidden_update")), _first(layer, "hid_init")]
    return _sequence(w, layer, "GRU", bottoms, blobs).top[0]


@rule(ll.LSTMLayer)
def _lstm(w: Writer, layer: Any, bottoms: list[str]) -> str:
    if layer.nonlinearity is not tanh:
        raise NetError(f"{layer}: its nonlinearity must be tanh in a net")
    blobs = [*_gates(layer, ("ingate", "forgetgate", "cell", "outgate")), _first(layer, "hid_init", "cell_init")]
    seen = ("ingate", "forgetgate", "outgate")
    peepholes = [weights(getattr(layer, f"W_cell_to_{n}")) if layer.peepholes else np.zeros(layer.num_units) for n in seen]  # fmt: skip  # noqa: E501
    return _sequence(w, layer, "PeepholeLSTM", bottoms, [*blobs, np.stack(peepholes)]).top[0]


@rule(ll.RecurrentLayer)
def _rnn(w: Writer, layer: Any, bottoms: list[str]) -> str:
    bias = np.zeros(layer.num_units) if layer.b is None else weights(layer.b)
    blobs = [weights(layer.W_in_to_hid).T, weights(layer.W_hid_to_hid).T, bias, _first(layer, "hid_init")]
    made = _sequence(w, layer, "SimpleRNN", bottoms, blobs)
    p = made.sequence_param
    kinds = {rectify: p.RELU, tanh: p.TANH, sigmoid: p.SIGMOID, identity: p.LINEAR}
    if layer.nonlinearity not in kinds:
        raise NetError(f"{layer}: its nonlinearity must be rectify, tanh, sigmoid or linear in a net")
    p.activation = kinds[layer.nonlinearity]
    return made.top[0]
