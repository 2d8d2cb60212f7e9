"""All steps of a recurrent layer as one operator, whose gradient needs a few operators a step."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nets.layers.clipping import Clipped
from nets.layers.product import add_matmul_, matmul

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
    return _in_order(inputs, mask, way, lambda x, on: _LSTM.apply(x, recurrent, peephole, *first, on, way.clip))  # type: ignore[no-untyped-call]  # torch's


def gru(inputs: Tensor, recurrent: Tensor, first: Tensor, mask: Tensor | None, way: Way) -> Tensor:
    """The outputs of all steps, or of the last: (1 - z) h + z n, n = tanh(its input + r * its recurrent product).

    z and r are sigmoids. *inputs*: N x T x 3D, for z, r and n; *recurrent*: D x 3D; the others as for ``lstm``.
    """
    return _in_order(inputs, mask, way, lambda x, on: _GRU.apply(x, recurrent, first, on, way.clip))  # type: ignore[no-untyped-call]  # torch's


def rnn(inputs: Tensor, recurrent: Tensor, first: Tensor, mask: Tensor | None, bend: Bend, way: Way) -> Tensor:
    """The outputs of all steps, or of the last: *bend* of the input and the recurrent product.

    *inputs*: N x T x D; *recurrent*: D x D; the others as for ``lstm``.
    """
    return _in_order(inputs, mask, way, lambda x, on: _RNN.apply(x, recurrent, first, on, bend, way.clip))  # type: ignore[no-untyped-call]  # torch's


def _in_order(inputs: Tensor, mask: Tensor | None, way: Way, run: Callable[[Tensor, Tensor | None], Any]) -> Tensor:
    """What *run* makes of the inputs and the mask, as N x T x 1, both in the order of the steps."""
    on = None if mask is None else (mask != 0)[..., None]
    if way.backwards:
        inputs, on = inputs.flip(1), None if on is None else on.flip(1)
    made: Tensor = run(inputs, on)
    if way.last_only:
        return made[:, -1]
    return made.flip(1) if way.backwards else made


def _by_time(x: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """A copy of N x T x any whose steps lie along the first axis, so that one step's values lie together, and room for
    the outputs behind *first*."""
    steps = x.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    outputs = first.new_empty(len(steps) + 1, *first.shape)
    outputs[0].copy_(first)
    return steps, outputs


def _by_item(steps: Tensor) -> Tensor:
    return steps.transpose(0, 1).clone(memory_format=torch.contiguous_format)


def _leave(mask: Tensor | None, t: int, *states: tuple[Tensor, ...]) -> None:
    """Put back what step *t* is to leave; *states*: the first, and those behind each step."""
    if mask is not None:
        for state in states:
            torch.where(mask[:, t], state[t + 1], state[t], out=state[t + 1])


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
        clip: float,
    ) -> Tensor:
        """The outputs."""
        gates, outputs = _by_time(inputs, h)
        cells, bent = torch.empty_like(outputs), torch.empty_like(outputs[1:])  # bent: tanh of the new cells
        cells[0].copy_(c)
        parted = torch.unflatten(gates, 2, (4, -1))
        now, sees, hs, cs, bends = (x.unbind() for x in (gates, parted[:, :, :2], outputs, cells, bent))
        i, f, g, o = (part.unbind() for part in parted.unbind(2))
        for t in range(len(now)):
            add_matmul_(now[t], hs[t], recurrent)
            if peephole is not None:
                sees[t].addcmul_(cs[t][:, None], peephole[:2])
            sees[t].sigmoid_()
            torch.mul(f[t], cs[t], out=cs[t + 1]).addcmul_(i[t], g[t].tanh_())
            if peephole is not None:
                o[t].addcmul_(cs[t + 1], peephole[2])
            torch.mul(o[t].sigmoid_(), torch.tanh(cs[t + 1], out=bends[t]), out=hs[t + 1])
            _leave(mask, t, cs, hs)
        ctx.clip = clip
        ctx.save_for_backward(inputs, recurrent, peephole, h, c, mask, gates, outputs, cells, bent)
        return _by_item(outputs[1:])

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradients of inputs, recurrent, peephole and first states."""
        if torch.is_grad_enabled():
            return _differentiable(ctx, upstream[0], 6, partial(_lstm_steps, clip=ctx.clip), 1)
        _, recurrent, peephole, _, _, mask, gates, outputs, cells, bent = ctx.saved_tensors
        (i, f, g, o), before = gates.chunk(4, 2), cells[:-1]
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
        arrived, dh, dc = upstream[0].unbind(1), torch.zeros_like(outputs[0]), torch.zeros_like(cells[0])
        for t in reversed(range(len(arrived))):
            dh = dh + arrived[t]
            if mask is not None:
                past = dh.masked_fill(mask[:, t], 0), dc.masked_fill(mask[:, t], 0)
                dh, dc = dh - past[0], dc - past[1]
            dc = torch.addcmul(dc, dh, into_cell[t])
            torch.mul(of_cell[t], dc[:, None], out=by_cell[t])
            torch.mul(of_output[t], dh, out=by_output[t])
            dh = matmul(all_found[t].clamp(-bound, bound) if bound else all_found[t], back)
            dc = dc * into_old[t]
            if mask is not None:
                dh, dc = dh + past[0], dc + past[1]
        of_peephole = None
        if peephole is not None:
            new = f * before + i * g
            seen = (found[:, :, 0] * before, found[:, :, 1] * before, found[:, :, 3] * new)
            of_peephole = torch.stack([one.sum((0, 1)) for one in seen])
        reached = _clamped(found, bound).flatten(2)
        return reached.transpose(0, 1), _of_recurrent(outputs, reached), of_peephole, dh, dc, None, None


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, recurrent: Tensor, h: Tensor, mask: Tensor | None, clip: float) -> Tensor:
        """The outputs."""
        (gates, outputs), two = _by_time(inputs, h), 2 * h.shape[1]
        around = torch.empty_like(outputs[1:])  # the recurrent products that go into n
        opened, hs, kept = (x.unbind() for x in (gates[:, :, :two], outputs, around))
        z, r, n = (part.unbind() for part in gates.chunk(3, 2))
        for t in range(len(kept)):
            product = matmul(hs[t], recurrent)
            opened[t].add_(product[:, :two]).sigmoid_()
            n[t].addcmul_(r[t], kept[t].copy_(product[:, two:])).tanh_()
            torch.lerp(hs[t], n[t], z[t], out=hs[t + 1])
            _leave(mask, t, hs)
        ctx.clip = clip
        ctx.save_for_backward(inputs, recurrent, h, mask, gates, outputs, around)
        return _by_item(outputs[1:])

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradients of inputs, recurrent and first."""
        if torch.is_grad_enabled():
            return _differentiable(ctx, upstream[0], 4, partial(_gru_steps, clip=ctx.clip), 1)
        _, recurrent, _, mask, gates, outputs, around = ctx.saved_tensors
        z, r, n = gates.chunk(3, 2)
        of_r = torch.stack((sigmoid_slope(around, r), r), 2)  # from n to r and to n's recurrent product
        of_z, of_n = sigmoid_slope(n - outputs[:-1], z), tanh_slope(z, n)
        into, reached = (gates.new_empty(*of_z.shape[:2], 3, of_z.shape[2]) for _ in range(2))
        from_z, from_n, from_r, kept = (x.unbind() for x in (of_z, of_n, of_r, 1 - z))
        by_z, by_n, by_r, all_reached = (
            x.unbind() for x in (reached[:, :, 0], into[:, :, 2], reached[:, :, 1:], reached.flatten(2))
        )
        back, bound, arrived, dh = recurrent.t(), ctx.clip, upstream[0].unbind(1), torch.zeros_like(outputs[0])
        for t in reversed(range(len(arrived))):
            dh = dh + arrived[t]
            past = None if mask is None else dh.masked_fill(mask[:, t], 0)
            dh = dh if past is None else dh - past
            new = _clamped(torch.mul(dh, from_n[t], out=by_n[t]), bound)
            torch.mul(dh, from_z[t], out=by_z[t])
            torch.mul(new[:, None], from_r[t], out=by_r[t])
            dh = add_matmul_(dh * kept[t], _clamped(all_reached[t], bound), back)
            dh = dh if past is None else dh + past
        into[:, :, :2] = reached[:, :, :2]
        return into.flatten(2).transpose(0, 1), _of_recurrent(outputs, reached.flatten(2)), dh, None, None


class _RNN(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, recurrent: Tensor, h: Tensor, mask: Tensor | None, bend: Bend, clip: float
    ) -> Tensor:
        """The outputs."""
        totals, outputs = _by_time(inputs, h)
        now, hs = totals.unbind(), outputs.unbind()
        for t in range(len(now)):
            bend.fill(add_matmul_(now[t], hs[t], recurrent), hs[t + 1])
            _leave(mask, t, hs)
        ctx.bend, ctx.clip = bend, clip
        ctx.save_for_backward(inputs, recurrent, h, mask, totals, outputs)
        return _by_item(outputs[1:])

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradients of inputs, recurrent and first."""
        if torch.is_grad_enabled():
            return _differentiable(ctx, upstream[0], 4, partial(_rnn_steps, bend=ctx.bend, clip=ctx.clip), 2)
        _, recurrent, _, mask, totals, outputs = ctx.saved_tensors
        slopes, reached = ctx.bend.slope(totals, outputs[1:]), torch.empty_like(totals)
        arrived, slope, by = upstream[0].unbind(1), slopes.unbind(), reached.unbind()
        back, dh = recurrent.t(), torch.zeros_like(outputs[0])
        for t in reversed(range(len(arrived))):
            dh = dh + arrived[t]
            past = None if mask is None else dh.masked_fill(mask[:, t], 0)
            now = torch.mul(dh if past is None else dh - past, slope[t], out=by[t])
            dh = matmul(_clamped(now, ctx.clip), back)
            dh = dh if past is None else dh + past
        return reached.transpose(0, 1), _of_recurrent(outputs, reached), dh, None, None, None


