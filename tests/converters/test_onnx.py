"""ONNX: the same numbers in onnxruntime, the names of the original, and no layer lost in silence."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import converters
import nets
from converters import model_file
from converters.layout import lay_out
from converters.onnx import check, main
from nets import runtime
from nets.predictions import predict
from nets.weights import save_weights
from protos import text
from protos.errors import CaffeError, NetError, WeightsError
from tests.converters import architectures
from tests.converters.exported import (
    FIXED_BATCH,
    WHOLE_BATCH,
    assert_same,
    inputs_of,
    kinds,
    load,
    predicting,
    resized,
    tolerance,
)
from tests.nets.cases import CASES

NO_FORM = {"BoxAnnotatorOHEM", "Filter", "HDF5Output", "MarginInnerProduct", "Python"}
LENET = "protos/zoo/lenet/train_val.prototxt"


EXPORTED = predicting(NO_FORM)


def agree(net: nets.Net, path: Path, inputs: dict[str, torch.Tensor], limit: float) -> None:
    """Run the model beside the net: the same outputs, in the same order and shape, with the same values."""
    onnx.checker.check_model(os.fspath(path), full_check=True)
    session = runtime.open_session(path, threads=1)
    found = session.run({name: x.numpy() for name, x in inputs.items() if name in session.inputs})
    assert_same(found, predict(net, inputs), limit)


# ---- every layer


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in EXPORTED])
def test_every_case_agrees_at_batch_1_and_another(case, tmp_path):
    net, path, inputs = load(case), tmp_path / "net.onnx", inputs_of(case)
    if case.name in FIXED_BATCH:
        with pytest.raises(NetError, match="batch"):
            converters.export_onnx(net, path)
        converters.export_onnx(net, path, batch=next(iter(inputs.values())).shape[0])
        agree(net, path, inputs, tolerance(case.name))
        return
    converters.export_onnx(net, path)
    agree(net, path, inputs, tolerance(case.name))
    sizes = runtime.open_session(path, threads=1).inputs
    assert any("N" in size for size in sizes.values())
    if case.name in WHOLE_BATCH:
        return
    even = 2 if "axis0" in case.name else 1
    for batch in (even, 2 * even):
        agree(net, path, resized(inputs, sizes, batch), tolerance(case.name))


def test_every_type_is_exported_or_known_to_have_no_form():
    covered = set().union(*(kinds(case) for case in CASES if case in EXPORTED))
    judged = {
        "Accuracy", "ContrastiveLoss", "EuclideanLoss", "HingeLoss", "LabelsequenceAccuracy", "MultinomialLogisticLoss",
        "CenterLoss", "DetectionEvaluate", "L1Loss", "MultiBoxLoss", "SegAccuracy", "SmoothL1Loss", "SmoothL1LossOHEM",
        "TripletLoss",
    }  # fmt: skip
    assert set(nets.LAYERS) - covered <= NO_FORM | judged


@pytest.mark.parametrize("opset", [13, 15, 18, 21])
def test_other_operator_sets_say_the_same(opset, tmp_path):
    wanted = (
        "mvn",
        "reduction_mean",
        "reduction_asum",
        "lstm",
        "slice_even",
        "softmax",
        "lstm_segments",
        "crop",
        "detection_own_locations",
        "psroipooling",
        "proposal_scores",
    )
    for case in EXPORTED:
        if case.name in wanted:
            net, path = load(case), tmp_path / f"{case.name}.onnx"
            converters.export_onnx(net, path, opset=opset)
            assert onnx.load(path).opset_import[0].version == opset
            agree(net, path, inputs_of(case), 1e-4)


# ---- whole nets


@pytest.mark.parametrize("name", architectures.ALL)
def test_whole_nets_agree(name, tmp_path):
    net, size = architectures.small(name)
    for fold_bn in (False, True):
        path = tmp_path / f"{name}{fold_bn}.onnx"
        converters.export_onnx(net, path, fold_bn=fold_bn)
        for batch in (1, 3):
            x = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(batch))
            agree(net, path, {"data": x}, 1e-4)
        kinds = [node.op_type for node in onnx.load(path).graph.node]
        if name == "resnet50":
            assert ("BatchNormalization" in kinds) != fold_bn
            assert ("Mul" in kinds) != fold_bn


@pytest.mark.parametrize("name", architectures.ALL)
def test_another_importer_of_caffe_nets_agrees(name, tmp_path, monkeypatch):
    """OpenCV reads prototxt and weights by itself, so that a mistake that net and export share would show."""
    cv2 = pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    size = {"caffenet": 99, "googlenet": 224, "resnet50": 224, "squeezenet": 67, "fcn": 64}.get(name, 32)
    more = {"blocks": (1, 1, 1, 1)} if name == "resnet50" else {}
    prototxt = architectures.ALL[name](width=1 / 8, size=size, classes=12, **more)
    net = architectures.make(prototxt)
    (tmp_path / "net.prototxt").write_text(prototxt)
    save_weights(net, "net.caffemodel")
    converters.export_onnx(net, "net.onnx", fold_bn=True, fast_lrn=True)
    x = np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(np.float32)
    (found,) = runtime.open_session("net.onnx", threads=1).run({"data": x}).values()
    other = cv2.dnn.readNetFromCaffe("net.prototxt", "net.caffemodel")
    other.setInput(x, "data")
    wanted = other.forward()
    np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("name", ["fcn", "squeezenet"])
def test_a_fully_convolutional_net_takes_images_of_any_size(name, tmp_path):
    net = architectures.make(architectures.ALL[name](width=1 / 8, size=64, classes=5))
    path = tmp_path / "net.onnx"
    converters.export_onnx(net, path, dynamic_spatial=True)
    assert runtime.open_session(path).inputs["data"] == ("N", 3, "H", "W")
    for height, width in ((64, 64), (75, 90), (88, 61)):
        agree(net, path, {"data": torch.randn(2, 3, height, width)}, 1e-4)


POOLS = [
    f"pool: {kind} kernel_size: {kernel} stride: {stride} pad: {pad} {more}"
    for kind in ("MAX", "AVE")
    for kernel, stride, pad in ((2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 3, 2), (2, 3, 1), (5, 3, 4))
    for more in ("", "round_mode: FLOOR")
]


@pytest.mark.parametrize("options", POOLS)
def test_pooling_of_any_size_has_the_original_windows(options, tmp_path):
    shape = "shape { dim: 1 dim: 2 dim: 9 dim: 9 }"
    prototxt = f"""layer {{ name: "data" type: "Input" top: "data" input_param {{ {shape} }} }}
    layer {{ name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param {{ {options} }} }}"""
    net, path = architectures.make(prototxt), tmp_path / "net.onnx"
    converters.export_onnx(net, path, dynamic_spatial=True)
    for height in range(6, 14):
        agree(net, path, {"data": torch.randn(1, 2, height, height + 3) - 5}, 1e-5)
    converters.export_onnx(net, path)
    agree(net, path, {"data": torch.randn(2, 2, 9, 9) + 5}, 1e-5)


@pytest.mark.parametrize("options", ["", "beta: 0.6 k: 2", "local_size: 3 alpha: 0.5"])
def test_lrn_written_out_is_the_same(options, tmp_path):
    net = architectures.make(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 7 dim: 4 dim: 5 } } }'
        f'layer {{ name: "norm" type: "LRN" bottom: "data" top: "norm" lrn_param {{ {options} }} }}'
    )
    model = model_of(net, tmp_path / "net.onnx", fast_lrn=True)
    assert "LRN" not in [node.op_type for node in model.graph.node]
    assert "norm" in [node.name for node in model.graph.node]
    agree(net, tmp_path / "net.onnx", {"data": torch.randn(3, 7, 4, 5)}, 1e-5)


def test_lenet_of_its_training_file(tmp_path):
    net = nets.load(LENET, input_shapes={"data": (64, 1, 28, 28), "label": (64,)})
    path = tmp_path / "lenet.onnx"
    converters.export_onnx(net, path)
    graph = onnx.load(path).graph
    assert [value.name for value in graph.input] == ["data"]
    assert [value.name for value in graph.output] == ["loss"]
    assert [(node.op_type, node.name) for node in graph.node] == [
        ("Conv", "conv1"), ("MaxPool", "pool1"), ("Conv", "conv2"), ("MaxPool", "pool2"), ("Flatten", "ip1/Flatten"),
        ("Gemm", "ip1"), ("Relu", "relu1"), ("Gemm", "ip2"), ("Softmax", "loss"),
    ]  # fmt: skip
    assert [t.name for t in graph.initializer] == [
        "conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "ip1.weight", "ip1.bias", "ip2.weight", "ip2.bias",
    ]  # fmt: skip
    agree(net, path, {"data": torch.rand(5, 1, 28, 28)}, 1e-5)


# ---- names, sizes and facts


def model_of(net: nets.Net, path: Path, **options) -> onnx.ModelProto:
    converters.export_onnx(net, path, **options)
    return onnx.load(path)


def test_what_works_in_place_has_numbers_and_the_last_the_name(tmp_path):
    net = architectures.make(architectures.resnet50(1 / 16, 64, 4, (1,)))
    nodes = {node.name: list(node.output) for node in model_of(net, tmp_path / "net.onnx").graph.node}
    assert nodes["conv1"] == ["conv1#1"]
    assert nodes["bn_conv1"] == ["conv1#2"]
    assert nodes["scale_conv1/Mul"] == ["scale_conv1/Mul"]
    assert nodes["scale_conv1"] == ["conv1#3"]
    assert nodes["relu_conv1"] == ["conv1"]


def test_an_input_changed_in_place_keeps_its_name(tmp_path):
    net = architectures.make(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }'
        'layer { name: "relu" type: "ReLU" bottom: "data" top: "data" }'
    )
    model = model_of(net, tmp_path / "net.onnx")
    assert [list(node.output) for node in model.graph.node] == [["data#1"]]
    assert model.graph.input[0].name == "data"
    agree(net, tmp_path / "net.onnx", {"data": torch.randn(2, 3)}, 1e-6)


def test_equal_nets_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        net = architectures.make(architectures.googlenet(1 / 16, 80, 4))
        converters.export_onnx(net, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_open_and_fixed_batches_stand_in_the_model(tmp_path):
    net = architectures.make(architectures.cifar10_quick(1 / 8))
    path = tmp_path / "net.onnx"
    converters.export_onnx(net, path)
    assert runtime.open_session(path).inputs == {"data": ("N", 3, 32, 32)}
    model = onnx.load(path)
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert {value.name for value in model.graph.value_info} >= {"conv1", "pool1#1", "pool1", "ip1"}
    converters.export_onnx(net, path, batch=7)
    assert runtime.open_session(path).inputs == {"data": (7, 3, 32, 32)}


def test_shared_weights_stand_in_the_model_once(tmp_path):
    (case,) = [case for case in CASES if case.name == "net_shared_weights"]
    names = [t.name for t in model_of(load(case), tmp_path / "net.onnx").graph.initializer]
    assert len([name for name in names if name.endswith("weight")]) < sum(
        layer.type == "InnerProduct" for layer in case.param.layer
    )


PREPROCESSED = """
layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { scale: 0.5 mean_value: 104 mean_value: 117 mean_value: 123 crop_size: 8 }
  data_param { source: "nowhere" batch_size: 4 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def test_metadata_say_where_it_came_from_and_what_the_pixels_went_through(tmp_path):
    (tmp_path / "net.prototxt").write_text(PREPROCESSED)
    shapes = {"data": (4, 3, 8, 8), "label": (4,)}
    net = nets.load(tmp_path / "net.prototxt", input_shapes=shapes)
    save_weights(net, tmp_path / "net.caffemodel")
    files = (tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    model = model_of(net, tmp_path / "net.onnx", sources=files)
    about = {one.key: one.value for one in model.metadata_props}
    assert about["caffe.model"] == "net.prototxt"
    assert about["caffe.model.sha256"] == hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert about["caffe.weights.sha256"] == hashlib.sha256(files[1].read_bytes()).hexdigest()
    assert about["data.channel_order"] == "BGR"
    assert about["data.scale"] == "0.5"
    assert about["data.mean_value"] == "104,117,123"
    assert about["data.crop_size"] == "8"
    assert model.producer_name == "caffetorch"


def test_the_file_is_as_protobuf_would_write_it(tmp_path):
    """Large weights are written past protobuf: it reads them back, and finds the fields that it would have set."""
    net, path = architectures.make(architectures.cifar10_quick(1 / 4)), tmp_path / "net.onnx"
    model = model_of(net, path)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weight = net.layer("conv2").blobs[0].detach().numpy()
    assert weight.nbytes > model_file.INLINE
    assert tensors["conv2.weight"] == onnx.numpy_helper.from_array(weight, "conv2.weight")
    graph = model.graph
    nodes, inputs, outputs = len(graph.node), graph.input[0].name, graph.output[0].name
    assert model_file.summary(path) == f"{nodes} nodes, {inputs} -> {outputs}"
    assert len(path.read_bytes()) == model.ByteSize()


def test_large_weights_go_to_a_file_beside_the_model(tmp_path, monkeypatch):
    net, path = architectures.make(architectures.cifar10_quick(1 / 4)), tmp_path / "net.onnx"
    converters.export_onnx(net, path)
    size = path.stat().st_size
    monkeypatch.setattr(model_file, "LARGEST", size)
    converters.export_onnx(net, path)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    monkeypatch.setattr(model_file, "LARGEST", size - 1)
    converters.export_onnx(net, path)
    assert (tmp_path / "net.onnx.data").stat().st_size > path.stat().st_size
    assert model_file.summary(path).endswith(" nodes, data -> prob")
    agree(net, path, {"data": torch.randn(2, 3, 32, 32)}, 1e-5)


def test_a_model_that_is_not_valid_is_not_written(tmp_path):
    net, path = architectures.make(architectures.cifar10_quick(1 / 4)), tmp_path / "net.onnx"
    model = model_of(net, path)
    path.unlink()
    model.graph.node[0].op_type = "Konv"
    with pytest.raises(NetError, match=r"net.onnx: the model is not valid ONNX: .*Konv"):
        model_file.write(model, [], path)
    assert not list(tmp_path.iterdir())


# ---- what goes


def test_losses_become_predictions_and_judges_go(tmp_path):
    prototxt = """
    layer { name: "data" type: "Input" top: "data" top: "label" top: "target"
      input_param { shape { dim: 2 dim: 6 } shape { dim: 2 } shape { dim: 2 dim: 3 } } }
    layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3
      weight_filler { type: "xavier" } } }
    layer { name: "drop" type: "Dropout" bottom: "fc" top: "dropped" }
    layer { name: "accuracy" type: "Accuracy" bottom: "dropped" bottom: "label" top: "accuracy" }
    layer { name: "half" type: "Power" bottom: "accuracy" top: "half" power_param { scale: 0.5 } }
    layer { name: "softmax" type: "SoftmaxWithLoss" bottom: "dropped" bottom: "label" top: "loss" top: "prob" }
    layer { name: "double" type: "Power" bottom: "prob" top: "double" power_param { scale: 2 } }
    layer { name: "sigmoid" type: "SigmoidCrossEntropyLoss" bottom: "fc" bottom: "target" top: "cross" }
    layer { name: "regress" type: "EuclideanLoss" bottom: "target" bottom: "fc" top: "distance" }
    layer { name: "unused" type: "Power" bottom: "data" top: "unused" }
    layer { name: "silence" type: "Silence" bottom: "unused" }
    """
    net, path = architectures.make(prototxt), tmp_path / "net.onnx"
    graph = model_of(net, path).graph
    assert [value.name for value in graph.input] == ["data"]
    assert [value.name for value in graph.output] == ["cross", "fc", "double", "prob"]
    assert sorted(node.name for node in graph.node) == ["double", "fc", "sigmoid", "softmax"]
    agree(net, path, {"data": torch.randn(2, 6)}, 1e-5)


def test_scores_that_only_accuracy_takes_are_an_output(tmp_path):
    net = architectures.make("""
    layer { name: "data" type: "Input" top: "data" top: "label"
      input_param { shape { dim: 2 dim: 6 } shape { dim: 2 } } }
    layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
    layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" }""")
    assert [value.name for value in model_of(net, tmp_path / "net.onnx").graph.output] == ["fc"]


def recurrent(cont: str) -> str:
    return f"""
    layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 5 dim: 2 dim: 4 }} }} }}
    {cont}
    layer {{ name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "lstm" recurrent_param {{ num_output: 3
      weight_filler {{ type: "uniform" min: -0.5 max: 0.5 }} }} }}
    layer {{ name: "rnn" type: "RNN" bottom: "lstm" bottom: "cont" top: "rnn" recurrent_param {{ num_output: 3
      weight_filler {{ type: "uniform" min: -0.5 max: 0.5 }} }} }}"""


def test_recurrent_layers_with_constant_cont_are_one_node(tmp_path):
    given = 'layer { name: "cont" type: "Input" top: "cont" input_param { shape { dim: 5 dim: 2 } } }'
    dummy = """layer { name: "cont" type: "DummyData" top: "cont" dummy_data_param { shape { dim: 5 dim: 2 }
      data_filler { type: "constant" value: 1 } } }"""
    path = tmp_path / "net.onnx"
    for cont, options in ((given, {"constants": {"cont": 1.0}}), (dummy, {})):
        net = nets.load(text.parse_net(recurrent(cont)))
        model = model_of(net, path, **options)
        assert [node.op_type for node in model.graph.node if node.name in ("lstm/LSTM", "rnn/RNN")] == ["LSTM", "RNN"]
        assert [value.name for value in model.graph.input] == ["x"]
        x = torch.randn(5, 2, 4)
        found = runtime.open_session(path).run({"x": x.numpy()})["rnn"]
        np.testing.assert_allclose(found, predict(net, {"x": x, "cont": torch.ones(5, 2)})["rnn"], atol=1e-6)


# ---- bad input


def refused(message: str, net: nets.Net, path: Path, **options) -> None:
    with pytest.raises(CaffeError, match=message) as error:
        converters.export_onnx(net, path, **options)
    assert "\n" not in str(error.value)
    assert not path.is_file()


def test_all_layers_without_a_form_are_named_at_once(tmp_path):
    net = architectures.make("""
    layer { name: "data" type: "Input" top: "data" top: "keep"
      input_param { shape { dim: 2 dim: 6 } shape { dim: 2 } } }
    layer { name: "some" type: "Filter" bottom: "data" bottom: "keep" top: "some" }
    layer { name: "file" type: "HDF5Output" bottom: "data" bottom: "keep" hdf5_output_param { file_name: "x.h5" } }""")
    refused(r"layer 'some' \(Filter\); layer 'file' \(HDF5Output\)", net, tmp_path / "net.onnx")


def test_bad_options_are_one_line(tmp_path):
    net = architectures.make(architectures.cifar10_quick(1 / 8))
    refused("opset 3 is not known: choose one from 13 to", net, tmp_path / "net.onnx", opset=3)
    refused("is a folder", net, tmp_path)
    refused("a batch of 0 is not possible", net, tmp_path / "net.onnx", batch=0)
    refused("cannot be written", net, tmp_path / "no" / "net.onnx")
    refused("'wrong' is no input", net, tmp_path / "net.onnx", constants={"wrong": 1.0})
    refused("not fully convolutional.*'ip1'", net, tmp_path / "net.onnx", dynamic_spatial=True)


def test_a_net_without_inputs_or_outputs_is_refused(tmp_path):
    alone = """layer { name: "w" type: "Parameter" top: "w" parameter_param { shape { dim: 3 } } }
    layer { name: "twice" type: "Power" bottom: "w" top: "twice" power_param { scale: 2 } }"""
    refused("has no inputs", architectures.make(alone), tmp_path / "net.onnx")
    judged = """layer { name: "x" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "loss" type: "EuclideanLoss" bottom: "a" bottom: "b" top: "loss" }"""
    refused("no outputs besides losses", architectures.make(judged), tmp_path / "net.onnx")


def test_a_layout_tells_equal_open_sizes_from_others():
    net = architectures.make(architectures.fcn(1 / 8, 64, 3))
    found = lay_out(net, None, True)
    assert found.inputs == {"data": ("N", 3, "H", "W")}
    assert found.tops[-1][0] == ("N", 3, "H", "W")
    assert found.tops[0][0] == ("N", 8, "H(64,320)".replace("64,320", "142,398"), "W(142,654)")


# ---- the command


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.prototxt").write_text(architectures.cifar10_quick(1 / 8))
    save_weights(architectures.make(architectures.cifar10_quick(1 / 8)), tmp_path / "net.caffemodel")
    return tmp_path


def test_the_command_writes_and_checks(folder, capsys):
    files = [str(folder / name) for name in ("net.prototxt", "net.caffemodel", "net.onnx")]
    assert main([*files, "--check", "--fold-bn", "--batch", "2", "--opset", "18"]) == 0
    said = capsys.readouterr().out
    assert "data -> prob" in said
    assert "prob: 2x10, differs by" in said


def test_check_finds_a_model_of_other_weights(folder):
    net = architectures.make(architectures.cifar10_quick(1 / 8), seed=1)
    converters.export_onnx(net, folder / "net.onnx")
    with pytest.raises(CaffeError, match="onnxruntime disagrees: prob"):
        check(architectures.make(architectures.cifar10_quick(1 / 8)), folder / "net.onnx")


def test_the_command_asks_no_store_where_shapes_are_given(tmp_path):
    (tmp_path / "net.prototxt").write_text(PREPROCESSED)
    net = nets.load(tmp_path / "net.prototxt", input_shapes={"data": (4, 3, 8, 8), "label": (4,)})
    save_weights(net, tmp_path / "net.caffemodel")
    files = [str(tmp_path / name) for name in ("net.prototxt", "net.caffemodel", "net.onnx")]
    with pytest.raises(CaffeError, match="with --shape"):
        main(files)
    assert main([*files, "--shape", "data=4,3,8,8"]) == 0


def test_weights_in_the_place_of_the_model_are_pointed_out(folder):
    stored = text.read_net(folder / "net.caffemodel")
    del stored.layer[0]
    (folder / "train.caffemodel").write_bytes(stored.SerializeToString())
    message = r"train\.caffemodel holds weights: should it change places with .*net\.prototxt"
    with pytest.raises(NetError, match=message):
        main([str(folder / name) for name in ("train.caffemodel", "net.prototxt", "x.onnx")])
    with pytest.raises(
        WeightsError, match=r"net\.caffemodel holds weights: should it change places with .*net\.prototxt"
    ):
        main([str(folder / name) for name in ("net.caffemodel", "net.prototxt", "x.onnx")])


def test_the_command_ends_in_one_line(folder):
    (folder / "other.prototxt").write_text(architectures.cifar10_quick(1 / 8).replace('"ip2"', '"ip3"'))
    for model, out, message in (
        ("other.prototxt", "x.onnx", "no weights for ip3"),
        ("missing.prototxt", "x.onnx", "cannot be read"),
        ("net.prototxt", ".", "is a folder"),
    ):
        command = [sys.executable, "-m", "converters.onnx", folder / model, folder / "net.caffemodel", folder / out]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 2, ended.stderr
        (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
        assert message in line
        assert "Traceback" not in ended.stderr


# ---- what is drawn together

IMAGE = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 dim: 5 dim: 3 } } }'
FILTER = """layer { name: "filter" type: "Convolution" bottom: "data" top: "below"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }"""
NORM = 'layer { name: "norm" type: "BatchNorm" bottom: "data" top: "below" }'
FULL = """layer { name: "full" type: "InnerProduct" bottom: "data" top: "below" inner_product_param { num_output: 4
  transpose: true bias_term: false } }"""
