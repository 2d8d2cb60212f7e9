"""All steps of an LSTM with peepholes as one operator, whose gradient needs a few operators a step."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nets.layers.clipping import Clipped


@dataclass(frozen=True)
class Way:
    """How a sequence is run: from its end; for its last output alone; with gradients of what goes into the gates from
    -*clip* to *clip* (0: any)."""

    backwards: bool = False
    last_only: bool = False
    clip: float = 0.0


def lstm(
    inputs: Tensor,
    recurrent: Tensor,
    peephole: Tensor | None,
    first: tuple[Tensor, Tensor],
    mask: Tensor | None,
    way: Way,
) -> Tensor:
    """The outputs of all steps, N x T x D, or of the last, N x D.

    *inputs*: N x T x 4D, what the gates i, f, g, o get besides the states; *recurrent*: D x 4D; *peephole*: 3 x D, what
    i, f and o see of the cells; *first*: output and cell in front of the first step, N x D; *mask*: N x T, 0 where a
    step leaves the states. i, f and o are sigmoids, g and the output's activation tanh.
    """
    on = None if mask is None else (mask != 0).to(inputs.dtype)
    if way.backwards:
        inputs, on = inputs.flip(1), None if on is None else on.flip(1)
    made: Tensor = _LSTM.apply(inputs, recurrent, peephole, *first, on, way.clip)  # type: ignore[no-untyped-call]  # torch's
    if way.last_only:
        return made[:, -1]
    return made.flip(1) if way.backwards else made


class _LSTM(torch.autograd.Function):
    """Steps lie along the first axis inside, so that one step's values lie together."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        recurrent: Tensor,
        peephole: Tensor | None,
        h: Tensor,
        c: Tensor,
        mask: Tensor | None,
        clip: float,
    ) -> Tensor:
        """The outputs."""
        gates = inputs.transpose(0, 1).clone(memory_format=torch.contiguous_format)
        steps, count, units = len(gates), len(h), h.shape[1]
        outputs, cells = (gates.new_empty(steps + 1, count, units) for _ in range(2))
        bent = gates.new_empty(steps, count, units)  # tanh of the new cells
        outputs[0].copy_(h)
        cells[0].copy_(c)
        for t in range(steps):
            now = gates[t].addmm_(outputs[t], recurrent)
            i, f, g, o = now.chunk(4, 1)
            if peephole is not None:
                i.addcmul_(cells[t], peephole[0])
                f.addcmul_(cells[t], peephole[1])
            now[:, : 2 * units].sigmoid_()
            g.tanh_()
            new = torch.mul(f, cells[t], out=cells[t + 1]).addcmul_(i, g)
            if peephole is not None:
                o.addcmul_(new, peephole[2])
            o.sigmoid_()
            torch.tanh(new, out=bent[t])
            torch.mul(o, bent[t], out=outputs[t + 1])
            if mask is not None:
                on = mask[:, t, None]
                torch.lerp(cells[t], new, on, out=new)
                torch.lerp(outputs[t], outputs[t + 1], on, out=outputs[t + 1])
        ctx.clip = clip
        ctx.save_for_backward(inputs, recurrent, peephole, h, c, mask, gates, outputs, cells, bent)
        return outputs[1:].transpose(0, 1).clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradients of inputs, recurrent, peephole and first states."""
        if torch.is_grad_enabled():
            return _differentiable(ctx, upstream[0])
        _, recurrent, peephole, _, _, mask, gates, outputs, cells, bent = ctx.saved_tensors
        i, f, g, o = gates.chunk(4, 2)
        before = cells[:-1]
        slopes = torch.stack((g * i * (1 - i), before * f * (1 - f), i * (1 - g * g), bent * o * (1 - o)), 2)
        into, kept = (
            o * (1 - bent * bent),
            f,
        )  # of an output's gradient into the new cell, of the new cell's into the old
        if peephole is not None:
            into = into + slopes[:, :, 3] * peephole[2]
            kept = kept + slopes[:, :, 0] * peephole[0] + slopes[:, :, 1] * peephole[1]
        found = torch.empty_like(slopes)  # T x N x 4 x D
        back, bound = recurrent.t(), ctx.clip
        dh, dc = torch.zeros_like(outputs[0]), torch.zeros_like(cells[0])
        for t in reversed(range(len(bent))):
            dh = dh + upstream[0][:, t]
            if mask is not None:
                off = 1 - mask[:, t, None]
                past = off * dh, off * dc
                dh, dc = dh - past[0], dc - past[1]
            dc = torch.addcmul(dc, dh, into[t])
            now = found[t]
            torch.mul(slopes[t, :, :3], dc[:, None], out=now[:, :3])
            torch.mul(slopes[t, :, 3], dh, out=now[:, 3])
            dh = (now.clamp(-bound, bound) if bound else now).flatten(1) @ back
            dc = dc * kept[t]
            if mask is not None:
                dh, dc = dh + past[0], dc + past[1]
        reached = (found.clamp(-bound, bound) if bound else found).flatten(2)
        of_recurrent = outputs[:-1].flatten(0, 1).t() @ reached.flatten(0, 1)
        of_peephole = None
        if peephole is not None:
            new = f * before + i * g
            seen = (found[:, :, 0] * before, found[:, :, 1] * before, found[:, :, 3] * new)
            of_peephole = torch.stack([one.sum((0, 1)) for one in seen])
        return reached.transpose(0, 1), of_recurrent, of_peephole, dh, dc, None, None


def _differentiable(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients as what has gradients in its turn: by autograd, step by step."""
    given = ctx.saved_tensors[:6]
    wanted = [x for x, needs in zip(given, ctx.needs_input_grad, strict=False) if x is not None and needs]
    inputs, recurrent, peephole, h, c, mask = given
    made = _by_steps(inputs, recurrent, peephole, (h, c), mask, ctx.clip)
    found = iter(torch.autograd.grad(made, wanted, upstream, create_graph=True))
    return (*(next(found) if x is not None and needs else None
              for x, needs in zip(given, ctx.needs_input_grad, strict=False)), None)  # fmt: skip


def _by_steps(
    inputs: Tensor,
    recurrent: Tensor,
    peephole: Tensor | None,
    first: tuple[Tensor, Tensor],
    mask: Tensor | None,
    clip: float,
) -> Tensor:
    """The same outputs, of operators that PyTorch differentiates."""
    h, c = first
    made = []
    look = inputs.new_zeros(3, 1) if peephole is None else peephole
    for t in range(inputs.shape[1]):
        total = inputs[:, t] + h @ recurrent
        if clip:
            total = Clipped.apply(total, -clip, clip)  # type: ignore[no-untyped-call]  # torch's
        i, f, g, o = total.chunk(4, 1)
        new = torch.sigmoid(f + look[1] * c) * c + torch.sigmoid(i + look[0] * c) * torch.tanh(g)
        top = torch.sigmoid(o + look[2] * new) * torch.tanh(new)
        if mask is not None:
            on = mask[:, t, None] != 0
            new, top = torch.where(on, new, c), torch.where(on, top, h)
        h, c = top, new
        made.append(h)
    return torch.stack(made, 1)
