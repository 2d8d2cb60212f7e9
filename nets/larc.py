"""Rates of their own for the blobs, by the norms of their values and gradients: LARC, as NVIDIA's fork has it (0.17).

With trust = (1 - momentum) larc_eta |w| / |g|, or 1 where a norm is 0, a blob's rate is ``rate * trust`` (larc_policy
scale) or ``min(rate, trust)`` (clip). It takes the place of ``lr_mult``, except where that is 0. g is the gradient
without the weight decay.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from protos.registry import suggest
from protos.schema import SolverParameter

POLICIES = ("scale", "clip")
OPTIONS = ("larc", "larc_eta", "larc_policy")


def check(param: SolverParameter) -> Iterator[str]:
    """Problems of the options of *param*, a line each."""
    if param.larc and param.larc_policy not in POLICIES:
        hint = suggest(param.larc_policy, POLICIES) or ": " + ", ".join(POLICIES)
        yield f"unknown larc_policy '{param.larc_policy}'{hint}"


def factors(group: dict[str, Any], params: list[Tensor], grads: list[Tensor], rate: float | Tensor) -> list[Tensor]:
    """What each of *grads* is multiplied by, beside *rate*; 0-dim tensors. *group* has the options."""
    values, slopes = torch.stack(torch._foreach_norm(params)), torch.stack(torch._foreach_norm(grads))
    trust = (1 - group["momentum"]) * group["larc_eta"] * values / slopes
    trust = torch.where((values > 0) & (slopes > 0), trust, 1.0)
    if group["larc_policy"] == "clip":
        trust = (trust / rate).clamp(max=1.0)
    return list(trust.unbind())
