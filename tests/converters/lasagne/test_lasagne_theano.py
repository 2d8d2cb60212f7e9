"""Functions and variables of Theano: what its documentation says of them, and NumPy's results."""

import copy
import pickle
import re
import threading

import numpy as np
import pytest

from converters.lasagne.theano import (
    Out,
    Param,
    clone,
    compile,
    dnn,
    function,
    grad,
    loops,
    printing,
    scan,
    shared,
)
from converters.lasagne.theano import tensor as T
from converters.lasagne.theano.config import Config, config
from converters.lasagne.theano.ifelse import ifelse
from converters.lasagne.theano.loops import until
from converters.lasagne.theano.shared import TensorSharedVariable
from converters.lasagne.theano.tensor import nlinalg
from converters.lasagne.theano.tensor.convolutions import conv1d
from converters.lasagne.theano.tensor.shared_randomstreams import RandomStreams
from converters.lasagne.theano.variable import apply
from protos.errors import CaffeError

RNG = np.random.RandomState(0)


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    monkeypatch.setattr(config, "floatX", "float64")


# ---- products and parts


@pytest.mark.parametrize(
    ("first", "second", "rule"),
    [((3, 4, 2), (3, 2), "bij,bj->bi"), ((3, 2), (3, 2, 5), "bj,bjk->bk"), ((3, 2), (3, 2), "bj,bj->b"),
     ((3, 4, 2), (3, 2, 5), "bij,bjk->bik")],
)  # fmt: skip
def test_batched_dot_is_dot_for_each_item(first, second, rule):
    a, b = RNG.normal(size=first), RNG.normal(size=second)
    x, y = T.TensorType("float64", (False,) * a.ndim)(), T.TensorType("float64", (False,) * b.ndim)()
    out = T.batched_dot(x, y)
    found = function([x, y], out)(a, b)
    wanted = np.einsum(rule, a, b)
    assert (found.shape, out.ndim) == (wanted.shape, wanted.ndim)
    np.testing.assert_allclose(found, wanted)


PLACES = {
    "rows": (np.array([1, 1, 2]), (3, 5)),
    "row": (2, (5,)),
    "cells": ((np.array([0, 0, 3]), np.array([1, 1, 4])), (3,)),
    "columns": ((slice(None), np.array([4, 4])), (4, 2)),
    "part": ((slice(1, 3), slice(None, None, 2)), (2, 3)),
    "backwards": ((slice(None, None, -1), 0), (4,)),
    "mask": (np.arange(20).reshape(4, 5) % 3 == 0, (7,)),
}


@pytest.mark.parametrize("name", PLACES)
def test_parts_are_set_and_raised(name):
    """A place that is named twice is raised twice, as by np.add.at."""
    index, shape = PLACES[name]
    values, y = RNG.normal(size=(4, 5)), RNG.normal(size=shape)
    x, step = T.matrix(), shared(y)
    raised, wanted = T.inc_subtensor(x[index], step), values.copy()
    np.add.at(wanted, index, y)
    np.testing.assert_allclose(raised.eval({x: values}), wanted)
    weights = RNG.normal(size=(4, 5))
    slope = grad((raised * weights).sum(), step)
    np.testing.assert_allclose(slope.eval({x: values}), weights[index])
    if name not in ("rows", "cells", "columns"):
        wanted = values.copy()
        wanted[index] = y
        np.testing.assert_array_equal(T.set_subtensor(x[index], step).eval({x: values}), wanted)


def test_a_row_is_chosen_by_a_variable():
    x, i, v = T.matrix(), T.iscalar(), T.vector()
    f = function([x, i, v], [T.set_subtensor(x[i], v), T.inc_subtensor(x[:, i], 1.0)])
    rows, columns = f(np.zeros((2, 3)), 1, np.arange(3.0))
    assert rows.tolist() == [[0, 0, 0], [0, 1, 2]]
    assert columns.tolist() == [[0, 1, 0], [0, 1, 0]]


