"""All steps of a recurrent layer as one operator, whose gradient needs a few operators a step."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nets.layers.clipping import Clipped
from nets.layers.product import ENOUGH_BESIDE_STEPS, add_matmul_, matmul

# x times the slope of a sigmoid or tanh that is y.
sigmoid_slope, tanh_slope = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


@dataclass(frozen=True)
class Way:
    """How a sequence is run: from its end; for its last output alone; with gradients of what goes into the gates from
    -*clip* to *clip* (0: any)."""

    backwards: bool = False
    last_only: bool = False
    clip: float = 0.0


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
    return _in_order(
        inputs, mask, way, lambda x, on: _run(_LSTM, x, recurrent, peephole, *first, on, None, way.clip)[0]
    )


def gru(inputs: Tensor, recurrent: Tensor, first: Tensor, mask: Tensor | None, way: Way) -> Tensor:
    """The outputs of all steps, or of the last: (1 - z) h + z n, n = tanh(its input + r * its recurrent product).

    z and r are sigmoids. *inputs*: N x T x 3D, for z, r and n; *recurrent*: D x 3D; the others as for ``lstm``.
    """
    return _in_order(inputs, mask, way, lambda x, on: _run(_GRU, x, recurrent, first, on, way.clip))


def rnn(inputs: Tensor, recurrent: Tensor, first: Tensor, mask: Tensor | None, bend: Bend, way: Way) -> Tensor:
    """The outputs of all steps, or of the last: *bend* of the input and the recurrent product.

    *inputs*: N x T x D; *recurrent*: D x D; the others as for ``lstm``.
    """
    return _in_order(inputs, mask, way, lambda x, on: _run(_RNN, x, recurrent, first, on, None, bend, way.clip))


def kept_lstm(
    inputs: Tensor, recurrent: Tensor, first: tuple[Tensor, Tensor], keep: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs of all steps, T x N x D, the last of them and the last cell, N x D, without a gradient.

    *inputs*: T x N x 4D; *keep*: T x N, by which the states in front of each step are multiplied; else as ``lstm``.
    """
    scale = None if keep is None else keep[..., None]
    if torch.compiler.is_compiling():
        made, states = _each(inputs, None, scale, first, _lstm_step(recurrent, None, 0.0))
        return made, states[0].detach(), states[1].detach()
    made, cell = _run(_LSTM, inputs, recurrent, None, *first, None, scale, 0.0)
    return made, made[-1].detach(), cell


def kept_rnn(
    inputs: Tensor, recurrent: Tensor, first: Tensor, keep: Tensor | None, bend: Bend
) -> tuple[Tensor, Tensor]:
    """The outputs of all steps, T x N x D, and the last, without a gradient. *inputs*: T x N x D; see ``kept_lstm``."""
    scale = None if keep is None else keep[..., None]
    if torch.compiler.is_compiling():
        made, (last,) = _each(inputs, None, scale, (first,), lambda x, h: (bend.apply(x + h @ recurrent),))
        return made, last.detach()
    made = _run(_RNN, inputs, recurrent, first, None, scale, bend, 0.0)
    return made, made[-1].detach()


def _in_order(inputs: Tensor, mask: Tensor | None, way: Way, run: Callable[[Tensor, Tensor | None], Any]) -> Tensor:
    """What *run* makes of the inputs and the mask, T x N x 1, both in the order of the steps."""
    steps, on = inputs.transpose(0, 1), None if mask is None else (mask != 0).t()[..., None]
    if way.backwards:
        steps, on = steps.flip(0), None if on is None else on.flip(0)
    made: Tensor = run(steps, on)
    if way.last_only:
        return made[-1]
    return (made.flip(0) if way.backwards else made).transpose(0, 1)


def _run(function: type[torch.autograd.Function], *given: Any) -> Any:
    return function.apply(*given)  # type: ignore[no-untyped-call]  # torch's


class _States:
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


def _copied(x: Tensor) -> Tensor:
    return x.clone(memory_format=torch.contiguous_format)


def _clamped(x: Tensor, bound: float) -> Tensor:
    return x.clamp_(-bound, bound) if bound else x


