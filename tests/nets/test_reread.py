"""Gradients of blobs that a later layer overwrote in place; test_layers holds the numbers of the original."""

import pytest
import torch

import nets
from nets.layer import LAYERS
from nets.reread import Reread
from protos import text

SPECIAL = {"Swish", "Softmax", "LRN", "MVN"}  # they define gradient as a whole
OPTIONS = {"Clip": "clip_param { min: -1 max: 1 }", "Log": "log_param { shift: 9 }"}


def layer(kind: str) -> nets.Layer:
    net = f"""layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 dim: 4 dim: 4 }} }} }}
        layer {{ name: "l" type: "{kind}" bottom: "x" top: "y" {OPTIONS.get(kind, "")} }}"""
    return nets.load(text.parse_net(net)).double().layer("l")


@pytest.mark.parametrize("kind", sorted(kind for kind in LAYERS if LAYERS[kind].rereads))
def test_it_is_the_derivative_where_nothing_was_overwritten(kind):
    torch.manual_seed(0)
    tested = layer(kind)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    y = tested(x)
    upstream = torch.randn_like(y)
    (wanted,) = torch.autograd.grad(y, x, upstream)
    reread = Reread(tested, "y", in_place=False)
    torch.testing.assert_close(reread.gradient(x.detach(), y.detach(), upstream), wanted)


def test_a_later_layer_in_place_changes_the_gradient():
    net = nets.load(
        text.parse_net("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 } } }
        layer { name: "t" type: "TanH" bottom: "x" top: "t" }
        layer { name: "b" type: "Bias" bottom: "t" top: "t" bias_param { filler { value: 2 } } }"""),
        phase="TRAIN",
    )
    x = torch.zeros(1, 1, requires_grad=True)
    net(x)["t"].backward()
    assert x.grad == 1 - 2**2  # 1 - y^2 with the y that Bias left


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("power: 3 scale: 2 shift: 1", 30),
        ("power: 3 scale: 2", 18),
        ("power: 3", 12.75),
        ("power: 0.5 scale: 2 shift: 3", 1),
        ("power: 2 scale: 2 shift: 1", 8),
        ("power: 1 scale: 3", 3),
        ("power: 0 shift: 1", 0),
    ],
)
def test_power_reads_its_top_again_unless_its_power_is_0_1_or_2(options, wanted):
    """The numbers are the original's."""
    net = nets.load(
        text.parse_net(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: 1 }} }} }}
        layer {{ name: "p" type: "Power" bottom: "x" top: "t" power_param {{ {options} }} }}
        layer {{ name: "b" type: "Bias" bottom: "t" top: "t" bias_param {{ filler {{ value: 2 }} }} }}"""),
        phase="TRAIN",
    )
    x = torch.tensor([[0.5]], requires_grad=True)
    net(x)["t"].backward()
    assert x.grad.item() == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("kind", "options"), [("ReLU", ""), ("ReLU", "relu_param { negative_slope: 0.1 }"), ("TanH", "")]
)
def test_dropout_leaves_the_signs_that_relu_looks_for(kind, options):
    net = nets.load(
        text.parse_net(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 4 dim: 50 }} }} }}
        layer {{ name: "s" type: "Scale" bottom: "x" top: "p" scale_param {{ filler {{ value: 0.5 }} }} }}
        layer {{ name: "l" type: "{kind}" bottom: "p" top: "p" {options} }}
        layer {{ name: "d" type: "Dropout" bottom: "p" top: "p" }}"""),
        phase="TRAIN",
    )
    torch.manual_seed(0)
    x = torch.randn(4, 50, requires_grad=True)
    y = net(x)["p"]
    y.sum().backward()
    before = net.layer("l")((0.5 * x).detach())
    kept = y.detach() != 0
    read = y.detach() if kind == "TanH" else before  # what it finds in its top
    slope = net.layer("l").slope(read, read)
    torch.testing.assert_close(x.grad, torch.where(kept, 2 * slope * 0.5, 0.0))
    assert net.overwritten == ({1: "p"} if kind == "TanH" else {})
