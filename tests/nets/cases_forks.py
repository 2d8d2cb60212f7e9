"""Cases of the layer types of Caffe's forks: their formulas written out with NumPy, in double precision."""

import numpy as np

from tests.nets.quotients import layer_case, random, stated

# ---- convolutions with a filter for each channel


def _correlate(x, w, b, stride=1, dilation=1):
    """Filter o over channel o // (filters / channels) of an image that is padded already."""
    each = len(w) // x.shape[1]
    high, wide = (n - dilation * (k - 1) for n, k in zip(x.shape[2:], w.shape[2:], strict=True))
    y = np.zeros((len(x), len(w), -(-high // stride), -(-wide // stride))) + b[:, None, None]
    for i, j in np.ndindex(w.shape[2:]):
        rows, columns = (slice(d * dilation, d * dilation + n, stride) for d, n in ((i, high), (j, wide)))
        y += w[:, 0, i, j, None, None] * np.repeat(x, each, 1)[:, :, rows, columns]
    return y


def _convolutions(make_case):
    yield layer_case(
        make_case, "depthwise_convolution", "DepthwiseConvolution",
        "convolution_param { num_output: 6 group: 3 kernel_size: 3 stride: 2 pad: 1 }",
        lambda x, w, b: [_correlate(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), w, b, stride=2)],
        [random(2, 3, 5, 4)], [random(6, 1, 3, 3), random(6)],
    )  # fmt: skip
    yield layer_case(
        make_case, "convolution_depthwise", "ConvolutionDepthwise",
        "convolution_param { num_output: 2 kernel_h: 3 kernel_w: 2 dilation: 2 pad: 1 pad_b: 1 pad_r: 2 }",
        lambda x, w, b: [_correlate(np.pad(x, ((0, 0), (0, 0), (1, 2), (1, 3))), w, b, dilation=2)],
        [random(2, 2, 4, 3)], [random(2, 1, 3, 2), random(2)],
    )  # fmt: skip


# ---- single values and whole channels


def _darknet(shape, stride, forward):
    """Where each value of the top comes from: the loops of Darknet's reorg over an image of *shape*."""
    c, h, w = shape
    few, found = c // stride**2, np.zeros(c * h * w, int)
    for k, j, i in np.ndindex(c, h, w):
        square = k // few
        column, row = i * stride + square % stride, j * stride + square // stride
        one, other = i + w * (j + h * k), column + w * stride * (row + h * stride * (k % few))
        found[other if forward else one] = one if forward else other
    return found


def _channels(make_case):
    x = random(2, 3, 2, 2)
    yield layer_case(
        make_case, "relu6", "ReLU6", "relu6_param { negative_slope: 0.1 threshold: 0.5 }",
        lambda x: [np.where(x > 0, np.minimum(x, 0.5), 0.1 * x)], [x],
    )  # fmt: skip
    yield layer_case(
        make_case, "axpy", "Axpy", "", lambda a, x, b: [a * x + b], [random(2, 3, 1, 1), x, x[::-1]],
    )  # fmt: skip
    yield layer_case(
        make_case, "axpy_rows", "Axpy", "", lambda a, x, b: [a[:, :, None, None] * x + b], [random(2, 3), x, x[::-1]],
    )  # fmt: skip
    yield layer_case(
        make_case, "shuffle_channel", "ShuffleChannel", "shuffle_channel_param { group: 3 }",
        lambda x: [x[:, [0, 2, 4, 1, 3, 5]]], [random(2, 6, 2, 3)],
    )  # fmt: skip
    yield layer_case(
        make_case, "reorg", "Reorg", "reorg_param { stride: 2 }",
        lambda x: [x.reshape(2, -1)[:, _darknet((4, 2, 6), 2, False)].reshape(2, 16, 1, 3)], [random(2, 4, 2, 6)],
    )  # fmt: skip
    yield layer_case(
        make_case, "reorg_reverse", "Reorg", "reorg_param { stride: 2 reverse: true }",
        lambda x: [x.reshape(2, -1)[:, _darknet((8, 2, 3), 2, True)].reshape(2, 2, 4, 6)], [random(2, 8, 2, 3)],
    )  # fmt: skip


# ---- patches and sequences


def _alike(a, b, pad, kernel, reach, stride, step, alike):
    """The definition, value by value: the patch of a at each place beside those of b around it."""
    a, b = (np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))) for x in (a, b))
    r = reach // step
    high, wide = (-(-(n - 2 * reach - kernel + 1) // stride) for n in a.shape[2:])
    y = np.zeros((len(a), (2 * r + 1) ** 2, high, wide))
    for p, o, i, j in np.ndindex(2 * r + 1, 2 * r + 1, high, wide):
        row, column = i * stride + reach, j * stride + reach
        down, right = row + (p - r) * step, column + (o - r) * step
        patch = a[:, :, row : row + kernel, column : column + kernel]
        moved = b[:, :, down : down + kernel, right : right + kernel]
        y[:, p * (2 * r + 1) + o, i, j] = alike(patch, moved).mean((1, 2, 3))
    return y


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _lstm(x, weight, recurrent, bias, keep):
    """The outputs T x N x D, and what each step knows: gates, the cell before and behind it, and the output before."""
    h = c = np.zeros((x.shape[1], recurrent.shape[1]))
    known, outputs = [], []
    for step, kept in zip(x, keep, strict=True):
        h, c = kept[:, None] * h, kept[:, None] * c
        parts = np.split(step @ weight.T + h @ recurrent.T + bias, 4, 1)
        gates = [*map(_sigmoid, parts[:3]), np.tanh(parts[3])]
        known.append((gates, c, h))
        c = gates[1] * c + gates[0] * gates[3]
        h = gates[2] * np.tanh(c)
        known[-1] += (c,)
        outputs.append(h)
    return np.stack(outputs), known


def _clipped_back(x, weight, recurrent, bias, keep, flow, most):
    """The gradients of x and the blobs from that of the outputs; those of the gates' inputs are clipped at *most*.

    The recurrent weights' counts all outputs before a step, kept or not.
    """
    outputs, known = _lstm(x, weight, recurrent, bias, keep)
    dx, dw, dr, db = (np.zeros_like(value) for value in (x, weight, recurrent, bias))
    dh = dc = np.zeros_like(known[0][1])
    for t in reversed(range(len(x))):
        (i, f, o, g), before, _, c = known[t]
        dh = dh + flow[t]
        dc = dc + dh * o * (1 - np.tanh(c) ** 2)
        slopes = (dc * g * i * (1 - i), dc * before * f * (1 - f), dh * np.tanh(c) * o * (1 - o), dc * i * (1 - g**2))
        gates = np.clip(np.concatenate(slopes, 1), -most, most)
        dx[t], dw, db = gates @ weight, dw + gates.T @ x[t], db + gates.sum(0)
        dr = dr + gates.T @ outputs[t - 1] if t else dr
        dh, dc = keep[t][:, None] * (gates @ recurrent), keep[t][:, None] * dc * f
    return dx, dw, dr, db


def _patches_and_sequences(make_case):
    a, b = random(2, 2, 2, 5, 4)
    yield layer_case(
        make_case, "correlation", "Correlation",
        "correlation_param { pad: 3 kernel_size: 3 max_displacement: 3 stride_1: 2 stride_2: 2 }",
        lambda a, b: [_alike(a, b, 3, 3, 3, 2, 2, np.multiply)], [a, b],
    )  # fmt: skip
    yield layer_case(
        make_case, "correlation_subtract", "Correlation",
        "correlation_param { pad: 1 kernel_size: 1 max_displacement: 1 correlation_type: SUBTRACT }",
        lambda a, b: [_alike(a, b, 1, 1, 1, 1, 1, lambda a, b: np.abs(a - b))], [a, b], fixed=(0, 1),
    )  # fmt: skip
    x, blobs = random(4, 2, 3), [random(8, 3), random(8, 2), random(8)]
    through = np.vstack([np.zeros((1, 2)), np.ones((3, 2))])
    yield layer_case(
        make_case, "lstm_fork", "Lstm", "lstm_param { num_output: 2 }",
        lambda *values: [_lstm(*values, through)[0]], [x], blobs,
    )  # fmt: skip
    clip = np.array([[0, 0], [1, 1], [0, 1], [1, 0]])
    x, *blobs = stated([x, *blobs])
    flow = np.float32(random(4, 2, 2, seed=1)).astype(float)
    for name, option, most, lead in (
        ("clip", "batch_size: 2", np.inf, (8,)), ("clipping", "clipping_threshold: 0.05", 0.05, (4, 2)),
    ):  # fmt: skip
        gradients = _clipped_back(x, *blobs, clip, flow, most)
        yield make_case(
            f"lstm_fork_{name}",
            'layer { name: "layer" type: "Lstm" bottom: "x" bottom: "clip" top: "y" '
            f"lstm_param {{ num_output: 2 {option} }} }}",
            "TRAIN", bottom__x=x.reshape(*lead, 3), bottom__clip=clip.reshape(lead),
            top__y=_lstm(x, *blobs, clip)[0].reshape(*lead, 2), top_diff__y=flow.reshape(*lead, 2),
            bottom_diff__x=gradients[0].reshape(*lead, 3), **{f"param__layer__{i}": b for i, b in enumerate(blobs)},
            **{f"param_diff__layer__{i}": gradient for i, gradient in enumerate(gradients[1:])},
        )  # fmt: skip


# ---- normalisations


def _moments(x):
    mean = x.mean((0, 2, 3), keepdims=True)
    return mean, ((x - mean) ** 2).mean((0, 2, 3), keepdims=True)


def _learnt(x, scale, shift, eps=1e-9):
    mean, variance = _moments(x)
    return scale * (x - mean) / np.sqrt(variance + eps) + shift


def _nvidia_batch_norm(make_case):
    x, (mean, scale, bias), variance, one = random(2, 3, 2, 2), random(3, 3), np.array([0.5, 1, 2]), np.array([1])
    along = lambda blob: blob.reshape(1, 3, 1, 1)  # noqa: E731
    yield layer_case(
        make_case, "batchnorm_nvidia", "BatchNorm", "batch_norm_param { scale_bias: true eps: 0 }",
        lambda x, mean, variance, factor, scale, bias: [
            along(scale) * (x - along(mean)) / np.sqrt(along(variance) + 1e-5) + along(bias)
        ], [x], [mean, variance, one, scale, bias], fixed=(1, 2, 3),
    )  # fmt: skip
    new_mean, new_variance = (value.ravel() for value in _moments(*stated([x])))
    new_variance = new_variance * 8 / 7  # as cuDNN stores it, unbiased
    for name, factor, share in (("first", 0, 1), ("later", 1, 0.25)):
        old = stated([mean, variance])
        after = [(1 - share) * a + share * b for a, b in zip(old, (new_mean, new_variance), strict=True)]
        yield layer_case(
            make_case, f"batchnorm_nvidia_{name}", "BatchNorm",
            "batch_norm_param { scale_filler { value: 1 } moving_average_fraction: 0.75 eps: 0.01 }",
            lambda x, mean, variance, factor, scale, bias: [_learnt(x, along(scale), along(bias), 0.01)],
            [x], [mean, variance, np.array([factor]), scale, bias], fixed=(1, 2, 3), phase="TRAIN",
            more={f"param_after__layer__{i}": value for i, value in enumerate([*after, one])},
        )  # fmt: skip
    yield layer_case(
        make_case, "batchnorm_nvidia_single", "BatchNorm", "batch_norm_param { bias_filler { value: 0 } }",
        lambda x, mean, variance, factor, scale, bias: [x * 0 * scale + bias],
        [x[:1, :, 0, 0]], [mean, variance, one, scale, bias], fixed=(1, 2, 3), phase="TRAIN",
    )  # fmt: skip
    yield layer_case(
        make_case, "batchnorm_nvidia_own", "BatchNorm", "batch_norm_param { scale_bias: true use_global_stats: false }",
        lambda x, mean, variance, factor, scale, bias: [_learnt(x, along(scale), along(bias), 1e-5)],
        [x], [mean, variance, one, scale, bias], fixed=(1, 2, 3),
    )  # fmt: skip


def _normalisations(make_case):
    for name, options in (("", ""), ("_l2", 'normalize_param { normalize_type: "L2" }')):
        yield layer_case(
            make_case, f"normalize_bare{name}", "Normalize", options,
            lambda x: [x / np.sqrt(1e-10 + (x * x).sum((1, 2), keepdims=True))], [random(2, 3, 2)],
        )  # fmt: skip
    yield layer_case(
        make_case, "batchnorm_eps_after_sqrt", "BatchNorm", "batch_norm_param { add_eps_before_sqrt: false eps: 0.5 }",
        lambda x, mean, variance, factor: [(x - mean / factor) / (np.sqrt(variance / factor) + 0.5)],
        [random(2, 3)], [random(3), np.array([0, 1, 2]), np.array([4])], fixed=(1, 2, 3),
    )  # fmt: skip
    yield from _nvidia_batch_norm(make_case)
    x, (scale, shift, mean) = random(2, 3, 2, 2), random(3, 1, 3, 1, 1)
    variance = np.array([0.5, 1, 2]).reshape(1, 3, 1, 1)
    stored = lambda x, scale, shift, mean, variance: [scale * (x - mean) / np.sqrt(variance + 0.01) + shift]  # noqa: E731
    train = {"fixed": (3, 4), "phase": "TRAIN"}
    yield layer_case(
        make_case, "bn_learn", "BN", "bn_param { scale_filler { value: 1 } }",
        lambda x, scale, shift: [_learnt(x, scale, shift)], [x], [scale, shift],
    )  # fmt: skip
    (given,) = stated([x])
    yield make_case(
        "bn_learn_statistics",
        'layer { name: "layer" type: "BN" bottom: "x" top: "y" top: "mean" top: "variance" '
        "bn_param { scale_filler { value: 1 } } }",
        "TEST", bottom__x=given, param__layer__0=scale, param__layer__1=shift,
        top__y=_learnt(given, *stated([scale, shift])), top__mean=_moments(given)[0], top__variance=_moments(given)[1],
    )  # fmt: skip
    yield layer_case(
        make_case, "bn_inference", "BN", "bn_param { bn_mode: INFERENCE }",
        lambda x, scale, shift: [scale * x + shift], [x], [scale, shift],
    )  # fmt: skip
    after = [0.75 * old + 0.25 * new for old, new in zip(stated([mean, variance]), _moments(given), strict=True)]
    yield layer_case(
        make_case, "bn_moving_train", "BN", "bn_param { slope_filler { value: 1 } momentum: 0.75 eps: 0.01 }",
        lambda x, scale, shift, mean, variance: [_learnt(x, scale, shift, 0.01)], [x], [scale, shift, mean, variance],
        more={"param_after__layer__2": after[0], "param_after__layer__3": after[1]}, **train,
    )  # fmt: skip
    yield layer_case(
        make_case, "bn_moving", "BN", "bn_param { momentum: 0.75 eps: 0.01 }", stored, [x],
        [scale, shift, mean, variance], fixed=(3, 4),
    )  # fmt: skip
    yield layer_case(
        make_case, "bn_frozen", "BN", "bn_param { frozen: true eps: 0.01 } param { lr_mult: 1 }", stored, [x],
        [scale, shift, mean, variance], fixed=(1, 2, 3, 4), phase="TRAIN",
    )  # fmt: skip


def _weighted(x, label, weights, ignore):
    """The losses of all but the label *ignore*, weighted, by their number."""
    logs = x - np.log(np.exp(x).sum(1, keepdims=True))
    losses = [-weights[k] * logs[n, k, i, j] for (n, i, j), k in np.ndenumerate(label.astype(int)) if k != ignore]
    return np.asarray(sum(losses) / len(losses))


def _losses(make_case):
    label = np.array([[[0, 1], [2, 3]], [[1, 1], [3, 0]]])
    yield layer_case(
        make_case, "loss_softmax_classes", "SoftmaxWithLoss",
        "loss_param { weight_by_label_freqs: true ignore_label: 3 class_weighting: [0.5, 2, 1.5, 9] }",
        lambda x, label: [_weighted(x, label, [0.5, 2, 1.5, 9], 3)], [random(2, 4, 2, 2), label], fixed=(1,),
    )  # fmt: skip
    yield layer_case(
        make_case, "loss_softmax_classes_all", "SoftmaxWithLoss",
        "loss_param { weight_by_label_freqs: true class_weighting: 0.5 class_weighting: 2 class_weighting: 1 "
        "class_weighting: 3 }",
        lambda x, label: [_weighted(x, label, [0.5, 2, 1, 3], None)], [random(2, 4, 2, 2), label], fixed=(1,),
    )  # fmt: skip


def _by_location(d, plateau):
    squares = (d * d).mean(1)
    return np.sqrt(np.where(squares < plateau**2, 0, squares) + 0.5).sum()


def _distances(make_case):
    a, b, n = random(3, 2, 2, 3, 2)
    yield layer_case(
        make_case, "loss_l1_plateau", "L1Loss", "l1_loss_param { plateau: 0.3 }",
        lambda a, b: [np.asarray(np.where(np.abs(a - b) < 0.3, 0, np.abs(a - b)).sum() / 2)], [a, b],
    )  # fmt: skip
    yield layer_case(
        make_case, "loss_l1_location", "L1Loss",
        "l1_loss_param { l2_per_location: true l2_prescale_by_channels: true epsilon: 0.5 plateau: 0.6 }",
        lambda a, b: [np.asarray(_by_location(a - b, 0.6) / 2)], [a, b],
    )  # fmt: skip
    yield layer_case(
        make_case, "loss_l1_one", "L1Loss", "l1_loss_param { l2_per_location: true epsilon: 0.5 }",
        lambda a: [np.asarray(np.sqrt((a * a).sum(1) + 0.5).sum() / 2)], [a],
    )  # fmt: skip

    def triplet(a, p, n):
        near, far = (((a - x) ** 2).reshape(2, -1).sum(1) for x in (p, n))
        return [np.asarray(np.maximum(0, 0.5 + near - far).sum() / 4)]

    n[0] = a[0] + 0.1  # of two items one is too near, the other far enough
    n[1] = a[1] + 9
    yield layer_case(make_case, "loss_triplet", "TripletLoss", "triplet_loss_param { margin: 0.5 }", triplet, [a, b, n])


# ---- figures of segmentations


def _segmented(x, label, ignored):
    """Right, recall and overlap, counted pixel by pixel."""
    found = x.argmax(1)
    pairs = [(w, f) for w, f in zip(label.ravel(), found.ravel(), strict=True) if w not in ignored]
    classes = range(x.shape[1])
    right = [sum(w == f == k for w, f in pairs) for k in classes]
    labels, guesses = ([sum(pair[i] == k for pair in pairs) for k in classes] for i in (0, 1))
    recalls = [r / n for r, n in zip(right, labels, strict=True) if n]
    unions = [w + g - r for w, g, r in zip(labels, guesses, right, strict=True)]
    overlaps = [r / u if u else 1 for r, u in zip(right, unions, strict=True)]
    return [np.reshape([sum(right) / len(pairs), np.mean(recalls), np.mean(overlaps)], (1, 1, 1, 3))]


def _segmentations(make_case):
    x, label = random(2, 5, 3, 4), np.arange(24).reshape(2, 1, 3, 4) % 7 % 4
    x[:, 4] = x[:, 3] = -9  # nobody finds these; no label says 4
    for name, options, ignored in (("", "", ()), ("_ignored", "ignore_label: 0 ignore_label: 2", (0, 2))):
        yield layer_case(
            make_case, f"seg_accuracy{name}", "SegAccuracy", f"seg_accuracy_param {{ {options} }}",
            lambda x, label, ignored=ignored: _segmented(x, label, ignored), [x, label], fixed=(0, 1),
        )  # fmt: skip
    for name, options in (("", "spatial_dropout_param { dropout_ratio: 0.3 }"), ("_old", "dropout_param { }")):
        yield layer_case(
            make_case, f"spatial_dropout{name}", "SpatialDropout", options, lambda x: [x], [random(2, 3, 2)]
        )


# ---- films


def _over_time(x, w, b, stride, pad):
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in pad)))
    places = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], w.shape[2:], stride, strict=True)]
    y = np.zeros((len(x), len(w), *places))
    for at in np.ndindex(*places):
        cut = tuple(slice(a * s, a * s + k) for a, s, k in zip(at, stride, w.shape[2:], strict=True))
        y[(slice(None), slice(None), *at)] = np.einsum("nclhw,oclhw->no", x[(slice(None), slice(None), *cut)], w) + b
    return y


