"""Whole nets of forks: they train, their weights go out and back, and they leave as ONNX; OpenCV reads some of them."""

import numpy as np
import pytest
import torch

import converters
import nets
from nets import runtime
from nets.weights import load_weights, save_weights
from protos import text
from protos.errors import WeightsError
from protos.schema import SolverParameter

FILLED = 'weight_filler { type: "xavier" }'
DEPLOY = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 dim: 10 dim: 12 } } }\n'
TRAIN = """layer { name: "data" type: "DummyData" top: "data" dummy_data_param {
  shape { dim: 2 dim: 4 dim: 10 dim: 12 } data_filler { type: "gaussian" } } }\n"""


def layer(name: str, kind: str, bottoms: str, options: str = "", tops: str = "") -> str:
    ends = "".join(f'bottom: "{b}" ' for b in bottoms.split()) + "".join(f'top: "{t}" ' for t in (tops or name).split())
    return f'layer {{ name: "{name}" type: "{kind}" {ends} {options} }}\n'


def conv(name: str, bottom: str, options: str, kind: str = "Convolution") -> str:
    return layer(name, kind, bottom, f"convolution_param {{ {FILLED} {options} }}")


MOBILE = (
    conv("dw", "data", "num_output: 4 group: 4 kernel_size: 3 pad: 1 bias_term: false", "DepthwiseConvolution")
    + layer("dw/bn", "BN", "dw", "bn_param { slope_filler { value: 1 } momentum: 0.5 }")
    + layer("relu", "ReLU6", "dw/bn", tops="dw/bn")
    + conv("sep", "dw/bn", "num_output: 6 kernel_size: 1")
    + layer("shuffle", "ShuffleChannel", "sep", "shuffle_channel_param { group: 3 }")
    + conv("out", "shuffle", "kernel_size: 3 stride: 2", "ConvolutionDepthwise")
)
SQUEEZE_EXCITE = (
    conv("branch", "data", "num_output: 4 kernel_size: 3 pad: 1")
    + layer("mean", "Pooling", "branch", "pooling_param { pool: AVE global_pooling: true }")
    + conv("down", "mean", "num_output: 2 kernel_size: 1")
    + layer("relu", "ReLU", "down", tops="down")
    + conv("up", "down", "num_output: 4 kernel_size: 1")
    + layer("gate", "Sigmoid", "up", tops="up")
    + layer("axpy", "Axpy", "up branch data")
    + layer("passthrough", "Reorg", "axpy", "reorg_param { stride: 2 }")
    + layer("out", "Interp", "passthrough", "interp_param { zoom_factor: 2 }")
)
SEGNET = (
    conv("conv1", "data", "num_output: 3 kernel_size: 3 pad: 1")
    + layer("conv1_bn", "BN", "conv1", "bn_param { scale_filler { value: 1 } shift_filler { value: 0.001 } }", "conv1")
    + layer("pool1", "Pooling", "conv1", "pooling_param { kernel_size: 2 stride: 2 }", "pool1 mask1")
    + layer("pool2", "Pooling", "pool1", "pooling_param { kernel_size: 2 stride: 2 }", "pool2 mask2")
    + conv("bridge", "pool2", "num_output: 3 kernel_size: 3 pad: 1")
    + layer("up2", "Upsample", "bridge mask2", "upsample_param { scale: 2 pad_out_h: true }")
    + layer("up1", "Upsample", "up2 mask1", "upsample_param { scale: 2 upsample_h: 10 upsample_w: 12 }")
    + conv("out", "up1", "num_output: 2 kernel_size: 3 pad: 1")
)
LSTM = 'lstm_param { num_output: 3 clipping_threshold: 0.1 weight_filler { type: "xavier" } }'
CTPN = (
    layer("im2col", "Im2col", "data", "convolution_param { kernel_size: 3 pad: 1 }")
    + layer("columns", "Transpose", "im2col", "transpose_param { dim: 3 dim: 2 dim: 0 dim: 1 }")
    + layer("rows", "Reshape", "columns", "reshape_param { shape { dim: -1 } axis: 1 num_axes: 2 }")
    + layer("lstm", "Lstm", "rows", LSTM)
    + layer("reverse1", "Reverse", "rows")
    + layer("rlstm", "Lstm", "reverse1", LSTM)
    + layer("reverse2", "Reverse", "rlstm")
    + layer("both", "Concat", "lstm reverse2", "concat_param { axis: 2 }")
    + layer("unfold", "Reshape", "both", "reshape_param { shape { dim: 10 dim: -1 } axis: 1 num_axes: 1 }")
    + layer("out", "Transpose", "unfold", "transpose_param { dim: 2 dim: 3 dim: 1 dim: 0 }")
)
NETS = {"ctpn": CTPN, "mobile": MOBILE, "squeeze_excite": SQUEEZE_EXCITE, "segnet": SEGNET}


