"""What layers of ``lasagne.layers`` do beyond the cases of the manifest; each was compared with the original."""

import re

import numpy as np
import pytest
import torch

from converters.lasagne import layers
from converters.lasagne.theano import function, grad, shared
from converters.lasagne.theano import tensor as T
from converters.lasagne.theano.config import config
from converters.lasagne.theano.ifelse import ifelse
from nets.layers import product
from tests.calls import Calls


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    monkeypatch.setattr(config, "floatX", "float64")


def test_widths_for_fewer_axes_pad_the_first():
    padded = layers.PadLayer((2, 3, 4, 4), ((1, 2),), batch_ndim=1)
    assert padded.output_shape == (2, 6, 4, 4)
    assert layers.PadLayer((2, 3, 4, 4), np.int64(1)).output_shape == (2, 3, 6, 6)
    with pytest.raises(IndexError, match="PadLayer: 3 widths for the 2 axes behind the first 2"):
        layers.PadLayer((2, 3, 4, 4), (1, 1, 1)).output_shape  # noqa: B018


def test_a_reshape_to_another_number_of_values_is_refused_at_once():
    for shape in (([0], 13), ([0], 5, -1)):
        with pytest.raises(
            ValueError, match=re.escape(f"(None, 3, 4) cannot be reshaped to {shape}: it holds another")
        ):
            layers.ReshapeLayer((None, 3, 4), shape)


def test_axes_that_are_not_there_are_shared_in_vain():
    assert layers.standardize((None, 3), np.zeros(3), np.ones(3), (0, 2, 3)).scales.get_value().shape == (3,)
    assert (
        layers.get_output(
            layers.StandardizationLayer(layers.InputLayer((2, 3)), axes="spatial"), torch.ones(2, 3)
        ).tolist()
        == [[0.0] * 3] * 2
    )


def test_nets_within_a_recurrent_layer_get_the_options_of_get_output():
    """Dropout within is off when deterministic; batch normalisation sees all steps, or without precompute_input one."""
    steps = torch.arange(24.0, dtype=torch.float64).reshape(2, 3, 4)
    for precompute in (True, False):
        into = layers.DropoutLayer(layers.BatchNormLayer(layers.InputLayer((None, 4)), beta=None, gamma=None), p=0.5)
        around = layers.DenseLayer(layers.InputLayer((None, 4)), 4, W=np.zeros((4, 4)), nonlinearity=None)
        net = layers.CustomRecurrentLayer(
            layers.InputLayer((2, 3, 4)), into, around, nonlinearity=None, precompute_input=precompute
        )
        out = layers.get_output(net, steps, deterministic=True)
        np.testing.assert_allclose(out.detach(), steps, rtol=1e-12)
        into.p = 0
        trained = layers.get_output(net, steps)
        axes = (0, 1) if precompute else 0
        wanted = (steps - steps.mean(axes)) / torch.sqrt(steps.var(axes, correction=0) + 1e-4)
        np.testing.assert_allclose(trained.detach(), wanted, rtol=1e-6)


def test_a_first_state_may_be_what_the_function_is_given():
    """A matrix of inputs in place of the initial state, a row for each item, as scripts for Lasagne 0.1 have it."""
    given = T.matrix("given")
    source = layers.InputLayer((2, 3, 4))
    net = layers.GRULayer(source, 5, hid_init=given)
    assert [p.name for p in layers.get_all_params(net)][-1] == "b_hidden_update"
    f = function([source.input_var, given], layers.get_output(net))
    x, h = np.random.RandomState(0).normal(size=(2, 3, 4)), np.random.RandomState(1).normal(size=(2, 5))
    first, second = f(x[:, :1], h), f(x, h)
    np.testing.assert_allclose(second[:, :1], first, rtol=1e-12)
    np.testing.assert_allclose(f(x[:, 1:], second[:, 0]), second[:, 1:], rtol=1e-12)


def test_a_cut_gradient_of_a_first_state_is_zero():
    net = layers.RecurrentLayer(layers.InputLayer((2, 4, 3)), 2, gradient_steps=2, learn_init=True)
    gradient = grad(layers.get_output(net).sum(), net.hid_init)
    x = np.random.RandomState(0).normal(size=(2, 4, 3))
    assert gradient.eval({net.input_layers[0].input_var: x}).tolist() == [[0.0, 0.0]]