def _pooled(x, kernel, stride, pad, counts, mean):
    """The original's rule along three axes: ends within the image, areas within the padded one."""
    y = np.zeros((*x.shape[:2], *counts))
    for at in np.ndindex(*counts):
        starts = [a * s - p for a, s, p in zip(at, stride, pad, strict=True)]
        sizes = zip(starts, kernel, x.shape[2:], pad, strict=True)
        area = np.prod([min(start + k, n + p) - start for start, k, n, p in sizes])
        cut = tuple(slice(max(0, start), start + k) for start, k in zip(starts, kernel, strict=True))
        values = x[(slice(None), slice(None), *cut)].reshape(*x.shape[:2], -1)
        y[(slice(None), slice(None), *at)] = values.sum(2) / area if mean else values.max(2)
    return y


def _films(make_case):
    x, w, b = random(2, 2, 4, 5, 6), random(3, 2, 2, 3, 3), random(3)
    figures = "kernel_size: 3 kernel_depth: 2 stride: 2 temporal_stride: 1 pad: 1 temporal_pad: 1"
    for name, message in (("", "convolution_param"), ("_later", "convolution3d_param")):
        yield layer_case(
            make_case, f"convolution3d{name}", "Convolution3D",
            f"{message} {{ num_output: 3 {figures} {'filter_group: 3' if not name else ''} }}",
            lambda x, w, b: [_over_time(x, w, b, (1, 2, 2), (1, 1, 1))], [x], [w, b],
        )  # fmt: skip
    for name, options, *how in (
        ("max", "pooling_param { pool: MAX kernel_size: 2 kernel_depth: 1 stride: 2 }",
         (1, 2, 2), (1, 2, 2), (0, 0, 0), (4, 3, 3), False),
        ("max_padded", "pooling3d_param { kernel_size: 3 kernel_depth: 2 stride: 3 temporal_stride: 2 pad: 1 }",
         (2, 3, 3), (2, 3, 3), (0, 1, 1), (2, 2, 3), False),
        ("ave", "pooling3d_param { pool: AVE kernel_size: 2 kernel_depth: 3 stride: 2 temporal_stride: 2 "
         "temporal_pad: 1 }",
         (3, 2, 2), (2, 2, 2), (1, 0, 0), (3, 3, 3), True),
    ):  # fmt: skip
        yield layer_case(
            make_case, f"pooling3d_{name}", "Pooling3D", options, lambda x, how=how: [_pooled(x, *how)], [x],
        )  # fmt: skip


