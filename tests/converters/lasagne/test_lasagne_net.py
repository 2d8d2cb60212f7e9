"""Lasagne nets as nets of this project: the same outputs, through the prototxt and the caffemodel."""

import numpy as np
import pytest
import torch

import nets
from converters.lasagne import layers, objectives, save_net, to_net
from converters.lasagne.layers import DenseLayer, ExpressionLayer, InputLayer, get_all_params, get_output
from converters.lasagne.nonlinearities import SELU, LeakyRectify, ScaledTanH, sigmoid, softmax, softplus
from converters.lasagne.theano.config import config
from protos.errors import NetError
from tests.converters.lasagne.test_lasagne_cases import CASES, build, stored

REFUSED = {
    "expression": "no meaning", "expression_shape": "no meaning", "inverse_conv": "no meaning",
    "inverse_maxpool": "no meaning", "inverse_avgpool": "no meaning", "transformer_mirror": "no meaning",
    "transformer_wrap": "no meaning", "tps": "no meaning",

}  # fmt: skip
LAYERS = [pytest.param(c, id=c["id"]) for c in CASES if c["kind"] == "layers" and c["id"][7:] != "input"]


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    monkeypatch.setattr(config, "floatX", "float64")


def through_files(layer, tmp_path, batch, **options):
    save_net(layer, tmp_path / "net.prototxt", tmp_path / "net.caffemodel", batch_size=batch, **options)
    return nets.load(tmp_path / "net.prototxt", weights=_weights(layer, tmp_path)).double().eval()


def _weights(layer, tmp_path):
    return tmp_path / "net.caffemodel" if get_all_params(layer) else None


@pytest.mark.parametrize("case", LAYERS)
def test_the_net_gives_the_same_outputs(case, tmp_path):
    v = stored(case)
    inputs, out = build(case)
    layers.set_all_param_values(out, [v[f"p{i}"] for i in range(len(get_all_params(out)))])
    name = case["id"].removeprefix("layers/")
    if name in REFUSED:
        with pytest.raises(NetError, match=REFUSED[name]):
            to_net(out, batch_size=2)
        return
    net = through_files(out, tmp_path, len(v["x0"]))
    found = net(**{layer.name: torch.from_numpy(np.array(v[f"x{i}"])) for i, layer in enumerate(inputs)})
    (y,) = found.values()
    np.testing.assert_allclose(y.detach(), v["y"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("nonlinearity", [SELU(1.05, 1.67), ScaledTanH(2 / 3, 1.7159), softplus, sigmoid, softmax])
def test_nonlinearities_are_made_of_layers_of_caffe(nonlinearity, tmp_path):
    out = DenseLayer(InputLayer((None, 4), name="x"), 3, nonlinearity=nonlinearity, name="out")
    for p in get_all_params(out):
        p.set_value(p.get_value().astype("float32"))
    net = through_files(out, tmp_path, 2)
    x = np.random.RandomState(0).normal(size=(2, 4))
    np.testing.assert_allclose(net(x=torch.from_numpy(x))["out"].detach(), get_output(out, x).eval(), rtol=1e-6)


def test_all_that_is_missing_is_said_at_once():
    x = InputLayer((None, 4))
    two = layers.ElemwiseSumLayer([ExpressionLayer(x, abs, name="first"), ExpressionLayer(x, abs, name="second")])
    with pytest.raises(NetError, match=r"(?s)'first'.*'second'"):
        to_net(two)


@pytest.mark.parametrize(
    ("loss", "nonlinearity", "targets"),
    [
        (objectives.categorical_crossentropy, softmax, np.array([0, 2])),
        (objectives.binary_crossentropy, sigmoid, np.array([[0, 1, 1], [1, 0, 1.0]])),
        (objectives.squared_error, None, np.array([[0, 1, 1], [1, 0, 1.0]])),
    ],
)
def test_a_loss_is_the_layer_of_caffe_with_the_same_value(loss, nonlinearity, targets):
    out = DenseLayer(InputLayer((None, 4), name="x"), 3, nonlinearity=nonlinearity, name="out")
    param = to_net(out, loss=loss, batch_size=2)
    net = nets.load(param, phase="TRAIN").double()
    w, b = get_all_params(out)
    with torch.no_grad():
        net.layer("out").weight.copy_(w.tensor.T)
        net.layer("out").bias.copy_(b.tensor)
    x = np.random.RandomState(0).normal(size=(2, 4))
    wanted = loss(get_output(out, torch.from_numpy(x)), torch.from_numpy(targets)).mean()
    found = net.loss(net(x=torch.from_numpy(x), label=torch.from_numpy(targets)))
    np.testing.assert_allclose(found.detach(), wanted.detach(), rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: layers.BatchNormLayer(x, axes=(0,)),
        lambda x: layers.BatchNormLayer(x, axes=(0, 1), beta=None),
        lambda x: layers.ParametricRectifierLayer(x, shared_axes=(0,)),
        lambda x: layers.ParametricRectifierLayer(x, shared_axes=(0, 1)),
        lambda x: layers.BiasLayer(x, shared_axes=(0, 1)),
        lambda x: layers.ElemwiseMergeLayer([x, layers.SliceLayer(x, slice(0, 1), axis=1)], layers.merge.ops.sub),
        lambda x: layers.DimshuffleLayer(layers.SliceLayer(x, slice(1, 2), axis=2), (3, "x", 0, 1)),
        lambda x: layers.NINLayer(layers.FlattenLayer(x), 2),
        lambda x: layers.BiasLayer(x, b=None),
        lambda x: layers.NonlinearityLayer(x, LeakyRectify(0.25)),
        lambda x: layers.BatchNormLayer(x, beta=None, gamma=None),
        lambda x: layers.DilatedConv2DLayer(x, 2, (2, 3), dilation=(3, 2), untie_biases=True),
        lambda x: layers.DilatedConv2DLayer(x, 2, (2, 3), dilation=(3, 2)),
        lambda x: layers.TransposedConv2DLayer(x, 2, 3, stride=(3, 2), output_size=(13, 12)),
        lambda x: layers.TransposedConv2DLayer(
            x, 2, 2, stride=3, crop=1, output_size=(11, 13), b=None, flip_filters=True
        ),
    ],
)
def test_what_caffe_has_in_parts_is_made_of_them(make, tmp_path):
    out, rng = make(InputLayer((None, 3, 4, 5), name="x")), np.random.RandomState(0)
    for p in get_all_params(out):
        p.set_value(rng.uniform(0.5, 2, p.get_value().shape).astype("float32"))
    net = through_files(out, tmp_path, 2)
    x = rng.normal(size=(2, 3, 4, 5))
    (found,) = net(x=torch.from_numpy(x)).values()
    wanted = get_output(out, x, deterministic=True).eval()
    np.testing.assert_allclose(found.detach(), wanted, rtol=1e-5, atol=1e-7)
