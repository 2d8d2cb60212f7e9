"""Every rule against its formula in NumPy, and as an optimizer of torch."""

import copy
import pickle

import numpy as np
import pytest
import torch
from google.protobuf import text_format

from nets.lasagne_updates import UPDATES
from nets.net import Blob
from nets.updates import Update
from protos.errors import CaffeError, WeightsError
from protos.schema import SolverParameter

SHAPES = [(4, 3, 3, 3), (4,), (5, 36), (5,), (3,)]
MULTS = [(1, 1), (2, 0), (1, 1), (2, 0), (0, 0)]  # the last one is a statistic
STEPS = 6

OPTIONS = {
    "SGD": {"momentum": 0.9},
    "Nesterov": {"momentum": 0.9},
    "AdaGrad": {"delta": 1e-8},
    "RMSProp": {"rms_decay": 0.95, "delta": 1e-8},
    "AdaDelta": {"momentum": 0.95, "delta": 1e-6},
    "Adam": {"momentum": 0.9, "momentum2": 0.999, "delta": 1e-8},
    "RootAdaGrad": {"delta": 1e-2},
    "RootRMSProp": {"rms_decay": 0.95, "delta": 1e-2},
    "AdaMax": {"momentum": 0.9, "momentum2": 0.999, "delta": 1e-8},
    "AMSGrad": {"momentum": 0.9, "momentum2": 0.7, "delta": 1e-8},
}
COMMON = {
    "plain": {},
    "L2": {"decay": 0.01},
    "L1": {"decay": 0.01, "l1": True},
    "clipped": {"clip": 2.0, "decay": 0.01},
    "not clipped": {"clip": 1e6},
    "several passes": {"iter_size": 3, "clip": 20.0, "decay": 0.01},
}


def rate_at(t: int) -> float:
    return 0.1 / (1 + t)


def blobs(dtype=torch.float64, seed=0) -> list[Blob]:
    draw = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in SHAPES]
    for tensor, (lr_mult, _) in zip(tensors, MULTS, strict=True):
        tensor.requires_grad_(lr_mult != 0)
    return [Blob(f"b{i}", t, *mult) for i, (t, mult) in enumerate(zip(tensors, MULTS, strict=True))]


