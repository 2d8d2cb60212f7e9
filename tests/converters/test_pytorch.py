"""Plain PyTorch: the same numbers from source that needs torch alone, and from a program of torch.export."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

import nets
from converters import pytorch
from converters.layout import lay_out
from nets.predictions import predict
from nets.weights import save_weights
from protos import text
from protos.errors import CaffeError, NetError
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
    some_of_each_type,
    tolerance,
)

EXPORTED = predicting(pytorch.NO_FORM)
PLACED = {"act_power_zero", "argmax", "pool_ave_pad", "im2col_1d", "lasagne_slice"}
LENET = "protos/zoo/lenet/train_val.prototxt"


def agree(net: nets.Net, module: torch.nn.Module, inputs: dict[str, torch.Tensor], limit: float) -> None:
    """Run the module beside the net."""
    names = pytorch._input_names(net)
    with torch.no_grad():
        made = module(**{name: inputs[blob].clone() for blob, name in names.items()})
    assert_same({top: x.numpy() for top, x in made.items()}, predict(net, inputs), limit)


# ---- every layer


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in some_of_each_type(EXPORTED, 1)])
def test_every_type_agrees_at_its_batch_and_another(case, tmp_path):
    net, path, inputs = load(case), tmp_path / "net.py", inputs_of(case)
    if case.name in FIXED_BATCH or kinds(case) & {"LSTM", "Lstm", "RNN"}:
        with pytest.raises(NetError, match=r"fix .* with --batch N"):
            pytorch.export_pytorch(net, path)
        pytorch.export_pytorch(net, path, batch=next(iter(inputs.values())).shape[0])
        agree(net, pytorch.load(path), inputs, tolerance(case.name))
        return
    pytorch.export_pytorch(net, path)
    module = pytorch.load(path)
    agree(net, module, inputs, tolerance(case.name))
    if case.name not in WHOLE_BATCH:
        sizes = lay_out(net, None, False).inputs
        for batch in (2, 4):
            agree(net, module, resized(inputs, sizes, batch), tolerance(case.name))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in EXPORTED if case.name in PLACED])
def test_nothing_is_tied_to_a_device(case, tmp_path):
    """What makes tensors of its own makes them where its inputs are, here on torch's device without memory."""
    net, inputs = load(case), inputs_of(case)
    pytorch.export_pytorch(net, tmp_path / "net.py")
    assert "device=" in (tmp_path / "net.py").read_text()
    module = pytorch.load(tmp_path / "net.py").to("meta")
    tops = module(**{name: inputs[blob].to("meta") for blob, name in pytorch._input_names(net).items()})
    assert all(top.is_meta for top in tops.values())


def test_a_layer_that_torch_cannot_follow_is_named(tmp_path, monkeypatch, caplog):
    def forward(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        return x[: int(x.sum())] if torch.compiler.is_compiling() else x

    monkeypatch.setattr(nets.LAYERS["TanH"], "forward", forward)
    param = text.parse_net(
        """input: "x" input_shape { dim: 2 dim: 4 } layer { name: "cut" type: "TanH" bottom: "x" top: "y" }"""
    )
    with pytest.raises(NetError, match=r"cannot be exported: layer 'cut' \(TanH\) with bottoms x 2x4: Could not "):
        pytorch.export_pytorch(nets.Net(nets.graph.build(param)), tmp_path / "net.py", batch=2)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


# ---- whole nets


@pytest.mark.parametrize("name", architectures.ALL)
def test_whole_nets_agree(name, tmp_path):
    net, size = architectures.small(name)
    for file in ("net.py", "net.pt2") if name == "squeezenet" else ("net.py",):
        pytorch.export_pytorch(net, tmp_path / file)
        module = pytorch.load(tmp_path / file)
        for batch in (2, 3):
            agree(net, module, {"data": torch.randn(batch, 3, size, size)}, 1e-5)


def test_the_image_s_size_can_stay_open(tmp_path):
    net, _ = architectures.small("fcn")
    pytorch.export_pytorch(net, tmp_path / "fcn.py", dynamic_spatial=True)
    assert "data: N x 3 x H x W" in (tmp_path / "fcn.py").read_text()
    for height, width in ((48, 48), (64, 80)):
        agree(net, pytorch.load(tmp_path / "fcn.py"), {"data": torch.randn(2, 3, height, width)}, 1e-5)


def lenet() -> nets.Net:
    torch.manual_seed(0)
    return nets.load(LENET, phase="TEST")


def test_the_source_is_for_people(tmp_path):
    pytorch.export_pytorch(lenet(), tmp_path / "lenet.py")
    text = (tmp_path / "lenet.py").read_text()
    for line in (
        "data.scale: 0.00390625",
        "class LeNet(nn.Module):",
        "        self.conv1.weight = nn.Parameter(torch.empty([20, 1, 5, 5]))",
        "    def forward(self, data: Tensor) -> dict[str, Tensor]:",
        "        # data: N x 1 x 28 x 28",
        "        conv1 = torch.conv2d(data, self.conv1.weight, self.conv1.bias)  # N x 20 x 24 x 24",
        "        pool1 = torch.max_pool2d(conv1, [2, 2], [2, 2])  # N x 20 x 12 x 12",
        "        # ip1: InnerProduct",
    ):
        assert f"{line}\n" in text
    assert torch.load(tmp_path / "lenet.pt", weights_only=True).keys() == lenet().state_dict().keys()


@pytest.mark.parametrize(
    ("file", "load_it"),
    [("lenet.py", "import lenet; net = lenet.load()"), ("lenet.pt2", "net = torch.export.load('lenet.pt2').module()")],
)
def test_what_is_written_needs_torch_alone(file, load_it, tmp_path):
    net, x = lenet(), torch.randn(3, 1, 28, 28)
    pytorch.export_pytorch(net, tmp_path / file)
    np.save(tmp_path / "x.npy", x.numpy())
    ours = "('protos', 'data', 'nets', 'converters', 'google')"
    script = (
        f"import sys, numpy, torch; {load_it}; top = net(data=torch.from_numpy(numpy.load('x.npy')))['loss'];"
        f"numpy.save('y.npy', top.detach().numpy()); assert not any(name in sys.modules for name in {ours})"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), predict(net, {"data": x})["loss"], rtol=1e-5)