TWICE = 'layer { name: "other" type: "Power" bottom: "below" top: "other" power_param { power: 2 } }'


def behind(kind: str, options: str) -> str:
    return f'layer {{ name: "last" type: "{kind}" bottom: "below" top: "last" {kind.lower()}_param {{ {options} }} }}'


def filled(prototxt: str) -> tuple[nets.Net, dict[str, torch.Tensor]]:
    """The net with blobs above 0, and inputs for it."""
    net, chance = nets.load(text.parse_net(prototxt)), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for blob in (*net.parameters(), *net.buffers()):
            blob.copy_(torch.rand(blob.shape, generator=chance) + 0.5)
    return net, {name: torch.randn(shape, generator=chance) for name, shape in net.graph.inputs.items()}


@pytest.mark.parametrize(
    ("layers", "left"),
    [
        (NORM + behind("Scale", "bias_term: true"), ["BatchNormalization"]),
        (NORM + behind("Bias", ""), ["BatchNormalization"]),
        (NORM + behind("Bias", "axis: 2"), ["BatchNormalization", "Add"]),
        (NORM + behind("Scale", "num_axes: 2"), ["BatchNormalization", "Mul"]),
        (NORM + behind("Scale", "num_axes: 0"), ["BatchNormalization", "Mul"]),
        (NORM + behind("Scale", "") + TWICE, ["BatchNormalization", "Mul", "Pow"]),
        (FILTER + behind("Scale", "bias_term: true"), ["Conv"]),
        (FILTER + behind("Scale", "axis: 3"), ["Conv", "Mul"]),
        (FULL + behind("Scale", "bias_term: true"), ["Flatten", "Gemm"]),
        (FILTER.replace("{ num", '{ group: 2 num').replace('"Convolution"', '"Deconvolution"') + behind("Scale", ""),
         ["ConvTranspose"]),
        (IMAGE.replace('"data"', '"below"') + TWICE + behind("Scale", ""), ["Mul", "Pow"]),
    ],
)  # fmt: skip
def test_what_is_affine_by_channel_is_folded(layers, left, tmp_path):
    net, inputs = filled(IMAGE + layers)
    model = model_of(net, tmp_path / "net.onnx", fold_bn=True)
    assert sorted(node.op_type for node in model.graph.node) == sorted(left)
    agree(net, tmp_path / "net.onnx", inputs, 1e-5)


