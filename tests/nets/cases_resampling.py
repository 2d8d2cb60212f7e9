"""Cases of the layer types of forks that give images other sizes, or blobs other shapes, by their formulas."""

import numpy as np

from tests.nets.quotients import layer_case, quotients, random, stated


def _line(n, size):
    """The matrix that takes *n* values to *size*, linearly, ends to ends."""
    found = np.zeros((size, n))
    for i in range(size):
        place = i * (n - 1) / (size - 1) if size > 1 else 0
        left = min(int(place), n - 1)
        found[i, left] += 1 - (place - left)
        found[i, min(left + 1, n - 1)] += place - left
    return found


def _interpolated(x, height, width):
    return np.einsum("ih,nchw,jw->ncij", _line(x.shape[2], height), x, _line(x.shape[3], width))


def _resized(x, size, place):
    """Images N x C x H x W; *place*(i, n, size) says where pixel i of the top lies among the n of the bottom."""
    taken = []
    for axis, wanted in ((2, size[0]), (3, size[1])):
        n, matrix = x.shape[axis], np.zeros((wanted, x.shape[axis]))
        for i in range(wanted):
            at = place(i, n, wanted)
            left = int(np.floor(at))
            matrix[i, np.clip(left, 0, n - 1)] += 1 - (at - left)
            matrix[i, np.clip(left + 1, 0, n - 1)] += at - left
        taken.append(matrix)
    return np.einsum("ih,nchw,jw->ncij", taken[0], x, taken[1])


PLACES = {
    "": lambda i, n, size: i * n / size,
    "align_corners": lambda i, n, size: i * (n - 1) / (size - 1) if size > 1 else 0,
    "half_pixel_centers": lambda i, n, size: (i + 0.5) * n / size - 0.5,
    "pytorch_half_pixel": lambda i, n, size: (i + 0.5) * n / size - 0.5 if size > 1 else -0.5,
}


def _tensorflow(make_case):
    x = random(2, 2, 3, 4)
    sizes = {"": (5, 7), "align_corners": (4, 1), "half_pixel_centers": (7, 3), "pytorch_half_pixel": (7, 1)}
    for mode, size in sizes.items():
        chosen = f"{mode}: true" if mode else ""
        where = f'data_format: "NCHW" output_height: {size[0]} output_width: {size[1]} {chosen}'
        yield layer_case(
            make_case, f"resize_bilinear_{mode}", "ResizeBilinear", f"resize_bilinear_param {{ {where} }}",
            lambda x, size=size, mode=mode: [_resized(x, size, PLACES[mode])], [x],
        )  # fmt: skip
        if mode == "pytorch_half_pixel":
            continue
        up, options = 0.5 if mode else 0, f"resize_nearest_neighbor_param {{ {where} }}"
        yield layer_case(
            make_case, f"resize_nearest_{mode}", "ResizeNearestNeighbor", options,
            lambda x, size=size, mode=mode, up=up: [
                _resized(x, size, lambda *at: np.floor(PLACES[mode](*at) + up))
            ], [x],
        )  # fmt: skip
    scales = "scale_height: 1.5 scale_width: 2"
    kinds = (("Bilinear", "bilinear", lambda at: at), ("NearestNeighbor", "nearest_neighbor", np.floor))
    for kind, name, rounded in kinds:
        yield layer_case(
            make_case, f"resize_{name}_last", f"Resize{kind}", f"resize_{name}_param {{ {scales} }}",
            lambda x, rounded=rounded: [
                _resized(x.transpose(0, 3, 1, 2), (4, 8), lambda *at: rounded(PLACES[""](*at))).transpose(0, 2, 3, 1)
            ], [random(2, 3, 4, 2)],
        )  # fmt: skip


def _spread(x, mask, height, width):
    y = np.zeros((*x.shape[:2], height * width))
    for n, c in np.ndindex(x.shape[:2]):
        for place, value in zip(mask[n, c].astype(int).flat, x[n, c].flat, strict=True):
            y[n, c, place] = value
    return y.reshape(*x.shape[:2], height, width)


