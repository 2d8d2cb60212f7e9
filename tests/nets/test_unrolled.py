"""The steps of an LSTM as one operator: the values and gradients of the same steps, one by one."""

import itertools

import pytest
import torch

from nets.layers.unrolled import Way, _by_steps, lstm


def given(steps: int = 5, count: int = 3, units: int = 4) -> list[torch.Tensor]:
    """Inputs, recurrent weights, peepholes, and the first states."""
    torch.manual_seed(0)
    shapes = (count, steps, 4 * units), (units, 4 * units), (3, units), (count, units), (count, units)
    return [(0.5 * torch.randn(shape, dtype=torch.double)).requires_grad_() for shape in shapes]


@pytest.mark.parametrize(("looks", "masked", "clip"), [*itertools.product((True, False), (True, False), (0.0, 0.05))])
def test_values_and_gradients_are_those_of_single_steps(looks, masked, clip):
    inputs, recurrent, peephole, h, c = given()
    seen = peephole if looks else None
    mask = (torch.rand(3, 5) > 0.4).double() if masked else None
    ours = lstm(inputs, recurrent, seen, (h, c), mask, Way(clip=clip))
    theirs = _by_steps(inputs, recurrent, seen, (h, c), mask, clip)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(ours)
    leaves = [x for x in (inputs, recurrent, seen, h, c) if x is not None]
    found, wanted = (torch.autograd.grad(top, leaves, upstream) for top in (ours, theirs))
    torch.testing.assert_close(found, wanted)


def test_the_gradient_is_the_derivative_and_has_one_itself():
    inputs, recurrent, peephole, h, c = given(3, 2, 2)
    mask = torch.tensor([[1.0, 0, 1], [1, 1, 1]], dtype=torch.double)

    def run(*values: torch.Tensor) -> torch.Tensor:
        return lstm(*values[:3], values[3:], mask, Way())

    assert torch.autograd.gradcheck(run, (inputs, recurrent, peephole, h, c))
    assert torch.autograd.gradgradcheck(run, (inputs, recurrent, peephole, h, c))


def test_backwards_and_for_the_last_output_alone():
    inputs, recurrent, peephole, h, c = given()
    mask = (torch.rand(3, 5) > 0.4).double()
    turned = _by_steps(inputs.flip(1), recurrent, peephole, (h, c), mask.flip(1), 0.0)
    whole = lstm(inputs, recurrent, peephole, (h, c), mask, Way(backwards=True))
    torch.testing.assert_close(whole, turned.flip(1))
    last = lstm(inputs, recurrent, peephole, (h, c), mask, Way(backwards=True, last_only=True))
    torch.testing.assert_close(last, turned[:, -1])