def trained(layers: str, steps: int = 3) -> nets.Solver:
    """A solver, *steps* steps on, by a loss that wants all outputs small."""
    loss = layer("loss", "Reduction", "out", "loss_weight: 1 reduction_param { operation: SUMSQ coeff: 0.001 }")
    param = SolverParameter(net_param=text.parse_net(TRAIN + layers + loss), base_lr=0.01, lr_policy="fixed")
    param.random_seed = 1
    param.momentum = 0.9
    solver = nets.Solver(param, "cpu")
    solver.step(steps)
    return solver


@pytest.mark.parametrize("name", NETS)
def test_a_net_trains_and_leaves_with_its_weights(name, tmp_path):
    solver, start = trained(NETS[name]), trained(NETS[name], 0)
    assert np.isfinite(solver.losses).all()
    for (key, after), before in zip(solver.net.named_parameters(), start.net.parameters(), strict=True):
        assert not torch.equal(after, before), key
    save_weights(solver.net, tmp_path / "net.caffemodel")
    net = nets.load(text.parse_net(DEPLOY + NETS[name]))
    load_weights(net, tmp_path / "net.caffemodel")
    for (key, found), wanted in zip(net.state_dict().items(), solver.net.state_dict().values(), strict=True):
        assert torch.equal(found, wanted), key
    x = torch.randn(2, 4, 10, 12, generator=torch.Generator().manual_seed(0))
    (wanted,) = net(x).values()
    solver.net.eval()
    torch.testing.assert_close(solver.net.activations(data=x)["out"], wanted)
    converters.export_onnx(net, tmp_path / "net.onnx", batch=2 if name == "ctpn" else None)
    session = runtime.open_session(tmp_path / "net.onnx", threads=1)
    for batch in (1, 2):
        if name in ("mobile", "squeeze_excite") or batch == 2:  # SegNet's BN looks at the batch, in testing too
            (found,) = session.run({"data": x[:batch].numpy()}).values()
            np.testing.assert_allclose(found, wanted[:batch].detach(), rtol=1e-4, atol=1e-5)


def test_depthwise_layers_train_as_convolutions_with_groups_do():
    groups = MOBILE.replace("DepthwiseConvolution", "Convolution").replace("ConvolutionDepthwise", "Convolution")
    groups = groups.replace("kernel_size: 3 stride: 2", "num_output: 6 group: 6 kernel_size: 3 stride: 2")
    one, other = trained(MOBILE), trained(groups)
    assert list(one.losses) == list(other.losses)


