"""The steps of a recurrent layer as one operator: the values and gradients of the same steps, one by one."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nets.layers.unrolled import BENDS, RECTIFY, Way, gru, kept_lstm, kept_rnn, lstm, rnn
from nets.layers.unrolled.gru import gru_steps
from nets.layers.unrolled.lstm import lstm_steps
from nets.layers.unrolled.rnn import rnn_steps

ALL = {**BENDS, "RECTIFY": RECTIFY}
KINDS = ["lstm", "lstm without peepholes", "gru", *ALL]


def given(kind: str, count: int = 3, steps: int = 5, units: int = 4) -> list[Tensor]:
    """Inputs, recurrent weights, peepholes if any, and the first states."""
    torch.manual_seed(0)
    gates = 4 if kind.startswith("lstm") else 3 if kind == "gru" else 1
    shapes = [(count, steps, gates * units), (units, gates * units), *[(3, units)] * (kind == "lstm")]
    shapes += [(count, units)] * (2 if gates == 4 else 1)
    return [(0.5 * torch.randn(shape, dtype=torch.double)).requires_grad_() for shape in shapes]


def at_once(kind: str, mask: Tensor | None, way: Way) -> Callable[..., Tensor]:
    if kind == "lstm":
        return lambda x, r, p, h, c: lstm(x, r, p, (h, c), mask, way)
    if kind == "lstm without peepholes":
        return lambda x, r, h, c: lstm(x, r, None, (h, c), mask, way)
    if kind == "gru":
        return lambda x, r, h: gru(x, r, h, mask, way)
    return lambda x, r, h: rnn(x, r, h, mask, ALL[kind], way)


def one_by_one(kind: str, mask: Tensor | None, clip: float = 0.0) -> Callable[..., Tensor]:
    on = None if mask is None else (mask != 0).t()[..., None]
    steps = {
        "lstm": lambda x, r, p, h, c: lstm_steps(x, r, p, h, c, on, None, clip),
        "lstm without peepholes": lambda x, r, h, c: lstm_steps(x, r, None, h, c, on, None, clip),
        "gru": lambda x, r, h: gru_steps(x, r, h, on, clip),
    }
    run = steps.get(kind, lambda x, r, h: rnn_steps(x, r, h, on, None, ALL[kind], clip))
    return lambda x, *others: run(x.transpose(0, 1), *others).transpose(0, 1)


@pytest.mark.parametrize(("kind", "masked", "clip"), [*itertools.product(KINDS, (True, False), (0.0, 0.05))])
def test_values_and_gradients_are_those_of_single_steps(kind, masked, clip):
    leaves = given(kind)
    mask = (torch.rand(3, 5) > 0.4).double() if masked else None
    ours, theirs = at_once(kind, mask, Way(clip=clip))(*leaves), one_by_one(kind, mask, clip)(*leaves)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(ours)
    found, wanted = (torch.autograd.grad(top, leaves, upstream) for top in (ours, theirs))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_derivative_and_has_one_itself(kind):
    mask = torch.tensor([[1.0, 0], [1, 1], [0, 1]], dtype=torch.double)
    run, leaves = at_once(kind, mask, Way()), given(kind, 3, 2, 2)
    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


@pytest.mark.parametrize("kind", ["lstm", "gru", "TANH"])
def test_backwards_and_for_the_last_output_alone(kind):
    inputs, *others = given(kind)
    mask = (torch.rand(3, 5) > 0.4).double()
    turned = one_by_one(kind, mask.flip(1))(inputs.flip(1), *others)
    torch.testing.assert_close(at_once(kind, mask, Way(backwards=True))(inputs, *others), turned.flip(1))
    torch.testing.assert_close(at_once(kind, mask, Way(backwards=True, last_only=True))(inputs, *others), turned[:, -1])


@pytest.mark.parametrize("kind", ["lstm", "gru", "TANH"])
def test_products_that_go_through_another_library_give_the_same(kind):
    leaves = [x.detach().float().requires_grad_() for x in given(kind, 40, 3, 192)]
    ours, theirs = at_once(kind, None, Way())(*leaves), one_by_one(kind, None)(*leaves)
    found, wanted = (torch.autograd.grad(top.square().sum(), leaves) for top in (ours, theirs))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).abs().max() < 1e-5 * other.abs().max()


@pytest.mark.parametrize("kind", ["lstm", "gru", "RELU"])
def test_what_a_mask_leaves_out_may_be_no_number(kind):
    inputs, *others = (x.detach() for x in given(kind))
    mask = torch.ones(3, 5, dtype=torch.double)
    mask[1, 2:] = 0
    holed = inputs.masked_fill(mask[..., None] == 0, float("nan"))
    torch.testing.assert_close(at_once(kind, mask, Way())(holed, *others), at_once(kind, mask, Way())(inputs, *others))


def test_half_a_slope_at_0_for_theanos_rectifier_alone():
    x, zeros = torch.zeros(1, 1, 1, requires_grad=True), torch.zeros(1, 1)
    slopes = [torch.autograd.grad(rnn(x, zeros, zeros, None, bend, Way()).sum(), x)[0].item()
              for bend in (RECTIFY, BENDS["RELU"])]  # fmt: skip
    assert slopes == [0.5, 0]


@pytest.mark.parametrize("kind", ["lstm without peepholes", "TANH"])
def test_states_that_are_kept_in_part(kind):
    leaves = given(kind, 3, 5, 2)
    keep = torch.tensor([[0.0, 1, 1], [1, 1, 1], [1, 0, 0.5], [0, 0, 1], [1, 1, 1]], dtype=torch.double)

    def ours(x: Tensor, recurrent: Tensor, *first: Tensor) -> tuple[Tensor, ...]:
        x = x.transpose(0, 1)
        return (
            kept_rnn(x, recurrent, *first, keep, ALL[kind]) if kind == "TANH" else kept_lstm(x, recurrent, first, keep)
        )

    def theirs(x: Tensor, recurrent: Tensor, *first: Tensor) -> Tensor:
        steps = rnn_steps if kind == "TANH" else lstm_steps
        options = {"bend": ALL[kind]} if kind == "TANH" else {"peephole": None}
        names = dict(zip(("h", "c"), first, strict=False))
        return steps(x.transpose(0, 1), recurrent, mask=None, keep=keep[..., None], clip=0.0, **names, **options)

    made, last, *_ = ours(*leaves)
    torch.testing.assert_close(made, theirs(*leaves))
    torch.testing.assert_close(last, made[-1])
    assert not last.requires_grad
    assert last.untyped_storage().nbytes() == last.nbytes
    assert torch.autograd.gradcheck(lambda *values: ours(*values)[0], leaves)
    assert torch.autograd.gradgradcheck(lambda *values: ours(*values)[0], leaves)
