"""A simple RNN as one operator, and its activations."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nets.layers.product import add_matmul_, matmul
from nets.layers.unrolled.states import States, clamped, copied, of_recurrent
from nets.layers.unrolled.steps import bounded, differentiable, each_step


@dataclass(frozen=True)
class Bend:
    """An activation: what autograd differentiates; the same into given memory; its slope at x, where it is y."""

    apply: Callable[[Tensor], Tensor]
    fill: Callable[[Tensor, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]


BENDS = {
    "LINEAR": Bend(torch.clone, lambda x, out: out.copy_(x), lambda x, y: torch.ones_like(x)),
    "RELU": Bend(torch.relu, lambda x, out: torch.clamp(x, min=0, out=out), lambda x, y: (x > 0).to(x.dtype)),
    "TANH": Bend(torch.tanh, lambda x, out: torch.tanh(x, out=out), lambda x, y: 1 - y * y),
    "SIGMOID": Bend(torch.sigmoid, lambda x, out: torch.sigmoid(x, out=out), lambda x, y: y * (1 - y)),
}
# Theano's rectifier has half a slope at 0.
RECTIFY = Bend(lambda x: 0.5 * (x + x.abs()), BENDS["RELU"].fill, lambda x, y: torch.heaviside(x, x.new_tensor(0.5)))


class RNN(torch.autograd.Function):
    """Of what ``rnn`` and ``kept_rnn`` take, by time; mask and keep T x N x 1: the outputs, T x N x D."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        recurrent: Tensor,
        h: Tensor,
        mask: Tensor | None,
        keep: Tensor | None,
        bend: Bend,
        clip: float,
    ) -> Tensor:
        """The outputs."""
        totals, outputs = copied(inputs), States(h, len(inputs), keep)
        for t, now in enumerate(totals.unbind()):
            bend.fill(add_matmul_(now, outputs.enter(t), recurrent), outputs.behind[t + 1])
            outputs.leave(t, mask)
        ctx.bend, ctx.clip = bend, clip
        made = copied(outputs.all[1:])
        ctx.save_for_backward(inputs, recurrent, h, mask, keep, totals, outputs.seen, outputs.all)
        return made

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradients of inputs, recurrent and first."""
        if torch.is_grad_enabled():
            return differentiable(ctx, upstream[0], 5, partial(rnn_steps, bend=ctx.bend, clip=ctx.clip), 2)
        _, recurrent, _, mask, keep, totals, seen, states = ctx.saved_tensors
        slopes, reached = ctx.bend.slope(totals, states[1:]), torch.empty_like(totals)
        arrived, slope, by = upstream[0].unbind(), slopes.unbind(), reached.unbind()
        back, dh = recurrent.t(), torch.zeros_like(states[0])
        for t in reversed(range(len(arrived))):
            dh = dh + arrived[t]
            past = None if mask is None else dh.masked_fill(mask[t], 0)
            now = torch.mul(dh if past is None else dh - past, slope[t], out=by[t])
            dh = matmul(clamped(now, ctx.clip), back)
            dh = dh if keep is None else dh * keep[t]
            dh = dh if past is None else dh + past
        return reached, of_recurrent(seen, reached), dh, None, None, None, None


def rnn_steps(
    inputs: Tensor, recurrent: Tensor, h: Tensor, mask: Tensor | None, keep: Tensor | None, bend: Bend, clip: float
) -> Tensor:
    """The outputs, step by step."""
    return each_step(inputs, mask, keep, (h,), lambda x, h: (bend.apply(bounded(x + h @ recurrent, clip)),))[0]
