"""Cases of the layer types that came for Lasagne's nets, with the values that Lasagne itself computed."""

from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden" / "lasagne" / "layers"
GATES = {"GRU": 3, "PeepholeLSTM": 4}


def _read(name):
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return dict(stored)


def _stacked(parts):
    """W_in, W_hid and b of each gate, as the blobs weight, recurrent and bias."""
    weights, recurrents, biases = parts[0::3], parts[1::3], parts[2::3]
    return [np.concatenate([w.T for w in weights]), np.concatenate([w.T for w in recurrents]), np.concatenate(biases)]


def _gru(v, p):
    return [*_stacked([v[f"{p}{i}"] for i in range(9)]), v.get(f"{p}9", np.zeros((1, 3)))]


def _lstm(v, p):
    zeros = np.zeros_like(v["p15"])
    first = np.concatenate([v.get(f"{p}16", zeros), v.get(f"{p}15", zeros)])
    return [*_stacked([v[f"{p}{i}"] for i in range(12)]), first, np.stack([v[f"{p}{i}"] for i in (12, 13, 14)])]


def _rnn(v, p):
    return [v[f"{p}1"].T, v[f"{p}3"].T, v[f"{p}2"], v.get(f"{p}0", np.zeros_like(v["p0"]))]


def _local(v, p):
    return [v[f"{p}0"], v[f"{p}1"]]


def _blobs(make, v):
    return {f"param__layer__{i}": blob for i, blob in enumerate(make(v, "p"))}


TABLE = (
    ("gru", "GRU", "sequence_param { num_output: 3 }", _gru),
    ("lstm", "PeepholeLSTM", "sequence_param { num_output: 3 }", _lstm),
    ("lstm_mask_back_final", "PeepholeLSTM", "sequence_param { num_output: 2 backwards: true last_only: true }", _lstm),
    ("rnn_tanh_backwards", "SimpleRNN", "sequence_param { num_output: 3 backwards: true }", _rnn),
    ("rnn", "SimpleRNN", "sequence_param { num_output: 3 activation: RELU }", _rnn),
    ("maxpool1d_s2_noig", "WindowPooling", "window_pooling_param { kernel_size: 3 stride: 2 partial: true }", None),
    ("pool1d_avg", "WindowPooling", "window_pooling_param { kernel_size: 2 pool: AVE }", None),
    ("pool2d_sum_3s2_noignore", "WindowPooling",
     "window_pooling_param { kernel_size: [3, 3] stride: [2, 2] pool: SUM partial: true }", None),
    ("pool2d_average_exc_pad_3s2p1", "WindowPooling",
     "window_pooling_param { kernel_size: [3, 3] stride: [2, 2] pad: [1, 1] pool: AVE_EXC_PAD }", None),
    ("maxpool3d", "WindowPooling", "window_pooling_param { kernel_size: [2, 2, 2] }", None),
    ("upscale2d_repeat", "Upscale", "upscale_param { scale: [2, 3] }", None),
    ("upscale2d_dilate", "Upscale", "upscale_param { scale: [2, 3] dilate: true }", None),
    ("pad_asym", "ConstantPad", "constant_pad_param { before: [0, 0, 0, 2] after: [0, 0, 1, 0] }", None),
    ("standardization_4d", "Standardize", "standardize_param { axis: 2 }", None),
    ("featurewta", "WinnerTakeAll", "winner_take_all_param { pool_size: 3 }", None),
    ("slice", "StridedSlice", "strided_slice_param { start: 1 stop: -1 step: 2 }", None),
    ("spp_kaiming", "RegionPooling", "regions_param { regions: [3, 2, 1] }", None),
    ("rrelu_det", "RReLU", "rrelu_param { shared_axis: 0 }", None),
    ("dropout_channels", "SharedDropout", "shared_dropout_param { shared_axis: [2, 3] }", None),
    ("gaussian_noise", "GaussianNoise", "gaussian_noise_layer_param { sigma: 0.1 }", None),
)  # fmt: skip


def lasagne_cases(make_case):
    """The cases, through *make_case*(name, layers, phase, **values)."""
    made = []
    for name, kind, options, blobs in TABLE:
        v = _read(name)
        bottoms = 'bottom: "x"' + (' bottom: "mask"' if "x1" in v else "")
        values = {"bottom__x": v["x0"], "top__y": v["y"]}
        values |= {"bottom__mask": v["x1"]} if "x1" in v else {}
        values |= {"top_diff__y": v["g"], "bottom_diff__x": v["dx0"]} if "dx0" in v else {}
        values |= _blobs(blobs, v) if blobs else {}
        layer = f'layer {{ name: "layer" type: "{kind}" {bottoms} top: "y" {options} }}'
        made.append(make_case(f"lasagne_{name}", layer, "TEST", **values))
    return (*made, _locally_connected(make_case), _given_states(make_case), _permuted(make_case))


def _given_states(make_case):
    v = _read("lstm_hidinit_layers")
    blobs = {f"param__layer__{i}": blob for i, blob in enumerate(_lstm({**v, "p15": np.zeros((1, 3))}, "p"))}
    layer = (
        'layer { name: "layer" type: "PeepholeLSTM" bottom: "x" bottom: "h" bottom: "c" top: "y" '
        "sequence_param { num_output: 3 given_state: [0, 1] } }"
    )
    return make_case(
        "lasagne_given_states", layer, "TEST", bottom__x=v["x0"], bottom__h=v["x1"], bottom__c=v["x2"], top__y=v["y"],
        top_diff__y=v["g"], bottom_diff__x=v["dx0"], bottom_diff__h=v["dx1"], bottom_diff__c=v["dx2"], **blobs,
    )  # fmt: skip


def _permuted(make_case):
    x = np.random.RandomState(0).normal(size=(2, 3, 4, 5))
    layer = 'layer { name: "layer" type: "Permute" bottom: "x" top: "y" permute_param { order: [0, 2, 3] } }'
    g = np.random.RandomState(1).normal(size=(2, 4, 5, 3))
    return make_case(
        "lasagne_permute", layer, "TEST", bottom__x=x, top__y=np.einsum("nchw->nhwc", x), top_diff__y=g,
        bottom_diff__x=np.einsum("nhwc->nchw", g),
    )  # fmt: skip


def _locally_connected(make_case):
    v = _read("localconn2d_noflip_untied")
    layer = (
        'layer { name: "layer" type: "LocallyConnected" bottom: "x" top: "z" '
        "locally_connected_param { num_output: 2 kernel_h: 3 kernel_w: 3 bias_term: false } }\n"
        'layer { name: "bias" type: "Bias" bottom: "z" top: "y" bias_param { axis: 1 num_axes: 3 } }'
    )
    return make_case(
        "lasagne_localconn2d", layer, "TEST", bottom__x=v["x0"], param__layer__0=v["p0"], param__bias__0=v["p1"],
        top__y=v["y"], top_diff__y=v["g"], bottom_diff__x=v["dx0"], param_diff__layer__0=v["dp0"],
        param_diff__bias__0=v["dp1"],
    )  # fmt: skip