def test_an_expression_knows_its_dtype():
    x = T.matrix("x", dtype="float32")
    assert (x * 2).dtype == "float32"
    assert T.argmax(x, axis=1).dtype == "int64"


def test_an_expression_of_a_net_with_fixed_sizes_knows_its_dtype():
    """The variable given to get_output has the sizes of the input layer, in place of sizes that fit nothing."""
    x = T.tensor4("x")
    y = layers.get_output(layers.DenseLayer(layers.Conv2DLayer(layers.InputLayer((None, 3, 9, 9)), 2, 3), 5), x)
    assert (y.dtype, y.ndim) == ("float64", 2)
    fixed = T.dot(T.matrix("a"), np.ones((3, 2)))
    assert fixed.dtype == "float64"


def test_expressions_as_theano_spells_them():
    x, rate = T.matrix("x"), shared(np.float64(0.5))
    values = np.array([[3.0, -4.0], [0.25, 2.0]])

    def of(expression):
        return expression.eval({x: values})

    assert of(T.clip(x, 0, rate)).tolist() == [[0.5, 0.0], [0.25, 0.5]]
    assert of(x.norm(L=1, axis=1)).tolist() == [7.0, 2.25]
    assert of(x.norm(2, axis=0, keepdims=True)).shape == (1, 2)
    assert of(x.take([1], axis=1)).tolist() == [[-4.0], [2.0]]
    assert of(grad((x // 2.0 + x).sum(), x)).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert of(x.copy().zeros_like()).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    sizes, count, rows = function([x], [x.shape, x.size, x.shape[0]])(values)
    assert (sizes.tolist(), sizes.dtype.kind, int(count), rows.shape) == ([2, 2], "i", 4, ())


def test_the_branch_that_is_not_taken_has_a_gradient_of_zero():
    x, w = T.vector("x"), shared(np.array([2.0, 3.0]))
    for taken, wanted in ((1, [1.0, 4.0]), (0, [0.0, 0.0])):
        chosen = ifelse(T.eq(taken, 1), x * w, x)
        assert grad(chosen.sum(), w).eval({x: np.array([1.0, 4.0])}).tolist() == wanted


def test_a_look_at_the_form_of_an_expression_moves_no_average():
    net = layers.BatchNormLayer(layers.InputLayer((None, 3)))
    y = layers.get_output(net) * 2
    assert (y.dtype, (y + 1).T.ndim) == ("float64", 2)
    assert net.mean.get_value().tolist() == [0.0] * 3
    assert net.inv_std.get_value().tolist() == [1.0] * 3


@pytest.mark.skipif(not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="a PyTorch without oneDNN")
@pytest.mark.parametrize("kind", ["DenseLayer", "LSTMLayer", "dot"])
def test_large_products_go_through_onednn_on_amd(kind, monkeypatch):
    monkeypatch.setattr(config, "floatX", "float32")
    monkeypatch.setattr(product, "WITH_ONEDNN", True)
    rows, columns, units = 64, 300, 200
    x = np.random.default_rng(0).standard_normal((rows, columns), np.float32)
    if kind == "DenseLayer":
        layer = layers.DenseLayer(layers.InputLayer((None, columns)), units, nonlinearity=None)
        run, values = (lambda: layers.get_output(layer, torch.from_numpy(x))), layer.W.get_value()
    elif kind == "LSTMLayer":
        lstm = layers.LSTMLayer(layers.InputLayer((4, rows // 4, columns)), units)
        run, values = (lambda: layers.get_output(lstm, torch.from_numpy(x.reshape(4, -1, columns)))), None
    else:
        values = np.random.default_rng(1).standard_normal((columns, units), np.float32)
        a = T.matrix()
        dot = function([a], T.dot(a, shared(values)))
        run = lambda: torch.as_tensor(dot(x))  # noqa: E731
    with Calls() as calls:
        found = run()
    assert calls.products == 1
    if values is not None:
        np.testing.assert_allclose(found.detach().numpy(), x.astype(float) @ values, rtol=1e-5, atol=1e-4)