def gradients(step: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(100 + step)
    return [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in SHAPES]


def optimizer(rule: str, blobs: list[Blob], rate=None, **options) -> Update:
    return UPDATES[rule](blobs, rate_at(0) if rate is None else rate, **OPTIONS[rule], **options)


def take_step(update: Update, blobs: list[Blob], step: int) -> None:
    for blob, gradient in zip(blobs, gradients(step), strict=True):
        if blob.tensor.requires_grad:
            blob.tensor.grad = gradient.to(blob.tensor.dtype)
    update.rate = rate_at(step)
    update.step()


class Reference:
    """The original's formulas, one blob after the other."""

    def __init__(self, rule: str, blobs: list[Blob], *, decay=0.0, l1=False, clip=-1.0, iter_size=1) -> None:
        self.rule, self.decay, self.l1, self.clip, self.iter_size = rule, decay, l1, clip, iter_size
        self.w = [blob.tensor.detach().numpy().copy() for blob in blobs]
        self.mults = [(blob.lr_mult, blob.decay_mult) for blob in blobs]
        self.h = [[np.zeros_like(w) for w in self.w] for _ in range(3)]
        self.t = 0

    def step(self, gradients: list[np.ndarray], rate: float) -> None:
        self.t += 1
        learns = [i for i, (lr_mult, _) in enumerate(self.mults) if lr_mult]
        norm = np.sqrt(sum((gradients[i] ** 2).sum() for i in learns))
        scale = self.clip / norm if 0 <= self.clip < norm else 1.0
        for i in learns:
            lr_mult, decay_mult = self.mults[i]
            kind = np.sign(self.w[i]) if self.l1 else self.w[i]
            g = gradients[i] * scale / self.iter_size + self.decay * decay_mult * kind
            self.w[i] = self.w[i] - getattr(self, self.rule)(i, g, rate * lr_mult)

    def SGD(self, i, g, r):  # noqa: N802
        self.h[0][i] = 0.9 * self.h[0][i] + r * g
        return self.h[0][i]

    def Nesterov(self, i, g, r):  # noqa: N802
        before = self.h[0][i]
        self.h[0][i] = 0.9 * before + r * g
        return 1.9 * self.h[0][i] - 0.9 * before

    def AdaGrad(self, i, g, r):  # noqa: N802
        self.h[0][i] = self.h[0][i] + g**2
        return r * g / (np.sqrt(self.h[0][i]) + 1e-8)

    def RMSProp(self, i, g, r):  # noqa: N802
        self.h[0][i] = 0.95 * self.h[0][i] + 0.05 * g**2
        return r * g / (np.sqrt(self.h[0][i]) + 1e-8)

    def AdaDelta(self, i, g, r):  # noqa: N802
        self.h[0][i] = 0.95 * self.h[0][i] + 0.05 * g**2
        v = g * np.sqrt((self.h[1][i] + 1e-6) / (self.h[0][i] + 1e-6))
        self.h[1][i] = 0.95 * self.h[1][i] + 0.05 * v**2
        return r * v

    def Adam(self, i, g, r):  # noqa: N802
        self.h[0][i] = 0.9 * self.h[0][i] + 0.1 * g
        self.h[1][i] = 0.999 * self.h[1][i] + 0.001 * g**2
        correction = np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        return r * correction * self.h[0][i] / (np.sqrt(self.h[1][i]) + 1e-8)

    def RootAdaGrad(self, i, g, r):  # noqa: N802
        self.h[0][i] = self.h[0][i] + g**2
        return r * g / np.sqrt(self.h[0][i] + 1e-2)

    def RootRMSProp(self, i, g, r):  # noqa: N802
        self.h[0][i] = 0.95 * self.h[0][i] + 0.05 * g**2
        return r * g / np.sqrt(self.h[0][i] + 1e-2)

    def AdaMax(self, i, g, r):  # noqa: N802
        self.h[0][i] = 0.9 * self.h[0][i] + 0.1 * g
        self.h[1][i] = np.maximum(0.999 * self.h[1][i], np.abs(g))
        return r / (1 - 0.9**self.t) * self.h[0][i] / (self.h[1][i] + 1e-8)

    def AMSGrad(self, i, g, r):  # noqa: N802
        self.h[0][i] = 0.9 * self.h[0][i] + 0.1 * g
        self.h[1][i] = 0.7 * self.h[1][i] + 0.3 * g**2
        self.h[2][i] = np.maximum(self.h[2][i], self.h[1][i])
        correction = np.sqrt(1 - 0.7**self.t) / (1 - 0.9**self.t)
        return r * correction * self.h[0][i] / (np.sqrt(self.h[2][i]) + 1e-8)


def assert_follows(update: Update, mine: list[Blob], reference: Reference, rtol: float) -> None:
    for blob, w in zip(mine, reference.w, strict=True):
        np.testing.assert_allclose(blob.tensor.detach().numpy(), w, rtol, atol=rtol)
    expected = [h for part in reference.h[: update.histories] for h in part]
    for h, want in zip(update.history, expected, strict=True):
        np.testing.assert_allclose(h.numpy(), want, rtol, atol=rtol)


def test_every_rule_is_tested():
    assert set(OPTIONS) == set(UPDATES)


@pytest.mark.parametrize("common", COMMON)
@pytest.mark.parametrize("rule", OPTIONS)
@pytest.mark.parametrize("on_device", [False, True], ids=["number", "tensor"])
def test_formula(rule, common, on_device):
    dtype = torch.float32 if on_device else torch.float64
    mine = blobs(dtype)
    update = optimizer(rule, mine, torch.tensor(0.0) if on_device else None, **COMMON[common])
    reference = Reference(rule, mine, **COMMON[common])
    for t in range(STEPS):
        take_step(update, mine, t)
        reference.step([g.numpy() for g in gradients(t)], rate_at(t))
        assert_follows(update, mine, reference, 2e-5 if on_device else 1e-9)


@pytest.mark.parametrize("rule", ["SGD", "Nesterov"])
def test_without_momentum(rule):
    mine = blobs()
    before = mine[0].tensor.detach().clone()
    update = UPDATES[rule](mine, 0.5, momentum=0.0, decay=0.1)
    take_step(update, mine, 0)
    h = rate_at(0) * (gradients(0)[0] + 0.1 * before)
    torch.testing.assert_close(update.history[0], h)
    torch.testing.assert_close(mine[0].tensor.detach(), before - h)


@pytest.mark.parametrize("rule", OPTIONS)
def test_the_rate_may_move_into_a_tensor_between_steps(rule):
    """As before a capture of a CUDA graph; Adam's count of steps moves along."""
    numbers, mixed = blobs(), blobs()
    by_number, by_tensor = optimizer(rule, numbers), optimizer(rule, mixed)
    for step in range(STEPS):
        if step == 2:
            by_tensor.hold_rate(torch.tensor(rate_at(step), dtype=torch.float64))
        if step == STEPS - 1:
            by_tensor.hold_rate(rate_at(step))
        take_step(by_number, numbers, step)
        take_step(by_tensor, mixed, step)
    for a, b in zip(numbers, mixed, strict=True):
        torch.testing.assert_close(a.tensor, b.tensor, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rule", OPTIONS)
def test_a_rate_in_a_tensor_is_filled_not_replaced(rule):
    rate = torch.tensor(0.0)
    update = optimizer(rule, blobs(torch.float32), rate)
    update.rate = 0.25
    assert update.rate is rate
    assert rate == 0.25
    version = rate._version
    update.rate = 0.25  # what is there already takes no operator
    assert rate._version == version
    another = torch.tensor(0.0)
    update.hold_rate(another)
    update.rate = 0.25
    assert another == 0.25


@pytest.mark.parametrize("rule", OPTIONS)
@pytest.mark.parametrize("on_device", [False, True], ids=["number", "tensor"])
def test_history_moves_to_another_optimizer(rule, on_device):
    first, second = blobs(torch.float32), blobs(torch.float32, seed=1)
    update = optimizer(rule, first, torch.tensor(0.0) if on_device else None, decay=0.01)
    other = optimizer(rule, second, torch.tensor(0.0) if on_device else None, decay=0.01)
    for t in range(3):
        take_step(update, first, t)
    for a, b in zip(first, second, strict=True):
        b.tensor.data.copy_(a.tensor)
    other.load_history([h.clone().numpy() for h in update.history], 3)
    for t in range(3, 6):
        take_step(update, first, t)
        take_step(other, second, t)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.tensor, b.tensor)


@pytest.mark.parametrize("rule", OPTIONS)
@pytest.mark.parametrize("moved", ["state_dict", "pickle"])
def test_is_an_ordinary_optimizer(rule, moved):
    mine = blobs(torch.float32)
    update = optimizer(rule, mine, decay=0.01)
    for t in range(2):
        take_step(update, mine, t)
    if moved == "pickle":
        theirs, other = pickle.loads(pickle.dumps((mine, update)))
    else:
        theirs = copy.deepcopy(mine)
        other = optimizer(rule, theirs, decay=0.01)
        other.load_state_dict(copy.deepcopy(update.state_dict()))
    for t in range(2, 4):
        take_step(update, mine, t)
        take_step(other, theirs, t)
    for a, b in zip(mine, theirs, strict=True):
        assert torch.equal(a.tensor, b.tensor)


@pytest.mark.parametrize("rule", OPTIONS)
def test_memory_layouts_do_not_matter(rule):
    mine, theirs = blobs(torch.float32), blobs(torch.float32)
    update, other = optimizer(rule, mine, decay=0.01), optimizer(rule, theirs, decay=0.01)
    for t in range(STEPS):
        take_step(update, mine, t)
        if t == 2:  # the blob changes its layout in the middle
            theirs[0].tensor.data = theirs[0].tensor.data.contiguous(memory_format=torch.channels_last)
        take_step(other, theirs, t)
    torch.testing.assert_close(mine[0].tensor, theirs[0].tensor, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(update.history[0], other.history[0], rtol=1e-6, atol=1e-6)


def test_no_gradient_is_a_gradient_of_zero():
    mine = blobs()
    update = optimizer("SGD", mine)
    take_step(update, mine, 0)
    moved, h = mine[0].tensor.detach().clone(), update.history[0].clone()
    update.zero_grad()
    update.step()
    torch.testing.assert_close(mine[0].tensor.detach(), moved - 0.9 * h)


def test_closure_and_nothing_to_learn():
    mine = blobs()
    update = optimizer("SGD", mine)

    def closure():
        loss = mine[1].tensor.sum()
        loss.backward()
        return loss

    before = mine[1].tensor.sum().item()
    assert update.step(closure).item() == before
    nothing = optimizer("Adam", [Blob("b", torch.ones(2), 0, 0)])
    nothing.step()
    assert [h.tolist() for h in nothing.history] == [[0, 0], [0, 0]]


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_clipping_a_gradient_of_zero(clip):
    mine = blobs()
    before = [blob.tensor.detach().clone() for blob in mine]
    optimizer("SGD", mine, clip=clip).step()
    for blob, was in zip(mine, before, strict=True):
        assert torch.equal(blob.tensor, was)


def solver(text: str) -> SolverParameter:
    return text_format.Parse(text, SolverParameter())


def test_from_proto():
    param = solver(
        'type: "Adam" momentum: 0.5 momentum2: 0.25 delta: 0.125 weight_decay: 0.5 regularization_type: "L1" '
        "clip_gradients: 2 iter_size: 4"
    )
    group = UPDATES["Adam"].from_proto(param, blobs(), 0.1).param_groups[1]
    expected = {
        "momentum": 0.5,
        "momentum2": 0.25,
        "delta": 0.125,
        "decay": 0,
        "l1": True,
        "clip": 2,
        "iter_size": 4,
    }
    assert {name: group[name] for name in expected} == expected
    assert (group["lr"], group["lr_mult"]) == (0.1, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('type: "AdaGrad" momentum: 0.9', "solver of type 'AdaGrad': takes no momentum"),
        (
            'type: "RMSProp" rms_decay: 1 momentum: 0.5',
            "solver of type 'RMSProp': takes no momentum; needs rms_decay from 0 to below 1, not 1",
        ),
        (
            'type: "SGD" weight_decay: 0.1 regularization_type: "l2"',
            "solver of type 'SGD': unknown regularization_type 'l2', did you mean L2?",
        ),
        (
            'type: "Adam" amsgrad: true clip_weights: 1',
            "solver of type 'Adam': option amsgrad is not supported; option clip_weights is not supported",
        ),
        (
            'type: "Nesterov" larc: true momentum_policy: "poly" max_iter: 9',
            "solver of type 'Nesterov': option larc is not supported; option momentum_policy is not supported",
        ),
        (
            'type: "SGD" larc: true larc_turbo: true larc_policy: "clop"',
            "solver of type 'SGD': option larc_turbo is not supported; unknown larc_policy 'clop', did you mean clip?",
        ),
        (
            'type: "SGD" momentum_policy: "poly" weight_decay_policy: "opt"',
            "solver of type 'SGD': momentum_policy 'poly' needs max_iter; "
            "unknown weight_decay_policy 'opt': fixed, poly",
        ),
        (
            'type: "SGD" momentum_policy: "opt" lr_policy: "plateau"',
            "solver of type 'SGD': momentum_policy 'opt' does not go with lr_policy 'plateau'",
        ),
    ],
)
def test_options_that_cannot_be_honoured(text, message):
    param = solver(text)
    with pytest.raises(CaffeError) as error:
        UPDATES[param.type].from_proto(param, blobs(), 0.1)
    assert str(error.value) == message


def test_unknown_rule():
    with pytest.raises(CaffeError, match=r"^unknown solver type 'Adagrad', did you mean AdaGrad"):
        UPDATES["Adagrad"]


def test_history_that_does_not_fit():
    update = optimizer("Adam", blobs(torch.float32))
    with pytest.raises(WeightsError, match=r"^the solver state has 5 history blobs, Adam needs 10 for this net: it "):
        update.load_history(optimizer("SGD", blobs(torch.float32)).history, 0)
    history = update.history
    history[2] = history[2][:, :-1]
    with pytest.raises(WeightsError) as error:
        update.load_history(history, 0)
    assert str(error.value) == "history blob 2 of the solver state is 5x35, this net needs 5x36"
    update.load_history([h.reshape((1,) * (4 - h.dim()) + tuple(h.shape)) for h in update.history], 0)