def _of_recurrent(outputs: Tensor, reached: Tensor) -> Tensor:
    """The gradient of the recurrent weights, from the outputs and the gradients of their products, by time."""
    return matmul(outputs[:-1].flatten(0, 1).t(), reached.flatten(0, 1))


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
    clip: float,
) -> Tensor:
    look = inputs.new_zeros(3, 1) if peephole is None else peephole

    def step(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        i, f, g, o = _bounded(x + h @ recurrent, clip).chunk(4, 1)
        new = torch.sigmoid(f + look[1] * c) * c + torch.sigmoid(i + look[0] * c) * torch.tanh(g)
        return torch.sigmoid(o + look[2] * new) * torch.tanh(new), new

    return _each(inputs, mask, (h, c), step)


def _gru_steps(inputs: Tensor, recurrent: Tensor, h: Tensor, mask: Tensor | None, clip: float) -> Tensor:
    def step(x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        into, around = (_bounded(part, clip).chunk(3, 1) for part in (x, h @ recurrent))
        z, r = (torch.sigmoid(into[k] + around[k]) for k in range(2))
        return ((1 - z) * h + z * torch.tanh(_bounded(into[2] + r * around[2], clip)),)

    return _each(inputs, mask, (h,), step)


def _rnn_steps(inputs: Tensor, recurrent: Tensor, h: Tensor, mask: Tensor | None, bend: Bend, clip: float) -> Tensor:
    return _each(inputs, mask, (h,), lambda x, h: (bend.apply(_bounded(x + h @ recurrent, clip)),))


def _each(
    inputs: Tensor, mask: Tensor | None, states: tuple[Tensor, ...], step: Callable[..., tuple[Tensor, ...]]
) -> Tensor:
    """The outputs of steps that PyTorch differentiates."""
    made = []
    for t in range(inputs.shape[1]):
        after = step(inputs[:, t], *states)
        if mask is not None:
            after = tuple(torch.where(mask[:, t], new, old) for new, old in zip(after, states, strict=True))
        states = after
        made.append(states[0])
    return torch.stack(made, 1)


def _bounded(x: Tensor, bound: float) -> Tensor:
    """*x*, with its gradient clipped."""
    clipped: Tensor = Clipped.apply(x, -bound, bound) if bound else x  # type: ignore[no-untyped-call]  # torch's
    return clipped