# ---- convolutions


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize(("border", "step"), [("valid", (1, 1)), ("half", (2, 1)), ("full", (2, 2)), ((1, 2), (1, 2))])
def test_the_gradient_of_a_convolution_is_a_function_too(border, step, flip):
    """What T.grad gives for the images, under each of its names."""
    images, filters, shape = RNG.normal(size=(2, 3, 7, 6)), RNG.normal(size=(4, 3, 3, 3)), (None, None, 7, 6)
    x, w, top = T.tensor4(), T.tensor4(), T.tensor4()
    out = T.nnet.conv2d(x, w, border_mode=border, subsample=step, filter_flip=flip)
    above = RNG.normal(size=out.eval({x: images, w: filters}).shape)
    wanted = grad((out * above).sum(), x).eval({x: images, w: filters})
    names = T.nnet.abstract_conv
    options = {"border_mode": border, "filter_flip": flip}
    op = names.AbstractConv2d_gradInputs(imshp=shape, kshp=filters.shape, subsample=step, **options)
    for found in (
        names.conv2d_grad_wrt_inputs(top, w, shape, subsample=step, **options),
        names.conv2d_transpose(top, w, shape, input_dilation=step, **options),
        op(w, top, shape[2:]),
    ):
        np.testing.assert_allclose(found.eval({top: above, w: filters}), wanted, atol=1e-12)
    np.testing.assert_allclose(names.AbstractConv2d(subsample=step, **options)(x, w).eval({x: images, w: filters}),
                               out.eval({x: images, w: filters}))  # fmt: skip


def test_convolutions_along_one_and_three_axes():
    """A filter that is 1 at one place alone moves the values."""
    rows, volumes = RNG.normal(size=(1, 1, 5)), RNG.normal(size=(1, 1, 4, 4, 4))
    line, cube = np.zeros((1, 1, 2)), np.zeros((1, 1, 2, 2, 2))
    line[0, 0, 1] = cube[0, 0, 1, 0, 1] = 1
    np.testing.assert_array_equal(conv1d(rows, line).eval(), rows[..., :-1])
    np.testing.assert_array_equal(conv1d(rows, line, filter_flip=False).eval(), rows[..., 1:])
    np.testing.assert_array_equal(T.nnet.conv3d(volumes, cube).eval(), volumes[..., :-1, 1:, :-1])


def test_a_known_gradient_goes_back_and_is_differentiated_in_turn():
    """The convolution transposed by way of its gradient, as in the first deconvolution layers."""
    x, w, given = T.tensor4(), shared(RNG.normal(size=(2, 1, 2, 2))), T.tensor4()
    top = RNG.normal(size=(1, 2, 2, 2))
    images = T.zeros((1, 1, 3, 3))
    back = grad(None, images, known_grads={T.nnet.conv2d(images, w): given})
    wanted = T.nnet.abstract_conv.conv2d_grad_wrt_inputs(given, w, (None, None, 3, 3))
    np.testing.assert_allclose(back.eval({given: top}), wanted.eval({given: top}))
    for by in (w, given):
        slopes = [grad((made**2).sum(), by).eval({given: top}) for made in (back, wanted)]
        np.testing.assert_allclose(*slopes)
    both = grad(x.sum(), x, known_grads={x * x: T.ones_like(x)}).eval({x: np.full((1, 1, 1, 2), 3.0)})
    assert both.tolist() == [[[[7.0, 7.0]]]]


def test_a_gradient_within_a_loop_is_differentiated():
    x = T.vector()
    squares, _ = scan(lambda a: grad((a**3).sum(), a), x)
    assert grad(squares.sum(), x).eval({x: np.array([1.0, 2.0])}).tolist() == [6, 12]


# ---- pickles


def test_expressions_and_functions_can_be_pickled_and_copied():
    x, w = T.matrix("x"), shared(RNG.normal(size=(3, 2)), "w")
    choice = ifelse(T.gt(x.sum(), 0), T.dot(x, w), -T.dot(x, w))
    noise = RandomStreams(3).normal((4, 2))
    cost = T.mean((T.nnet.softmax(choice) - T.zeros((4, 2))) ** 2) + T.sum(x.reshape((x.shape[0], -1))[:, :2] * noise)
    states, _ = scan(lambda row, h: h + row.sum(), x, T.constant(0.0))
    slope = grad(clone(cost, {x: 2 * x}), w)
    f = function([x], [cost, slope, states[-1]], updates=[(w, w - slope)])
    values = RNG.normal(size=(4, 3))
    for twin in (pickle.loads(pickle.dumps(f)), copy.deepcopy(f)):
        assert twin.updates[0][0] is not w
        for found, wanted in zip(twin(values), copy.deepcopy(f)(values), strict=True):
            np.testing.assert_allclose(found, wanted)