def test_one_can_train_on(tmp_path):
    net = lenet()
    pytorch.export_pytorch(net, tmp_path / "lenet.py")
    module = pytorch.load(tmp_path / "lenet.py")
    x, label = torch.randn(8, 1, 28, 28), torch.arange(8) % 10
    net.forward_with_loss({"data": x, "label": label.float()})[1].backward()
    torch.nn.functional.nll_loss(module(data=x)["loss"].log(), label).backward()
    for key, blob in module.named_parameters():
        torch.testing.assert_close(blob.grad, dict(net.named_parameters())[key].grad, rtol=1e-4, atol=1e-6)


def test_shared_blobs_stay_one(tmp_path):
    param = text.parse_net(
        """input: "x" input_shape { dim: 2 dim: 4 }
        layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" }
            inner_product_param { num_output: 4 bias_term: false weight_filler { type: "xavier" } } }
        layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" }
            inner_product_param { num_output: 4 bias_term: false } }"""
    )
    net = nets.load(param)
    pytorch.export_pytorch(net, tmp_path / "net.py")
    module = pytorch.load(tmp_path / "net.py")
    assert len(list(module.parameters())) == 1
    agree(net, module, {"x": torch.randn(3, 4)}, 1e-5)


def test_names_that_python_does_not_allow(tmp_path):
    param = text.parse_net(
        """name: "3 nets" input: "in" input_shape { dim: 2 dim: 4 }
        layer { name: "train" type: "InnerProduct" bottom: "in" top: "a/b" inner_product_param { num_output: 3 } }
        layer { name: "fc.1" type: "InnerProduct" bottom: "a/b" top: "fc 1" inner_product_param { num_output: 3 } }
        layer { name: "fc/1" type: "InnerProduct" bottom: "fc 1" top: "\\"y\\"" inner_product_param { num_output: 2 } }
        """
    )
    net = nets.load(param, phase="TEST")
    pytorch.export_pytorch(net, tmp_path / "net.py")
    module = pytorch.load(tmp_path / "net.py")
    assert type(module).__name__ == "_3_nets"
    assert list(dict(module.named_children())) == ["train_2", "fc_1", "fc_1_2"]
    x = torch.randn(5, 4)
    assert module(in_=x).keys() == {'"y"'}
    agree(net, module, {"in": x}, 1e-5)


# ---- the command


def test_the_command_checks_what_it_wrote(tmp_path, capsys):
    save_weights(lenet(), tmp_path / "lenet.caffemodel")
    for file in ("lenet.py", "lenet.pt2"):
        out = tmp_path / file
        assert pytorch.main([LENET, f"{tmp_path}/lenet.caffemodel", str(out), "--check", "--shape=data=4,1,28,28"]) == 0
        assert capsys.readouterr().out.startswith("loss: 4x10, differs by ")
        one = [LENET, f"{tmp_path}/lenet.caffemodel", str(out), "--check", "--batch=1"]
        assert pytorch.main(one) == 0
        assert capsys.readouterr().out.startswith("loss: 1x10, differs by ")
    assert "caffe.weights: lenet.caffemodel\n" in (tmp_path / "lenet.py").read_text()


def test_the_check_sees_a_difference(tmp_path):
    net, out = lenet(), tmp_path / "lenet.py"
    pytorch.export_pytorch(net, out)
    out.write_text(out.read_text().replace("torch.relu(ip1)", "torch.exp(ip1)"))
    with pytest.raises(CaffeError, match=r"lenet\.py disagrees: loss: 100x10, differs by"):
        pytorch.check(net, out)


def test_what_cannot_be_exported_is_named(tmp_path):
    param = text.parse_net(
        """input: "x" input_shape { dim: 2 dim: 4 }
        layer { name: "own" type: "Python" bottom: "x" top: "y"
            python_param { module: "tests.nets.user_layers" layer: "Scaled" param_str: '{"factor": 2}' } }
        """
    )
    net = nets.load(param, phase="TEST", allow_python=True)
    with pytest.raises(NetError, match=r"cannot be exported, for torch cannot follow layer 'own' \(Python\)"):
        pytorch.export_pytorch(net, tmp_path / "net.py")
    with pytest.raises(CaffeError, match=r"net\.onnx: name a file that ends in \.py or \.pt2"):
        pytorch.export_pytorch(lenet(), tmp_path / "net.onnx")
    with pytest.raises(CaffeError, match="a batch of 0 is not possible"):
        pytorch.export_pytorch(lenet(), tmp_path / "net.py", batch=0)
    assert not list(tmp_path.iterdir())
