"""A GRU as one operator."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from nets.layers.product import add_matmul_, matmul
from nets.layers.unrolled.states import States, clamped, copied, of_recurrent, sigmoid_slope, tanh_slope
from nets.layers.unrolled.steps import bounded, differentiable, each_step


class GRU(torch.autograd.Function):
    """Of what ``gru`` takes, by time; the mask T x N x 1: the outputs, T x N x D."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, recurrent: Tensor, h: Tensor, mask: Tensor | None, clip: float) -> Tensor:
        """The outputs."""
        gates, outputs, two = copied(inputs), States(h, len(inputs), None), 2 * h.shape[1]
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
        return copied(outputs.all[1:])

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradients of inputs, recurrent and first."""
        if torch.is_grad_enabled():
            return differentiable(ctx, upstream[0], 4, partial(gru_steps, clip=ctx.clip), 1)
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
            new = clamped(torch.mul(dh, from_n[t], out=by_n[t]), bound)
            torch.mul(dh, from_z[t], out=by_z[t])
            torch.mul(new[:, None], from_r[t], out=by_r[t])
            dh = add_matmul_(dh * kept[t], clamped(all_reached[t], bound), back)
            dh = dh if past is None else dh + past
        into[:, :, :2] = reached[:, :, :2]
        return into.flatten(2), of_recurrent(outputs, reached.flatten(2)), dh, None, None


def gru_steps(inputs: Tensor, recurrent: Tensor, h: Tensor, mask: Tensor | None, clip: float) -> Tensor:
    """The outputs, step by step."""

    def step(x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        into, around = (bounded(part, clip).chunk(3, 1) for part in (x, h @ recurrent))
        z, r = (torch.sigmoid(into[k] + around[k]) for k in range(2))
        return ((1 - z) * h + z * torch.tanh(bounded(into[2] + r * around[2], clip)),)

    return each_step(inputs, mask, None, (h,), step)[0]
