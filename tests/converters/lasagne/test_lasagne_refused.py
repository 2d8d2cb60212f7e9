"""What ``lasagne`` and ``theano`` refuse: the kind of each error, and what it says."""

import re

import numpy as np
import pytest

from converters.lasagne import init, layers, objectives, to_net, updates, utils
from converters.lasagne.layers import InputLayer as Input
from converters.lasagne.layers import conv, dnn, merge, pool
from converters.lasagne.nonlinearities import sigmoid, softmax
from converters.lasagne.theano import function, grad, printing, scan, shared
from converters.lasagne.theano import tensor as T
from converters.lasagne.theano.config import Config, config
from converters.lasagne.theano.tensor import nnet
from protos.errors import CaffeError, NetError

ROW, STEPS, PLANE, IMAGE, CUBE = (2, 6), (2, 5, 6), (2, 6, 5), (2, 6, 5, 5), (2, 6, 5, 5, 5)
OPEN = (None, 6, None, None)


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    monkeypatch.setattr(config, "floatX", "float64")


def refused(*cases):
    """One test for each of (what is done, the kind of the error, what it says)."""
    return pytest.mark.parametrize(("do", "kind", "words"), cases)


def raises(kind, words):
    return pytest.raises(kind, match=re.escape(words))


class Bare(layers.Layer):
    """A layer whose output has a size that is a variable."""

    def get_output_shape_for(self, input_shape):
        return (T.iscalar("n"), 3)


