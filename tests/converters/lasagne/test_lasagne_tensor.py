"""The functions of ``theano.tensor``: the results of NumPy's and SciPy's, and the axes that they say to have."""

import numpy as np
import pytest
from scipy import special

from converters.lasagne.theano import function, shared
from converters.lasagne.theano import tensor as T
from converters.lasagne.theano.config import config
from converters.lasagne.theano.tensor import nnet

RNG = np.random.RandomState(0)
V = RNG.normal(size=(3, 4))
A = RNG.normal(size=(2, 3, 4))
B = RNG.normal(size=(2, 4, 5))
STATISTICS = RNG.uniform(1, 2, size=(4, 3))  # gamma, beta, mean and variance of three channels
IMAGES = RNG.normal(size=(2, 3, 4, 6))
HOLES = np.where(abs(V) < 0.5, 0, V)
ODD = np.array([[0.5, -1.5, np.nan], [np.inf, -np.inf, 2.0]])
NEAR = V + np.array([0, 1e-9, 1e-3, 1])
P = special.expit(V)


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    monkeypatch.setattr(config, "floatX", "float64")


def standardized(shape, epsilon):
    gamma, beta, mean, variance = (row.reshape(shape) for row in STATISTICS)
    return (IMAGES - mean) * gamma / np.sqrt(variance + epsilon) + beta


