"""Definitions and training scripts in the manner of public ones, run and looked at layer by layer."""

import sys

import numpy as np
import pytest
import torch

import nets
from converters.lasagne import layers, save_net
from converters.lasagne.theano.config import config
from converters.run import run

RESIDUAL = """
from lasagne.layers import InputLayer, BatchNormLayer, NonlinearityLayer, ElemwiseSumLayer, DenseLayer
from lasagne.layers import Pool2DLayer as PoolLayer, get_output_shape
try:
    from lasagne.layers.dnn import Conv2DDNNLayer as ConvLayer
except ImportError:
    from lasagne.layers import Conv2DLayer as ConvLayer
from lasagne.nonlinearities import rectify, softmax

def simple(below, names, filters, size, stride, pad):
    net = [(names[0], ConvLayer(below, filters, size, stride, pad, flip_filters=False, b=None, nonlinearity=None))]
    net.append((names[1], BatchNormLayer(net[-1][1])))
    net.append((names[2], NonlinearityLayer(net[-1][1], nonlinearity=rectify)))
    return dict(net), net[-1][0]

net = {'input': InputLayer((None, 3, 17, 17))}
part, last = simple(net['input'], map(lambda s: s % 1, ['conv%d', 'bn%d', 'relu%d']), 8, 3, 2, 1)
net.update(part)
net['pool'] = PoolLayer(net[last], pool_size=3, stride=2, pad=0, mode=max, ignore_border=False)
part, last = simple(net['pool'], map(lambda s: s % 2, ['conv%d', 'bn%d', 'relu%d']),
                    get_output_shape(net['pool'])[1] / 1, 3, 1, 1)
net.update(part)
net['sum'] = ElemwiseSumLayer([net['pool'], net[last]], coeffs=1)
net['avg'] = PoolLayer(net['sum'], pool_size=4, stride=1, mode='average_exc_pad', ignore_border=False)
out = NonlinearityLayer(DenseLayer(net['avg'], num_units=5, nonlinearity=None), nonlinearity=softmax)
print 'layers: %d' % len(net)
"""
GENERATOR = """
import lasagne
from lasagne.layers import InputLayer, ReshapeLayer, DenseLayer
try:
    from lasagne.layers import TransposedConv2DLayer as Deconv2DLayer
except ImportError:
    raise ImportError("this Lasagne is too old")
try:
    from lasagne.layers.dnn import batch_norm_dnn as batch_norm
except ImportError:
    from lasagne.layers import batch_norm
layer = batch_norm(DenseLayer(InputLayer(shape=(None, 6)), 4 * 7 * 7))
layer = ReshapeLayer(layer, ([0], 4, 7, 7))
layer = batch_norm(Deconv2DLayer(layer, 3, 5, stride=2, crop='same', output_size=14))
out = Deconv2DLayer(layer, 1, 5, stride=2, crop=1, output_size=(30, 29), nonlinearity=lasagne.nonlinearities.sigmoid)
"""
SEGMENTS = """
from lasagne.layers import *
from lasagne.init import HeNormal
import lasagne
x = InputLayer((None, 1, 30, 27))
a = batch_norm(Conv2DLayer(x, 4, 3, nonlinearity=lasagne.nonlinearities.elu, W=HeNormal(gain="relu")))
b = Conv2DLayer(Pool2DLayer(a, 2), 8, 3, pad='same')
up = Deconv2DLayer(b, 4, 2, 2, crop="valid")
both = ConcatLayer([up, a], cropping=(None, None, "center", "center"))
low = ElemwiseSumLayer([NINLayer(Upscale2DLayer(b, 2), 4), a], cropping=[None, None, 'lower', 'upper'])
score = Conv2DLayer(ConcatLayer([both, low]), 2, 1, nonlinearity=None)
flat = ReshapeLayer(DimshuffleLayer(score, (1, 0, 2, 3)), (2, -1))
out = NonlinearityLayer(DimshuffleLayer(flat, (1, 0)), nonlinearity=lasagne.nonlinearities.softmax)
"""
TEXT = """
import lasagne
from lasagne.layers import *
from lasagne.layers.recurrent import Gate
words = InputLayer((3, 5), input_var=__import__('theano').tensor.imatrix())
x = EmbeddingLayer(words, input_size=7, output_size=4)
forward = GRULayer(x, 4, hidden_update=Gate(W_cell=None, nonlinearity=lasagne.nonlinearities.rectify))
backward = GRULayer(x, 4, backwards=True)
gate = Gate(W_in=lasagne.init.Orthogonal(), W_hid=lasagne.init.Orthogonal())
first = DenseLayer(SliceLayer(x, 0, axis=1), 4)
lstm = LSTMLayer(ElemwiseSumLayer([forward, backward]), 4, ingate=gate, forgetgate=gate, outgate=gate, learn_init=True,
                 hid_init=first, grad_clipping=100., peepholes=False)
out = SliceLayer(SliceLayer(lstm, slice(None, None, -2), axis=1), -1, axis=1)
"""


