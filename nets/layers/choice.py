"""Choices between values that take as long whatever is chosen.

PyTorch's own jump at each value on a CPU, and where to no processor can foresee: they take up to ten times as long.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.layers.plain import applied, is_followed, is_plain
from nets.recording import is_recording

ENOUGH = 2**14  # values, for the calls to pay


def larger(a: Tensor, b: Tensor) -> Tensor:
    """*a* where it is larger than *b*, and *b* elsewhere; the gradient goes to what was chosen."""
    if a.shape != b.shape or not _pays(a, b):
        return torch.where(a > b, a, b)
    y: Tensor = applied(_Joined, a, b, _bits(a > b))
    return y


def best_of_both(choose: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """What *choose*, torch.maximum or minimum, takes of *a* and *b*, of one shape; of a tie both have the gradient."""
    best = choose(a, b)
    if not best.requires_grad:
        return best
    if not _pays(a, b):
        zero = torch.zeros((), dtype=best.dtype, device=best.device)
        flow = torch.where(a == best, a, zero) + torch.where(b == best, b, zero)
        return flow + (best - flow).detach()
    y: Tensor = applied(_Both, a, b, best.detach())
    return y


def clamped(x: Tensor, low: float, high: float) -> Tensor:
    """*x* between *low* and *high*; the gradient passes there and at the bounds."""
    if not _pays(x):
        return x.clamp(low, high)
    y: Tensor = applied(_Clamped, x, low, high)
    return y


def sloped(x: Tensor, slope: Tensor) -> Tensor:
    """*x*, N x C x any, where it is positive, and elsewhere *slope* x: a slope for each channel, or one for all."""
    slope = slope.reshape(-1).to(x.dtype)
    if x.numel() < ENOUGH or not is_plain(x, slope):
        return F.prelu(x, slope)
    y: Tensor = applied(_Sloped, x, slope)
    return y


def either(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Of whole numbers (int32) those of *a* where *mask* is true, and of *b* elsewhere."""
    if mask.numel() < ENOUGH or mask.device.type != "cpu" or is_followed() or is_recording():
        return torch.where(mask, a, b)
    return _joined(a, b, _bits(mask))


def _pays(*values: Tensor) -> bool:
    """Whether the ways of this file are taken. They give PyTorch's bits, and a script has no bits of floats."""
    return values[0].numel() >= ENOUGH and not is_recording() and is_plain(*values)


def _bits(mask: Tensor) -> Tensor:
    """All bits of an int32 where *mask* is true, none elsewhere."""
    return mask.to(torch.int32).neg_()


def _joined(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """The bits of *a* where *mask* has them, and of *b* elsewhere (int32)."""
    return (a ^ b).bitwise_and_(mask).bitwise_xor_(b)


class _Joined(torch.autograd.Function):
    """A value of *a* where *mask* has all bits, and of *b* where it has none."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return _joined(a.view(torch.int32), b.view(torch.int32), mask).view(torch.float32)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        first, second = applied(_Parted, upstream[0], *ctx.saved_tensors)
        return first, second, None


class _Parted(torch.autograd.Function):
    """A value where *mask* has all bits, 0 elsewhere, and the other way round."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(mask)
        bits = x.view(torch.int32)
        first = bits & mask
        return first.view(torch.float32), (bits ^ first).view(torch.float32)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        return applied(_Joined, *upstream, *ctx.saved_tensors), None


class _Both(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, best: Tensor) -> Tensor:
        ctx.save_for_backward(_bits(a == best), _bits(b == best))
        return best.view_as(best)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        first, second = ctx.saved_tensors
        return applied(_Kept, upstream[0], first), applied(_Kept, upstream[0], second), None


class _Clamped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = (low, high)
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (x,), (low, high) = ctx.saved_tensors, ctx.bounds
        return applied(_Kept, upstream[0], _bits((x >= low) & (x <= high))), None, None


class _Sloped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return F.prelu(x, slope)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        positive = torch.ops.aten.threshold_backward(upstream[0], x, 0)  # that of a ReLU, which does not jump
        rest = upstream[0] - positive
        total = (rest * x).sum([axis for axis in range(x.dim()) if axis != 1 or len(slope) == 1])
        along = slope.view(-1, *(1,) * (x.dim() - 2))
        return torch.addcmul(positive, rest, along), total.view(slope.shape)


class _Kept(torch.autograd.Function):
    """A value where *mask* has all bits, 0 where it has none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return (x.view(torch.int32) & mask).view(torch.float32)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        return applied(_Kept, upstream[0], *ctx.saved_tensors), None