def test_moving_averages_are_of_the_batches_that_went_through():
    solver = trained(layer("out", "BN", "data", "bn_param { slope_filler { value: 1 } momentum: 0.5 }"))
    mean, variance = (solver.net.layer("out").blobs[i].flatten().detach().numpy() for i in (2, 3))
    np.testing.assert_allclose(variance, 1 - 0.5**3, rtol=0.3)
    assert 0 < np.abs(mean).max() < 0.3
    frozen = trained(layer("out", "BN", "data", "bn_param { frozen: true slope_filler { value: 2 } }"))
    assert [blob.unique().tolist() for blob in frozen.net.layer("out").blobs] == [[2], [0], [0], [1]]


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 3, 1, 1)])
def test_stored_normalisations_fit_whatever_their_axes_of_1(shape, tmp_path):
    net = nets.load(text.parse_net(DEPLOY.replace("dim: 4", "dim: 3") + layer("bn", "BN", "data")))
    message = net.to_proto(weights=True)
    for i, blob in enumerate(message.layer[1].blobs):
        blob.shape.dim[:] = shape
        blob.data[:] = [i, i + 1, i + 2]
    (tmp_path / "net.caffemodel").write_bytes(message.SerializeToString())
    load_weights(net, tmp_path / "net.caffemodel")
    assert [blob.flatten().tolist() for blob in net.layer("bn").blobs] == [[i, i + 1, i + 2] for i in range(4)]
    message.layer[1].blobs[0].shape.dim[:] = (3, 3)
    message.layer[1].blobs[0].data[:] = [0] * 9
    (tmp_path / "net.caffemodel").write_bytes(message.SerializeToString())
    with pytest.raises(WeightsError, match="layer 'bn' blob 0 is 3x3 in the file, 1x3x1x1 in the net"):
        load_weights(net, tmp_path / "net.caffemodel")


def test_a_mask_keeps_its_places_in_half_precision():
    layers = SEGNET[SEGNET.index('layer { name: "pool1"') : SEGNET.index('layer { name: "pool2"')]
    size = "dim: 1 dim: 1 dim: 80 dim: 80"
    inputs = f'layer {{ name: "in" type: "Input" top: "conv1" input_param {{ shape {{ {size} }} }} }}'
    net = nets.load(text.parse_net(inputs + layers + layer("up", "Upsample", "pool1 mask1")))
    x = torch.randn(1, 1, 80, 80).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        blobs = net.activations(x)
    placed = blobs["up"] != 0
    assert blobs["mask1"].dtype == torch.float32
    assert placed.sum() == 1600
    assert torch.equal(blobs["up"][placed], x[placed])


# kind, options, shapes. OpenCV has no reversed Reorg, cuts nothing off in Interp, and reads no threshold of a ReLU6.
READ = [
    ("ConvolutionDepthwise", f"convolution_param {{ {FILLED} num_output: 4 kernel_size: 3 pad: 1 stride: 2 }}"),
    ("ReLU6", ""),
    ("ShuffleChannel", "shuffle_channel_param { group: 2 }"),
    ("Reorg", "reorg_param { stride: 2 }"),
    ("Interp", "interp_param { height: 7 width: 30 }"),
    ("Interp", "interp_param { zoom_factor: 3 }"),
]


@pytest.mark.parametrize(("kind", "options"), READ)
def test_another_reader_of_caffe_nets_agrees(kind, options, tmp_path):
    cv2 = pytest.importorskip("cv2")
    prototxt = 'input: "data" input_shape { dim: 2 dim: 4 dim: 10 dim: 12 }\n' + layer("y", kind, "data", options)
    net = nets.load(text.parse_net(prototxt))
    (tmp_path / "net.prototxt").write_text(prototxt)
    save_weights(net, tmp_path / "net.caffemodel")
    x = 4 * np.random.default_rng(0).standard_normal((2, 4, 10, 12)).astype(np.float32)
    other = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"))
    other.setInput(x, "data")
    np.testing.assert_allclose(net(torch.from_numpy(x))["y"].detach(), other.forward(), rtol=1e-5, atol=1e-5)


def test_states_go_on_in_the_next_pass_where_the_clip_says_so():
    shape = "shape { dim: 6 dim: 2 dim: 4 } shape { dim: 6 dim: 2 }"
    inputs = f'layer {{ name: "in" type: "Input" top: "x" top: "clip" input_param {{ {shape} }} }}\n'
    net = nets.load(text.parse_net(inputs + layer("y", "Lstm", "x clip", LSTM)))
    x, clip = torch.randn(6, 2, 4), torch.ones(6, 2)
    clip[0] = clip[2, 1] = 0
    whole = net(x=x, clip=clip)["y"]
    parts = [net(x=x[i : i + 2], clip=clip[i : i + 2])["y"] for i in (0, 2, 4)]
    torch.testing.assert_close(torch.cat(parts), whole)
    alone = net(x=x[:2], clip=torch.zeros(2, 2))["y"]
    torch.testing.assert_close(alone[0], whole[0])


