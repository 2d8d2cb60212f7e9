"""What layers compute by one operator, beside Lasagne's formulas, differentiated by PyTorch, in double precision."""

import pytest
import torch

from converters.lasagne import layers, nonlinearities
from converters.lasagne.theano.config import config
from converters.lasagne.theano.tensor import nnet, ops


@pytest.fixture(autouse=True)
def _double(monkeypatch):
    monkeypatch.setattr(config, "floatX", "float64")
    torch.manual_seed(0)


def gradients(top, leaves):
    return torch.autograd.grad(top, leaves, torch.linspace(-1, 1, top.numel(), dtype=top.dtype).view_as(top))


@pytest.mark.parametrize("leak", [0, 0.01, 1 / 3, -0.2])
def test_rectifiers_have_the_mean_slope_at_0(leak):
    x = torch.tensor([-2.0, -1e-4, 0.0, 1e-4, 3.0], dtype=torch.double, requires_grad=True)
    ours, theirs = nnet.relu(x, leak), 0.5 * (1 + leak) * x + 0.5 * (1 - leak) * torch.abs(x)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(ours, x), gradients(theirs, x))


def test_elu_of_numbers_and_of_variables():
    x = torch.tensor([-2.0, -1e-4, 0.0, 1e-4, 3.0], dtype=torch.double, requires_grad=True)
    ours, theirs = nnet.elu(x, 0.7), nnet.elu(x, torch.tensor(0.7, dtype=torch.double))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(ours, x), gradients(theirs, x))


def test_the_gradient_of_a_maximum_goes_to_every_value_that_reaches_it():
    x = torch.randint(0, 3, (4, 5, 6)).double().requires_grad_()
    upstream = torch.randn(4, 6, dtype=torch.double)
    (found,) = torch.autograd.grad(ops.largest(x, [1]), x, upstream)
    wanted = upstream[:, None] * (x == x.amax(1, keepdim=True))
    torch.testing.assert_close(found, wanted.detach())


@pytest.mark.parametrize("options", [{}, {"gamma": None}, {"beta": None}, {"axes": (0,)}], ids=str)
@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (8, 5), (6, 5, 7), (1, 5, 4, 1)], ids=str)
def test_batch_normalisation_and_its_averages(shape, options):
    x = torch.randn(*shape, dtype=torch.double, requires_grad=True)
    into = layers.InputLayer(shape)
    layer = layers.BatchNormLayer(into, epsilon=1e-3, **options)
    before = layer.mean.tensor.clone(), layer.inv_std.tensor.clone()
    axes = options.get("axes", (0, *range(2, x.ndim)))
    mean = x.mean(axes, keepdim=True)
    inv_std = 1 / torch.sqrt(x.var(axes, correction=0, keepdim=True) + 1e-3)
    ours, theirs = layers.get_output(layer, {into: x}), (x - mean) * inv_std
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(ours, x), gradients(theirs, x))
    for kept, old, new in zip((layer.mean, layer.inv_std), before, (mean, inv_std), strict=True):
        torch.testing.assert_close(kept.tensor, 0.9 * old + 0.1 * new.detach().reshape(old.shape))


@pytest.mark.parametrize("options", [{}, {"peepholes": False}, {"backwards": True, "grad_clipping": 0.01},
                                     {"only_return_final": True}], ids=str)  # fmt: skip
def test_an_lstm_at_once_and_step_by_step(options, monkeypatch):
    x = torch.randn(3, 6, 4, dtype=torch.double, requires_grad=True)
    mask = (torch.rand(3, 6) > 0.3).double()
    into, masks = layers.InputLayer(x.shape), layers.InputLayer(mask.shape)
    layer = layers.LSTMLayer(into, 5, mask_input=masks, **options)
    leaves = [x, *(param.tensor for param in layer.get_params(trainable=True))]
    given = {into: x, masks: mask}
    at_once = layers.get_output(layer, given)
    monkeypatch.setattr(layers.LSTMLayer, "at_once", lambda *_: None)
    by_steps = layers.get_output(layer, given)
    torch.testing.assert_close(at_once, by_steps)
    torch.testing.assert_close(gradients(at_once, leaves), gradients(by_steps, leaves))


def test_an_lstm_of_other_gates_goes_step_by_step():
    into = layers.InputLayer((2, 3, 4))
    gate = layers.Gate(nonlinearity=nonlinearities.rectify)
    layer = layers.LSTMLayer(into, 5, ingate=gate)
    x = torch.randn(2, 3, 4, dtype=torch.double)
    assert layer.at_once(torch.zeros(2, 3, 20).double(), (torch.zeros(2, 5).double(),) * 2, None) is None
    assert layers.get_output(layer, {into: x}).shape == (2, 3, 5)
