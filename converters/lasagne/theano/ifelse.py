"""``theano.ifelse``."""

from typing import Any

import torch
from torch import Tensor

from converters.lasagne.theano.variable import apply, as_tensor


def ifelse(condition: Any, then_branch: Any, else_branch: Any, name: str | None = None) -> Any:
    """*then_branch* if the one value *condition* holds, else *else_branch*; lists of them item by item.

    The gradient of the other branch is zero.
    """
    if isinstance(then_branch, list | tuple):
        pairs = zip(then_branch, else_branch, strict=True)
        return [ifelse(condition, a, b) for a, b in pairs]
    return apply(_choose, condition, then_branch, else_branch)


def _choose(condition: Any, a: Any, b: Any) -> Any:
    chosen, other = map(as_tensor, (a, b) if bool(condition) else (b, a))
    return _Chosen.apply(chosen, other) if other.requires_grad else chosen  # type: ignore[no-untyped-call]  # torch's


class _Chosen(torch.autograd.Function):
    """The first; the second gets zeros, so that what it needs is not left without a gradient."""

    @staticmethod
    def forward(ctx: Any, chosen: Tensor, other: Tensor) -> Tensor:
        """The first."""
        ctx.save_for_backward(other)
        return chosen.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradient and zeros."""
        return upstream[0], torch.zeros_like(ctx.saved_tensors[0])
