"""Lasagne nets to be trained: what learns, what is shared, what is drawn, and what cannot be is refused."""

import numpy as np
import pytest
import torch

import nets
from converters.lasagne import layers, objectives, to_net
from converters.lasagne.layers import DenseLayer, InputLayer, batch_norm, get_all_params, get_output
from converters.lasagne.nonlinearities import softmax
from converters.lasagne.theano.config import config
from protos.errors import NetError
from tests.converters.lasagne.test_lasagne_cases import CASES, build, stored

LOSS = {"loss": objectives.squared_error}


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    monkeypatch.setattr(config, "floatX", "float64")


def case(name):
    found = next(c for c in CASES if c["id"] == f"layers/{name}")
    v = stored(found)
    inputs, out = build(found)
    layers.set_all_param_values(out, [v[f"p{i}"] for i in range(len(get_all_params(out)))])
    return v, inputs, out


def rates(param):
    return {
        one.name: [spec.lr_mult if spec.HasField("lr_mult") else 1.0 for spec in one.param]
        for one in param.layer
        if one.blobs
    }


def test_what_is_not_trainable_does_not_learn():
    x = InputLayer((None, 4, 3), name="x")
    lstm = layers.LSTMLayer(x, 2, peepholes=False, name="lstm")
    rnn = layers.RecurrentLayer(lstm, 2, b=None, learn_init=True, name="rnn")
    hidden = DenseLayer(layers.standardize(rnn, np.ones(4), np.ones(4), shared_axes=(0, 2)), 3, name="hidden")
    hidden.params[hidden.W].remove("trainable")
    found = rates(to_net(hidden, **LOSS))
    assert found["lstm"] == [1, 1, 1, 0, 0]
    assert found["rnn"] == [1, 1, 0, 1]
    assert found["hidden"] == [0, 1]
    assert found["bias"] == found["scale"] == [0]
    assert not any(one.param for one in to_net(hidden).layer)


def test_penalties_leave_biases_alone():
    param = to_net(batch_norm(DenseLayer(InputLayer((None, 4)), 3, name="d")), loss=objectives.squared_error)
    decays = {one.name: [spec.decay_mult for spec in one.param] for one in param.layer if one.blobs}
    assert decays == {"d": [1], "d_bn": [0, 0, 0], "d_bn_scale": [1, 0]}


def test_shared_parameters_stay_shared():
    first = DenseLayer(InputLayer((None, 4), name="x"), 4, name="first")
    second = DenseLayer(first, 4, W=first.W, b=first.b, name="second")
    net = nets.load(to_net(second, **LOSS), phase="TRAIN")
    assert net.layer("first").weight.data_ptr() == net.layer("second").weight.data_ptr()
    tied = DenseLayer(first, 4, W=first.W.T, name="tied")
    with pytest.raises(NetError, match=r"tied.*expression of others"):
        to_net(tied, **LOSS)
    turned = layers.NINLayer(layers.ReshapeLayer(first, ([0], 4, 1, 1)), 4, W=first.W, name="turned")
    with pytest.raises(NetError, match=r"'turned'.*shares.*'first' in another layout"):
        to_net(turned, **LOSS)


def test_averages_of_batch_norm_move_by_alpha():
    v, _, out = case("batchnorm_4d")
    out.mean.set_value(v["p2"])
    out.inv_std.set_value(v["p3"])
    net = nets.load(to_net(out, batch_size=len(v["x0"]), **LOSS), phase="TRAIN").double().train()
    for i, norm in enumerate(layer for node, layer in net.nodes if node.type == "BatchNorm"):
        assert i == 0
        net.activations(in0=torch.from_numpy(v["x0"]), label=torch.zeros(v["x0"].shape))
        mean, _, count = norm.blobs
        np.testing.assert_allclose(mean / count, v["p2_after_train"], rtol=1e-5, atol=1e-6)


def test_the_gradients_of_a_clipped_lstm_are_those_of_the_original():
    v, _, out = case("lstm_gradclip")
    net = nets.load(to_net(out, batch_size=len(v["x0"]), **LOSS), phase="TRAIN").double()
    x = torch.from_numpy(v["x0"]).requires_grad_()
    y = net.activations(in0=x, label=torch.zeros(v["y"].shape))[net.nodes[0][0].tops[0]]
    (found,) = torch.autograd.grad((y * torch.from_numpy(v["g"])).sum(), x)
    np.testing.assert_allclose(found, v["dx0"], rtol=1e-5, atol=1e-8)