@refused(
    (lambda: layers.Layer((2, 0)), ValueError, "non-positive input_shape dimension: (2, 0)"),
    (lambda: Bare(ROW).output_shape, ValueError, "Bare: output_shape must hold numbers and None only, not (n, 3)"),
    (lambda: Input((2, 0)), ValueError, "InputLayer with a non-positive shape dimension: (2, 0)"),
    (lambda: Input(ROW, T.vector()), ValueError, "shape has 2 dimensions, but variable has 1"),
    (lambda: layers.get_output(layers.DenseLayer(ROW, 3)), ValueError,
     "for the free-floating DenseLayer: give a dict"),
    (lambda: layers.get_output(layers.ConcatLayer([ROW, ROW])), ValueError, "ConcatLayer has no layer in front of it"),
    (lambda: layers.set_all_param_values(layers.DenseLayer(ROW, 3), [1]), ValueError,
     "mismatch: got 1 values to set 2 parameters"),
    (lambda: layers.set_all_param_values(layers.DenseLayer(ROW, 3), [np.ones((3, 6)), np.ones(3)]), ValueError,
     "mismatch: parameter 0 (W) has shape (6, 3), its value (3, 6)"),
    (lambda: layers.DenseLayer(ROW, 3, num_leading_axes=2), ValueError,
     "num_leading_axes 2 leaves nothing of 2 input"),
    (lambda: layers.DenseLayer((2, None), 3), ValueError,
     "requires a fixed input shape (except for the leading axes)"),
    (lambda: conv.conv_output_length(5, 3, 1, "some"), ValueError, "Invalid pad: some"),
    (lambda: conv.conv_input_length(5, 3, 1, "some"), ValueError, "Invalid pad: some"),
    (lambda: layers.Conv2DLayer(PLANE, 2, 3), ValueError,
     "a 2D convolution layer with input shape (2, 6, 5). Expected 4"),
    (lambda: layers.Conv2DLayer(IMAGE, 2, 3, num_groups=4), ValueError,
     "num_groups 4 must divide 2 filters and 6 input channels"),
    (lambda: layers.Conv2DLayer(IMAGE, 2, (3, 2), pad="same"), NotImplementedError,
     "`same` padding requires odd filter"),
    (lambda: layers.DilatedConv2DLayer(IMAGE, 2, 3, pad=1), NotImplementedError,
     "requires pad=0 / (0,0) / 'valid', but got 1: put a PadLayer in front"),
    (lambda: layers.DilatedConv2DLayer(IMAGE, 2, 3, flip_filters=True), NotImplementedError,
     "DilatedConv2DLayer requires flip_filters=False"),
    (lambda: dnn.Pool2DDNNLayer(IMAGE, 2, ignore_border=False), NotImplementedError,
     "Pool2DDNNLayer requires ignore_border=True: use the layer without DNN"),
    (lambda: dnn.Pool3DDNNLayer(CUBE, 2, ignore_border=False), NotImplementedError,
     "Pool3DDNNLayer requires ignore_b"),
    (lambda: layers.LocallyConnected2DLayer(IMAGE, 2, 3, stride=2), NotImplementedError, "requires stride=1 / (1, 1)"),
    (lambda: layers.LocallyConnected2DLayer(IMAGE, 2, 3, pad=1), NotImplementedError,
     "requires pad='same', but got 1"),
    (lambda: layers.LocallyConnected2DLayer(OPEN, 2, 3), ValueError,
     "requires a fixed input shape (except for the batch"),
    (lambda: layers.LocallyConnected2DLayer(IMAGE, 2, 3, channelwise=True), ValueError,
     "num_filters and the number of input channels should match when channelwise is true"),
    (lambda: layers.ConcatLayer([ROW, ROW], cropping=["middle"]), ValueError, "Unknown crop mode in ['middle', None]"),
    (lambda: merge.autocrop([T.constant(np.ones(3)), T.constant(np.ones((3, 3)))], ["lower"]).eval(), ValueError,
     "Not all inputs are of the same dimensionality"),
    (lambda: merge.autocrop_array_shapes([ROW, STEPS], ["lower"]), ValueError, "Not all inputs are of the same dim"),
    (lambda: layers.ConcatLayer([ROW, (3, 6)]).output_shape, ValueError,
     "Mismatch: input shapes must be the same except in the concatenation axis: [(2, 6), (3, 6)]"),
    (lambda: layers.ElemwiseSumLayer([ROW, ROW], coeffs=[1, 2, 3]), ValueError, "got 3 coeffs for 2 incomings"),
    (lambda: layers.LocalResponseNormalization2DLayer(IMAGE, n=4), NotImplementedError, "Only works with odd n"),
    (lambda: layers.BatchNormLayer((2, None, 5)), ValueError,
     "needs specified input sizes for all axes not normalized"),
    (lambda: layers.BiasLayer((2, None, 5)), ValueError,
     "BiasLayer needs specified input sizes for all axes that biases are not shared over."),
    (lambda: layers.RandomizedRectifierLayer(ROW, 0.5, 0.25), ValueError, "to be higher than lower bound: 0.25"),
    (lambda: layers.Pool2DLayer(PLANE, 2), ValueError, "a 2D pooling layer with input shape (2, 6, 5). Expected 4"),
    (lambda: layers.Pool2DLayer(IMAGE, 2, pad=1, ignore_border=False), ValueError, "pad goes with ignore_border=True"),
    (lambda: layers.Upscale2DLayer(IMAGE, (2, 0)), ValueError, "Scale factor must be >= 1, not (2, 0)"),
    (lambda: layers.Upscale2DLayer(IMAGE, 2, "some"), ValueError, "Mode must be 'repeat' or 'dilate', not 'some'"),
    (lambda: layers.FeaturePoolLayer(ROW, 4), ValueError,
     "input features (6) must be a multiple of the pool size (4)"),
    (lambda: layers.FeatureWTALayer(ROW, 4), ValueError, "features (6) must be a multiple of the region size (4)"),
    (lambda: pool.pool_2d_nxn_regions(np.ones(IMAGE), 2, "sum"), ValueError, "average_exc_pad, not 'sum'"),
    (lambda: pool.pool_2d(np.ones(IMAGE), ws=2, mode="some"), ValueError, "mode must be one of max, average_inc_pad"),
    (lambda: pool.pool_output_length(5, 2, 2, 1, False), ValueError, "padding goes with ignore_border=True only"),
    (lambda: layers.SpatialPyramidPoolingLayer(PLANE), ValueError, "requires 4D input, got (2, 6, 5)"),
    (lambda: layers.SpatialPyramidPoolingLayer(IMAGE, implementation="slow"), ValueError, "or 'kaiming', not 'slow'"),
    (lambda: layers.FlattenLayer(ROW, 0), ValueError, "Dim must be >0, was 0"),
    (lambda: layers.ReshapeLayer(ROW, (-1, 2, -1)), ValueError, "`shape` cannot contain multiple -1"),
    (lambda: layers.ReshapeLayer(ROW, (0, 12)), ValueError, "`shape` integers must be positive or -1"),
    (lambda: layers.ReshapeLayer(ROW, ([2], 6)), ValueError,
     "input references must be lists of one axis number of the"),
    (lambda: layers.DimshuffleLayer(ROW, (0, 1, 0)), ValueError, "pattern contains a dimension twice"),
    (lambda: layers.DimshuffleLayer(ROW, (0, 1, 2)), ValueError, "pattern names axes beyond the 2 of the input"),
    (lambda: layers.DimshuffleLayer(ROW, (0,)), ValueError, "pattern leaves out axes [1], which are not of size 1"),
    (lambda: layers.TransformerLayer(IMAGE, ROW, border_mode="some"), ValueError, "nearest, mirror, wrap, not 'some'"),
    (lambda: layers.TransformerLayer(PLANE, ROW), ValueError, "must have a 4-dimensional output shape"),
    (lambda: layers.TransformerLayer(IMAGE, (2, 5)), ValueError, "localization network must have 6 outputs, not (5,)"),
    (lambda: layers.TPSTransformerLayer(IMAGE, ROW, control_points=3), ValueError, "must be a perfect square"),
    (lambda: layers.RecurrentLayer(STEPS, 3, unroll_scan=True, gradient_steps=2), ValueError,
     "Gradient steps must be -1"),
    (lambda: layers.RecurrentLayer((2, None, 6), 3, unroll_scan=True), ValueError,
     "length cannot be specified as None"),
    (lambda: layers.LSTMLayer(STEPS, 3, unrolled=True), TypeError, "LSTMLayer takes no argument unrolled"),
    (lambda: layers.CustomRecurrentLayer(STEPS, layers.DenseLayer(ROW, 3), layers.DenseLayer((2, 4), 4)), ValueError,
     "The output shape for hidden_to_hidden and input_to_hidden must be equal"),
)  # fmt: skip
def test_layers_refuse_what_they_cannot_do(do, kind, words):
    with raises(kind, words):
        do()