def _unpooled(x):
    """The greatest value of each 2 x 2 window (the last ones smaller) where it was, zeros elsewhere."""
    y = np.zeros_like(x)
    for n, c, i, j in np.ndindex(*x.shape[:2], 3, 2):
        window = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        y[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = np.where(window == window.max(), window, 0)
    return y


def _resampling(make_case):
    for name, options, shape in (
        ("squeeze", "", (2, 3)), ("squeeze_axis", "squeeze_param { axis: -1 }", (2, 1, 3)),
        ("squeeze_dim", "squeeze_param { dim: 1 dim: 3 }", (2, 3)),
    ):  # fmt: skip
        yield layer_case(
            make_case, name, "Squeeze", options, lambda x, shape=shape: [x.reshape(shape)], [random(2, 1, 3, 1)]
        )
    yield layer_case(
        make_case, "transpose", "Transpose", "transpose_param { dim: 2 dim: 0 dim: 1 }",
        lambda x: [np.einsum("abc->cab", x)], [random(2, 2, 3)],
    )  # fmt: skip
    yield layer_case(
        make_case, "pad", "Pad", "pad_param { paddings: [0, 0, 1, 0, 2, 1] constant_values: 0.5 }",
        lambda x: [np.pad(x, ((0, 0), (1, 0), (2, 1)), constant_values=0.5)], [random(2, 2, 3)],
    )  # fmt: skip
    yield layer_case(
        make_case, "pool_ave_tf", "Pooling", "pooling_param { pool: AVE_TF kernel_size: 2 stride: 2 pad_b: 1 }",
        lambda x: [np.stack([x[:, :, rows].mean((2, 3)) for rows in (slice(2), slice(2, 3))], 2)[..., None]],
        [random(2, 2, 3, 2)],
    )  # fmt: skip
    x = random(2, 2, 3, 4)
    rules = (
        ("zoom", "zoom_factor: 3", x, lambda x: [_interpolated(x, 7, 10)]),
        ("size_cut", "height: 2 width: 5 pad_beg: -1 pad_end: -1", random(1, 2, 5, 4),
         lambda x: [_interpolated(x[:, :, 1:4, 1:3], 2, 5)]),
        ("shrink_zoom", "shrink_factor: 2 zoom_factor: 2", random(2, 1, 5, 4), lambda x: [_interpolated(x, 5, 3)]),
        ("shrink", "shrink_factor: 3 height: 9 width: 9", random(2, 1, 5, 7), lambda x: [_interpolated(x, 2, 3)]),
    )  # fmt: skip
    for name, options, bottom, formula in rules:
        yield layer_case(make_case, f"interp_{name}", "Interp", f"interp_param {{ {options} }}", formula, [bottom])
    yield layer_case(
        make_case, "interp_like", "Interp", "interp_param { use_blob_size: true zoom_factor: 2 pad_end: -1 }",
        lambda x, a: [_interpolated(x[:, :, :-1, :-1], 4, 2)], [x, random(2, 1, 4, 2)],
    )  # fmt: skip
    yield layer_case(
        make_case, "upsample_darknet", "UpsampleDarknet", "upsample_darknet_param { stride: 2 }",
        lambda x: [np.kron(x, np.ones((2, 2)))], [random(2, 1, 2, 3)],
    )  # fmt: skip
    mask = np.random.default_rng(0).permuted(np.tile(np.arange(15), (2, 2, 1)), axis=2)[:, :, :12].reshape(x.shape)
    yield layer_case(
        make_case, "upsample", "Upsample", "upsample_param { scale: 2 upsample_h: 3 upsample_w: 5 }",
        lambda x, mask: [_spread(x, mask, 3, 5)], [x, mask], fixed=(1,),
    )  # fmt: skip
    yield layer_case(
        make_case, "upsample_repeats", "Upsample", "upsample_param { scale: 3 }",
        lambda x: [x.repeat(3, 2).repeat(3, 3)], [random(2, 1, 2, 3)],
    )  # fmt: skip
    x = stated([random(2, 2, 5, 4)])[0]
    flow = np.float32(random(2, 2, 5, 4, seed=1))
    layers = (
        'layer { name: "pool" type: "Pooling" bottom: "x" top: "small" top: "mask" '
        "pooling_param { kernel_size: 2 stride: 2 } }\n"
        'layer { name: "layer" type: "Upsample" bottom: "small" bottom: "mask" top: "y" '
        "upsample_param { scale: 2 pad_out_h: true } }"
    )
    yield make_case(
        "upsample_pooled", layers, "TRAIN", bottom__x=x, top__y=_unpooled(x), top_diff__y=flow,
        bottom_diff__x=quotients(lambda x: [_unpooled(x)], [flow], [x], 0),
    )  # fmt: skip


def resampling_cases(make_case):
    """The cases, through *make_case*(name, layers, phase, **values)."""
    return (*_resampling(make_case), *_tensorflow(make_case))
