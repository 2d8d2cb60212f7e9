"""An LSTM, with peepholes or without, as one operator."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nets.layers.product import add_matmul_, matmul
from nets.layers.unrolled.states import States, clamped, copied, of_recurrent, sigmoid_slope, tanh_slope
from nets.layers.unrolled.steps import bounded, differentiable, each_step


class LSTM(torch.autograd.Function):
    """Of what ``lstm`` and ``kept_lstm`` take, by time; mask and keep T x N x 1: the outputs, and the last cell."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        recurrent: Tensor,
        peephole: Tensor | None,
        h: Tensor,
        c: Tensor,
        mask: Tensor | None,
        keep: Tensor | None,
        clip: float,
    ) -> tuple[Tensor, Tensor]:
        """The outputs, and the last cell."""
        gates, outputs, cells = copied(inputs), *(States(first, len(inputs), keep) for first in (h, c))
        bent = torch.empty_like(outputs.seen)  # tanh of the new cells
        parted = torch.unflatten(gates, 2, (4, -1))
        now, sees, bends = (x.unbind() for x in (gates, parted[:, :, :2], bent))
        i, f, g, o = (part.unbind() for part in parted.unbind(2))
        for t in range(len(now)):
            add_matmul_(now[t], outputs.enter(t), recurrent)
            old, new = cells.enter(t), cells.behind[t + 1]
            if peephole is not None:
                sees[t].addcmul_(old[:, None], peephole[:2])
            sees[t].sigmoid_()
            torch.mul(f[t], old, out=new).addcmul_(i[t], g[t].tanh_())
            if peephole is not None:
                o[t].addcmul_(new, peephole[2])
            torch.mul(o[t].sigmoid_(), torch.tanh(new, out=bends[t]), out=outputs.behind[t + 1])
            cells.leave(t, mask)
            outputs.leave(t, mask)
        ctx.clip = clip
        ctx.save_for_backward(inputs, recurrent, peephole, h, c, mask, keep, gates, outputs.seen, cells.seen, bent)
        last = copied(cells.all[-1])
        ctx.mark_non_differentiable(last)
        return copied(outputs.all[1:]), last

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradients of inputs, recurrent, peephole and first states."""
        if torch.is_grad_enabled():
            return differentiable(ctx, upstream[0], 7, partial(lstm_steps, clip=ctx.clip), 1)
        _, recurrent, peephole, _, _, mask, keep, gates, outputs, before, bent = ctx.saved_tensors
        i, f, g, o = gates.chunk(4, 2)
        slopes = torch.stack(
            (sigmoid_slope(g, i), sigmoid_slope(before, f), tanh_slope(i, g), sigmoid_slope(bent, o)), 2
        )
        # How an output's gradient goes into the new cell, and the new cell's into the old.
        into, kept = tanh_slope(o, bent), f
        if peephole is not None:
            into = into.addcmul_(slopes[:, :, 3], peephole[2])
            kept = torch.addcmul(kept, slopes[:, :, 0], peephole[0]).addcmul_(slopes[:, :, 1], peephole[1])
        found, bound, back = torch.empty_like(slopes), ctx.clip, recurrent.t()  # T x N x 4 x D
        of_cell, of_output, into_cell, into_old = (x.unbind() for x in (slopes[:, :, :3], slopes[:, :, 3], into, kept))
        by_cell, by_output, all_found = (x.unbind() for x in (found[:, :, :3], found[:, :, 3], found.flatten(2)))
        arrived, dh, dc = upstream[0].unbind(), torch.zeros_like(bent[0]), torch.zeros_like(bent[0])
        for t in reversed(range(len(arrived))):
            dh = dh + arrived[t]
            if mask is not None:
                past = dh.masked_fill(mask[t], 0), dc.masked_fill(mask[t], 0)
                dh, dc = dh - past[0], dc - past[1]
            dc = torch.addcmul(dc, dh, into_cell[t])
            torch.mul(of_cell[t], dc[:, None], out=by_cell[t])
            torch.mul(of_output[t], dh, out=by_output[t])
            dh = matmul(all_found[t].clamp(-bound, bound) if bound else all_found[t], back)
            dc = dc * into_old[t]
            if keep is not None:
                dh, dc = dh * keep[t], dc * keep[t]
            if mask is not None:
                dh, dc = dh + past[0], dc + past[1]
        of_peephole = None
        if peephole is not None:
            new = f * before + i * g
            seen = (found[:, :, 0] * before, found[:, :, 1] * before, found[:, :, 3] * new)
            of_peephole = torch.stack([one.sum((0, 1)) for one in seen])
        reached = clamped(found, bound).flatten(2)
        return reached, of_recurrent(outputs, reached), of_peephole, dh, dc, None, None, None


def lstm_steps(
    inputs: Tensor,
    recurrent: Tensor,
    peephole: Tensor | None,
    h: Tensor,
    c: Tensor,
    mask: Tensor | None,
    keep: Tensor | None,
    clip: float,
) -> Tensor:
    """The outputs, step by step."""
    return each_step(inputs, mask, keep, (h, c), lstm_step(recurrent, peephole, clip))[0]


def lstm_step(recurrent: Tensor, peephole: Tensor | None, clip: float) -> Callable[..., tuple[Tensor, ...]]:
    """What one step makes of its input and the states h and c."""

    def step(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        i, f, g, o = bounded(x + h @ recurrent, clip).chunk(4, 1)
        if peephole is not None:
            i, f = i + peephole[0] * c, f + peephole[1] * c
        new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o if peephole is None else o + peephole[2] * new) * torch.tanh(new), new

    return step
