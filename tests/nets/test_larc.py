"""LARC against its formula in NumPy; the layout of the numbers follows the fork's source (sgd_solver.cpp of 0.17)."""

import numpy as np
import pytest
import torch

from nets.net import Blob
from nets.updates import UPDATES

ETA, MOMENTUM, DECAY = 0.02, 0.9, 0.1
RATES = [0.5, 0.05, 0.0, 0.001]


def blobs() -> list[Blob]:
    draw = torch.Generator().manual_seed(1)
    shapes = {"weight": (6, 5), "bias": (6,), "zero": (3,), "still": (2,)}
    tensors = {name: torch.randn(shape, generator=draw, dtype=torch.float64) for name, shape in shapes.items()}
    tensors["zero"].zero_()
    mults = {"weight": (1.0, 1.0), "bias": (2.0, 0.0), "zero": (1.0, 1.0), "still": (0.0, 1.0)}
    return [Blob(name, tensor.requires_grad_(name != "still"), *mults[name]) for name, tensor in tensors.items()]


def wanted(policy: str) -> list[np.ndarray]:
    found = []
    for blob in blobs():
        w = blob.tensor.detach().numpy().copy()
        h, draw = np.zeros_like(w), np.random.default_rng(w.size)
        for rate in RATES:
            g = draw.normal(size=w.shape)
            norm, slope = np.sqrt((w**2).sum()), np.sqrt((g**2).sum())
            trust = (1 - MOMENTUM) * ETA * norm / slope if norm > 0 and slope > 0 else 1.0
            local = rate * trust if policy == "scale" else min(rate, trust)
            h = MOMENTUM * h + local * (g + DECAY * blob.decay_mult * w)
            w = w - h if blob.lr_mult else w
        found.append(w)
    return found


@pytest.mark.parametrize("policy", ["scale", "clip"])
@pytest.mark.parametrize("on_device", [False, True], ids=["number", "tensor"])
def test_formula(policy, on_device):
    mine = blobs()
    rate = torch.tensor(0.0, dtype=torch.float64) if on_device else 0.0
    options = {"larc": True, "larc_eta": ETA, "larc_policy": policy}
    update = UPDATES["SGD"](mine, rate, momentum=MOMENTUM, decay=DECAY, **options)
    draws = [np.random.default_rng(blob.tensor.numel()) for blob in mine]
    for value in RATES:
        for blob, draw in zip(mine, draws, strict=True):
            gradient = torch.from_numpy(draw.normal(size=blob.tensor.shape))
            blob.tensor.grad = gradient if blob.lr_mult else None
        update.rate = value
        update.step()
    for blob, want in zip(mine, wanted(policy), strict=True):
        np.testing.assert_allclose(blob.tensor.detach().numpy(), want, rtol=1e-12, atol=1e-14, err_msg=blob.key)
