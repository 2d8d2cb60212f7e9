"""Forms in ONNX that the cases of the layers do not reach, in onnxruntime beside NumPy."""

import numpy as np
import pytest
import torch

import converters
import nets
from nets import runtime
from protos import text
from protos.errors import NetError
from tests.nets.test_refusals import source


def make(kind: str, shapes: list[tuple[int, ...]], tops: int, options: str) -> nets.Net:
    torch.manual_seed(0)
    return nets.load(text.parse_net(source(kind, shapes, tops, options)))


def draw(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(0.5, 2, shape).astype(np.float32)


def exported(net: nets.Net, path, inputs: list[np.ndarray], **options) -> list[np.ndarray]:
    """What onnxruntime makes of *inputs*; the net says the same."""
    converters.export_onnx(net, path, **options)
    found = runtime.open_session(path, threads=1).run({f"x{i}": x for i, x in enumerate(inputs)})
    with torch.no_grad():
        for name, blob in net(*map(torch.from_numpy, inputs)).items():
            np.testing.assert_allclose(found[name], blob, rtol=1e-5, atol=1e-6)
    return list(found.values())


def mean_by_values(x: np.ndarray) -> np.ndarray:
    return (x * x).sum((2, 3), keepdims=True) / x.sum((2, 3), keepdims=True)


def greatest_and_its_place(x: np.ndarray) -> list[np.ndarray]:
    flat = x.reshape(*x.shape[:2], -1)
    return [flat.max(-1)[..., None, None], flat.argmax(-1)[..., None, None]]


def by_its_own_batch(x: np.ndarray) -> np.ndarray:
    return (x - x.mean((0, 2), keepdims=True)) / np.sqrt(x.var((0, 2), keepdims=True) + 1e-3)


def correlated_place_by_place(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Each channel with its own weights, C x 1 x 3 x 1 x H x W, two zeros around the rows."""
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    rows = range(x.shape[2])
    y = [sum(weight[:, 0, i, 0, h] * wide[:, :, h + i] for i in range(3)) for h in rows]
    return np.stack(y, 2) + bias[:, None, None]


def lstm(x: np.ndarray, cont: np.ndarray, static: np.ndarray, blobs: list[np.ndarray]) -> np.ndarray:
    """The original's steps; gates i, f, o, g."""
    weight_x, bias, weight_s, weight_h = blobs
    h = c = np.zeros((x.shape[1], weight_h.shape[1]))
    tops = []
    for step, on in zip(x, cont[..., None], strict=True):
        inner = step @ weight_x.T + bias + static.reshape(len(static), -1) @ weight_s.T + (on * h) @ weight_h.T
        *gates, new = np.split(inner, 4, 1)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in gates)
        c = on * f * c + i * np.tanh(new)
        h = o * np.tanh(c)
        tops.append(h)
    return np.stack(tops)


FORMS = {
    "a difference": ("Eltwise", [(2, 3), (2, 3)], 1, "eltwise_param { coeff: [1, -1] }", lambda a, b: [a - b]),
    "a slice of one": ("Slice", [(2, 3)], 1, "", lambda x: [x]),
    "halves of the batch": ("Slice", [(4, 3)], 2, "slice_param { axis: 0 }", lambda x: [x[:2], x[2:]]),
    "factors with more axes": ("Axpy", [(2, 3, 1, 1), (2, 3), (2, 3)], 1, "", lambda a, x, b: [a[..., 0, 0] * x + b]),
    "chance over the whole image": (
        "Pooling", [(2, 3, 4, 5)], 1, "pooling_param { pool: STOCHASTIC global_pooling: true }",
        lambda x: [mean_by_values(x)],
    ),
    "the place in the whole image": (
        "Pooling", [(2, 3, 4, 5)], 2, "pooling_param { global_pooling: true }", greatest_and_its_place,
    ),
    "statistics of the batch": (
        "BatchNorm", [(2, 3, 4)], 1, "batch_norm_param { use_global_stats: false eps: 0.001 }",
        lambda x: [by_its_own_batch(x)],
    ),
    "a step for each item": (
        "ContinuationIndicator", [(4, 3)], 1, "continuation_indicator_param { time_step: 2 axis: 0 }",
        lambda x: [np.repeat([[0], [1]], len(x), 1)],
    ),
    "a step for each column": (
        "ContinuationIndicator", [(4, 3)], 1, "continuation_indicator_param { time_step: 2 axis: 1 }",
        lambda x: [np.repeat([[0], [1]], 3, 1)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_form_says_what_numpy_says(name, tmp_path):
    kind, shapes, tops, options, wanted = FORMS[name]
    inputs = [draw(shape) for shape in shapes]
    found = exported(make(kind, shapes, tops, options), tmp_path / "net.onnx", inputs)
    for ours, theirs in zip(found, wanted(*inputs), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_filters_of_single_channels_differ_from_place_to_place(tmp_path):
    options = "num_output: 3 kernel_h: 3 kernel_w: 1 channelwise: true"
    fillers = "weight_filler { type: 'gaussian' std: 1 } bias_filler { type: 'gaussian' std: 1 }"
    net = make("LocallyConnected", [(2, 3, 4, 5)], 1, f"locally_connected_param {{ {options} {fillers} }}")
    x = draw((2, 3, 4, 5))
    (found,) = exported(net, tmp_path / "net.onnx", [x])
    blobs = [blob.detach().numpy() for blob in net.layer("l").blobs]
    np.testing.assert_allclose(found, correlated_place_by_place(x, *blobs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [None, 3])
def test_a_static_input_of_several_axes_stands_beside_each_step(batch, tmp_path):
    fillers = "weight_filler { type: 'gaussian' std: 0.5 } bias_filler { type: 'gaussian' std: 0.5 }"
    options = f"recurrent_param {{ num_output: 4 {fillers} }}"
    net = make("LSTM", [(3, 2, 3), (3, 2), (2, 2, 3)], 1, options)
    x, cont, static = draw((3, 2, 3)), np.array([[0, 0], [1, 0], [1, 1]], np.float32), draw((2, 2, 3)) - 1
    (found,) = exported(net, tmp_path / "net.onnx", [x, cont, static], batch=batch)
    blobs = [blob.detach().numpy() for blob in net.layer("l").blobs]
    np.testing.assert_allclose(found, lstm(x, cont, static, blobs), rtol=1e-5, atol=1e-6)


def test_all_boxes_stay_where_as_many_may(tmp_path):
    options = "num_classes: 3 confidence_threshold: 0.1 nms_param { nms_threshold: 0.5 } keep_top_k: 9"
    net = make("DetectionOutput", [(1, 8), (1, 6), (1, 2, 8)], 1, f"detection_output_param {{ {options} }}")
    boxes = np.array([0, 0, 0.25, 0.25, 0.5, 0.5, 1, 1], np.float32)
    priors = np.stack((boxes, np.full(8, 0.1, np.float32)))[None]
    scores = np.array([[0.1, 0.3, 0.6, 0.05, 0.75, 0.2]], np.float32)  # of two boxes, the background first
    (found,) = exported(net, tmp_path / "net.onnx", [np.zeros((1, 8), np.float32), scores, priors], batch=1)
    near, far = boxes[:4], boxes[4:]
    wanted = [(1, 0.75, *far), (1, 0.3, *near), (2, 0.6, *near), (2, 0.2, *far)]
    np.testing.assert_allclose(found[0, 0], [(0, *row) for row in wanted], atol=1e-6)


REFUSED = [
    ("Convolution", (2, 4), 1, "convolution_param { num_output: 4 group: 2 }", "has groups but no spatial axes"),
    ("Dropout", (2, 4), 1, "dropout_param { sample_weights_test: true }", "drops at random in testing too"),
    ("Pooling", (1, 1, 3, 3), 2, "pooling_param { kernel_size: 1 stride: 3 }", "whose maximum has no place"),
    ("Pooling", (1, 1, 3, 3), 1, "pooling_param { kernel_size: 1 stride: 3 pool: AVE }", "which have no mean"),
    ("Slice", (4, 3), 2, "slice_param { axis: 0 slice_point: 1 }", "needs a fixed batch"),
    ("Flatten", (2, 3, 4, 5), 1, "flatten_param { axis: 0 end_axis: 1 }", "several axes left open"),
]


@pytest.mark.parametrize(("kind", "shape", "tops", "options", "message"), REFUSED)
def test_what_has_no_form_says_why(kind, shape, tops, options, message, tmp_path):
    net = make(kind, [shape], tops, options)
    with pytest.raises(NetError, match=rf"layer 'l' \({kind}\).*{message}"):
        converters.export_onnx(net, tmp_path / "net.onnx", dynamic_spatial=len(shape) == 4)


def test_as_many_priors_as_the_image_has_room_for_have_no_form(tmp_path):
    sizes = {"loc": 1, "conf": 1, "prior": 2}
    flat = "".join(
        f"layer {{ name: '{name}' type: 'Input' top: '{name}' input_param {{ shape {{ dim: [1, {n}, 2, 4] }} }} }}"
        f"layer {{ name: '{name}_flat' type: 'Flatten' bottom: '{name}' top: '{name}_flat'"
        f" flatten_param {{ axis: {n} }} }}"
        for name, n in sizes.items()
    )
    net = nets.load(
        text.parse_net(f"""{flat}layer {{ name: "l" type: "DetectionOutput" bottom: "loc_flat" bottom: "conf_flat"
        bottom: "prior_flat" top: "found" detection_output_param {{ num_classes: 4 }} }}""")
    )
    with pytest.raises(NetError, match=r"layer 'l' \(DetectionOutput\).*needs a fixed number of prior boxes"):
        converters.export_onnx(net, tmp_path / "net.onnx", batch=1, dynamic_spatial=True)
