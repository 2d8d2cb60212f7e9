"""What outputs of layers depend on: parameters that are expressions, replaced, drawn, or swapped by a script."""

from functools import partial

import numpy as np
import pytest
import torch

from converters.lasagne import init, layers
from converters.lasagne.layers import DenseLayer, InputLayer, get_all_params, get_output
from converters.lasagne.theano import clone, function, grad, shared
from converters.lasagne.theano import tensor as T
from converters.lasagne.theano.config import config
from converters.lasagne.theano.gradient import disconnected_grad
from converters.lasagne.theano.tensor.shared_randomstreams import RandomStreams

RNG = np.random.RandomState(0)
X = RNG.normal(size=(4, 6))
IMAGES = RNG.normal(size=(2, 6, 5, 5))


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    monkeypatch.setattr(config, "floatX", "float64")


def numerical(of, param, step=1e-6):
    """The gradient of ``of()`` for a shared variable, by differences."""
    start = param.get_value()
    found = np.zeros_like(start)
    for place in np.ndindex(*start.shape):
        for sign in (1, -1):
            moved = start.copy()
            moved[place] += sign * step
            param.set_value(moved)
            found[place] += sign * of() / (2 * step)
    param.set_value(start)
    return found


def made(layer, x=X, **options):
    """The output of a net for *x*, by a function."""
    source = layers.get_all_layers(layer)[0].input_var
    return function([source], get_output(layer, **options))(x)


# ---- parameters that are expressions


def test_a_parameter_that_is_an_expression_hands_its_gradient_on():
    source = InputLayer((None, 6))
    encoder = DenseLayer(source, 3, nonlinearity=T.tanh)
    decoder = DenseLayer(encoder, 6, W=encoder.W.T, nonlinearity=None)
    loss = T.mean((get_output(decoder) - source.input_var) ** 2)
    of = function([source.input_var], loss)
    found = function([source.input_var], grad(loss, encoder.W))(X)
    np.testing.assert_allclose(found, numerical(lambda: of(X), encoder.W), atol=1e-8)


def test_normalised_weights_are_trained_through_their_norm():
    v, size = shared(RNG.normal(size=(6, 3))), shared(np.array([1.0, 2.0, 0.5]))
    net = DenseLayer(InputLayer((None, 6)), 3, W=v * (size / T.sqrt(T.sum(T.sqr(v), axis=0))), nonlinearity=T.tanh)
    source = net.input_layer.input_var
    loss = get_output(net).sum()
    of = function([source], loss)
    for param, found in zip((v, size), function([source], grad(loss, [v, size]))(X), strict=True):
        np.testing.assert_allclose(found, numerical(lambda: of(X), param), atol=1e-7)


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda below: DenseLayer(below, 3), X),
        (lambda below: layers.Conv2DLayer(below, 2, 3), IMAGES),
        (lambda below: layers.batch_norm(DenseLayer(below, 3)), X),
        (lambda below: layers.RecurrentLayer(below, 3), X.reshape(4, 3, 2)),
        (lambda below: layers.LSTMLayer(below, 3), X.reshape(4, 3, 2)),
        (lambda below: layers.prelu(layers.ScaleLayer(layers.BiasLayer(below))), X),
        (lambda below: layers.InverseLayer(hidden := DenseLayer(below, 3, nonlinearity=None), hidden), X),
    ],
    ids=["dense", "convolution", "batch_norm", "recurrent", "lstm", "prelu", "inverse"],
)
def test_parameters_can_be_replaced(make, x):
    """By givens and by clone; the result is that of a net which has the new values."""
    net = make(InputLayer((None, *x.shape[1:])))
    source = layers.get_all_layers(net)[0].input_var
    out, params = get_output(net, deterministic=True), get_all_params(net)
    news = [RNG.uniform(size=param.get_value().shape) for param in params]
    pairs = [(param, shared(new)) for param, new in zip(params, news, strict=True)]
    given = function([source], out, givens=pairs)(x)
    cloned = function([source], clone(out, replace=dict(pairs)))(x)
    layers.set_all_param_values(net, news)
    wanted = made(net, x, deterministic=True)
    np.testing.assert_allclose(given, wanted)
    np.testing.assert_allclose(cloned, wanted)


class Binary(DenseLayer):
    """A dense layer that computes with the signs of its weights, as BinaryConnect's."""

    def get_output_for(self, input, **kwargs):
        self.Wb = T.switch(T.ge(self.W, 0), 1.0, -1.0)
        kept, self.W = self.W, self.Wb
        found = super().get_output_for(input, **kwargs)
        self.W = kept
        return found