@pytest.mark.parametrize("below", [NORM, FILTER])
@pytest.mark.parametrize("options", ["axis: 2", "axis: 3 bias_term: true"])
def test_rows_and_columns_are_no_channels_where_there_are_as_many(below, options, tmp_path):
    net, inputs = filled(IMAGE.replace("dim: 5 dim: 3", "dim: 4 dim: 4") + below + behind("Scale", options))
    converters.export_onnx(net, tmp_path / "net.onnx", fold_bn=True)
    agree(net, tmp_path / "net.onnx", inputs, 1e-5)


def test_filters_that_two_layers_share_are_not_folded_into(tmp_path):
    shared = FULL.replace("inner_product_param", 'param { name: "w" } inner_product_param')
    twin = shared.replace('"full"', '"twin"').replace('"below"', '"beside"')
    net, inputs = filled(IMAGE + shared + twin + behind("Scale", ""))
    model = model_of(net, tmp_path / "net.onnx", fold_bn=True)
    assert [node.op_type for node in model.graph.node].count("Mul") == 1
    agree(net, tmp_path / "net.onnx", inputs, 1e-5)


# ---- more of the command and its facts


def test_a_mean_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mean.binaryproto").write_bytes(b"mean")
    means = "mean_value: 104 mean_value: 117 mean_value: 123"
    for name, known in (("mean.binaryproto", True), ("none.binaryproto", False)):
        (tmp_path / "net.prototxt").write_text(PREPROCESSED.replace(means, f'mean_file: "{name}"'))
        net = nets.load(tmp_path / "net.prototxt", input_shapes={"data": (4, 3, 8, 8), "label": (4,)})
        model = model_of(net, tmp_path / "net.onnx")
        about = {one.key: one.value for one in model.metadata_props}
        assert about["data.mean_file"] == name
        assert about.get("data.mean_file.sha256") == (hashlib.sha256(b"mean").hexdigest() if known else None)
    with pytest.raises(CaffeError, match=r"none\.caffemodel: cannot be read: no such file or directory"):
        converters.export_onnx(net, tmp_path / "net.onnx", sources=("net.prototxt", "none.caffemodel"))