# ---- functions


def test_updates_are_worked_out_from_the_old_values():
    a, b, c = shared(np.arange(3.0)), shared(np.arange(3.0) + 10), shared(np.zeros(3))
    f = function([], [a], updates=[(a, b), (b, a[::-1]), (c, a)])
    assert f()[0].tolist() == [0, 1, 2]
    assert (a.get_value().tolist(), b.get_value().tolist()) == ([10, 11, 12], [2, 1, 0])
    assert c.get_value().tolist() == [0, 1, 2]


def test_a_variable_is_true_unless_it_compares():
    x = T.matrix()
    assert x
    assert x.sum()
    assert T.eq(x, 1)
    with pytest.raises(TypeError, match=re.escape("gt has no value yet, so it is neither true nor false")):
        bool(x.sum() > 0)


def test_the_sizes_of_a_variable_can_be_unpacked():
    x = T.tensor3()
    a, b, _ = x.shape
    rows, columns = T.nonzero(x[0])
    assert (len(x.shape), len(x.shape[1:])) == (3, 2)
    f = function([x], [a * b, rows, columns])
    count, *places = f(np.arange(6.0).reshape(1, 2, 3) % 2)
    assert (int(count), [place.tolist() for place in places]) == (2, [[0, 1, 1], [1, 0, 2]])
    with pytest.raises(TypeError, match="has no length yet, so nothing can run over it"):
        list(x)
    with pytest.raises(TypeError, match="has no length yet: use"):
        len(x)


def test_functions_of_numpy_take_variables():
    x, w = T.matrix(), shared(RNG.uniform(size=(2, 2)))
    values, held = RNG.uniform(1, 2, size=(2, 2)), w.get_value()

    def of(expression):
        return expression.eval({x: values})

    np.testing.assert_allclose(of(np.exp(-3.0 * w + 5.0) * x), np.exp(-3.0 * held + 5.0) * values)
    np.testing.assert_allclose(of(np.sqrt(np.abs(np.log(x) - np.square(w)))), np.sqrt(abs(np.log(values) - held**2)))
    np.testing.assert_allclose(of(np.ones((2, 2)) / x - np.float32(0.5) * w), 1 / values - 0.5 * held)
    np.testing.assert_allclose(of(np.float64(2) ** x + np.maximum(x, 1.5)), 2**values + np.maximum(values, 1.5))
    np.testing.assert_array_equal(of(np.arange(2) < x), np.arange(2) < values)
    total = np.zeros((2, 2))
    total += x
    np.testing.assert_allclose(of(total), values)
    assert np.float64(1) != x
    with pytest.raises(TypeError):
        np.logaddexp(x, w)


def test_dtypes_may_be_those_of_numpy():
    x = T.matrix(dtype=np.float32)
    kinds = [x, T.zeros((2,), dtype=np.int32), T.constant(0, dtype="int8"), T.cast(x, np.dtype("uint8")),
             T.arange(3, dtype=np.float64), T.ones_like(x, dtype=np.int64), T.sum(x, dtype=np.float64)]  # fmt: skip
    assert [one.dtype for one in kinds] == ["float32", "int32", "int8", "uint8", "float64", "int64", "float64"]
    assert RandomStreams(1, use_cuda=False).uniform((2,), dtype=np.float32).eval().dtype == np.float32


def test_names_that_scripts_ask_for():
    x, w = T.col("x"), shared(np.ones((2, 1)), broadcastable=(False, True))
    assert x.type.broadcastable == w.type.broadcastable == (False, True)
    assert (x * 2).broadcastable == (False, False)
    assert T.constant(np.ones((1, 2))).type.broadcastable == (True, False)
    assert isinstance(x.type("y"), T.TensorVariable)
    assert isinstance(w, TensorSharedVariable)
    assert [v.name for v in (*T.vectors("ab"), *T.matrices("c", "d"))] == ["a", "b", "c", "d"]
    assert len(T.scalars(3)) == 3
    f = function([Param(x, default=np.ones((2, 1)))], Out(x + w, borrow=True), name="sum")
    assert (f().tolist(), f.name) == ([[2.0], [2.0]], "sum")