class _LSTM(torch.autograd.Function):
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
        gates, outputs, cells = _copied(inputs), *(_States(first, len(inputs), keep) for first in (h, c))
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
        last = _copied(cells.all[-1])
        ctx.mark_non_differentiable(last)
        return _copied(outputs.all[1:]), last

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradients of inputs, recurrent, peephole and first states."""
        if torch.is_grad_enabled():
            return _differentiable(ctx, upstream[0], 7, partial(_lstm_steps, clip=ctx.clip), 1)
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
        reached = _clamped(found, bound).flatten(2)
        return reached, _of_recurrent(outputs, reached), of_peephole, dh, dc, None, None, None


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, recurrent: Tensor, h: Tensor, mask: Tensor | None, clip: float) -> Tensor:
        """The outputs."""
        gates, outputs, two = _copied(inputs), _States(h, len(inputs), None), 2 * h.shape[1]
        around = torch.empty_like(outputs.seen)  # the recurrent products that go into n
        opened, hs, kept = gates[:, :, :two].unbind(), outputs.behind, around.unbind()
        z, r, n = (part.unbind() for part in gates.chunk(3, 2))
        for t in range(len(kept)):
            product = matmul(hs[t], recurrent)
            opened[t].add_(product[:, :two]).sigmoid_()
            n[t].addcmul_(r[t], kept[t].copy_(product[:, two:])).tanh_()
            torch.lerp(hs[t], n[t], z[t], out=hs[t + 1])
            outputs.leave(t, mask)
        ctx.clip = clip
        ctx.save_for_backward(inputs, recurrent, h, mask, gates, outputs.seen, around)
        return _copied(outputs.all[1:])

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradients of inputs, recurrent and first."""
        if torch.is_grad_enabled():
            return _differentiable(ctx, upstream[0], 4, partial(_gru_steps, clip=ctx.clip), 1)
        _, recurrent, _, mask, gates, outputs, around = ctx.saved_tensors
        z, r, n = gates.chunk(3, 2)
        of_r = torch.stack((sigmoid_slope(around, r), r), 2)  # from n to r and to n's recurrent product
        of_z, of_n = sigmoid_slope(n - outputs, z), tanh_slope(z, n)
        into, reached = (gates.new_empty(*of_z.shape[:2], 3, of_z.shape[2]) for _ in range(2))
        from_z, from_n, from_r, kept = (x.unbind() for x in (of_z, of_n, of_r, 1 - z))
        by_z, by_n, by_r, all_reached = (
            x.unbind() for x in (reached[:, :, 0], into[:, :, 2], reached[:, :, 1:], reached.flatten(2))
        )
        back, bound, arrived, dh = recurrent.t(), ctx.clip, upstream[0].unbind(), torch.zeros_like(outputs[0])
        for t in reversed(range(len(arrived))):
            dh = dh + arrived[t]
            past = None if mask is None else dh.masked_fill(mask[t], 0)
            dh = dh if past is None else dh - past
            new = _clamped(torch.mul(dh, from_n[t], out=by_n[t]), bound)
            torch.mul(dh, from_z[t], out=by_z[t])
            torch.mul(new[:, None], from_r[t], out=by_r[t])
            dh = add_matmul_(dh * kept[t], _clamped(all_reached[t], bound), back)
            dh = dh if past is None else dh + past
        into[:, :, :2] = reached[:, :, :2]
        return into.flatten(2), _of_recurrent(outputs, reached.flatten(2)), dh, None, None