def test_a_parameter_that_is_swapped_for_a_while_counts_as_it_was():
    net = Binary(InputLayer((None, 6)), 3, W=init.Normal(1.0), nonlinearity=None)
    out = get_output(net)
    f = function([net.input_layer.input_var], [out, grad(out.sum(), net.Wb)])
    found, gradient = f(X)
    np.testing.assert_allclose(found, X @ np.sign(net.W.get_value()))
    np.testing.assert_allclose(gradient, np.repeat(X.sum(0)[:, None], 3, 1))


def test_random_weights_are_drawn_once_a_call():
    weights = shared(np.zeros((6, 3))) + RandomStreams(1).normal((6, 3))
    net = DenseLayer(InputLayer((None, 6)), 3, W=weights, b=None, nonlinearity=None)
    f = function([net.input_layer.input_var], [get_output(net), weights])
    (first, w), (second, _) = f(X), f(X)
    np.testing.assert_allclose(first, X @ w)
    assert not np.allclose(first, second)


def test_weights_may_come_from_another_input():
    z = T.vector("z")
    weights = T.dot(z, np.arange(36.0).reshape(2, 18)).reshape((6, 3))
    net = DenseLayer(InputLayer((None, 6)), 3, W=weights, b=None, nonlinearity=None)
    found = function([net.input_layer.input_var, z], get_output(net))(X, np.array([1.0, 2.0]))
    np.testing.assert_allclose(found, X @ (np.arange(18.0) + 2 * np.arange(18.0, 36.0)).reshape(6, 3))


def test_a_gradient_for_what_is_made_of_inputs_can_be_penalised():
    """As in WGAN-GP: the slope of a critic at a mixture of real and made samples."""
    critic = DenseLayer(DenseLayer(InputLayer((None, 6)), 4, nonlinearity=T.tanh), 1, nonlinearity=None)
    x, share = T.matrix("x"), T.scalar("share")
    mixed = share * x + (1 - share) * disconnected_grad(2 * x)
    slope = grad(get_output(critic, mixed).sum(), mixed)
    penalty = ((slope**2).sum(axis=1) - 1).mean()
    (w1, b1, w2, _), at = get_all_params(critic), 1.75 * X
    of = function([x, share], penalty)
    hidden = np.tanh(at @ w1.get_value() + b1.get_value())
    slopes = ((1 - hidden**2) * w2.get_value()[:, 0]) @ w1.get_value().T
    np.testing.assert_allclose(of(X, 0.25), ((slopes**2).sum(1) - 1).mean())
    found = function([x, share], grad(penalty, w1))(X, 0.25)
    np.testing.assert_allclose(found, numerical(lambda: of(X, 0.25), w1), atol=1e-7)


# ---- functions of the script's own


def softmax(x):
    e = T.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1).dimshuffle(0, "x")


OWN = {
    "softmax": (softmax, np.exp(X) / np.exp(X).sum(1, keepdims=True)),
    "variance": (lambda x: x / x.var(axis=1, keepdims=True), X / X.var(1, keepdims=True)),
    "std": (lambda x: x / x.std(axis=0), X / X.std(0)),
    "norm": (lambda x: x / x.norm(2, axis=1).dimshuffle(0, "x"), X / np.sqrt((X**2).sum(1, keepdims=True))),
    "numpy": (lambda x: np.exp(-x.clip(0, 1)), np.exp(-X.clip(0, 1))),
    "partial": (partial(lambda slope, x: T.switch(x > 0, x, slope * x), 0.5), np.where(X > 0, X, 0.5 * X)),
    "torch": (torch.tanh, np.tanh(X)),
}


@pytest.mark.parametrize("name", OWN)
def test_a_function_of_the_scripts_own_gets_variables(name):
    own, wanted = OWN[name]
    source = InputLayer((None, 6))
    np.testing.assert_allclose(made(layers.NonlinearityLayer(source, own)), wanted)
    dense = DenseLayer(source, 6, W=np.eye(6), nonlinearity=own)
    np.testing.assert_allclose(made(dense), wanted)
    np.testing.assert_allclose(get_output(dense, torch.from_numpy(X)).detach(), wanted)