def test_the_margin_grows_with_the_passes_and_rows_have_a_length_of_1():
    options = f"margin_inner_product_param {{ num_output: 3 type: DOUBLE base: 8 gamma: 1 lambda_min: 1.5 {FILLED} }}"
    shape = "shape { dim: 2 dim: 4 } shape { dim: 2 }"
    inputs = f'layer {{ name: "in" type: "Input" top: "x" top: "label" input_param {{ {shape} }} }}\n'
    net = nets.load(text.parse_net(inputs + layer("fc", "MarginInnerProduct", "x label", options, "fc lambda")))
    found = [net(x=torch.randn(2, 4), label=torch.tensor([0, 2]))["lambda"].item() for _ in range(5)]
    assert found == pytest.approx([4, 8 / 3, 2, 1.6, 1.5])
    torch.testing.assert_close(net.layer("fc").blobs[0].norm(dim=1), torch.ones(3))


def c3d() -> str:
    """The net of C3D, in the words of its day and with fewer channels."""
    dims = " ".join(f"input_dim: {size}" for size in (1, 3, 16, 112, 112))
    text, bottom = f'input: "data" {dims}\n', "data"
    for name, channels in (("1a", 2), ("2a", 2), ("3a", 3), ("3b", 3), ("4a", 2), ("4b", 2), ("5a", 2), ("5b", 4)):
        text += f"""layers {{ name: "conv{name}" type: CONVOLUTION3D bottom: "{bottom}" top: "conv{name}" blobs_lr: 1
            convolution_param {{ num_output: {channels} kernel_size: 3 kernel_depth: 3 pad: 1 temporal_pad: 1
            {FILLED} }} }}
            layers {{ name: "relu{name}" type: RELU bottom: "conv{name}" top: "conv{name}" }}\n"""
        bottom = f"conv{name}"
        if name not in ("3a", "4a", "5a"):
            depth, pool = 1 if name == "1a" else 2, f"pool{name[0]}"
            figures = f"pool: MAX kernel_size: 2 kernel_depth: {depth} stride: 2 temporal_stride: {depth}"
            text += f"""layers {{ name: "{pool}" type: POOLING3D bottom: "{bottom}" top: "{pool}"
                pooling_param {{ {figures} }} }}\n"""
            bottom = pool
    return (
        text
        + f"""layers {{ name: "fc6" type: INNER_PRODUCT bottom: "{bottom}" top: "fc6"
        inner_product_param {{ num_output: 5 {FILLED} }} }}"""
    )


def test_c3d_has_the_sizes_that_its_weights_know(tmp_path):
    net = nets.load(text.parse_net(c3d()))
    blobs = net.activations(data=torch.randn(1, 3, 16, 112, 112))
    assert [tuple(blobs[f"pool{i}"].shape[2:]) for i in range(1, 6)] == [
        (16, 56, 56), (8, 28, 28), (4, 14, 14), (2, 7, 7), (1, 4, 4),
    ]  # fmt: skip
    assert net.layer("fc6").weight.shape == (5, 4 * 16)
    converters.export_onnx(net, tmp_path / "net.onnx")
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 112, 112)).astype(np.float32)
    found = runtime.open_session(tmp_path / "net.onnx", threads=1).run({"data": x})["fc6"]
    np.testing.assert_allclose(found, net(data=torch.from_numpy(x))["fc6"].detach(), rtol=1e-4, atol=1e-5)


DEEPLAB = """input: "data" input_dim: 1 input_dim: 3 input_dim: 33 input_dim: 33
    input: "label" input_dim: 1 input_dim: 1 input_dim: 33 input_dim: 33
    layers { name: "conv5_3" type: CONVOLUTION bottom: "data" top: "conv5_3" blobs_lr: 1 blobs_lr: 2
      convolution_param { num_output: 8 pad: 2 hole: 2 kernel_size: 3 FILLED } }
    layers { name: "fc8" type: CONVOLUTION bottom: "conv5_3" top: "fc8" convolution_param {
      num_output: 21 kernel_size: 1 FILLED } }
    layers { name: "label_shrink" type: INTERP bottom: "label" top: "label_shrink" interp_param { shrink_factor: 1 } }
    layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc8" bottom: "label_shrink" top: "loss"
      softmaxloss_param { ignore_label: 255 } include: { phase: TRAIN } }
    layers { name: "accuracy" type: SEG_ACCURACY bottom: "fc8" bottom: "label_shrink" top: "accuracy"
      seg_accuracy_param { ignore_label: 255 } }""".replace("FILLED", FILLED)


