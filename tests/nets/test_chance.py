"""Layers that draw: Dropout and stochastic pooling, by their statistics."""

import pytest
import torch

import nets
from nets.layers.drops import drawn
from protos import text


def make(kind: str, options: str, shape: str, phase: str = "TRAIN") -> nets.Net:
    dims = " ".join(f"dim: {size}" for size in shape.split("x"))
    net = f"""layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}
        layer {{ name: "l" type: "{kind}" bottom: "x" top: "y" {options} }}"""
    torch.manual_seed(0)
    return nets.load(text.parse_net(net), phase=phase)


@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.5, 0.9])
def test_dropout(ratio):
    net = make("Dropout", f"dropout_param {{ dropout_ratio: {ratio} }}", "200x500")
    x = torch.rand(200, 500, requires_grad=True)
    y = net(x)["y"]
    kept = y != 0
    assert kept.float().mean() == pytest.approx(1 - ratio, abs=0.01)
    torch.testing.assert_close(y[kept], x[kept] / (1 - ratio))
    y.sum().backward()
    torch.testing.assert_close(x.grad, kept / (1 - ratio))


@pytest.mark.parametrize("ratio", [0.5, 0.75, 0.2, 0.001, 0.9999])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_drop_each_by_itself(ratio, layout):
    layer = make("Dropout", f"dropout_param {{ dropout_ratio: {ratio} }}", "100x16x25x50").layer("l")
    x = torch.rand(100, 16, 25, 50).add(1).contiguous(memory_format=layout)
    y = layer(x)
    assert y.stride() == x.stride()
    kept = y != 0
    torch.testing.assert_close(y[kept], x[kept] / (1 - layer.ratio))
    deviation = (ratio * (1 - ratio) / x.numel()) ** 0.5
    assert kept.float().mean() == pytest.approx(1 - ratio, abs=4 * deviation)
    neighbours = kept.permute(0, 2, 3, 1).reshape(-1, 16) if layout is torch.channels_last else kept.view(-1, 16)
    together = torch.cov(neighbours.T.float()) / (ratio * (1 - ratio))
    assert together.fill_diagonal_(0).abs().max() < 0.02
    assert not torch.equal(layer(x), y)


@pytest.mark.parametrize("share", [0.0, 1e-13, 1 - 1e-13, 1.0])
def test_certain_draws(share):
    assert (drawn(100_001, share) == round(share)).all()


@pytest.mark.parametrize("share", [0.5, 0.3])
def test_draws_are_on_the_cpu_whatever_the_default_device(share):
    with torch.device("meta"):
        assert drawn(10, share).device.type == "cpu"


def test_dropout_of_nothing():
    layer = make("Dropout", "", "2x3").layer("l")
    assert layer(torch.zeros(0, 3)).shape == (0, 3)


def test_dropout_of_forks():
    x = torch.ones(100, 100)
    unscaled = "dropout_param { dropout_ratio: 0.25 scale_train: false }"
    assert set(make("Dropout", unscaled, "100x100")(x)["y"].unique().tolist()) == {0.0, 1.0}
    assert (make("Dropout", unscaled, "100x100", "TEST")(x)["y"] == 0.75).all()
    sampled = "dropout_param { dropout_ratio: 0.25 sample_weights_test: true }"
    assert (make("Dropout", sampled, "100x100", "TEST")(x)["y"] == 0).float().mean() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }"),
        ("Pooling", "pooling_param { pool: STOCHASTIC global_pooling: true }"),
        ("SPP", "spp_param { pool: STOCHASTIC pyramid_height: 1 }"),
    ],
)
def test_stochastic_pooling_draws_in_proportion(kind, options):
    net = make(kind, options, "10000x2x2x2")
    window = torch.tensor([[1.0, 2], [0, 5]])
    x = window.expand(10000, 2, 2, 2).clone().requires_grad_()
    y = net(x)["y"]
    assert y.shape == (10000, 2, 1, 1)
    for value in (0, 1, 2, 5):
        assert (y == value).float().mean() == pytest.approx(value / 8, abs=0.015)
    y.sum().backward()
    assert (x.grad.sum((2, 3)) == 1).all()
    assert torch.equal((x * x.grad).sum((2, 3)), y[:, :, 0, 0])


def test_stochastic_pooling_of_nothing_gives_nothing():
    net = make("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }", "1x1x4x4")
    assert not net(torch.zeros(1, 1, 4, 4))["y"].any()


def test_stochastic_pooling_weighs_in_testing():
    net = make("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }", "1x1x2x2", "TEST")
    x = torch.tensor([[[[1.0, 2], [0, 5]]]])
    torch.testing.assert_close(net(x)["y"], torch.tensor([[[[30 / 8]]]]))