def test_what_such_a_function_reads_is_what_the_caller_gives():
    """A temperature that is an input, and a slope that is learned."""
    heat, slope = T.scalar("heat"), shared(0.25)
    net = DenseLayer(InputLayer((None, 6)), 6, W=np.eye(6), nonlinearity=lambda x: T.switch(x > 0, x / heat, slope * x))
    out = get_output(net)
    f = function([net.input_layer.input_var, heat], [out, grad(out.sum(), slope)])
    found, gradient = f(X, 2.0)
    np.testing.assert_allclose(found, np.where(X > 0, X / 2, 0.25 * X))
    np.testing.assert_allclose(gradient, X[X <= 0].sum())


def test_functions_that_pool_merge_and_gate_get_variables():
    image, row, steps = InputLayer((None, 6, 5, 5)), InputLayer((None, 6)), InputLayer((None, 3, 2))
    pooled = layers.GlobalPoolLayer(image, pool_function=lambda x, axis: T.sqrt(T.sqr(x).mean(axis)))
    np.testing.assert_allclose(made(pooled, IMAGES), np.sqrt((IMAGES**2).mean((2, 3))))
    groups = layers.FeaturePoolLayer(row, 2, pool_function=lambda x, axis: x.max(axis=axis) - x.min(axis=axis))
    np.testing.assert_allclose(made(groups), np.ptp(X.reshape(4, 3, 2), 2))
    twice = layers.NonlinearityLayer(row, lambda x: 2 * x)
    merged = layers.ElemwiseMergeLayer([row, twice], lambda a, b: T.maximum(a, b.clip(0, 1)))
    np.testing.assert_allclose(made(merged), np.maximum(X, (2 * X).clip(0, 1)))
    spread = layers.ExpressionLayer(image, lambda x: x.max(axis=(2, 3)), output_shape="auto")
    assert spread.output_shape == (None, 6)
    gate = layers.Gate(nonlinearity=lambda x: x.clip(0, 1))
    own = layers.LSTMLayer(steps, 4, ingate=gate, nonlinearity=lambda x: x / (1 + abs(x)))
    plain = layers.LSTMLayer(steps, 4, ingate=layers.Gate(nonlinearity=partial(torch.clamp, min=0, max=1)),
                             nonlinearity=torch.nn.functional.softsign)  # fmt: skip
    layers.set_all_param_values(plain, layers.get_all_param_values(own))
    np.testing.assert_allclose(made(own, X.reshape(4, 3, 2)), made(plain, X.reshape(4, 3, 2)))


# ---- convolutions of the script's own


class Masked(layers.Conv2DLayer):
    """A convolution whose filters see the left half alone."""

    def convolve(self, input, **kwargs):
        mask = np.ones(self.get_W_shape())
        mask[..., 1:] = 0
        return self.convolution(input, self.W * mask, self.input_shape, self.get_W_shape(), subsample=self.stride,
                                border_mode=self.pad, filter_flip=self.flip_filters)  # fmt: skip


class Halved(layers.Conv2DLayer):
    """A convolution that computes with half of its filters, as long as it computes."""

    def convolve(self, input, **kwargs):
        kept, self.W = self.W, self.W / 2
        found = super().convolve(input, **kwargs)
        self.W = kept
        return found


def test_a_convolution_may_be_overridden():
    """With the function that the layer was given, and with what the layer itself would do."""
    source = InputLayer((None, 6, 5, 5))
    plain = layers.Conv2DLayer(source, 2, 3, b=init.Normal(1.0), stride=2, pad=(1, 0))
    weights = plain.W.get_value()
    for kind, held in ((Masked, weights * [1, 0, 0]), (Halved, weights / 2)):
        net = kind(source, 2, 3, W=weights, b=plain.b, stride=2, pad=(1, 0))
        plain.W.set_value(held)
        np.testing.assert_allclose(made(net, IMAGES), made(plain, IMAGES), atol=1e-12)
        loss = get_output(net).sum()
        of = function([source.input_var], loss)
        found = function([source.input_var], grad(loss, net.W))(IMAGES)
        np.testing.assert_allclose(found, numerical(partial(of, IMAGES), net.W), atol=1e-6)