ELEMENTWISE = {
    "arccosh": (lambda x: T.arccosh(1 + x * x), np.arccosh(1 + V * V)),
    "arcsinh": (T.arcsinh, np.arcsinh(V)),
    "arctanh": (lambda x: T.arctanh(x / 9), np.arctanh(V / 9)),
    "deg2rad": (T.deg2rad, np.deg2rad(V)),
    "rad2deg": (T.rad2deg, np.rad2deg(V)),
    "erfc": (T.erfc, special.erfc(V)),
    "erfinv": (lambda x: T.erfinv(x / 9), special.erfinv(V / 9)),
    "psi": (T.psi, special.psi(V)),
    "gammaln": (T.gammaln, special.gammaln(V)),
    "gamma": (T.gamma, special.gamma(V)),
    "trunc": (lambda x: T.trunc(3 * x), np.trunc(3 * V)),
    "iround": (lambda x: T.iround(3 * x), np.rint(3 * V).astype(int)),
    "round": (lambda x: T.round(T.constant([0.5, 1.5, -2.5])), [0.0, 2.0, -2.0]),
    "round_away": (lambda x: T.round(T.constant([0.5, 1.2, -2.5]), mode="half_away_from_zero"), [1.0, 1.0, -3.0]),
    "iround_away": (lambda x: T.iround(T.constant([0.5, 1.5, -2.5]), "half_away_from_zero"), [1, 2, -3]),
    "arctan2": (lambda x: T.arctan2(x, 0.5), np.arctan2(V, 0.5)),
    "logaddexp": (lambda x: T.logaddexp(x, 1), np.logaddexp(V, 1)),
    "smallest": (lambda x: T.smallest(0.5, x, 2 * x), np.minimum(0.5, np.minimum(V, 2 * V))),
    "floor_div": (lambda x: T.floor_div(x, 0.3), V // 0.3),
    "invert": (lambda x: ~(x > 0), V <= 0),
    "invert_bits": (lambda x: ~T.cast(10 * x, "int32"), ~(10 * V).astype("int32")),
    "isclose": (lambda x: T.isclose(x, NEAR), np.isclose(V, NEAR)),
    "softsign": (nnet.softsign, V / (1 + abs(V))),
    "hard_sigmoid": (lambda x: nnet.hard_sigmoid(3 * x), np.clip(0.6 * V + 0.5, 0, 1)),
    "logsoftmax": (nnet.logsoftmax, special.log_softmax(V, 1)),
    "logsoftmax_of_one": (lambda x: nnet.logsoftmax(x[0]), special.log_softmax(V[:1], 1)),
    "softmax_with_bias": (lambda x: nnet.softmax_with_bias(x, V[0]), special.softmax(V + V[0], 1)),
    "sigmoid_crossentropy": (
        lambda x: nnet.sigmoid_binary_crossentropy(x, P.T[::-1].T),
        -(P[:, ::-1] * np.log(P) + (1 - P[:, ::-1]) * np.log(1 - P)),
    ),
    "sigmoid_crossentropy_of_much": (
        lambda x: nnet.sigmoid_binary_crossentropy(1e4 * T.sgn(x), T.ones_like(x)), np.where(V > 0, 0, 1e4)
    ),
}  # fmt: skip
FORMS = {
    "alloc": (lambda x: T.alloc(x[0], 2, x.shape[1]), np.stack([V[0]] * 2)),
    "full": (lambda x: T.full((2, x.shape[1]), 7), np.full((2, 4), 7.0)),
    "fill": (lambda x: T.fill(x, x[0]), np.stack([V[0]] * 3)),
    "second": (lambda x: x.fill(2), np.full((3, 4), 2.0)),
    "shape_padleft": (lambda x: T.shape_padleft(x, 2), V[None, None]),
    "shape_padright": (lambda x: T.shape_padright(x, 2), V[..., None, None]),
    "shape_padaxis": (lambda x: T.shape_padaxis(x, 1), V[:, None]),
    "addbroadcast": (lambda x: T.addbroadcast(x[:1], 0), V[:1]),
    "unbroadcast": (lambda x: T.unbroadcast(x, 0, 1), V),
    "specify_shape": (lambda x: T.specify_shape(x, (3, 4)), V),
    "roll": (lambda x: T.roll(x, 5), np.roll(V, 5)),
    "roll_along": (lambda x: T.roll(x, T.constant(-1), axis=1), np.roll(V, -1, 1)),
    "identity_like": (T.identity_like, np.eye(3, 4)),
    "triu": (lambda x: T.triu(x, 1), np.triu(V, 1)),
    "tril": (lambda x: T.tril(x, -1), np.tril(V, -1)),
    "diagonal": (lambda x: x.diagonal(offset=1), np.diagonal(V, 1)),
    "diagonal_of_axes": (lambda x: T.diagonal(T.constant(A), 0, 2, 0), np.diagonal(A, 0, 2, 0)),
    "split": (lambda x: T.concatenate(T.split(x, [1, 3], 2, axis=1)[::-1], axis=1), np.roll(V, -1, 1)),
    "split_from_behind": (lambda x: T.split(x, [1, 3], 2, axis=-1)[1], V[:, 1:]),
    "split_by_variable": (lambda x: T.split(x, T.stack([1, x.shape[0] - 1]), 2)[1], V[1:]),
    "join": (lambda x: T.join(-1, x, V[:, :1]), np.concatenate([V, V[:, :1]], 1)),
    "horizontal_stack": (lambda x: T.horizontal_stack(x, V), np.hstack([V, V])),
    "vertical_stack": (lambda x: T.vertical_stack(x, V), np.vstack([V, V])),
    "stacklists": (lambda x: T.stacklists([[x[0, 0], x[0, 1]], [x[1, 0], 0.5]]), [V[0, :2], [V[1, 0], 0.5]]),
    "stack": (lambda x: T.stack([x, 2 * x], 1), np.stack([V, 2 * V], 1)),
    "stack_by_name": (lambda x: T.stack(tensors=[x, 2 * x], axis=-1), np.stack([V, 2 * V], -1)),
    "stack_of_old": (lambda x: T.stack(x[0], x[1]), V[:2]),
    "tile": (lambda x: T.tile(x, (2,)), np.tile(V, 2)),
    "tile_with_more_axes": (lambda x: T.tile(x, (2,), ndim=3), np.tile(V, (1, 1, 2))),
    "take": (lambda x: T.take(x, [2, 0], axis=1), V[:, [2, 0]]),
    "take_clipped": (lambda x: T.take(x, [[0, 9]], axis=-1, mode="clip"), V[:, [[0, 3]]]),
    "take_round_and_round": (lambda x: x.take([-1, 13], mode="wrap"), V.take([-1, 13], mode="wrap")),
    "arange": (lambda x: T.arange(0, 1, 0.1), np.arange(0, 1, 0.1)),
    "sort_of_all": (lambda x: T.sort(x, None), np.sort(V, None)),
    "argsort_of_all": (lambda x: T.argsort(x, axis=None), np.argsort(V, None)),
    "nonzero_matrix": (lambda x: T.nonzero(x * HOLES, return_matrix=True), np.array(np.nonzero(HOLES))),
    "moveaxis": (lambda x: T.moveaxis(T.constant(A), 0, 2), np.moveaxis(A, 0, 2)),
    "swapaxes": (lambda x: T.constant(A).swapaxes(0, -1), A.swapaxes(0, -1)),
    "squeeze": (lambda x: x[:1, None].squeeze(), V[0]),
    "ravel": (T.ravel, V.ravel()),
    "images2neibs": (lambda x: nnet.neighbours.images2neibs(T.constant(A[None]), (2, 2), (1, 2)),
                     np.lib.stride_tricks.sliding_window_view(A, (2, 2), (1, 2))[:, :, ::2].reshape(-1, 4)),
}  # fmt: skip
REDUCED = {
    "maximum": (lambda x: T.max_and_argmax(x, 1)[0], V.max(1)),
    "argmax": (lambda x: T.max_and_argmax(x, axis=1, keepdims=True)[1], V.argmax(1)[:, None]),
    "argmin": (lambda x: x.argmin(axis=0), V.argmin(0)),
    "argmin_of_all": (T.argmin, V.argmin()),
    "argmin_of_flags": (lambda x: T.argmin(x < 1, axis=1), (V < 1).argmin(1)),
    "argmax_of_axes": (lambda x: T.argmax(T.constant(A), axis=(0, 2)), A.transpose(1, 0, 2).reshape(3, -1).argmax(1)),
    "argmax_of_list": (lambda x: T.argmax(x, axis=[0, 1], keepdims=True), [[V.argmax()]]),
    "sum_by_numpys_number": (lambda x: T.sum(x, axis=np.int64(1)), V.sum(1)),
    "any": (lambda x: T.any(x > 1.5, axis=1), (V > 1.5).any(1)),
    "any_of_all": (lambda x: (x > 9).any(), False),
    "any_of_one": (lambda x: T.any(x[0, 0]), True),
    "ptp": (lambda x: x.ptp(axis=1), np.ptp(V, 1)),
    "allclose": (lambda x: T.allclose(x, V + 1e-9), True),
    "not_allclose": (lambda x: T.allclose(x, 2 * x), False),
    "cumprod": (lambda x: T.cumprod(x, axis=1), V.cumprod(1)),
    "cumprod_of_all": (lambda x: x.cumprod(), V.cumprod()),
    "diff": (lambda x: T.extra_ops.diff(x, 2, axis=0), np.diff(V, 2, axis=0)),
    "logsumexp": (lambda x: T.logsumexp(x, axis=0, keepdims=True), special.logsumexp(V, 0, keepdims=True)),
    "logsumexp_of_all": (T.logsumexp, special.logsumexp(V)),
    "flatnonzero": (lambda x: T.flatnonzero(x * HOLES), np.flatnonzero(HOLES)),
    "nonzero_values": (lambda x: (x * HOLES).nonzero_values(), (V * HOLES)[HOLES != 0]),
    "bincount": (lambda x: T.bincount(T.constant([1, 1, 3]), minlength=5), [0, 2, 0, 1, 0]),
    "weights": (lambda x: T.bincount(T.constant([1, 1, 3]), x[0, :3]), [0, V[0, 0] + V[0, 1], 0, V[0, 2]]),
    "weights_of_list": (lambda x: T.bincount(T.constant([1, 0]), [0.5, 2]), [2, 0.5]),
    "dot": (lambda x: T.dot(x, 2.0), 2 * V),
    "dot_of_one": (lambda x: T.dot(x[0, 0], x), V[0, 0] * V),
    "tensordot": (lambda x: T.batched_tensordot(T.constant(A), T.constant(B), [[2], [1]]), A @ B),
    "tensordot_of_two": (lambda x: T.batched_tensordot(T.constant(A), T.constant(A), 2), (A * A).sum((1, 2))),
}
TABLE = {**ELEMENTWISE, **FORMS, **REDUCED}


@pytest.mark.parametrize("name", TABLE)
def test_a_function_gives_what_numpy_gives(name):
    of, wanted = TABLE[name]
    made = of(shared(V))
    found = made.eval()
    assert (found.shape, found.ndim) == (np.shape(wanted), made.ndim)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_what_is_no_number_is_found():
    x = T.matrix()
    for of, by_name in ((T.isnan, np.isnan), (T.isinf, np.isinf)):
        np.testing.assert_array_equal(of(x).eval({x: ODD}), by_name(ODD))
        np.testing.assert_array_equal(by_name(x).eval({x: ODD}), by_name(ODD))


def test_division_with_a_remainder():
    x = T.matrix()
    whole, rest = T.divmod(x, -0.3)
    np.testing.assert_allclose(whole.eval({x: V}), V // -0.3)
    np.testing.assert_allclose(rest.eval({x: V}), V % -0.3)


@pytest.mark.parametrize(("axes", "shape"), [("spatial", (1, 3, 1, 1)), ((0, 2, 3), (1, 3, 1, 1))])
def test_batch_normalization_by_figures_that_are_given(axes, shape):
    x = T.tensor4()
    found = nnet.bn.batch_normalization_test(x, *STATISTICS.reshape(4, *shape), axes, epsilon=0.5)
    np.testing.assert_allclose(found.eval({x: IMAGES}), standardized(shape, 0.5))


def test_the_places_of_what_is_not_zero_have_one_axis():
    x = T.matrix()
    rows = T.nonzero(x)[0]
    assert rows.ndim == 1
    np.testing.assert_array_equal(rows.eval({x: HOLES}), np.nonzero(HOLES)[0])


def test_a_variable_as_an_input_of_its_type():
    w = shared(V)
    assert T.as_tensor_variable(w) is w
    for found in (w.detach(), w.numpy(), np.asarray(w * 2) / 2):
        np.testing.assert_array_equal(found, V)
    w.tag.test_value = V
    np.testing.assert_array_equal(w.tag.test_value, V)


def test_places_are_a_list_of_arrays():
    """What has no shape of its own comes as a list, what is no number as it is."""
    x = T.matrix()
    rows, columns = function([x], [T.nonzero(x)])(HOLES)[0]
    np.testing.assert_array_equal(np.stack([rows, columns]), np.nonzero(HOLES))
