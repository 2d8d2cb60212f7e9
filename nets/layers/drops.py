"""Dropout: which values are drawn to stay."""

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.layers.layout import is_last
from nets.layers.plain import is_plain

BITS = 31  # of a drawn number of int32


def dropout(x: Tensor, ratio: float) -> Tensor:
    """*x*, of any shape: a value becomes 0 with probability *ratio*, or is divided by 1 - *ratio*.

    PyTorch's function of this name draws from the same generator, on a CPU in two to ten times the time.
    """
    if ratio == 0 or not is_plain(x):
        return F.dropout(x, ratio, training=True)
    factors = drawn(x.numel(), 1 - ratio).mul_(1 / (1 - ratio))
    if is_last(x):
        batch, channels, height, width = x.shape
        return x * factors.view(batch, height, width, channels).permute(0, 3, 1, 2)
    return x * factors.view(x.shape)


def drawn(count: int, share: float, generator: torch.Generator | None = None) -> Tensor:
    """*count* numbers of float32 on the CPU, 1 with the probability *share*, from 0 to 1, and otherwise 0.

    Of a drawn number as many bits are used for each as the probability has: one for a half.
    """
    bits = next((few for few in range(1, 9) if 0 < share < 1 and (share * 2**few).is_integer()), BITS)
    each = BITS // bits
    draws = torch.empty(-(-count // each), 1, dtype=torch.int32, device="cpu").random_(generator=generator)
    if each > 1:
        places = torch.arange(0, each * bits, bits, dtype=torch.int32, device="cpu")
        draws = (draws >> places).bitwise_and_(2**bits - 1)
    kept: Tensor = draws < min(round(share * 2**bits), 2**BITS - 1)
    return kept.float().view(-1)[:count]
