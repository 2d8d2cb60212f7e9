"""Windows by Theano's rules, beside loops over them."""

import itertools
import random

import numpy as np
import pytest
import torch

from nets.layers.windows import maxima, means, shares_inside, window_count


def frames(number: int = 60):
    """Axes, and for each its length, window, stride, pad and the number of windows."""
    chance = random.Random(0)
    for _ in range(number):
        axes = []
        for _ in range(chance.randint(1, 3)):
            length, size, stride = chance.randint(2, 7), chance.randint(1, 3), chance.randint(1, 4)
            partial = chance.random() < 0.4
            pad = 0 if partial else chance.randrange(size)
            axes.append((length, size, stride, pad, window_count(length, size, stride, pad, partial)))
        if all(axis[-1] > 0 for axis in axes):
            yield tuple(zip(*axes, strict=True))


def seen(x: np.ndarray, frame) -> dict[tuple[int, ...], list[tuple[int, ...]]]:
    """The places that each window sees."""
    lengths, sizes, strides, pads, counts = frame
    found = {}
    for window in itertools.product(*map(range, counts)):
        reach = [
            range(max(0, at * step - pad), min(length, at * step - pad + size))
            for at, length, size, step, pad in zip(window, lengths, sizes, strides, pads, strict=True)
        ]
        found[window] = list(itertools.product(*reach))
    return found


@pytest.mark.parametrize("leading", [(2, 3), (2,)], ids=["NxC", "N"])
def test_maxima_and_means_are_those_of_loops(leading):
    draw = np.random.default_rng(0)
    for frame in frames():
        lengths, sizes, strides, pads, counts = frame
        values = draw.integers(0, 4, (*leading, *lengths)).astype(float)  # ties
        upstream = draw.normal(size=(*leading, *counts))
        best, mean, share, flow = np.zeros_like(upstream), np.zeros_like(upstream), np.zeros(counts), values * 0
        for window, places in seen(values, frame).items():
            inside = np.stack([values[(..., *place)] for place in places])
            best[(..., *window)] = inside.max(0)
            mean[(..., *window)] = inside.sum(0) / np.prod(sizes)
            share[window] = len(places) / np.prod(sizes)
            for place in places:
                flow[(..., *place)] += upstream[(..., *window)] * (values[(..., *place)] == best[(..., *window)])
        images = values.ndim == 4
        for layout in (torch.contiguous_format, torch.channels_last) if images else (torch.contiguous_format,):
            x = torch.from_numpy(values).contiguous(memory_format=layout).requires_grad_()
            arguments = (x, sizes, strides, pads, counts)
            np.testing.assert_array_equal(maxima(*arguments).detach(), best)
            np.testing.assert_allclose(means(*arguments).detach(), mean, atol=1e-12)
            np.testing.assert_allclose(shares_inside(*arguments).squeeze(), share.squeeze(), atol=1e-12)
            for again in (False, True):  # to be differentiated again
                given = torch.from_numpy(upstream).requires_grad_()
                (found,) = torch.autograd.grad(maxima(*arguments), x, given, create_graph=again)
                np.testing.assert_allclose(found.detach(), flow, atol=1e-12)
            (back,) = torch.autograd.grad(found, given, torch.from_numpy(flow))
            np.testing.assert_allclose((back * given).sum().item(), (flow**2).sum(), atol=1e-9)


@pytest.mark.parametrize("stride", [2, 3])
def test_the_gradient_of_maxima_channels_last_lies_so_too(stride):
    x = torch.randn(2, 5, 6, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    made = maxima(x, (2, 2), (stride,) * 2, (0, 0), (5 // stride, 7 // stride))
    (found,) = torch.autograd.grad(made.sum(), x)
    assert found.stride() == x.stride()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_neighbours_among_numbers_are_no_ties(kind):
    pair = torch.full((2,), 0.001, dtype=kind)
    pair.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[pair.element_size()])[1] += 1
    x = pair[[0, 1, 1, 0]].view(1, 1, 4).requires_grad_()
    (found,) = torch.autograd.grad(maxima(x, (4,), (4,), (0,), (1,)).sum(), x)
    assert found.flatten().tolist() == [0, 1, 1, 0]
