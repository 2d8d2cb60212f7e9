"""Functions of ``lasagne.objectives``, ``regularization``, ``init`` and ``utils``, by NumPy."""

import numpy as np
import pytest

import converters.lasagne as L
from converters.lasagne import init, layers, objectives, regularization, utils
from converters.lasagne.theano import shared
from converters.lasagne.theano import tensor as T
from converters.lasagne.theano.config import config
from converters.lasagne.theano.variable import Constant, Variable

RNG = np.random.RandomState(0)
P = RNG.uniform(0.1, 0.9, size=(4, 3))
ROWS = P / P.sum(1, keepdims=True)
CLASSES = np.array([0, 2, 1, 2])
BITS = np.array([[0, 1, 1], [1, 0, 0], [1, 1, 1], [0, 0, 1]])
W = RNG.normal(size=(4, 3))
ONE_HOT = np.eye(3)[CLASSES]


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    monkeypatch.setattr(config, "floatX", "float64")


def hinge(scores, truth, delta=1.0):
    return np.maximum(0, delta - scores * truth)


LOSSES = {
    "mean": (objectives.aggregate(P, W), (P * W).mean()),
    "sum": (objectives.aggregate(P, mode="sum"), P.sum()),
    "normalized_sum": (objectives.aggregate(P, W, mode="normalized_sum"), (P * W).sum() / W.sum()),
    "log_odds": (objectives.binary_hinge_loss(W, BITS, 0.5, log_odds=True), hinge(W, 2 * BITS - 1, 0.5)),
    "odds": (objectives.binary_hinge_loss(P, BITS, log_odds=False), hinge(np.log(P / (1 - P)), 2 * BITS - 1)),
    "signs": (objectives.binary_hinge_loss(W, np.sign(W[::-1]), log_odds=True, binary=False),
              hinge(W, np.sign(W[::-1]))),
    "classes": (objectives.categorical_accuracy(ROWS, CLASSES), ROWS.argmax(1) == CLASSES),
    "rows": (objectives.categorical_accuracy(ROWS, ONE_HOT), ROWS.argmax(1) == CLASSES),
    "top": (objectives.categorical_accuracy(ROWS, ONE_HOT, top_k=2), ROWS.argmin(1) != CLASSES),
    "binary": (objectives.binary_accuracy(P, BITS, 0.7), (P >= 0.7) == BITS),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_an_objective_has_its_value(name):
    found, wanted = LOSSES[name]
    np.testing.assert_allclose(found, wanted)


def test_a_hinge_loss_asks_whether_it_gets_odds():
    with pytest.warns(FutureWarning, match="log_odds will change its default to False; say which"):
        found = objectives.binary_hinge_loss(W, BITS)
    np.testing.assert_allclose(found, hinge(W, 2 * BITS - 1))


def test_a_penalty_of_one_tensor_or_of_many():
    w = shared(W)
    np.testing.assert_allclose(regularization.apply_penalty(w, regularization.l2).eval(), (W**2).sum())
    for many in ([w, 2 * w], (each * w for each in (1, 2))):
        both = regularization.apply_penalty(many, lambda x, power: (abs(x) ** power).sum(), power=3)
        np.testing.assert_allclose(both.eval(), 9 * (abs(W) ** 3).sum())


def drawn(initializer, shape=(40, 50, 2)):
    L.random.set_rng(np.random.RandomState(3))
    return initializer(shape)


def test_uniform_values_lie_between_the_two_of_a_pair():
    found = drawn(init.Uniform((-0.5, 2.0)))
    np.testing.assert_array_equal(found, np.random.RandomState(3).uniform(-0.5, 2.0, (40, 50, 2)))


def test_he_values_are_uniform():
    """Of as many inputs as a unit has: 50 channels at 2 places."""
    reach = np.sqrt(3) * np.sqrt(2) * np.sqrt(1 / 100)
    wanted = np.random.RandomState(3).uniform(-reach, reach, (40, 50, 2))
    np.testing.assert_allclose(drawn(init.HeUniform("relu")), wanted)


# ---- utils


def test_what_is_given_becomes_a_variable():
    x = T.matrix()
    made = utils.as_theano_expression({"x": x, "rest": [1.5, (W, x)]})
    assert made["x"] is made["rest"][1][1] is x
    assert all(isinstance(one, Constant) for one in (made["rest"][0], made["rest"][1][0]))
    np.testing.assert_array_equal(made["rest"][1][0].eval(), W)


def test_an_empty_shared_variable_has_as_many_axes_as_asked_for():
    assert utils.shared_empty(3, "float32").get_value().shape == (1, 1, 1)
    assert (utils.shared_empty().ndim, utils.shared_empty(1, "float32").dtype) == (2, "float32")
    held = utils.shared_empty()
    held.set_value(W)
    np.testing.assert_array_equal(held.get_value(), W)


def test_a_row_for_each_number():
    places = T.ivector()
    np.testing.assert_array_equal(utils.one_hot(places).eval({places: CLASSES}), ONE_HOT)
    np.testing.assert_array_equal(utils.one_hot(places, 5).eval({places: CLASSES}), np.eye(5)[CLASSES])


def test_the_names_of_what_need_not_be_given():
    assert utils.inspect_kwargs(lambda a, b=1, *rest, c, d=None, **more: a) == ["b", "d"]


@pytest.mark.parametrize(
    ("shape", "axes"), [((3,), None), ((3, 4), (0,)), ((3, 4, 2), (1, 2)), ((2, 3, 4, 5), (1, 2, 3))]
)
def test_the_norms_of_the_units_of_a_parameter(shape, axes):
    values = RNG.normal(size=shape)
    np.testing.assert_allclose(
        utils.compute_norms(values), abs(values) if axes is None else np.sqrt((values**2).sum(axes))
    )
    np.testing.assert_allclose(utils.compute_norms(values, [0]), np.sqrt((values**2).sum(0)))


HALVES = np.full((2, 3), 0.5)


@pytest.mark.parametrize(
    "spec", [0.5, HALVES, init.Constant(0.5), lambda shape: 0.5, shared(HALVES), lambda shape: shared(HALVES)]
)
def test_a_parameter_is_made_of_what_is_given(spec):
    made = utils.create_param(spec, (2, 3), "w")
    assert isinstance(made, Variable)
    np.testing.assert_array_equal(made.eval(), HALVES)


@pytest.mark.parametrize("backwards", [False, True])
def test_an_unrolled_loop_gives_the_states_of_all_steps(backwards):
    x, w = T.matrix(), shared(0.5)
    start = [T.zeros((3,))] * 2
    sums, last = utils.unroll_scan(lambda row, total, _, w: (total + w * row, row), x, start, [w], 4, backwards)
    order = W[::-1] if backwards else W
    np.testing.assert_allclose(sums.eval({x: W}), 0.5 * order.cumsum(0))
    np.testing.assert_array_equal(last.eval({x: W}), order)
    (single,) = utils.unroll_scan(lambda row, total: total + row, [x], start[:1], [], 2)
    np.testing.assert_allclose(single.eval({x: W}), W.cumsum(0)[:2])


def test_a_penalty_counts_what_is_regularizable():
    net = layers.DenseLayer(layers.InputLayer((None, 4)), 3, W=W, b=init.Constant(9))
    np.testing.assert_allclose(regularization.regularize_layer_params(net, regularization.l1).eval(), abs(W).sum())
