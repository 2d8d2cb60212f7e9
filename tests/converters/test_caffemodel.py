"""Caffe out: nets to use, with the same numbers, and what there is to make them plainer."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import converters
import nets
from converters import bvlc, caffemodel
from nets import runtime
from nets.predictions import predict
from nets.weights import save_weights
from protos import files, text
from protos.errors import CaffeError, NetError
from tests.converters import architectures
from tests.converters.exported import assert_same, inputs_of, kinds, load, predicting, tolerance

LENET = "protos/zoo/lenet/train_val.prototxt"
# What BVLC Caffe has no layer for; but for axes of 1 in Permute and Transpose.
NO_WORDS = {
    "BoxAnnotatorOHEM", "ChannelNorm", "ConstantPad", "ContinuationIndicator", "Correlation", "DetectionOutput",
    "Downsample", "FlowWarp", "GRU", "Interp", "Local", "LocallyConnected", "Lstm", "MarginInnerProduct", "Normalize",
    "PSROIPooling", "Pad", "PeepholeLSTM", "Permute", "Pooling3D", "PriorBox", "Proposal", "ROIPooling",
    "RegionPooling", "Reorg", "Resample", "ResizeBilinear", "ResizeNearestNeighbor", "Reverse", "ShuffleChannel",
    "SimpleRNN", "SpatialTransformer", "Standardize", "StridedSlice", "Transpose", "Unpooling", "WindowPooling",
    "WinnerTakeAll", "YoloDetectionOutput", "Yolov3DetectionOutput",
}  # fmt: skip
# Cases of other types that set what it cannot say: a batch's statistics, masks, padding on one side, a leaky ReLU6.
UNSAID = {
    "other_bn_segnet_2", "other_bn_third_1", "other_bn_third_2", "bn_learn", "bn_learn_statistics",
    "batchnorm_nvidia_own", "convolution_depthwise", "pool_ave_tf", "relu6", "other_upsample_mask_1",
    "other_upsample_mask_2", "other_upsample_mask_3", "upsample", "upsample_pooled",
}  # fmt: skip


@pytest.fixture
def out(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)  # a case of HDF5Output writes to the working folder
    return tmp_path / "net.prototxt"


def types(path: Path) -> list[str]:
    return [layer.type for layer in text.read_net(path).layer]


def agree(net: nets.Net, out: Path, inputs: dict[str, torch.Tensor], limit: float, **options: object) -> nets.Net:
    """Write *net* to *out* and read it again: the same outputs."""
    draft = converters.export_caffe(net, out, **options)
    made = nets.load(out, out.with_suffix(".caffemodel"), allow_python=True)
    blobs = made.activations(**{name: inputs[name].clone() for name in made.graph.inputs})
    found = {name: blobs[value.name].detach().numpy() for name, value in draft.outputs.items()}
    assert_same(found, predict(net, inputs), limit)
    return made


def filled(prototxt: str, seed: int = 0) -> tuple[nets.Net, dict[str, torch.Tensor]]:
    """The net with blobs drawn from *seed*, and inputs for it."""
    chance = torch.Generator().manual_seed(seed)
    net = nets.load(text.parse_net(prototxt))
    with torch.no_grad():
        for _, layer in net.nodes:
            for blob in layer.blobs:
                blob.copy_(torch.rand(blob.shape, generator=chance) + 0.5)
    return net, {name: torch.randn(shape, generator=chance) for name, shape in net.graph.inputs.items()}


DATA = 'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {} }} }} }}'
IMAGES = DATA.format("dim: 2 dim: 4 dim: 6 dim: 6")


def layer(name: str, kind: str, bottom: str, top: str = "", more: str = "") -> str:
    bottoms = " ".join(f'bottom: "{one}"' for one in bottom.split(","))
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top or name}" {more} }}'


def convolution(name: str, bottom: str, more: str = "") -> str:
    return layer(name, "Convolution", bottom, more=f"convolution_param {{ num_output: 4 kernel_size: 3 {more} }}")


# ---- every layer


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in predicting(())])
def test_every_case_comes_back(case, out):
    agree(load(case), out, inputs_of(case), max(tolerance(case.name), 1e-5))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in predicting(())])
def test_every_case_comes_back_plainer(case, out):
    lacking = ""
    try:
        agree(load(case), out, inputs_of(case), 1e-4, fold_bn=True, bvlc_only=True, old_inputs=True)
    except NetError as error:
        lacking = str(error)
    assert bool(lacking) == (case.name in UNSAID or bool(kinds(case) & NO_WORDS)), lacking
    if not lacking:
        assert {*types(out)} <= bvlc.TYPES


# ---- whole nets


@pytest.mark.parametrize("name", architectures.ALL)
def test_whole_nets_come_back(name, out):
    net, size = architectures.small(name)
    inputs = {"data": torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))}
    agree(net, out, inputs, 1e-5)
    agree(net, out, inputs, 1e-4, fold_bn=True)
    assert not {*types(out)} & {"BatchNorm", "Dropout", "Scale"}


@pytest.mark.parametrize("name", ["resnet50", "googlenet", "squeezenet"])
def test_another_reader_of_caffe_nets_agrees(name, out):
    cv2 = pytest.importorskip("cv2")
    net, size = architectures.small(name)
    data = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    converters.export_caffe(net, out, fold_bn=True, old_inputs=True)
    other = cv2.dnn.readNetFromCaffe(str(out), str(out.with_suffix(".caffemodel")))
    other.setInput(data.numpy(), "data")
    np.testing.assert_allclose(other.forward("prob"), net(data=data)["prob"].detach().numpy(), rtol=1e-3, atol=1e-5)


def test_a_training_file_becomes_a_net_to_use(out):
    net = nets.load(files.find(LENET), input_shapes={"data": (64, 1, 28, 28), "label": (64,)})
    agree(net, out, {"data": torch.rand(64, 1, 28, 28)}, 1e-5)
    param = text.read_net(out)
    assert [one.type for one in param.layer] == [
        "Input", "Convolution", "Pooling", "Convolution", "Pooling", "InnerProduct", "ReLU", "InnerProduct", "Softmax",
    ]  # fmt: skip
    assert [(one.name, list(one.top)) for one in param.layer if one.type == "Softmax"] == [("prob", ["prob"])]
    assert "# data.scale: 0.00390625\n" in out.read_text()
    assert not [word for word in ("filler", "lr_mult", "phase", "include") if word in text.to_text(param)]
    assert nets.load(out, out.with_suffix(".caffemodel")).graph.outputs == ("prob",)


def test_a_batch_is_chosen(out):
    net = nets.load(files.find(LENET), input_shapes={"data": (64, 1, 28, 28), "label": (64,)})
    converters.export_caffe(net, out, batch=3)
    assert nets.load(out).graph.inputs == {"data": (3, 1, 28, 28)}
    assert nets.load(out).shapes["prob"] == (3, 10)


def test_inputs_are_declared_as_they_once_were(out):
    net, inputs = filled(IMAGES + convolution("conv", "data"))
    agree(net, out, inputs, 1e-6, old_inputs=True)
    assert 'input: "data"\ninput_dim: 2\ninput_dim: 4\ninput_dim: 6\ninput_dim: 6\nlayer {' in out.read_text()
    net, inputs = filled(DATA.format("dim: 2 dim: 4") + layer("relu", "ReLU", "data"))
    agree(net, out, inputs, 1e-6, old_inputs=True)
    assert 'input: "data"\ninput_shape {\n  dim: 2\n  dim: 4\n}\nlayer {' in out.read_text()


# ---- what becomes of predictions


def test_losses_with_names_of_their_own_keep_them(out):
    labels = 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }'
    scores = layer("a", "TanH", "data") + layer("b", "ELU", "data")
    losses = layer("loss1", "SoftmaxWithLoss", "a,label") + layer("loss2", "SoftmaxWithLoss", "b,label")
    net, inputs = filled(DATA.format("dim: 2 dim: 3") + labels + scores + losses)
    made = agree(net, out, inputs, 1e-6)
    assert made.graph.outputs == ("loss1", "loss2")
    assert [*made.graph.inputs] == ["data"]
    taken = layer("prob", "TanH", "data") + layer("loss", "SigmoidCrossEntropyLoss", "prob,data")
    net, inputs = filled(DATA.format("dim: 2 dim: 3") + taken)
    assert agree(net, out, inputs, 1e-6).graph.outputs == ("loss",)
    assert types(out) == ["Input", "TanH", "Sigmoid"]


def test_what_nobody_reads_is_swallowed(out):
    two = 'layer { name: "cut" type: "Slice" bottom: "data" top: "a" top: "b" }'
    silence = 'layer { name: "quiet" type: "Silence" bottom: "b" }'
    net, inputs = filled(IMAGES + two + silence + layer("relu", "ReLU", "a"))
    made = agree(net, out, inputs, 1e-6)
    assert made.graph.outputs == ("relu",)
    assert types(out)[-1] == "Silence"


def test_an_input_whose_name_a_layer_has(out):
    net, inputs = filled(IMAGES.replace('name: "data"', 'name: "input"') + layer("data", "ReLU", "data", "y"))
    agree(net, out, inputs, 1e-6)
    assert [one.name for one in text.read_net(out).layer] == ["data_2", "data"]


def test_layers_of_one_name_get_names_of_their_own(out):
    """By one name their blobs could not be told apart in the caffemodel."""
    second = convolution("conv", "conv").replace('top: "conv"', 'top: "y"')
    net, inputs = filled(IMAGES + convolution("conv", "data") + second)
    agree(net, out, inputs, 1e-5)
    assert [one.name for one in text.read_net(out).layer] == ["data", "conv", "conv_2"]


# ---- what does nothing in testing


@pytest.mark.parametrize(
    ("middle", "end", "left"),
    [
        (layer("drop", "Dropout", "a", "a"), layer("y", "TanH", "a"), ["Input", "ReLU", "TanH"]),
        (layer("drop", "Dropout", "a", "b"), layer("y", "TanH", "b"), ["Input", "ReLU", "TanH"]),
        (layer("drop", "Dropout", "a", "b"), layer("y", "Eltwise", "a,b"), ["Input", "ReLU", "Eltwise"]),
        (layer("drop", "Dropout", "a", "b"), layer("y", "TanH", "b", "b") + layer("z", "ELU", "a"),
         ["Input", "ReLU", "Dropout", "TanH", "ELU"]),
        (layer("drop", "Dropout", "a", "b"), layer("z", "ELU", "a"), ["Input", "ReLU", "Dropout", "ELU"]),
        (layer("drop", "Dropout", "a", "b", "dropout_param { scale_train: false }"), "", ["Input", "ReLU", "Dropout"]),
    ],
)  # fmt: skip
def test_dropout_goes_where_no_name_is_lost(out, middle, end, left):
    net, inputs = filled(IMAGES + layer("a", "ReLU", "data") + middle + end)
    made = agree(net, out, inputs, 1e-6)
    assert types(out) == left
    assert made.graph.outputs == net.graph.outputs


def test_dropout_on_an_input_goes_too(out):
    net, inputs = filled(IMAGES + layer("drop", "Dropout", "data", "data") + layer("y", "TanH", "data"))
    agree(net, out, inputs, 1e-6)
    assert types(out) == ["Input", "TanH"]
    net, inputs = filled(IMAGES + layer("drop", "Dropout", "data", "y"))
    agree(net, out, inputs, 1e-6)
    assert types(out) == ["Input", "Dropout"]


# ---- folding


NORMALISED = layer("bn", "BatchNorm", "conv", "bn") + layer(
    "scale", "Scale", "bn", more="scale_param { bias_term: true }"
)


@pytest.mark.parametrize(
    "first",
    [
        convolution("conv", "data", "bias_term: false"),
        convolution("conv", "data", "group: 2"),
        layer("conv", "Deconvolution", "data", more="convolution_param { num_output: 4 kernel_size: 3 group: 2 }"),
        layer(
            "conv",
            "Deconvolution",
            "data",
            more="convolution_param { num_output: 4 kernel_h: 2 kernel_w: 3 bias_term: false }",
        ),
        layer("conv", "DepthwiseConvolution", "data", more="convolution_param { num_output: 4 kernel_size: 3 }"),
        layer("conv", "InnerProduct", "data", more="inner_product_param { num_output: 5 transpose: true }"),
        layer("conv", "InnerProduct", "data", more="inner_product_param { num_output: 5 bias_term: false }"),
    ],
)
def test_normalisation_is_drawn_into_the_filter_before_it(out, first):
    net, inputs = filled(IMAGES + first + NORMALISED)
    made = agree(net, out, inputs, 1e-5, fold_bn=True)
    assert len(types(out)) == 2
    assert made.graph.outputs == ("scale",)
    assert len(made.layer("conv").blobs) == 2
    path = out.with_suffix(".onnx")
    converters.export_onnx(net, path, fold_bn=True)
    assert not {node.op_type for node in onnx.load(path).graph.node} & {"BatchNormalization", "Mul", "Add"}
    found = runtime.open_session(path, threads=1).run({name: x.numpy() for name, x in inputs.items()})
    assert_same(found, predict(net, inputs), 1e-5)


OWN_STATISTICS = "batch_norm_param { use_global_stats: false }"


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (layer("conv", "ReLU", "data") + NORMALISED, ["Input", "ReLU", "Scale"]),
        (layer("conv", "ReLU", "data") + NORMALISED + layer("y", "Eltwise", "bn,scale"),
         ["Input", "ReLU", "Scale", "Scale", "Eltwise"]),
        (convolution("conv", "data") + NORMALISED + layer("y", "ReLU", "conv"),
         ["Input", "Convolution", "Scale", "ReLU"]),
        (layer("conv", "InnerProduct", "data", more="inner_product_param { num_output: 4 axis: 2 }")
         + layer("bn", "BatchNorm", "conv"), ["Input", "InnerProduct", "Scale"]),
        (convolution("conv", "data") + layer("bn", "BatchNorm", "conv", more=OWN_STATISTICS),
         ["Input", "Convolution", "BatchNorm"]),
        (convolution("conv", "data") + layer("s", "Scale", "conv", more="scale_param { axis: 2 }"),
         ["Input", "Convolution", "Scale"]),
        (convolution("conv", "data") + layer("b", "Bias", "conv")
         + layer("p", "Power", "b", more="power_param { shift: 2 }"),
         ["Input", "Convolution"]),
        (convolution("conv", "data") + layer("p", "Power", "conv", more="power_param { power: 2 }"),
         ["Input", "Convolution", "Power"]),
        (convolution("conv", "data") + layer("d", "Dropout", "conv", more="dropout_param { scale_train: false }"),
         ["Input", "Convolution"]),
    ],
)  # fmt: skip
def test_what_is_folded_and_what_stays(out, body, left):
    net, inputs = filled(IMAGES + body)
    agree(net, out, inputs, 1e-5, fold_bn=True)
    assert types(out) == left


def test_filters_with_shared_blobs_stay(out):
    shared = [
        convolution(name, bottom).replace("convolution_param", 'param { name: "w" } convolution_param', 1)
        for name, bottom in (("conv", "data"), ("other", "bn"))
    ]
    net, inputs = filled(IMAGES + shared[0] + layer("bn", "BatchNorm", "conv") + shared[1])
    made = agree(net, out, inputs, 1e-5, fold_bn=True)
    assert types(out) == ["Input", "Convolution", "Scale", "Convolution"]
    assert made.layer("conv").blobs[0] is made.layer("other").blobs[0]


# ---- BVLC's words


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (layer("y", "ReLU6", "data"), ["Clip"]),
        (layer("y", "ReLU", "data", more="relu_param { relu6: true }"), ["Clip"]),
        (layer("y", "RReLU", "data"), ["ReLU"]),
        (layer("y", "ConvolutionDepthwise", "data", more="convolution_param { kernel_size: 3 }"), ["Convolution"]),
        (layer("y", "BN", "data", more="bn_param { slope_filler { value: 1 } }"), ["Scale"]),
        (layer("y", "BatchNorm", "data", more="batch_norm_param { scale_bias: true }"), ["Scale"]),
        (layer("y", "Pooling", "data", more="pooling_param { kernel_size: 2 stride: 3 ceil_mode: 0 }"), ["Pooling"]),
        (layer("y", "Pooling", "data", more="pooling_param { kernel_size: 3 engine: MKL2017 }"), ["Pooling"]),
        (layer("y", "Upsample", "data", more="upsample_param { scale: 2 }"), ["Deconvolution"]),
        (layer("y", "UpsampleDarknet", "data", more="upsample_darknet_param { stride: 3 }"), ["Deconvolution"]),
        (layer("y", "Upscale", "data", more="upscale_param { scale: 2 scale: 1 dilate: true }"), ["Deconvolution"]),
        (layer("y", "GaussianNoise", "data"), ["Power"]),
        (layer("p", "Pooling", "data", more="pooling_param { pool: AVE global_pooling: true }")
         + layer("y", "Squeeze", "p"), ["Pooling", "Reshape"]),
        (layer("p", "Pooling", "data", more="pooling_param { pool: AVE global_pooling: true }")
         + layer("y", "Permute", "p", more="permute_param { order: [0, 2, 3, 1] }"), ["Pooling", "Reshape"]),
        (layer("p", "Pooling", "data", more="pooling_param { pool: AVE global_pooling: true }")
         + layer("y", "Axpy", "p,data,data"), ["Pooling", "Flatten", "Scale", "Eltwise"]),
    ],
)  # fmt: skip
def test_layers_of_forks_in_other_words(out, body, left):
    net, inputs = filled(IMAGES + body)
    agree(net, out, inputs, 1e-5, bvlc_only=True)
    assert types(out) == ["Input", *left]
    assert not [said for part in text.read_net(out).layer for said in bvlc._options(part)]


def test_all_that_has_no_words_is_named_at_once(out):
    body = layer("p", "Permute", "data", more="permute_param { order: [0, 2, 3, 1] }") + layer("s", "Reverse", "p")
    wide = layer("w", "Pooling", "s", more="pooling_param { kernel_size: 2 pad_b: 1 }")
    net, _ = filled(IMAGES + body + wide + layer("r", "ReLU6", "w", more="relu6_param { negative_slope: 0.1 }"))
    with pytest.raises(NetError) as error:
        converters.export_caffe(net, out, bvlc_only=True)
    said = "layer 'p' (Permute); layer 's' (Reverse); layer 'w' (Pooling) with pooling_param.pad_b; layer 'r' (ReLU6)"
    assert said in " ".join(str(error.value).split())
    assert not out.exists()
    assert not out.with_suffix(".caffemodel").exists()


# ---- the command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net, _ = filled(IMAGES + convolution("conv", "data") + NORMALISED + layer("r", "Reverse", "scale"))
    text.write(net.to_proto(), Path("net.prototxt"))
    save_weights(net, "net.caffemodel")
    return tmp_path


def test_the_command_writes_and_checks(folder, capsys):
    assert (
        caffemodel.main(["net.prototxt", "net.caffemodel", "out.prototxt", "--fold-bn", "--batch", "1", "--check"]) == 0
    )
    first, foreign, checked = capsys.readouterr().out.splitlines()
    assert first == "out.prototxt: 2 layers, data 1x4x6x6 -> r 1x4x4x4"
    assert foreign == "not in BVLC Caffe: Reverse (r)"
    assert checked.startswith("r: 1x4x4x4, differs by ")


def test_the_command_finds_shipped_nets_from_anywhere(folder, capsys):
    save_weights(nets.load(files.find(LENET), input_shapes={"data": (1, 1, 28, 28), "label": (1,)}), "lenet.caffemodel")
    assert caffemodel.main([LENET, "lenet.caffemodel", "out.prototxt", "--shape", "data=1,1,28,28", "--check"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("prob: 1x10, differs by 0.0e+00")


def test_check_finds_other_weights(folder):
    net = nets.load("net.prototxt", "net.caffemodel")
    draft = converters.export_caffe(net, "out.prototxt")
    with torch.no_grad():
        net.layer("conv").blobs[0].mul_(1.01)
    save_weights(net, "out.caffemodel")
    with pytest.raises(CaffeError, match=r"^out\.prototxt disagrees: r: 2x4x4x4"):
        caffemodel.check(nets.load("net.prototxt", "net.caffemodel"), "out.prototxt", draft)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["net.prototxt"], r"^net\.prototxt: the net comes from this file: write to another$"),
        (["sub/../net.prototxt"], r"the net comes from this file"),
        (["net.caffemodel"], r"^net\.caffemodel: name a file that ends in \.prototxt"),
        (["sub"], "^sub: is a folder: name a file in it$"),
        (["nowhere/out.prototxt"], r"^nowhere/out\.caffemodel: cannot be written: no such file or directory$"),
        (["out.prototxt", "--batch", "0"], "a batch of 0 is not possible"),
        (["out.prototxt", "--bvlc"], r"BVLC Caffe has no words for layer 'r' \(Reverse\)"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(folder, argv, message):
    (folder / "sub").mkdir()
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(CaffeError, match=message) as error:
        caffemodel.main(["net.prototxt", "net.caffemodel", *argv])
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_convolution_along_other_axes_keeps_the_scale_behind_it(out):
    """Its filters mix the channels' values along axis 2, so that a factor for each channel is not theirs."""
    text_ = DATA.format("dim: 2 dim: 3 dim: 4 dim: 6")
    net, inputs = filled(text_ + convolution("c", "data", "axis: 2") + layer("s", "Scale", "c"))
    agree(net, out, inputs, 1e-5, fold_bn=True)
    assert types(out) == ["Input", "Convolution", "Scale"]


def test_options_of_other_layers_are_left_out_for_bvlc(out):
    net, inputs = filled(IMAGES + layer("r", "ReLU", "data", more="norm_param { across_spatial: false }"))
    agree(net, out, inputs, 1e-6, bvlc_only=True)
    assert "norm_param" not in out.read_text()