# ---- fields of motion


def _warped(image, flow):
    """Pixel by pixel; no place is so near to a border or a pixel that a difference quotient would cross it."""
    y = np.zeros_like(image)
    height, width = image.shape[2:]
    for n, i, j in np.ndindex(len(image), height, width):
        x2, y2 = j + flow[n, 0, i, j], i + flow[n, 1, i, j]
        if 0 <= x2 < width and 0 <= y2 < height:
            left, top = int(x2), int(y2)
            right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
            a, b = x2 - left, y2 - top
            above = (1 - a) * image[n, :, top, left] + a * image[n, :, top, right]
            below = (1 - a) * image[n, :, bottom, left] + a * image[n, :, bottom, right]
            y[n, :, i, j] = (1 - b) * above + b * below
    return [y]


def _sampled(x, height, width):
    rows, columns = (
        np.maximum(0, 1 - np.abs(np.arange(n) - np.linspace(0, n - 1, m)[:, None]) * (m - 1) / (n - 1))
        for n, m in ((x.shape[2], height), (x.shape[3], width))
    )
    return np.einsum("ia,jb,ncab->ncij", rows, columns, x) / np.outer(rows.sum(1), columns.sum(1))


def _motions(make_case):
    image, flow = random(2, 3, 4, 5), 1.7 * random(2, 2, 4, 5)
    yield layer_case(make_case, "flow_warp", "FlowWarp", "flow_warp_param { }", _warped, [image, flow])
    yield layer_case(
        make_case, "channel_norm", "ChannelNorm", "", lambda x: [np.sqrt((x * x).sum(1, keepdims=True))], [image],
    )  # fmt: skip
    yield layer_case(
        make_case, "downsample", "Downsample", "downsample_param { top_height: 3 top_width: 4 }",
        lambda x: [_sampled(x, 3, 4)], [random(2, 3, 7, 9)], fixed=(0,),
    )  # fmt: skip
    yield layer_case(
        make_case, "downsample_like", "Downsample", "", lambda x, a: [_sampled(x, 2, 5)],
        [random(2, 3, 7, 5), random(1, 1, 2, 5)], fixed=(0, 1),
    )  # fmt: skip


def fork_cases(make_case):
    """The cases, through *make_case*(name, layers, phase, **values)."""
    groups = (
        _convolutions, _channels, _patches_and_sequences, _normalisations, _losses, _distances, _segmentations, _films,
        _motions,
    )  # fmt: skip
    return tuple(case for group in groups for case in group(make_case))
