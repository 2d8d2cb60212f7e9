"""Choices that do not jump are those of PyTorch."""

import pytest
import torch

import nets
from nets.layers.choice import ENOUGH, best_of_both, clamped, either, larger, sloped
from protos import text

SPECIAL = torch.tensor([0.0, -0.0, 1.0, -1.0, float("inf"), -float("inf"), float("nan"), 1e-42])
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def many(*factors: int) -> torch.Tensor:
    """Random values and all special ones, enough of them."""
    x = torch.randn(4, 16, 32, 16, generator=torch.Generator().manual_seed(factors[0]))
    x.view(-1)[:64] = SPECIAL.repeat_interleave(8) if factors[0] else SPECIAL.repeat(8)
    x[1] = 0.5  # ties
    assert x.numel() >= ENOUGH
    return x


def plainly(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.where(a > b, a, b)


def bits(x: torch.Tensor) -> torch.Tensor:
    """Its values bit by bit, every NaN as one."""
    return torch.where(x.isnan(), torch.tensor(float("nan")), x).contiguous().view(torch.int32)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_larger(layout):
    upstream = many(2)
    passes = []
    for run in (larger, plainly):
        a, b = (many(i).contiguous(memory_format=layout).requires_grad_() for i in (0, 1))
        y = run(a, b)
        assert y.stride() == a.stride()
        passes.append([y, *torch.autograd.grad(y, [a, b], upstream)])
    assert all(torch.equal(bits(mine), bits(torchs)) for mine, torchs in zip(*passes, strict=True))
    assert "Joined" in type(larger(many(0).requires_grad_(), many(1)).grad_fn).__name__


def test_the_larger_of_slices():
    x = many(0).requires_grad_()
    first, second = x.split(8, 1)
    upstream = torch.randn(first.shape)
    (found,) = torch.autograd.grad(larger(first, second), x, upstream, retain_graph=True)
    (wanted,) = torch.autograd.grad(plainly(first, second), x, upstream)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.5), (0.5, 6.0), (0.0, 0.0)])
def test_what_is_clamped(layout, low, high):
    upstream = many(2)
    passes = []
    for run in (clamped, torch.clamp):
        x = many(0).contiguous(memory_format=layout).requires_grad_()
        y = run(x, low, high)
        passes.append([y, *torch.autograd.grad(y, x, upstream)])
    assert all(torch.equal(bits(mine), bits(torchs)) for mine, torchs in zip(*passes, strict=True))


@pytest.mark.parametrize("run", [larger, lambda a, b: clamped(a, -0.5, 0.5) * clamped(b, -1.0, 0.25)])
def test_second_gradients(run):
    found = []
    for way in (run, plainly if run is larger else lambda a, b: a.clamp(-0.5, 0.5) * b.clamp(-1.0, 0.25)):
        a, b = (torch.randn(4, 16, 32, 16, generator=torch.Generator().manual_seed(i)).requires_grad_() for i in (0, 1))
        first = torch.autograd.grad(way(a, b).square().sum(), [a, b], create_graph=True)
        found.append(torch.autograd.grad(sum(one.pow(3).sum() for one in first), [a, b]))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 16, 32, 16), (300, 64), (3, 8, 9, 10, 11)])
@pytest.mark.parametrize("shared", [False, True])
def test_what_is_sloped(shape, layout, shared):
    generator = torch.Generator().manual_seed(0)
    passes = []
    slope = torch.randn((() if shared else shape[1]), generator=generator).requires_grad_()
    values, upstream = (torch.randn(shape, generator=generator) for _ in range(2))
    for run in (sloped, lambda x, slope: torch.nn.functional.prelu(x, slope.reshape(-1))):
        x = (values.contiguous(memory_format=layout) if len(shape) == 4 else values.clone()).requires_grad_()
        y = run(x, slope)
        first = torch.autograd.grad(y, [x, slope], upstream, create_graph=True)
        second = torch.autograd.grad(sum(one.square().sum() for one in first), [x, slope])
        passes.append([y, *first, *second])
        assert y.stride() == x.stride()
    torch.testing.assert_close(*passes, rtol=1e-4, atol=1e-4)
    assert torch.equal(passes[0][1], passes[1][1])


def test_at_zero_the_slope_is_that_below():
    x, slope = torch.zeros(4, 16, 32, 16, requires_grad=True), torch.linspace(-1, 1, 16, requires_grad=True)
    gradients = torch.autograd.grad(sloped(x, slope).sum(), [x, slope])
    assert torch.equal(gradients[0], slope.detach().view(-1, 1, 1).expand_as(x))
    assert not gradients[1].any()


def test_the_largest_of_three():
    ends = "".join(
        f'layer {{ name: "in{i}" type: "Input" top: "x{i}" '
        "input_param { shape { dim: 4 dim: 16 dim: 32 dim: 16 } } }"
        for i in range(3)
    )
    layer = (
        'layer { name: "l" type: "Eltwise" bottom: "x0" bottom: "x1" bottom: "x2" top: "y" '
        "eltwise_param { operation: MAX } }"
    )
    net = nets.load(text.parse_net(ends + layer))
    xs = [torch.randn(4, 16, 32, 16).requires_grad_() for _ in range(3)]
    y = net.layer("l")(*xs)
    torch.testing.assert_close(y, torch.stack(xs).amax(0))
    y.sum().backward()
    winners = torch.stack(xs).argmax(0)
    for i, x in enumerate(xs):
        assert torch.equal(x.grad, (winners == i).float())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_whole_numbers_of_either(layout):
    a, b = (torch.randint(-(2**31), 2**31 - 1, (4, 16, 32, 16), dtype=torch.int32) for _ in range(2))
    a, b = a.contiguous(memory_format=layout), b.contiguous(memory_format=layout)
    mask = torch.rand(a.shape) < 0.3
    assert torch.equal(either(mask, a, b), torch.where(mask, a, b))
    assert torch.equal(
        either(mask[:1], a[:1, :1].expand(1, 16, 32, 16), b[:1]), torch.where(mask[:1], a[:1, :1], b[:1])
    )


@pytest.mark.parametrize("choose", [torch.maximum, torch.minimum])
def test_of_a_tie_both_have_the_gradient(choose):
    a, b = (many(i)[:, :, :, :8].contiguous().requires_grad_() for i in (0, 1))
    c = torch.zeros(1, 1, 32, 8, requires_grad=True)
    for one, other in ((a, b), (a, c.expand(4, 16, 32, 8))):
        y = best_of_both(choose, one, other)
        assert torch.equal(bits(y.detach()), bits(choose(one, other).detach()))
        upstream = torch.randn(y.shape)
        leaves = [a, b] if other is b else [a, c]
        found = torch.autograd.grad(y, leaves, upstream)
        wanted = [upstream * (one == y), upstream * (other == y)]
        assert torch.equal(found[0], wanted[0])
        torch.testing.assert_close(found[1], wanted[1] if other is b else wanted[1].sum((0, 1), keepdim=True))
    assert "Both" in type(y.grad_fn).__name__