def test_time_is_truncated_as_in_the_layer():
    x = InputLayer((2, 5, 3), name="x")
    out = layers.GRULayer(x, 2, gradient_steps=2, name="gru")
    net = nets.load(to_net(out, **LOSS), phase="TRAIN").double()
    given = [torch.from_numpy(np.random.RandomState(1).normal(size=(2, 5, 3))).requires_grad_() for _ in range(2)]
    for p in get_all_params(out):
        p.set_value(p.get_value().astype("float32"))
    sums = [get_output(out, given[0]).sum(), net.activations(x=given[1], label=torch.zeros(2, 5, 2))["gru"].sum()]
    found = [torch.autograd.grad(total, x)[0] for total, x in zip(sums, given, strict=True)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-8)
    assert not found[0][:, :3].any()
    assert found[0][:, 3:].all()


def trained(layer, x):
    net = nets.load(to_net(layer, **LOSS), phase="TRAIN")
    torch.manual_seed(0)
    return net.activations(x=x, label=torch.zeros(x.shape))[to_net(layer).layer[-1].top[0]]


def test_what_is_drawn_is_drawn():
    x = InputLayer((50, 40, 5), name="x")
    minus = -torch.ones(50, 40, 5)
    slopes = -trained(layers.RandomizedRectifierLayer(x, 0.2, 0.6), minus)
    assert 0.2 <= slopes.min() < 0.25
    assert 0.55 < slopes.max() <= 0.6
    assert (slopes == slopes[:1, :, :1]).all()
    dropped = trained(layers.dropout_channels(x, p=0.25), minus)
    assert (dropped == dropped[:, :, :1]).all()
    assert (dropped[:, :, 0] == 0).float().mean() == pytest.approx(0.25, abs=0.03)
    assert dropped.min() == pytest.approx(-4 / 3)
    plain = trained(layers.DropoutLayer(x, p=0.5, rescale=False), minus)
    assert set(plain.unique().tolist()) == {0.0, -1.0}


def test_a_message_carries_its_weights():
    param = to_net(DenseLayer(InputLayer((None, 4), name="x"), 3, name="d"))
    net = nets.load(param)
    np.testing.assert_array_equal(net.layer("d").weight.detach().flatten(), param.layer[1].blobs[0].data)
    param.layer[1].blobs[0].data.pop()
    with pytest.raises(NetError, match=r"'d'.*blob 0 of the message has 11 values, not 3x4"):
        nets.load(param)
    del param.layer[1].blobs[1]
    with pytest.raises(NetError, match=r"'d'.*the message holds 1 blobs, the layer has 2"):
        nets.load(param)


def test_losses_and_recurrent_layers_without_a_counterpart_are_named():
    x = InputLayer((None, 4), name="x")
    with pytest.raises(NetError, match="one output layer, not with 2"):
        to_net([x, x], **LOSS)
    deep = DenseLayer(DenseLayer(InputLayer((None, 3)), 4), 4)
    custom = layers.CustomRecurrentLayer((None, 5, 3), deep, DenseLayer(InputLayer((None, 4)), 4), name="deep")
    custom.input_layers = [InputLayer((None, 5, 3))]
    with pytest.raises(NetError, match="'deep': input_to_hidden and hidden_to_hidden must be a DenseLayer each"):
        to_net(custom)
    gru = layers.GRULayer(InputLayer((None, 5, 3)), 2, updategate=layers.Gate(W_cell=None, nonlinearity=softmax))
    with pytest.raises(NetError, match="nonlinearity_updategate must be rectify, tanh, sigmoid or linear"):
        to_net(gru)
    x = InputLayer((None, 3, 4, 5))
    with pytest.raises(NetError, match="BatchNorm of Caffe normalises all axes but the second, not"):
        to_net(layers.BatchNormLayer(x, axes=(0, 1)), **LOSS)
    with pytest.raises(NetError, match="alpha 0 leaves the averages as they are"):
        to_net(layers.BatchNormLayer(x, alpha=0), **LOSS)


def test_what_is_in_front_of_a_flattened_layer_learns():
    """Caffe loses the gradient between a Reshape and a Flatten right behind it."""
    x = InputLayer((4, 3, 5), name="x")
    made = layers.FlattenLayer(layers.ReshapeLayer(DenseLayer(x, 6, nonlinearity=None), ([0], 2, 3)))
    param = to_net(DenseLayer(made, 2, nonlinearity=None), **LOSS)
    net = nets.load(param, phase="TRAIN", input_shapes={"x": (4, 3, 5)})
    net.loss(net(**{name: torch.randn(net.shapes[name]) for name in net.graph.inputs})).backward()
    assert all(blob.tensor.grad.any() for blob in net.learnable)