def test_a_stream_begins_anew_with_a_seed():
    streams = RandomStreams(1)
    draws = [
        streams.normal((3,)),
        streams.permutation((), 5),
        streams.choice((4,), 9),
        streams.multinomial(pvals=[0.5, 0.5]),
    ]
    f = function([], draws)
    first, second = f(), f()
    streams.seed(1)
    assert not np.array_equal(first[0], second[0])
    for again, once in zip(f(), first, strict=True):
        np.testing.assert_array_equal(again, once)


def test_functions_that_scripts_seldom_use():
    values, x = RNG.uniform(1, 2, size=(3, 3)), T.matrix()
    square = values @ values.T + np.eye(3)
    filled = values.copy()
    np.fill_diagonal(filled, 5.0)
    pairs = [
        (T.fill_diagonal(x, 5.0), filled),
        (T.choose(T.constant([2, 0, 1]), x), np.choose([2, 0, 1], values)),
        (T.choose(T.constant([5, -1, 1]), x, mode="clip"), np.choose([5, -1, 1], values, mode="clip")),
        (T.choose(T.constant([5, -1, 1]), x, mode="wrap"), np.choose([5, -1, 1], values, mode="wrap")),
        (T.tri(2, 4, 1), np.tri(2, 4, 1)),
        (T.largest(x, 1.5, x[0]), np.maximum(values, np.maximum(1.5, values[0]))),
        (T.tensordot(x, values, [1, 0]), values @ values),
        (1 - T.eq(x, x) + -T.gt(x, 0), -np.ones((3, 3))),
        (T.as_tensor_variable([x.sum(), 2.0]), [values.sum(), 2.0]),
        (nlinalg.Cholesky()(T.dot(x, x.T) + T.eye(3)), np.linalg.cholesky(square)),
        (nlinalg.solve(T.dot(x, x.T) + T.eye(3), x), np.linalg.solve(square, values)),
        (nlinalg.MatrixInverse()(T.dot(x, x.T) + T.eye(3)), np.linalg.inv(square)),
        (nlinalg.AllocDiag()(x[0]), np.diag(values[0])),
        (nlinalg.ExtractDiag()(x), np.diag(values)),
        (nlinalg.Det()(x), np.linalg.det(values)),
        (nlinalg.expm(0 * x), np.eye(3)),
    ]
    for found, wanted in pairs:
        np.testing.assert_allclose(found.eval({x: values}), wanted, atol=1e-12)


def test_cudnn_by_name():
    images, filters = RNG.normal(size=(1, 2, 4, 4)), RNG.normal(size=(3, 2, 2, 2))
    for mode, flip in (("conv", True), ("cross", False)):
        wanted = T.nnet.conv2d(images, filters, border_mode=(1, 0), filter_flip=flip).eval()
        np.testing.assert_allclose(dnn.dnn_conv(images, filters, (1, 0), conv_mode=mode).eval(), wanted)
    cube = RNG.normal(size=(1, 1, 3, 3, 3))
    np.testing.assert_allclose(dnn.dnn_conv3d(cube, cube, conv_mode="cross").eval().ravel(), [(cube**2).sum()])
    assert dnn.dnn_available()
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 2), (2, 3))
    np.testing.assert_allclose(dnn.dnn_pool(images, (2, 2)).eval(), windows.max((4, 5)))
    means = dnn.dnn_pool(images, (2, 2), stride=(2, 2), mode="average").eval()
    np.testing.assert_allclose(means, windows[:, :, ::2, ::2].mean((4, 5)))


# ---- loops


def looped(steps, keep):
    """The states of a small recurrent net, its loss, and its gradients for the weight and for the first state."""
    w, first, x = shared(0.7), shared(0.3), T.vector()
    states, _ = scan(lambda a, h, w: T.tanh(a + w * h), x, first, w, truncate_gradient=keep)
    f = function([x], [states, *grad((states**2).sum(), [w, first])])
    return f(np.linspace(-1, 1, steps))