class _RNN(torch.autograd.Function):
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
        totals, outputs = _copied(inputs), _States(h, len(inputs), keep)
        for t, now in enumerate(totals.unbind()):
            bend.fill(add_matmul_(now, outputs.enter(t), recurrent), outputs.behind[t + 1])
            outputs.leave(t, mask)
        ctx.bend, ctx.clip = bend, clip
        made = _copied(outputs.all[1:])
        ctx.save_for_backward(inputs, recurrent, h, mask, keep, totals, outputs.seen, outputs.all)
        return made

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradients of inputs, recurrent and first."""
        if torch.is_grad_enabled():
            return _differentiable(ctx, upstream[0], 5, partial(_rnn_steps, bend=ctx.bend, clip=ctx.clip), 2)
        _, recurrent, _, mask, keep, totals, seen, states = ctx.saved_tensors
        slopes, reached = ctx.bend.slope(totals, states[1:]), torch.empty_like(totals)
        arrived, slope, by = upstream[0].unbind(), slopes.unbind(), reached.unbind()
        back, dh = recurrent.t(), torch.zeros_like(states[0])
        for t in reversed(range(len(arrived))):
            dh = dh + arrived[t]
            past = None if mask is None else dh.masked_fill(mask[t], 0)
            now = torch.mul(dh if past is None else dh - past, slope[t], out=by[t])
            dh = matmul(_clamped(now, ctx.clip), back)
            dh = dh if keep is None else dh * keep[t]
            dh = dh if past is None else dh + past
        return reached, _of_recurrent(seen, reached), dh, None, None, None, None


def _of_recurrent(seen: Tensor, reached: Tensor) -> Tensor:
    """The gradient of the recurrent weights, from the outputs that the steps got and their products' gradients."""
    return matmul(seen.flatten(0, 1).t(), reached.flatten(0, 1), ENOUGH_BESIDE_STEPS)


def _differentiable(
    ctx: Any, upstream: Tensor, tensors: int, steps: Callable[..., Tensor], options: int
) -> tuple[Tensor | None, ...]:
    """The gradients as what has gradients in its turn: by autograd, through the single *steps* of what was given."""
    given = ctx.saved_tensors[:tensors]
    asked = [x is not None and needs for x, needs in zip(given, ctx.needs_input_grad, strict=False)]
    wanted = [x for x, is_asked in zip(given, asked, strict=True) if is_asked]
    found = iter(torch.autograd.grad(steps(*given), wanted, upstream, create_graph=True))
    return (*(next(found) if is_asked else None for is_asked in asked), *[None] * options)


def _lstm_steps(
    inputs: Tensor,
    recurrent: Tensor,
    peephole: Tensor | None,
    h: Tensor,
    c: Tensor,
    mask: Tensor | None,
    keep: Tensor | None,
    clip: float,
) -> Tensor:
    return _each(inputs, mask, keep, (h, c), _lstm_step(recurrent, peephole, clip))[0]


def _lstm_step(recurrent: Tensor, peephole: Tensor | None, clip: float) -> Callable[..., tuple[Tensor, ...]]:
    def step(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        i, f, g, o = _bounded(x + h @ recurrent, clip).chunk(4, 1)
        if peephole is not None:
            i, f = i + peephole[0] * c, f + peephole[1] * c
        new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o if peephole is None else o + peephole[2] * new) * torch.tanh(new), new

    return step


def _gru_steps(inputs: Tensor, recurrent: Tensor, h: Tensor, mask: Tensor | None, clip: float) -> Tensor:
    def step(x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        into, around = (_bounded(part, clip).chunk(3, 1) for part in (x, h @ recurrent))
        z, r = (torch.sigmoid(into[k] + around[k]) for k in range(2))
        return ((1 - z) * h + z * torch.tanh(_bounded(into[2] + r * around[2], clip)),)

    return _each(inputs, mask, None, (h,), step)[0]


def _rnn_steps(
    inputs: Tensor, recurrent: Tensor, h: Tensor, mask: Tensor | None, keep: Tensor | None, bend: Bend, clip: float
) -> Tensor:
    return _each(inputs, mask, keep, (h,), lambda x, h: (bend.apply(_bounded(x + h @ recurrent, clip)),))[0]


def _each(
    inputs: Tensor,
    mask: Tensor | None,
    keep: Tensor | None,
    states: tuple[Tensor, ...],
    step: Callable[..., tuple[Tensor, ...]],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The outputs of steps that PyTorch differentiates, and the last states."""
    made = []
    for t, now in enumerate(inputs.unbind()):
        after = step(now, *(state if keep is None else state * keep[t] for state in states))
        if mask is not None:
            after = tuple(torch.where(mask[t], new, old) for new, old in zip(after, states, strict=True))
        states = after
        made.append(states[0])
    return torch.stack(made), states


def _bounded(x: Tensor, bound: float) -> Tensor:
    """*x*, with its gradient clipped."""
    clipped: Tensor = Clipped.apply(x, -bound, bound) if bound else x  # type: ignore[no-untyped-call]  # torch's
    return clipped
