"""What layers of ``lasagne.layers`` do beyond the cases of the manifest; each was compared with the original."""

import re

import numpy as np
import pytest
import torch

from converters.lasagne import layers
from converters.lasagne.layers import corrmm, dnn
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
    rows, columns, units = 192, 300, 200
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


def windows(x, w, dilation=(1, 1)):
    """The correlation of images with filters (out x in x h x w), value by value."""
    steps = [slice(None, None, d) for d in dilation]
    reach = [(n - 1) * d + 1 for n, d in zip(w.shape[2:], dilation, strict=True)]
    parts = np.lib.stride_tricks.sliding_window_view(x, reach, (2, 3))[..., steps[0], steps[1]]
    return np.einsum("nchwij,kcij->nkhw", parts, w)


def test_a_dilated_convolution_has_holes():
    rng = np.random.RandomState(0)
    x, w, b = rng.normal(size=(2, 3, 8, 9)), rng.normal(size=(3, 4, 3, 2)), rng.normal(size=(4, 4, 6))
    net = layers.DilatedConv2DLayer(layers.InputLayer((None, 3, 8, 9)), 4, (3, 2), (2, 3), "valid", True, w, b, None)
    assert net.output_shape == (None, 4, 4, 6)
    assert not hasattr(net, "stride")
    wanted = windows(x, w.transpose(1, 0, 2, 3), (2, 3)) + b
    np.testing.assert_allclose(layers.get_output(net, x).eval(), wanted)


@pytest.mark.parametrize("flip", [False, True])
def test_a_local_filter_is_turned_unless_told_not_to(flip):
    rng = np.random.RandomState(0)
    x, w = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3, 3, 1, 4, 5))
    net = layers.LocallyConnected2DLayer(
        layers.InputLayer((None, 3, 4, 5)), 2, (3, 1), W=w, nonlinearity=None, flip_filters=flip
    )
    padded, wanted = np.pad(x, [(0, 0), (0, 0), (1, 1), (0, 0)]), 0
    for i in range(3):
        wanted = wanted + np.einsum("nchw,kchw->nkhw", padded[:, :, i : i + 4], w[:, :, 2 - i if flip else i, 0])
    np.testing.assert_allclose(layers.get_output(net, x).eval(), wanted)


DNN = {
    "Pool2D": (dnn.Pool2DDNNLayer, layers.Pool2DLayer, (2, (2, 1), (1, 0), True, "average_exc_pad"), 4),
    "MaxPool2D": (dnn.MaxPool2DDNNLayer, layers.MaxPool2DLayer, ((2, 3),), 4),
    "Pool3D": (dnn.Pool3DDNNLayer, layers.Pool3DLayer, (2, 1, 1, True, "sum"), 5),
    "MaxPool3D": (dnn.MaxPool3DDNNLayer, layers.MaxPool3DLayer, (3, 2), 5),
    "SpatialPyramid": (dnn.SpatialPyramidPoolingDNNLayer, layers.SpatialPyramidPoolingLayer, ([3, 1],), 4),
    "Conv3D": (dnn.Conv3DDNNLayer, layers.Conv3DLayer, (2, 3, 2, 1), 5),
    "Conv2D": (corrmm.Conv2DMMLayer, layers.Conv2DLayer, (2, 3, (1, 2), "same"), 4),
}


@pytest.mark.parametrize("name", DNN)
def test_layers_for_a_gpu_are_the_others_without_flipped_filters(name):
    kind, plain, given, ndim = DNN[name]
    x = np.random.RandomState(0).normal(size=(2, 2, 6, 5, 6)[:ndim])
    source = layers.InputLayer((None, *x.shape[1:]))
    first, second = kind(source, *given), plain(source, *given)
    layers.set_all_param_values(second, [np.flip(v, range(2, v.ndim)) for v in layers.get_all_param_values(first)])
    assert first.output_shape == second.output_shape
    np.testing.assert_allclose(layers.get_output(first, x).eval(), layers.get_output(second, x).eval())


def test_lengths_along_an_axis():
    """As NumPy has them for a convolution of 7 values with 3; as many windows of 3 as fit, or as begin."""
    for pad, length in (("valid", 5), ("same", 7), ("full", 9)):
        assert len(np.convolve(np.ones(7), np.ones(3), pad)) == layers.conv.conv_output_length(7, 3, 1, pad) == length
        assert layers.conv.conv_input_length(length, 3, 1, pad) == 7
    assert [layers.pool.pool_output_length(7, 3, 2, pad, True) for pad in (0, 1)] == [3, 4]
    assert [layers.pool.pool_output_length(n, 3, 3, 0, False) for n in (7, None)] == [3, None]
    assert layers.conv.conv_output_length(None, 3, 1) is layers.conv.conv_input_length(None, 3, 1) is None


