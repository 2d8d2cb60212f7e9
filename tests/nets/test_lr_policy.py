import math

import pytest
from google.protobuf import text_format

from nets import lr_policy
from protos.errors import CaffeError
from protos.schema import SolverParameter


def solver(text: str) -> SolverParameter:
    return text_format.Parse(text, SolverParameter())


FORMULAS = {
    'lr_policy: "fixed"': lambda t: 0.5,
    'lr_policy: "step" gamma: 0.25 stepsize: 7': lambda t: 0.5 * 0.25 ** (t // 7),
    'lr_policy: "exp" gamma: 0.75': lambda t: 0.5 * 0.75**t,
    'lr_policy: "inv" gamma: 0.125 power: 0.75': lambda t: 0.5 * (1 + 0.125 * t) ** -0.75,
    'lr_policy: "multistep" gamma: 0.25 stepvalue: [5, 12]': lambda t: 0.5 * 0.25 ** ((t >= 5) + (t >= 12)),
    'lr_policy: "poly" power: 0.5 max_iter: 20': lambda t: 0.5 * math.sqrt(1 - t / 20),
    'lr_policy: "poly" power: 2 max_iter: 20 min_lr: 0.125': lambda t: 0.375 * (1 - t / 20) ** 2 + 0.125,
    'lr_policy: "sigmoid" gamma: -0.5 stepsize: 10': lambda t: 0.5 / (1 + math.exp(0.5 * (t - 10))),
    'lr_policy: "multifixed" stagelr: [1, 0.5] stageiter: [4, 9]': lambda t: 1 if t <= 4 else 0.5,
    'lr_policy: "fixed" warmup_iter: 8 warmup_start_lr: 0.25': lambda t: min(0.25 + 0.25 * t / 8, 0.5),
    'lr_policy: "fixed" rampup_interval: 8 rampup_lr: 0.25': lambda t: min(0.25 + 0.25 * (t / 8) ** 2, 0.5),
    'lr_policy: "exp" gamma: 0.5 min_lr: 0.125': lambda t: max(0.5**t * 0.5, 0.125),
}


@pytest.mark.parametrize("text", FORMULAS)
def test_formula(text):
    param = solver(f"base_lr: 0.5 {text}")
    lr_policy.check(param)
    for t in range(20):
        assert lr_policy.rate(param, t) == pytest.approx(FORMULAS[text](t), rel=1e-12), t


def test_every_policy_has_a_case():
    tested = {solver(text).lr_policy for text in FORMULAS}
    assert tested | {"plateau"} == set(lr_policy.POLICIES)


def test_equal_stepvalues_pass_one_an_iteration():
    param = solver('base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: [3, 3, 4]')
    assert [lr_policy.rate(param, t) for t in range(2, 7)] == [1, 0.5, 0.25, 0.125, 0.125]


def test_step_index_is_what_a_snapshot_stores():
    multistep = solver('base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: [3, 8]')
    step = solver('base_lr: 1 lr_policy: "step" gamma: 0.5 stepsize: 4')
    fixed = solver('base_lr: 1 lr_policy: "fixed"')
    assert [lr_policy.step_index(multistep, t) for t in (-1, 2, 3, 8)] == [0, 0, 1, 2]
    assert [lr_policy.step_index(step, t) for t in (-1, 3, 4, 8)] == [0, 0, 1, 2]
    assert lr_policy.step_index(fixed, 100) == 0


def test_poly_ends_at_zero_and_sigmoid_does_not_overflow():
    assert lr_policy.rate(solver('base_lr: 1 lr_policy: "poly" power: 0.5 max_iter: 20'), 21) == 0
    steep = solver('base_lr: 1 lr_policy: "sigmoid" gamma: -1 stepsize: 10')
    assert lr_policy.rate(steep, 100_000) == 0
    assert lr_policy.rate(steep, 0) == pytest.approx(1, rel=1e-4)


def test_plateau_steps_when_the_minimum_is_a_window_old():
    param = solver('base_lr: 1 lr_policy: "plateau" gamma: 0.5 plateau_winsize: [2, 3]')
    memory = lr_policy.Plateau()
    losses = [5, 4, 4, 4, 3, 3, 3, 3, 3]
    rates = [memory.rate(param, t, loss) for t, loss in enumerate(losses)]
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert memory == lr_policy.Plateau(step=2, last_event=7, minimum_loss=3)


def test_plateau_waits_for_the_warm_up():
    param = solver('base_lr: 1 lr_policy: "plateau" gamma: 0.5 plateau_winsize: 2 warmup_iter: 4')
    memory = lr_policy.Plateau()
    assert [memory.rate(param, t, 1.0) for t in range(5)] == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base_lr: 1", 'solver: lr_policy is missing: set it, for example to "fixed"'),
        ('base_lr: 1 lr_policy: "stp"', "solver: unknown lr_policy 'stp', did you mean step?"),
        ('base_lr: 1 lr_policy: "Fixed"', "solver: unknown lr_policy 'Fixed', did you mean fixed?"),
        ('lr_policy: "fixed"', "solver: lr_policy 'fixed' needs base_lr"),
        ('base_lr: 1 lr_policy: "step"', "solver: lr_policy 'step' needs gamma; needs stepsize"),
        (
            'base_lr: 1 lr_policy: "step" gamma: 1 stepsize: 0',
            "solver: lr_policy 'step' needs a stepsize above 0, not 0",
        ),
        ('base_lr: 1 lr_policy: "inv" gamma: 1', "solver: lr_policy 'inv' needs power"),
        ('base_lr: 1 lr_policy: "multistep" gamma: 1', "solver: lr_policy 'multistep' needs stepvalue"),
        (
            'base_lr: 1 lr_policy: "multifixed" stagelr: 1 stageiter: [1, 2]',
            "solver: lr_policy 'multifixed' has 2 stageiter but 1 stagelr",
        ),
        (
            'base_lr: 1 lr_policy: "plateau" gamma: 1 plateau_winsize: 2',
            "lr_policy 'plateau' depends on the loss: ask Plateau.rate",
        ),
    ],
)
def test_error(text, message):
    with pytest.raises(CaffeError) as error:
        lr_policy.rate(solver(text), 0)
    assert str(error.value) == message
