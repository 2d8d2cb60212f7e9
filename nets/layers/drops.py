"""Dropout: which values are drawn to stay."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nets.layers.layout import is_last
from nets.layers.plain import is_plain

WHOLE = 64  # bits of a number that PyTorch's generator draws in the time that a draw of Bernoulli's takes
LANES = {8: torch.int8, 32: torch.int32}


def dropout(x: Tensor, ratio: float) -> Tensor:
    """*x*, of any shape: a value becomes 0 with probability *ratio*, or is divided by 1 - *ratio*.

    PyTorch's function of this name draws from the same generator, on a CPU a value at a time; here 2 to 8 share a draw,
    whose bits give the probability as 32 do at least.
    """
    if ratio == 0 or not is_plain(x):
        return F.dropout(x, ratio, training=True)
    factors = drawn(x.numel(), 1 - ratio, 1 / (1 - ratio))
    if is_last(x):
        batch, channels, height, width = x.shape
        return x * factors.view(batch, height, width, channels).permute(0, 3, 1, 2)
    return x * factors.view(x.shape)


def drawn(count: int, share: float, value: float, generator: torch.Generator | None = None) -> Tensor:
    """*count* numbers of float32 on the CPU, *value* with the probability *share*, from 0 to 1, and otherwise 0."""
    bits = 8 if share < 1 and (share * 2**8).is_integer() else 32
    words = torch.empty(-(-count * bits // WHOLE), dtype=torch.int64)
    words.random_(-(2**63), None, generator=generator)
    below = min(round(share * 2**bits), 2**bits - 1) - 2 ** (bits - 1)
    kept = (words.view(LANES[bits])[:count] < below).to(torch.int32)
    # A 1 times the bits of a float are that float, in a tenth of the time that a choice between floats takes.
    factors: Tensor = kept.mul_(int(np.float32(value).view(np.int32))).view(torch.float32)
    return factors