def test_pooling_as_functions():
    x, cube = np.random.RandomState(0).normal(size=(1, 2, 5, 4)), np.random.RandomState(1).normal(size=(1, 1, 4, 4, 4))
    found = layers.pool.pool_2d(x, ws=2, stride=(1, 2), mode="sum", ignore_border=True).eval()
    parts = np.lib.stride_tricks.sliding_window_view(x, (2, 2), (2, 3))[:, :, :, ::2]
    np.testing.assert_allclose(found, parts.sum((4, 5)))
    found = layers.pool.pool_3d(shared(cube), ws=(2, 2, 4)).eval()
    np.testing.assert_allclose(found, cube.reshape(1, 1, 2, 2, 2, 2, 1, 4).max((3, 5, 7)))


def test_a_bias_may_be_left_out():
    net = layers.BiasLayer(layers.InputLayer((None, 3)), b=None)
    assert layers.get_all_params(net) == []
    assert layers.get_output(net, [[1.0, 2.0, 3.0]]).eval().tolist() == [[1.0, 2.0, 3.0]]


def test_a_slope_is_drawn_for_what_shares_it():
    x = -torch.ones(40, 50, 3, dtype=torch.float64)
    net = layers.rrelu(layers.DenseLayer(layers.InputLayer((None, 50, 3)), 3, num_leading_axes=2), lower=0.2, upper=0.6)
    net.input_layer.W.set_value(np.eye(3))
    slopes = -layers.get_output(net, x)
    assert 0.2 <= slopes.min() < 0.23
    assert 0.57 < slopes.max() <= 0.6
    assert slopes.std(1).min() > 0.1
    assert not slopes.std(2).any()
    assert not slopes.std(0).any()
    np.testing.assert_allclose(layers.get_output(net, x, deterministic=True).detach(), 0.4 * x)


class Twice(layers.Layer):
    """A layer that says nothing of its shape."""

    def get_output_for(self, input, **kwargs):
        return 2 * input


def test_shapes_of_layers_of_the_scripts_own():
    source = layers.InputLayer((None, 6))
    assert Twice(source).output_shape == (None, 6)
    positive = layers.ExpressionLayer(source, lambda x: x[T.nonzero(x >= 0)].reshape((-1, 2)), output_shape="auto")
    assert positive.output_shape == (None, 2)
    wide = layers.ConcatLayer(
        [source, Twice(layers.InputLayer((4, 3)))], axis=0
    )  # which does not fit, until it is told
    x, y = T.matrix(), T.matrix()
    joined = layers.get_output(wide, {source: x, wide.input_layers[1]: y})
    np.testing.assert_array_equal(joined.eval({x: np.ones((1, 6)), y: np.zeros((1, 6))}), [[1.0] * 6, [0.0] * 6])


def test_options_that_no_layer_knows_are_named():
    net = layers.DropoutLayer(layers.InputLayer((None, 3)))
    with pytest.warns(UserWarning, match=r"unused kwargs:\n\tdeterministc \(perhaps you meant deterministic\), other"):
        layers.get_output(net, deterministc=True, other=1)


def test_layers_that_are_none_are_passed_over():
    source = layers.InputLayer((None, 3))
    assert layers.get_all_layers([source, None]) == [source]


@pytest.mark.parametrize("end", ["dense", "flatten", "mean"])
def test_convolutions_in_float32_go_channels_last_and_give_the_same(end, monkeypatch):
    make = {"dense": lambda below: layers.DenseLayer(below, 5), "flatten": layers.FlattenLayer,
            "mean": layers.GlobalPoolLayer}[end]  # fmt: skip
    images = torch.randn(32, 1, 20, 22, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    found, blobs = [], None
    for kind in (torch.float64, torch.float32):
        monkeypatch.setattr(config, "floatX", str(kind).removeprefix("torch."))
        into = layers.InputLayer((None, 1, 20, 22))
        top = layers.MaxPool2DLayer(layers.Conv2DLayer(into, 24, 3), 2)
        last = layers.Conv2DLayer(top, 8, (2, 3), nonlinearity=None)
        net = make(layers.MaxPool2DLayer(last, (2, 3), ignore_border=False))
        blobs = blobs or layers.get_all_param_values(net)
        layers.set_all_param_values(net, blobs)
        x = images.to(kind).requires_grad_()
        middle, made = layers.get_output([top, net], {into: x})
        found.append((made, *torch.autograd.grad(made.square().sum(), [x, middle])))
        for blob in (middle, found[-1][-1]):
            assert blob.is_contiguous(memory_format=torch.channels_last) == (kind == torch.float32)
    for double, single in zip(*found, strict=True):
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


def test_what_a_function_gives_lies_as_numpy_has_it(monkeypatch):
    monkeypatch.setattr(config, "floatX", "float32")
    into = layers.InputLayer((None, 1, 20, 22))
    run = function([into.input_var], layers.get_output(layers.Conv2DLayer(into, 24, 3)))
    assert run(np.ones((32, 1, 20, 22), np.float32)).flags.c_contiguous
