"""Momentum and weight decay that change: the formulas of NVIDIA's fork, and that a solver trains by them."""

import numpy as np
import pytest
import torch
from google.protobuf import text_format

import nets
from nets import schedule
from protos.schema import SolverParameter

FIXED = 'base_lr: 0.25 lr_policy: "fixed" momentum: 0.5 weight_decay: 0.125 max_iter: 8'
MOMENTA = {
    "": lambda t: 0.5,
    'momentum_policy: "poly"': lambda t: 0.5 + 0.49 * t / 8,
    'momentum_policy: "poly" max_momentum: 0.75 momentum_power: 2': lambda t: 0.5 + 0.25 * (t / 8) ** 2,
    'momentum_policy: "opt"': lambda t: 0.75**2,
    'momentum_policy: "opt" rampup_interval: 4': lambda t: (1 - 0.5 * min(0.25 * (t / 4) ** 2, 0.25) ** 0.5) ** 2,
    'momentum_policy: "opt" max_momentum: 0.25': lambda t: 0.25,
}
DECAYS = {
    "": lambda t: 0.125,
    'weight_decay_policy: "poly" max_weight_decay: 0.5 weight_decay_power: 2': lambda t: 0.125 + 0.375 * (t / 8) ** 2,
}


def solver(text: str) -> SolverParameter:
    return text_format.Parse(f"{FIXED} {text}", SolverParameter())


@pytest.mark.parametrize("text", MOMENTA)
def test_momentum(text):
    for t in range(8):
        assert schedule.momentum(solver(text), t) == pytest.approx(MOMENTA[text](t), rel=1e-7), t


@pytest.mark.parametrize("text", DECAYS)
def test_weight_decay(text):
    for t in range(8):
        assert schedule.weight_decay(solver(text), t) == pytest.approx(DECAYS[text](t), rel=1e-7), t


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("resumed", [False, True], ids=["in one go", "resumed"])
def test_a_solver_trains_by_them(momentum, decay, resumed, tmp_path):
    param = solver(f'{momentum} {decay} snapshot_prefix: "{tmp_path}/s"')
    net = """layer { name: "d" type: "DummyData" top: "x" top: "y" dummy_data_param {
               shape { dim: 1 dim: 1 } data_filler { value: 1 } data_filler { value: 3 } } }
             layer { name: "ip" type: "InnerProduct" bottom: "x" top: "z" param { decay_mult: 2 } inner_product_param {
               num_output: 1 bias_term: false weight_filler { type: "constant" value: 1 } } }
             layer { name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "y" }"""
    text_format.Parse(net, param.net_param)
    ours = nets.Solver(param)
    if resumed:
        ours.step(3)
        state = ours.snapshot()
        ours = nets.Solver(param)
        ours.restore(state)
    ours.step(8 - ours.iter)
    w, h = 1.0, 0.0
    for t in range(8):
        rate = min(0.25 * (t / 4) ** 2, 0.25) if "rampup" in momentum else 0.25
        h = MOMENTA[momentum](t) * h + rate * (w - 3 + 2 * DECAYS[decay](t) * w)
        w -= h
    np.testing.assert_allclose(float(ours.net.layer("ip").weight.detach()), w, rtol=1e-6)


def test_a_solver_with_nothing_to_learn_takes_them():
    param = solver('momentum_policy: "poly"')
    net = """layer { name: "d" type: "DummyData" top: "x" top: "y" dummy_data_param { shape { dim: 1 dim: 1 } } }
             layer { name: "loss" type: "EuclideanLoss" bottom: "x" bottom: "y" }"""
    text_format.Parse(net, param.net_param)
    ours = nets.Solver(param, torch.device("cpu"))
    ours.step(2)
    assert ours.losses == [0, 0]
