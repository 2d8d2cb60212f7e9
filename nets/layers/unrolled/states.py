"""What the operators for all steps have in common: the states of a run, and products with recurrent weights."""

import torch
from torch import Tensor

from nets.layers.product import ENOUGH_BESIDE_STEPS, matmul

# x times the slope of a sigmoid or tanh that is y.
sigmoid_slope, tanh_slope = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


class States:
    """The states of a run: in front of the first step and behind each, and what each step gets of them.

    That is what was behind the one before, by *keep* (T x N x 1) where that is given.
    """

    def __init__(self, first: Tensor, steps: int, keep: Tensor | None) -> None:
        self.all = first.new_empty(steps + 1, *first.shape)
        self.all[0].copy_(first)
        self.seen = self.all[:-1] if keep is None else torch.empty_like(self.all[:-1])
        self.behind, self.before = self.all.unbind(), self.seen.unbind()
        self._keep = None if keep is None else keep.unbind()

    def enter(self, t: int) -> Tensor:
        """What step *t* gets."""
        return self.before[t] if self._keep is None else torch.mul(self.behind[t], self._keep[t], out=self.before[t])

    def leave(self, t: int, mask: Tensor | None) -> None:
        """Put back what step *t* is to leave."""
        if mask is not None:
            torch.where(mask[t], self.behind[t + 1], self.behind[t], out=self.behind[t + 1])


def copied(x: Tensor) -> Tensor:
    """*x* in memory of its own, its last axis the innermost."""
    return x.clone(memory_format=torch.contiguous_format)


def clamped(x: Tensor, bound: float) -> Tensor:
    """*x* from -*bound* to *bound*, in place; any for 0."""
    return x.clamp_(-bound, bound) if bound else x


def of_recurrent(seen: Tensor, reached: Tensor) -> Tensor:
    """The gradient of the recurrent weights, from the outputs that the steps got and their products' gradients."""
    return matmul(seen.flatten(0, 1).t(), reached.flatten(0, 1), ENOUGH_BESIDE_STEPS)