X, W = T.matrix("x"), shared(np.ones((3, 3)), "w")
TWICE = function([X, T.scalar("a")], X * 2, on_unused_input="ignore")


@refused(
    (lambda: TWICE(np.ones((2, 2)), 1, 2), TypeError, "the function takes 2 inputs, 3 were given"),
    (lambda: TWICE(np.ones((2, 2)), b=1), TypeError, "the function has no input b; it has x, a"),
    (lambda: TWICE(np.ones((2, 2))), TypeError, "input a of the function has no value"),
    (lambda: TWICE(np.ones(2), 1), TypeError, "input x has 2 axes, the value given 1"),
    (lambda: W.set_value(np.ones(3)), ValueError, "w has 2 axes, the new value 1"),
    (lambda: grad(None, X), ValueError, "grad needs a cost, or known_grads"),
    (lambda: grad((W * 2).sum(), X).eval({X: np.ones((2, 2))}), CaffeError,
     "the cost does not depend on x: pass disconnected_inputs='ignore' if it need not"),
    (lambda: scan(lambda a, h: [a, h], X, [W[0]]), ValueError, "the function gives 2 outputs, outputs_info has 1"),
    (scan(lambda a: a, W, n_steps=4)[0].eval, ValueError, "n_steps 4 is more than the sequences have, 3"),
    (lambda: W.dimshuffle(0).eval(), ValueError, "dimshuffle [0] leaves out axis 1, whose size is 3, not 1"),
    (lambda: T.set_subtensor(W, 0), TypeError, "set_subtensor and inc_subtensor take a[index] of a variable a"),
    (lambda: nnet.softmax(np.ones(IMAGE)), ValueError, "softmax takes a matrix, not 4 axes: flatten it first"),
    (lambda: nnet.neighbours.images2neibs(np.ones(IMAGE), (2, 2), mode="wrap_centered"), NotImplementedError,
     "mode 'wrap_centered' is not supported here"),
    (lambda: len(X[0]), TypeError, "subtensor has no length yet: use .shape[0]"),
    (lambda: printing.pydotprint(X), NotImplementedError, "draw the net with python -m nets.draw"),
    (lambda: Config().read({"THEANO_FLAGS": "floatX"}), CaffeError, "THEANO_FLAGS: 'floatX' is not name=value"),
)  # fmt: skip
def test_theano_refuses_what_it_cannot_do(do, kind, words, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with raises(kind, words):
        do()


def test_settings_that_cannot_be_read(tmp_path):
    (tmp_path / ".theanorc").write_text("floatX = float32\n")
    with raises(CaffeError, ".theanorc cannot be read: File contains no section headers."):
        Config().read({}, tmp_path)


@refused(
    (lambda: utils.as_theano_expression(object()), TypeError, "input of type object cannot be made an expression"),
    (lambda: utils.as_tuple((1, "b"), 2, int), TypeError, "a single value or an iterable of int, got (1, 'b')"),
    (lambda: utils.as_tuple(0.5, 2, (int, str)), TypeError, "a single value or an iterable of int or str, got 0.5"),
    (lambda: utils.as_tuple((1, 2, 3), 2), ValueError, "a single value or an iterable with length 2, got (1, 2, 3)"),
    (lambda: utils.compute_norms(W), RuntimeError, "use get_value() of a shared variable"),
    (lambda: utils.compute_norms(np.ones([1] * 6)), ValueError, "Unsupported tensor dimensionality 6. Must specify"),
    (lambda: utils.create_param(0.0, (3, 0), "w"), ValueError, "non-positive shape dimension. Tried (3, 0) for w"),
    (lambda: utils.create_param(W, (3,), "v"), ValueError, "parameter v has 2 dimensions, should have 1"),
    (lambda: utils.create_param(np.ones(3), (4,), "v"), ValueError, "parameter v has shape (3,), should be (4,)"),
    (lambda: utils.create_param("some", (4,), "v"), TypeError, "cannot initialize parameter v: it must be a number"),
    (lambda: utils.create_param(lambda shape: "some", (4,), "v"), RuntimeError, "one of them, not str"),
    (lambda: init.GlorotUniform(c01b=True)((3, 3)), RuntimeError, "GlorotUniform with c01b=True takes 4 axes, not 2"),
    (lambda: init.HeNormal()((3,)), RuntimeError, "HeNormal takes 2 axes or more, not 1"),
    (lambda: init.Sparse()((3,)), RuntimeError, "Sparse takes 2 axes, not 1"),
    (lambda: init.Orthogonal()((3,)), RuntimeError, "Orthogonal takes 2 axes or more, not 1"),
    (lambda: updates.sgd(X.sum(), [X], 0.1), ValueError, "params must contain shared variables only"),
    (lambda: updates.sgd([X], [W, W], 0.1), ValueError, "Got 1 gradient expressions for 2 parameters"),
    (lambda: updates.norm_constraint(shared(np.ones(3)), 1.0), ValueError, "Unsupported tensor dimensionality 1"),
    (lambda: objectives.aggregate(np.ones(3), mode="normalized_sum"), ValueError, "'normalized_sum' needs weights"),
    (lambda: objectives.aggregate(np.ones(3), mode="some"), ValueError, "'sum' or 'normalized_sum', not 'some'"),
    (lambda: objectives.multiclass_hinge_loss(np.ones((2, 2)), np.ones((1, 2, 2))), TypeError,
     "rank mismatch between"),
    (lambda: objectives.categorical_accuracy(np.ones((2, 2)), np.ones((1, 2, 2))), TypeError, "rank mismatch between"),
    (lambda: objectives.categorical_accuracy(np.ones((2, 2)), np.ones(()), top_k=2), TypeError, "rank mismatch"),
)  # fmt: skip
def test_functions_refuse_what_does_not_fit(do, kind, words):
    with raises(kind, words):
        do()


def behind(make, shape=(None, 6, None, None), **options):
    """The net of a layer behind an input of *shape*."""
    return lambda: to_net(make(Input(shape, name="x")), **options)


def mean(x, axis):
    return x.mean(axis)


def two_biases(x):
    parts = [layers.DenseLayer(Input((None, n)), 2, nonlinearity=None) for n in (6, 2)]
    return layers.CustomRecurrentLayer(x, *parts)


def part_trained(x):
    layer = layers.LSTMLayer(x, 2)
    layer.params[layer.W_in_to_ingate].remove("trainable")
    return layer


@pytest.mark.parametrize(("do", "words"), [
    (behind(lambda x: x), "input 'x' has open sizes (None, 6, None, None): name its shape in input_shapes"),
    (behind(lambda x: layers.ReshapeLayer(x, ([0], [2], 6, [3]))), "its shape ([0], [2], 6, [3]) must be known"),
    (behind(lambda x: layers.DimshuffleLayer(x, (0, 1, "x", 2, 3))), "the sizes of its input must be fixed"),
    (behind(lambda x: layers.SliceLayer(x, 0)), "the size of axis 3 of its input must be fixed"),
    (behind(lambda x: layers.ConcatLayer([x, x], cropping=[None, None, "lower"])), "its inputs must have fixed"),
    (behind(lambda x: layers.ElemwiseMergeLayer([x, x], T.minimum)),
     "ElemwiseMergeLayer: Eltwise of Caffe knows T.add, T.sub, T.mul and T.maximum"),
    (behind(lambda x: layers.GlobalPoolLayer(x, T.sum)), "must be T.mean, T.max or T.sum, and the size of its"),
    (behind(lambda x: layers.FeaturePoolLayer(x, 2, pool_function=mean)), "pool_function must be T.mean, T.max"),
    (behind(layers.SpatialPyramidPoolingLayer), "SpatialPyramidPoolingLayer: the size of its input must be fix"),
    (behind(lambda x: layers.TransposedConv2DLayer(x, 2, 3, output_size=9)), "output_size needs a fixed size"),
    (behind(lambda x: layers.StandardizationLayer(x, axes=(1, 2))), "its axes must be the last ones, not (1, 2)"),
    (behind(lambda x: layers.ScaleLayer(x, shared_axes=(0, 2)), IMAGE), "neighbouring axes only, not [1, 3]"),
    (behind(lambda x: layers.DenseLayer(x, 2, nonlinearity=abs), ROW), "nonlinearity abs has no counterpart"),
    (behind(two_biases, STEPS, loss=objectives.squared_error), "learns one bias: give hidden_to_hidden b=None"),
    (behind(part_trained, STEPS, loss=objectives.squared_error), "some parameters of a blob are trainable, others"),
    (behind(lambda x: layers.RecurrentLayer(x, 2, nonlinearity=sigmoid), STEPS, loss=objectives.binary_crossentropy),
     "the net ends in SimpleRNN, not in Sigmoid"),
    (behind(lambda x: layers.DenseLayer(x, 2, nonlinearity=sigmoid), ROW, loss=objectives.categorical_crossentropy),
     "loss categorical_crossentropy behind sigmoid has no layer: use categorical_crossentropy behind softmax"),
    (behind(lambda x: layers.DenseLayer(x, 2, nonlinearity=softmax), ROW, loss=max), "loss max behind softmax"),
])  # fmt: skip
def test_what_a_net_cannot_be_made_of_is_named(do, words):
    with raises(NetError, words):
        do()