def test_constants_of_the_command(tmp_path, capsys):
    given = 'layer { name: "cont" type: "Input" top: "cont" input_param { shape { dim: 5 dim: 2 } } }'
    (tmp_path / "net.prototxt").write_text(recurrent(given))
    save_weights(nets.load(tmp_path / "net.prototxt"), tmp_path / "net.caffemodel")
    files = [str(tmp_path / name) for name in ("net.prototxt", "net.caffemodel", "net.onnx")]
    assert main([*files, "--check", "--constant", "cont=1"]) == 0
    assert "nodes, x -> rnn\nrnn: 5x2x3, differs by" in capsys.readouterr().out
    for wrong, message in ((["--constant", "cont"], "--constant cont: give NAME=NUMBER"),
                           (["--batch", "two"], "--batch two: give a number, or 'dynamic'")):  # fmt: skip
        with pytest.raises(CaffeError, match=message):
            main([*files, *wrong])


def test_a_net_without_images_has_no_size_to_leave_open(tmp_path):
    refused("no images to leave the size of open", nets.load(text.parse_net(recurrent(
        'layer { name: "cont" type: "Input" top: "cont" input_param { shape { dim: 5 dim: 2 } } }')),
    ), tmp_path / "net.onnx", dynamic_spatial=True)  # fmt: skip