def test_gradients_go_back_as_far_as_they_are_let():
    """As of a loop over the last steps, which starts from the state in front of them."""
    full, truncated = looped(5, -1), looped(5, 3)
    np.testing.assert_allclose(truncated[0], full[0])
    w, start, x = shared(0.7), full[0][1], T.vector()
    states, _ = scan(lambda a, h, w: T.tanh(a + w * h), x, start, w)
    wanted = grad((states**2).sum(), w).eval({x: np.linspace(-1, 1, 5)[2:]})
    np.testing.assert_allclose(truncated[1], wanted)
    assert truncated[2] == 0
    for found, wanted in zip(looped(5, 5), full, strict=True):
        np.testing.assert_allclose(found, wanted)
    with pytest.raises(NotImplementedError, match="truncate_gradient is not supported here for loops"):
        scan(lambda h: (h + 1, until(h > 3)), outputs_info=w, n_steps=9, truncate_gradient=2)


# ---- the number of axes

RANKS = {
    "reshape": lambda x: x.reshape((3, 1, 28, 28)),
    "rest": lambda x: x.reshape((x.shape[0] // 3, 3, -1)),
    "flatten": lambda x: x.reshape((3, 1, 28, 28)).flatten(2),
    "column": lambda x: x[:, 5] * 2,
    "row": lambda x: x[2].dimshuffle("x", 0, "x"),
    "columns": lambda x: x[..., [0, 9]],
    "cells": lambda x: x[T.arange(2), [1, 700]],
    "new": lambda x: x[:, None, 3:5],
    "mask": lambda x: x[T.gt(x, 0)],
    "places": lambda x: x[T.nonzero(x)],
    "sizes": lambda x: x.shape[1] + x.shape,
    "sum": lambda x: (x + np.ones((3, 784))).sum(axis=0),
    "kept": lambda x: (x + np.ones((3, 784))).max(axis=1, keepdims=True),
    "all": lambda x: (x * np.ones((3, 784))).mean(),
    "joined": lambda x: T.concatenate([x, np.ones((3, 7))], axis=1),
    "stacked": lambda x: T.stack([x, np.ones((3, 784))]),
    "dot": lambda x: T.dot(x + np.ones((3, 784)), np.ones(784)),
    "tensordot": lambda x: T.tensordot(x, np.ones((784, 2, 2)), [[1], [0]]),
    "written": lambda x: T.set_subtensor(T.zeros((3, 900))[:, :784], x),
    "repeated": lambda x: (x * np.ones((3, 784))).repeat(2),
    "transposed": lambda x: (x * np.ones((3, 784))).T,
    "softmax": lambda x: T.nnet.softmax(x + np.ones((3, 784))),
    "shared": lambda x: T.batched_dot(x, np.ones((3, 784, 2))),
}


@pytest.mark.parametrize("name", RANKS)
def test_an_expression_knows_its_axes_whatever_the_sizes(name):
    x = T.matrix()
    made = RANKS[name](x)
    assert made.ndim == made.eval({x: RNG.normal(size=(3, 784))}).ndim


def test_a_loop_runs_over_what_fits_certain_sizes_alone():
    x = T.matrix()
    over, _ = scan(lambda part, h: h + part[3] + part.sum(), x.reshape((3, 4, 2)).sum(axis=2), T.constant(0.0))
    values = RNG.normal(size=(4, 6))
    parts = values.reshape(3, 4, 2).sum(2)
    np.testing.assert_allclose(over.eval({x: values}), np.cumsum(parts[:, 3] + parts.sum(1)))


def test_threads_evaluate_apart():
    """A function that runs in one thread, here held up in the middle, gives its values to no other."""
    x, inside, done = T.scalar("x"), threading.Event(), threading.Event()

    def hold(value):
        inside.set()
        assert done.wait(10)
        return value

    slow = function([x], apply(hold, x) + x)
    found = []
    thread = threading.Thread(target=lambda: found.append(slow(1.0)))
    thread.start()
    assert inside.wait(10)
    try:
        with pytest.raises(CaffeError, match="input variable x has no value"):
            x.eval()
    finally:
        done.set()
        thread.join()
    assert found == [2.0]


# ---- what scripts ask for besides


def test_second_derivatives_and_directions():
    """Of f(x) = sum(x^3), whose Hessian is diagonal, and of a product with a matrix."""
    x, values, way = T.vector(), np.array([1.0, 2.0]), RNG.normal(size=3)
    np.testing.assert_allclose(T.hessian((x**3).sum(), x).eval({x: values}), np.diag(6 * values))
    matrix = RNG.normal(size=(2, 3))
    np.testing.assert_allclose(T.Lop(T.dot(x, matrix), x, way).eval({x: values}), matrix @ way)


def test_what_counts_as_constant_lets_no_gradient_through():
    x = T.vector()
    square = x**2
    slope = grad((x * square).sum(), x, consider_constant=[square])
    np.testing.assert_allclose(slope.eval({x: np.array([1.0, 3.0])}), [1.0, 9.0])
    known = grad(None, x, consider_constant=[square], known_grads={x * square: T.ones_like(x)})
    np.testing.assert_allclose(known.eval({x: np.array([1.0, 3.0])}), [1.0, 9.0])


def test_branches_may_be_lists():
    x = T.vector()
    first, second = ifelse(T.gt(x.sum(), 0), [x, 2 * x], (3 * x, 4 * x))
    for values, factors in (([1.0, 2.0], (1, 2)), ([-1.0, -2.0], (3, 4))):
        found = function([x], [first, second])(values)
        np.testing.assert_array_equal(found, np.outer(factors, values))


def test_a_fold_of_two_outputs():
    x = T.vector()
    step = lambda a, total, product: (total + a, product * a)  # noqa: E731
    for fold in (loops.foldl, loops.foldr):
        (total, product), _ = fold(step, x, [T.constant(0.0), T.constant(1.0)])
        assert function([x], [total, product])([2.0, 3.0, 4.0]) == [9.0, 24.0]
    (last, _), _ = loops.foldr(lambda a, kept, count: (a, count + 1), x, [T.constant(0.0), T.constant(0.0)])
    assert last.eval({x: np.array([2.0, 3.0])}) == 2.0


def test_a_value_is_printed_when_it_is_worked_out(capsys):
    x = T.vector("x")
    seen = printing.Print("seen", attrs=["shape", "__str__"])(x) * 2
    assert capsys.readouterr().out == ""
    assert seen.eval({x: np.array([1.0, 2.0])}).tolist() == [2, 4]
    assert capsys.readouterr().out == "seen shape = (2,)\nseen __str__ = [1. 2.]\n"
    assert printing.pprint(x) == "x"
    printing.debugprint(x + T.vector("y"))
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["Input", "x"],
        ["Input", "y"],
        ["Apply", "add"],
    ]


def test_modes_are_taken_and_change_nothing():
    x = T.scalar()
    for mode in (compile.get_default_mode().excluding("fusion").including("fast"),
                 compile.MonitorMode(pre_func=print, post_func=print), "FAST_COMPILE"):  # fmt: skip
        assert function([x], x * 2, mode=mode)(3) == 6


def test_the_steps_of_a_function_are_those_of_the_cpu():
    """As the script of Theano's documentation that looks for a GPU asks."""
    x = shared(np.ones(3))
    steps = function([], T.exp(x)).maker.fgraph.toposort()
    assert str(steps) == "[Elemwise{exp}]"
    assert all(isinstance(step.op, T.Elemwise) and "Gpu" not in type(step.op).__name__ for step in steps)


def test_a_shared_variable_may_be_an_input_and_change_its_size():
    w = shared(np.ones(3), "w")
    assert function([w], w * 2)(np.arange(2.0)).tolist() == [0, 2]
    w.set_value(np.arange(5))
    assert (w.get_value().tolist(), w.dtype) == ([0, 1, 2, 3, 4], "float64")


def test_a_gpu_that_is_not_there_is_named(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    made = Config()
    made.read({"THEANO_FLAGS": "device=cuda0"}, tmp_path)
    assert made.torch_device == "cpu"
    assert "device=cuda0: there is no GPU here, the CPU is used" in caplog.text


@pytest.mark.parametrize(
    ("device", "wanted"), [("gpu", "cuda"), ("gpu1", "cuda:1"), ("cuda0", "cuda:0"), ("cpu", "cpu")]
)
def test_a_gpu_is_chosen_by_its_old_name(device, wanted, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    made = Config()
    made.device = device
    assert made.torch_device == wanted