def test_deeplab_in_the_words_of_its_day_trains():
    net = nets.load(text.parse_net(DEEPLAB), phase="TRAIN")
    label = torch.randint(0, 21, (1, 1, 33, 33)).float()
    label[..., :5] = 255
    out = net(data=torch.randn(1, 3, 33, 33), label=label)
    assert out["accuracy"].shape == (1, 1, 1, 3)
    rows = net.activations(data=torch.randn(1, 3, 33, 33), label=label)
    wanted = torch.nn.functional.cross_entropy(rows["fc8"], label[:, 0].long(), ignore_index=255)
    torch.testing.assert_close(rows["loss"], wanted)


def test_differences_that_are_no_numbers_count_as_0():
    options = "l1_loss_param { normalize_by_num_entries: true }"
    inputs = 'layer { name: "in" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 dim: 2 dim: 3 } } }\n'
    net = nets.load(text.parse_net(inputs + layer("loss", "L1Loss", "a b", options)))
    a, b = torch.randn(2, 2, 3, requires_grad=True), torch.randn(2, 2, 3)
    b[0, 1, 1] = b[1, 0, 2] = torch.nan
    loss = net(a=a, b=b)["loss"]
    torch.testing.assert_close(loss, (a - b).abs().nansum() / (10 / 2))
    loss.backward()
    torch.testing.assert_close(a.grad, torch.nan_to_num((a.detach() - b).sign()) / 5)


def test_spatial_dropout_drops_whole_channels():
    net = nets.load(text.parse_net(DEPLOY + layer("y", "SpatialDropout", "data")), phase="TRAIN")
    y = net(data=torch.ones(64, 4, 10, 12))["y"]
    each = y.flatten(2)
    assert (each == each[..., :1]).all()
    assert each.unique().tolist() == [0, 2]
    assert each[..., 0].mean() == pytest.approx(1, abs=0.3)


def test_what_no_flow_points_at_is_filled():
    inputs = layer("in", "Input", "", "input_param { shape { dim: 1 dim: 1 dim: 2 dim: 3 } }", "image")
    inputs += layer("to", "Input", "", "input_param { shape { dim: 1 dim: 2 dim: 2 dim: 3 } }", "flow")
    options = "flow_warp_param { fill_value: NOT_A_NUMBER }"
    net = nets.load(text.parse_net(inputs + layer("y", "FlowWarp", "image flow", options)))
    flow = torch.zeros(1, 2, 2, 3)
    flow[0, :, 0] = torch.tensor([[-0.5, torch.nan, 0.5], [0, 0, 0.5]])
    y = net(image=torch.arange(6.0).view(1, 1, 2, 3), flow=flow)["y"]
    torch.testing.assert_close(y, torch.tensor([[[[torch.nan, torch.nan, 3.5], [3, 4, 5]]]]), equal_nan=True)


def test_a_smaller_image_leaves_out_what_is_no_number():
    inputs = layer("in", "Input", "", "input_param { shape { dim: 1 dim: 1 dim: 5 dim: 5 } }", "x")
    net = nets.load(
        text.parse_net(inputs + layer("y", "Downsample", "x", "downsample_param { top_height: 3 top_width: 3 }"))
    )
    x = torch.ones(1, 1, 5, 5)
    x[0, 0, :2] = torch.nan  # of the first row of the top the nearest two, which weigh 1.5 of 1.5
    x[0, 0, 3, 3] = torch.nan
    wanted = torch.ones(3, 3)
    wanted[0] = torch.nan
    torch.testing.assert_close(net(x=x)["y"][0, 0], wanted, equal_nan=True)