def test_a_layer_convolves_by_the_function_it_is_given():
    def doubled(images, filters, image_shape, filter_shape, subsample, border_mode, filter_flip):
        assert (image_shape, filter_shape, border_mode) == ((None, 6, 5, 5), (2, 6, 3, 3), "half")
        return 2 * T.nnet.conv2d(images, filters, subsample=subsample, border_mode="half", filter_flip=filter_flip)

    source = InputLayer((None, 6, 5, 5))
    plain = layers.Conv2DLayer(source, 2, 3, pad="same", nonlinearity=None)
    net = layers.Conv2DLayer(source, 2, 3, pad="same", nonlinearity=None, W=plain.W, convolution=doubled)
    np.testing.assert_allclose(made(net, IMAGES), 2 * made(plain, IMAGES))


def test_one_bias_may_serve_all_filters():
    source = InputLayer((None, 6, 5, 5))
    net = layers.Conv2DLayer(source, 2, 3, b=shared(np.array([0.5])), nonlinearity=None)
    bare = layers.Conv2DLayer(source, 2, 3, W=net.W, b=None, nonlinearity=None)
    np.testing.assert_allclose(made(net, IMAGES), made(bare, IMAGES) + 0.5)


# ---- inputs and shapes


class Tagged(DenseLayer):
    """A layer with the signature that many scripts give get_params."""

    def get_params(self, **tags):
        return super().get_params(**tags)[::-1]


def test_parameters_as_the_layers_own_method_gives_them():
    net = Tagged(InputLayer((None, 6)), 3, name="own")
    assert [param.name for param in get_all_params(net, trainable=True)] == ["own.b", "own.W"]
    np.testing.assert_allclose(made(net), np.maximum(X @ net.W.get_value(), 0))


def test_sizes_may_be_those_of_an_input():
    source = InputLayer((None, None, 2))
    batch, steps, _ = source.input_var.shape
    rows = DenseLayer(layers.ReshapeLayer(source, (-1, 2)), 5, nonlinearity=None)
    net = layers.ReshapeLayer(rows, (batch, steps, 5))
    assert net.output_shape == (None, None, 5)
    found = made(net, X.reshape(4, 3, 2))
    np.testing.assert_allclose(found, X.reshape(4, 3, 2) @ rows.W.get_value())
    other = T.tensor3()
    replaced = clone(get_output(net), {source.input_var: other[:, ::-1]}).eval({other: X.reshape(4, 3, 2)})
    np.testing.assert_allclose(replaced, found[:, ::-1])


def test_one_input_for_a_net_is_not_for_its_first_states():
    state, words = T.matrix("state"), T.tensor3("words")
    net = layers.GRULayer(InputLayer((2, 3, 4)), 5, hid_init=state)
    x, h = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 5))
    found = function([words, state], get_output(net, words))(x, h)
    np.testing.assert_allclose(found, made_with(net, x, h))
    assert layers.get_output_shape(net, (7, 3, 4)) == (7, 3, 5)


def made_with(net, x, h):
    """The output of a recurrent net for *x* and a first state."""
    return get_output(net).eval({net.input_layers[0].input_var: x, net.input_layers[1].input_var: h})


def test_a_sum_weighted_by_a_variable_hands_its_gradient_on():
    source, weight = InputLayer((None, 6)), shared(0.25)
    net = layers.ElemwiseSumLayer([source, source], coeffs=[1, weight])
    out = get_output(net)
    found, slope = function([source.input_var], [out, grad(out.sum(), weight)])(X)
    np.testing.assert_allclose(found, 1.25 * X)
    np.testing.assert_allclose(slope, X.sum())


def test_averages_move_by_what_a_variable_says():
    share = shared(0.0)
    net = layers.BatchNormLayer(InputLayer((None, 6)), alpha=share)
    made(net)
    assert net.mean.get_value().tolist() == [0.0] * 6
    share.set_value(0.5)
    made(net)
    np.testing.assert_allclose(net.mean.get_value(), 0.5 * X.mean(0))


def test_noise_may_be_as_strong_as_a_variable_says():
    share, strength = shared(0.0), shared(0.0)
    source = InputLayer((None, 6))
    dropped, noisy = layers.DropoutLayer(source, p=share), layers.GaussianNoiseLayer(source, sigma=strength)
    for net in (dropped, noisy):
        np.testing.assert_array_equal(made(net), X)
    share.set_value(0.75)
    strength.set_value(2.0)
    found = made(dropped, np.ones((500, 6)))
    assert set(found.ravel()) == {0.0, 4.0}
    assert (found == 0).mean() == pytest.approx(0.75, abs=0.05)
    assert made(noisy, np.zeros((500, 6))).std() == pytest.approx(2.0, rel=0.1)
