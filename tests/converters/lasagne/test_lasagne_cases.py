"""Every case of the original's manifest, by one table."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import converters.lasagne as L
from converters.lasagne import init, layers, nonlinearities, objectives, regularization, theano, updates
from converters.lasagne.optimizers import RULES, optimizer
from converters.lasagne.theano.config import config
from converters.lasagne.theano.variable import as_tensor

GOLDEN = Path(__file__).parents[2] / "golden" / "lasagne"
CASES = json.loads((GOLDEN / "manifest.json").read_text())["cases"]
T = theano.tensor
LOOSE = {"layers/lrn": 1e-6, "layers/lrn_k1": 1e-6}  # the original squared in float32 there
SINGLE = ("sgd", "momentum", "nesterov_momentum", "adagrad", "rmsprop", "adadelta", "adam", "adamax", "amsgrad")
OPTIMIZED = {
    "updates/momentum": (updates.momentum, {"learning_rate": 0.1}),
    "updates/nesterov_momentum_099": (updates.nesterov_momentum, {"learning_rate": 0.01, "momentum": 0.99}),
    "updates/adagrad": (updates.adagrad, {}),
    "updates/adagrad_lr": (updates.adagrad, {"learning_rate": 0.01, "epsilon": 1e-3}),
    "updates/adadelta_lr": (updates.adadelta, {"learning_rate": 0.5, "rho": 0.9, "epsilon": 1e-4}),
    "updates/adam": (updates.adam, {}),
    "updates/adamax": (updates.adamax, {}),
    "updates/adamax_lr": (updates.adamax, {"learning_rate": 0.1, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-2}),
    "updates/amsgrad": (updates.amsgrad, {}),
}


def of(kind):
    return pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in CASES if c["kind"] == kind])


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    monkeypatch.setattr(config, "floatX", "float64")
    L.random.set_rng(np.random.RandomState(1234))


def names():
    found = dict(vars(layers))
    found |= {name: getattr(nonlinearities, name) for name in nonlinearities.__all__}
    return found | {
        "init": init, "nonlinearities": nonlinearities, "objectives": objectives, "updates": updates,
        "regularization": regularization, "lasagne": L, "theano": theano, "T": T, "np": np,
    }  # fmt: skip


def stored(case):
    with np.load(GOLDEN / case["file"]) as file:
        return {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in file.items()}


def close(found, wanted, what, rtol=1e-6):
    found = np.asarray(found.detach() if isinstance(found, torch.Tensor) else found)
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol * 1e-3 + 1e-14, err_msg=what)


def build(case):
    scope = names()
    inputs = [layers.InputLayer(tuple(shape), name=f"in{i}") for i, shape in enumerate(case["input_shapes"])]
    scope |= {f"l_in{i}": layer for i, layer in enumerate(inputs)} | {"l_in": inputs[0]}
    exec(case.get("setup", ""), scope)
    return inputs, eval(case["constructor"], scope)


def leaf(value):
    tensor = torch.from_numpy(np.array(value))
    return tensor.requires_grad_() if tensor.is_floating_point() else tensor


@of("layers")
def test_layer(case):
    v = stored(case)
    inputs, out = build(case)
    every = layers.get_all_layers(out)
    assert [type(one).__name__ for one in every] == case["classes"]
    assert [one.name for one in every] == case["layer_names"]
    assert list(out.output_shape) == case["output_shape"]
    params = layers.get_all_params(out)
    assert [p.name for p in params] == case["param_names"]
    assert [list(p.get_value().shape) for p in params] == case["param_shapes"]
    tags = [[p.name, sorted(has)] for one in every for p, has in one.params.items()]
    assert tags == case["param_tags"]
    layers.set_all_param_values(out, [v[f"p{i}"] for i in range(len(params))])
    tensors = {layer: leaf(v[f"x{i}"]) for i, layer in enumerate(inputs)}
    y = layers.get_output(out, tensors, deterministic=True)
    tolerance = LOOSE.get(case["id"], 1e-6)
    close(y, v["y"], "y", tolerance)
    lazily = layers.get_output(out, deterministic=True).eval(
        {layer.input_var: v[f"x{i}"] for i, layer in enumerate(inputs)}
    )
    close(lazily, v["y"], "lazy y", tolerance)
    if "g" in v and y.requires_grad:
        check_gradients(v, y, list(tensors.values()), [p.tensor for p in params], tolerance)
    check_training(case, v, out, params, tensors)


def check_gradients(v, y, inputs, params, tolerance):
    keys = [f"dx{i}" for i in range(len(inputs))] + [f"dp{i}" for i in range(len(params))]
    pairs = [(k, t) for k, t in zip(keys, inputs + params, strict=True) if k in v and t.requires_grad]
    if not pairs:
        return
    found = torch.autograd.grad((y * torch.from_numpy(v["g"])).sum(), [t for _, t in pairs], allow_unused=True)
    for (key, tensor), gradient in zip(pairs, found, strict=True):
        close(torch.zeros_like(tensor) if gradient is None else gradient, v[key], key, tolerance * 10)


def check_training(case, v, out, params, tensors):
    if "y_train" not in v:
        return
    if "mask" in v:
        mask = torch.from_numpy(v["mask"])
        out.mask = lambda x: mask
    y = layers.get_output(out, tensors, **case.get("get_output_kwargs", {}))
    if case.get("stochastic") == "gaussian":
        noise = np.asarray((y - tensors[next(iter(tensors))]).detach())
        wanted = v["y_train"] - v["x0"]
        assert 0.3 < noise.std() / wanted.std() < 3
        return
    close(y, v["y_train"], "y_train")
    for i, p in enumerate(params):
        if f"p{i}_after_train" in v:
            close(p.get_value(), v[f"p{i}_after_train"], f"p{i}_after_train")


@of("nonlinearities")
def test_nonlinearity(case):
    v, function = stored(case), eval(case["constructor"], names())
    x = leaf(v["x"])
    y = function(x)
    close(y, v["y"], "y")
    for key in ("dy", "dx"):
        if key in v:
            close(torch.autograd.grad((y * torch.from_numpy(v.get("g", np.ones(1)))).sum(), x)[0], v[key], key)
    var = T.TensorType("float64", (False,) * v["x"].ndim)()
    close(function(var).eval({var: v["x"]}), v["y"], "lazy y")


@of("objectives")
def test_objective(case):
    v = stored(case)
    scope = names() | {"a": leaf(v["a"]), "b": torch.from_numpy(v["b"]), "w": torch.from_numpy(v["w"])}
    y = eval(case["constructor"], scope)
    close(y, v["y"], "y")
    if "da" in v:
        close(torch.autograd.grad((y * torch.from_numpy(v["g"])).sum(), scope["a"])[0], v["da"], "da")
    given = {T.TensorType(str(v[k].dtype), (False,) * v[k].ndim)(k): v[k] for k in "abw"}
    lazily = eval(case["constructor"], names() | {var.name: var for var in given})
    close(lazily.eval(given), v["y"], "lazy y")


@of("init")
def test_init(case):
    close(eval(case["constructor"], names())(tuple(case["shape"])), stored(case)["y"], "y")


@of("updates")
def test_update(case):
    v = stored(case)
    if case["id"] == "updates/norm_constraints":
        check_norms(case, v)
        return
    params = [theano.shared(v["W"][0], "W"), theano.shared(v["b"][0], "b")]
    grads = [T.dmatrix("gW"), T.dvector("gb")]
    made = eval(case["constructor"], names() | {"grads": grads, "params": params})
    states = [var for var in made if var not in params]
    order = [p.name if p in params else f"state{states.index(p)}" for p in made]
    assert order == case["update_dict_order"]
    step = theano.function(grads, [], updates=made)
    for t in range(len(v["gW"])):
        step(v["gW"][t], v["gb"][t])
        for key, var in zip(("W", "b"), params, strict=True):
            close(var.get_value(), v[key][t + 1], f"{key} after {t + 1}")
        for i, var in enumerate(states):
            close(var.get_value(), v[f"state{i}"][t + 1], f"state{i} after {t + 1}")


@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in CASES if c["id"] in OPTIMIZED])
def test_optimizers_do_what_updates_do(case):
    v = stored(case)
    update, options = OPTIMIZED[case["id"]]
    params = [theano.shared(v["W"][0], "W"), theano.shared(v["b"][0], "b")]
    step = optimizer(update, params, **options)
    for t in range(len(v["gW"])):
        for param, gradient in zip(params, (v["gW"][t], v["gb"][t]), strict=True):
            param.tensor.grad = torch.from_numpy(gradient)
        step.step()
        for key, param in zip(("W", "b"), params, strict=True):
            close(param.get_value(), v[key][t + 1], f"{key} after {t + 1}")


def test_every_update_has_its_optimizer():
    assert {getattr(updates, name) for name in SINGLE} == set(RULES)


def check_norms(case, v):
    a2, a4 = as_tensor(v["a2"]), as_tensor(v["a4"])
    found = [updates.norm_constraint(a2, 1.0), updates.norm_constraint(a4, 1.5),
             updates.norm_constraint(a2, 1.0, norm_axes=(1,))]  # fmt: skip
    scaled, norm = updates.total_norm_constraint([a2, a4], 2.0, return_norm=True)
    wanted = [key for key in v if key not in ("a2", "a4")]
    for key, value in zip(wanted, [*found, *scaled, norm], strict=True):
        close(value, v[key], key)


@of("theano")
def test_expression(case):
    v = stored(case)
    given = {T.TensorType(str(v[k].dtype), (False,) * v[k].ndim)(k): v[k] for k in ("a", "K", "Bc") if k in v}
    y = eval(case["constructor"], names() | {var.name: var for var in given})
    close(y.eval(given), v["y"], "y")
    if "da" in v and "g" in v:
        cost = T.sum(y * v["g"])
        gradient = T.grad(cost, next(iter(given)), disconnected_inputs="ignore")
        close(gradient.eval(given), v["da"], "da", 1e-5)


@of("regularization")
def test_regularization(case):
    v = stored(case)
    l1 = layers.Conv2DLayer(layers.InputLayer((None, 2, 6, 6), name="in"), 2, 3, name="c1")
    l2 = layers.batch_norm(layers.Conv2DLayer(l1, 2, 3, name="c2"))
    l3 = layers.DenseLayer(l2, 3, name="d")
    assert [[type(o).__name__, o.name, list(o.output_shape)] for o in layers.get_all_layers(l3)] == case["layers"]
    assert [p.name for p in layers.get_all_params(l3)] == case["param_names"]
    for tags, wanted in case["by_tag"].items():
        assert [p.name for p in layers.get_all_params(l3, **eval(tags))] == wanted
    assert [layers.count_params(l3), layers.count_params(l3, trainable=True)] == case["count_params"]
    layers.set_all_param_values(l3, [v[f"p{i}"] for i in range(9)])
    r = regularization
    close(r.regularize_network_params(l3, r.l2).eval(), v["l2_reg"], "l2_reg")
    close(r.regularize_layer_params([l1, l3], r.l1).eval(), v["l1_reg"], "l1_reg")
    close(r.regularize_layer_params(l1, r.l2).eval(), v["penalty"], "penalty")
    close(r.regularize_layer_params_weighted({l1: 0.1, l3: 0.5}, r.l2).eval(), v["weighted"], "weighted")
    close(r.regularize_network_params(l3, r.l2, tags={}).eval(), v["l2_all"], "l2_all")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert r.apply_penalty([], r.l2) == 0