@pytest.fixture(autouse=True)
def _restored(monkeypatch, tmp_path):
    before = dict(sys.modules)
    monkeypatch.setattr(config, "floatX", "float64")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("THEANO_FLAGS", raising=False)
    yield
    for name in sys.modules.keys() - before.keys():
        if sys.modules[name] is None or name.split(".")[0] in ("lasagne", "nolearn", "theano"):
            del sys.modules[name]


def ran(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(text)
    return run(path)


@pytest.mark.parametrize(
    ("text", "count", "shapes"),
    [
        (RESIDUAL, (216 + 32) + (576 + 32) + 45, [(None, 3, 17, 17), (None, 8, 9, 9), (None, 8, 9, 9), (None, 8, 9, 9),
                                                  (None, 8, 4, 4), (None, 8, 4, 4), (None, 8, 4, 4), (None, 8, 4, 4),
                                                  (None, 8, 4, 4), (None, 8, 1, 1), (None, 5), (None, 5)]),
        (GENERATOR, 6 * 196 + 4 * 196 + 4 * 3 * 25 + 12 + 75 + 1, [(None, 6), (None, 196), (None, 196), (None, 196),
                                                  (None, 4, 7, 7), (None, 3, 14, 14), (None, 3, 14, 14),
                                                  (None, 3, 14, 14), (None, 1, 30, 29)]),
        (SEGMENTS, (36 + 16) + 296 + 132 + 36 + 26, None),
        (TEXT, 28 + 2 * (108 + 4) + 20 + (4 * 36 + 4), None),
    ],
    ids=["residual", "generator", "segments", "text"],
)  # fmt: skip
def test_a_definition_is_built_and_translated(text, count, shapes, tmp_path):
    if "print '" in text:
        pytest.importorskip("fissix")
    out = ran(tmp_path, text)["out"]
    every = layers.get_all_layers(out)
    assert layers.count_params(out) == count
    assert shapes is None or [one.output_shape for one in every] == shapes
    rng = np.random.RandomState(0)
    for param in layers.get_all_params(out):
        low = 1 if param.name and "inv_std" in param.name else -1
        param.set_value(rng.uniform(low, 2, param.get_value().shape).astype("float32"))
    save_net(out, tmp_path / "n.prototxt", tmp_path / "n.caffemodel", batch_size=3)
    net = nets.load(tmp_path / "n.prototxt", tmp_path / "n.caffemodel").double().eval()
    shape = [3 if size is None else size for size in every[0].output_shape]
    x = torch.from_numpy(rng.randint(0, 7, shape) if text is TEXT else rng.normal(size=shape))
    (found,) = net(x).values()
    wanted = layers.get_output(out, x, deterministic=True)
    np.testing.assert_allclose(found.detach(), wanted.detach(), rtol=1e-5, atol=1e-7)


IDIOMS = """
import numpy as np, theano, theano.tensor as T, lasagne as nn, theano.compile.nanguardmode
from theano.ifelse import ifelse
class Gated(nn.layers.MergeLayer):
    def __init__(self, gate, a, b, **kwargs):
        super(Gated, self).__init__([gate, a, b], **kwargs)
    def get_output_shape_for(self, input_shapes):
        return input_shapes[0]
    def get_output_for(self, inputs, **kwargs):
        return inputs[0] * inputs[1] + (1 - inputs[0]) * inputs[2]
def highway(below, bias=nn.init.Constant(-1.)):
    units = int(np.prod(below.output_shape[1:]))
    h = nn.layers.DenseLayer(below, units, W=nn.init.Orthogonal())
    t = nn.layers.DenseLayer(below, units, b=bias, nonlinearity=T.nnet.sigmoid)
    return Gated(t, h, below)
x, y = T.matrix('x'), T.ivector('y')
net = nn.layers.DenseLayer(nn.layers.InputLayer((None, 5), x), 4)
net = nn.layers.DenseLayer(highway(highway(net)), 3, nonlinearity=nn.nonlinearities.softmax)
out, params = nn.layers.get_output(net), nn.layers.get_all_params(net, trainable=True)
loss = nn.objectives.aggregate(nn.objectives.categorical_crossentropy(out, y), mode='mean')
grads, norm = nn.updates.total_norm_constraint(T.grad(loss, params), 1., return_norm=True)
step = nn.updates.apply_nesterov_momentum(nn.updates.rmsprop(grads, params, .01), params, .9)
for p in nn.layers.get_all_params(net, regularizable=True):
    step[p] = nn.updates.norm_constraint(step[p], 3.)
X = np.random.RandomState(0).rand(40, 5)
Y = (X.sum(1) > 2.5).astype('uint8')
data, labels, i = theano.shared(X, borrow=True), T.cast(theano.shared(Y), 'int32'), T.lscalar('i')
mode = theano.compile.nanguardmode.NanGuardMode(nan_is_error=True)
train = theano.function([i], [loss, norm], updates=step, mode=mode, on_unused_input='ignore',
                        givens={x: data[i * 20:(i + 1) * 20], y: labels[i * 20:(i + 1) * 20]})
losses = [float(train(n % 2)[0]) for n in range(120)]
powers, _ = theano.scan(lambda p, v: p * v, outputs_info=T.ones_like(x[0]), non_sequences=x[0], n_steps=3)
cube = theano.function([x], powers[-1], allow_input_downcast=True)(X)
twice = theano.clone(out, replace={x: ifelse(T.gt(x.sum(), 0), x, -x)}).eval({x: -X})
same = out.eval({x: X})
"""


def test_a_training_script(tmp_path):
    names = ran(tmp_path, IDIOMS)
    assert names["losses"][-1] < 0.5 * names["losses"][0]
    np.testing.assert_allclose(names["cube"], names["X"][0] ** 3)
    np.testing.assert_allclose(names["twice"], names["same"])


LOOPS = """
import numpy as np, theano, theano.tensor as T
v = T.vector('v')
fibonacci, _ = theano.scan(lambda a, b: a + b, outputs_info=dict(initial=v, taps=[-2, -1]), n_steps=4)
ahead, _ = theano.scan(lambda now, later: later - now, sequences=dict(input=v, taps=[0, 1]))
back, _ = theano.foldr(lambda a, total: a - total, v, T.zeros_like(v[0]))
def until(p):
    return p * 2, theano.scan_module.until(p * 2 > 20)
doubled, _ = theano.scan(until, outputs_info=v[0], n_steps=100)
count = theano.shared(0.0)
_, steps = theano.scan(lambda a: {count: count + a}, sequences=v)
bump = theano.function([v], [], updates=steps)
slope = T.grad(theano.reduce(lambda a, total: total * a, v, T.ones_like(v[0]))[0], v)
noise, _ = theano.scan(lambda a: a + T.shared_randomstreams.RandomStreams(1).normal(()), sequences=v)
"""


def test_loops(tmp_path):
    names = ran(tmp_path, "import theano.scan_module\n" + LOOPS)
    given = {names["v"]: np.array([1.0, 3.0])}
    np.testing.assert_array_equal(names["fibonacci"].eval(given), [4, 7, 11, 18])
    np.testing.assert_array_equal(names["ahead"].eval(given), [2])
    assert names["back"].eval(given) == 1 - 3
    np.testing.assert_array_equal(names["doubled"].eval(given), [2, 4, 8, 16, 32])
    names["bump"](np.array([1.0, 3.0]))
    assert names["count"].get_value() == 4
    np.testing.assert_array_equal(names["slope"].eval(given), [3, 1])
    noise = names["noise"].eval(given) - given[names["v"]]
    assert noise[0] != noise[1]


def test_modules_that_are_not_supported_say_so_when_used(tmp_path):
    names = ran(tmp_path, "import nolearn.dbn\nfrom theano.misc import pkl_utils\nimport theano.sparse\n")
    with pytest.raises(NotImplementedError, match=r"theano\.misc\.pkl_utils\.dump is not supported here"):
        names["pkl_utils"].dump("file")
    with pytest.raises(ImportError):
        ran(tmp_path, "import theano.gpuarray\n")


NAMES = """
import numpy as np, theano, theano.tensor as T, lasagne
from theano.sandbox.cuda import dnn
from theano.sandbox.cuda.dnn import dnn_conv, dnn_pool
from theano.tensor.nnet.abstract_conv import AbstractConv2d_gradInputs, conv2d_grad_wrt_inputs
from theano.tensor.sharedvar import TensorSharedVariable
from theano.tensor.var import TensorVariable
def steep(x):
    return x / (1 + T.exp(-heat * x))
heat = T.scalar('heat')
net = lasagne.layers.DenseLayer(lasagne.layers.InputLayer((None, 2)), 2, W=np.eye(2), nonlinearity=steep)
out = lasagne.layers.get_output(net)
kinds = isinstance(net.W, TensorSharedVariable), isinstance(out, TensorVariable), dnn.dnn_available()
found = theano.function([net.input_layer.input_var, heat], out)(np.ones((1, 2)), 3.0)
"""


def test_names_of_theano_are_where_scripts_look_for_them(tmp_path):
    names = ran(tmp_path, NAMES)
    assert names["kinds"] == (True, True, True)
    np.testing.assert_allclose(names["found"], np.full((1, 2), 1 / (1 + np.exp(-3.0))))
