"""Lstm: the LSTM of a fork, with its own order of blobs and gradients of its own."""

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value, cast, fixed
from nets.fillers import Filler
from nets.layer import LAYERS, Shape
from nets.layers.clipping import Clipped
from nets.layers.plain import applied
from nets.layers.recurrent import LSTM
from protos.errors import NetError
from protos.schema import LayerParameter


@LAYERS("Lstm")
class Lstm(LSTM):
    """i, f, o = sigmoid, g = tanh of W_x x + b + W_h h; c = f c + i g; h = o tanh(c); the states begin at 0.

    bottoms: x (T x N x any, or with batch_size or two axes T N x any, whose rows are the N items of each step), and
    clip, if any (T N values): where it is 0 the states begin anew, and the first step takes up where the last pass
    ended; top: h (T x N x D, or T N x D). Options: num_output (D), batch_size (1), weight_filler, bias_filler
    (constant 0), clipping_threshold (0: none; the most that a gradient of a gate's input may be, each by itself).
    With clip the gradient of weight_h is the fork's: it counts the states at which a step began anew, too, and of those
    that the last pass left the first item's alone.
    Blobs: weight_x (4D x I), weight_h (4D x D), bias (4D); gates in the order i, f, o, g.
    Source: junhyukoh's and CTPN's layer of this name.
    """

    message = "lstm_param"
    options = frozenset({"num_output", "batch_size", "weight_filler", "bias_filler", "clipping_threshold"})
    hints = frozenset()
    bottoms = (1, 2)
    tops = (1, 1)
    blob_names = ("weight_x", "weight_h", "bias")

    def __init__(self, batch: int | None = None, clipping: float = 0.0) -> None:
        """*batch*: the items of each step, where steps and items share an axis."""
        super().__init__(has_static=False, expose_hidden=False)
        self.batch = batch
        self.clipping = clipping
        self.weight_s = None

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, x = proto.lstm_param, bottoms[0]
        joined = p.HasField("batch_size") or len(x) == 2
        if len(x) < 2 or (joined and (p.batch_size < 1 or x[0] % p.batch_size)):
            raise NetError(f"x must be T x N x any, or T N x any where N is the batch_size {p.batch_size}")
        count = x[0] if joined else x[0] * x[1]
        if len(bottoms) == 2 and torch.Size(bottoms[1]).numel() != count:
            raise NetError(f"its second bottom needs {count} values, one for each item at each step")
        if not p.num_output:
            raise NetError("num_output must be set and positive")
        if p.clipping_threshold < 0:
            raise NetError(f"clipping_threshold must not be negative, not {p.clipping_threshold:g}")
        layer = cls(p.batch_size if joined else None, p.clipping_threshold)
        rows, weight = 4 * p.num_output, Filler.from_proto(p.weight_filler)
        layer.add_blob("weight_x", (rows, torch.Size(x[1 if joined else 2 :]).numel()), weight)
        layer.add_blob("weight_h", (rows, p.num_output), weight)
        layer.add_blob("bias", (rows,), Filler.from_proto(p.bias_filler))
        return layer

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][: 1 if self.batch else 2], self.weight_h.shape[1])]

    def sequence(self, x: Tensor, *clip: Tensor) -> Tensor | tuple[Tensor, ...]:
        steps = x
        if self.batch:  # the number of steps is a fixed one to what follows the pass, torch.export too
            steps = torch.unflatten(x, 0, (int(x.shape[0]) // self.batch, self.batch))
        kept = (clip[0] != 0).to(x.dtype).view(steps.shape[:2]) if clip else None
        if torch.is_grad_enabled() and (kept is not None or self.clipping):
            top = self._stepwise(steps.flatten(2), kept)
        elif kept is not None:
            top = super().sequence(steps, kept)  # type: ignore[assignment]
        else:
            zeros = (steps.new_zeros(1, steps.shape[1], self.weight_h.shape[1]),) * 2
            top, _ = self.run(steps.flatten(2), zeros, *self.weights())
        return top.flatten(0, 1) if self.batch else top

    def _stepwise(self, x: Tensor, kept: Tensor | None) -> Tensor:
        """All outputs, step by step, for gradients that are not the derivative."""
        weight, recurrent, bias = self.weights()
        shape = (1, x.shape[1], recurrent.shape[1])
        h, c = (x.new_zeros(shape[1:]),) * 2 if kept is None else (state[0] for state in self._first(x, shape))
        hidden = []
        for t, step in enumerate(F.linear(x, weight, bias)):
            keep = x.new_full((1, 1), t > 0) if kept is None else kept[t, :, None]
            gates = step + applied(_Fed, h, keep, recurrent, t == 0)
            if self.clipping:
                gates = applied(Clipped, gates, -self.clipping, self.clipping)
            i, f, g, o = gates.chunk(4, 1)
            c = torch.sigmoid(f) * (keep * c) + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            hidden.append(h)
        if kept is not None and not h.is_meta:
            self.carried = (h[None].detach(), c[None].detach())
        return torch.stack(hidden)

    def emit(self, g: Emitter, x: Value, *clip: Value) -> tuple[Value, ...]:
        steps = x
        if self.batch or len(x.shape) != 3:
            size = (-1, self.batch) if self.batch else (0, 0)
            steps = g.op("Reshape", x, g.constant([*size, self.weight_x.shape[1]], "steps"))
            steps.shape = (None, self.batch or x.shape[1], self.weight_x.shape[1])
        if clip:
            count = self.batch or fixed(x, [1])[0]
            begins = g.op("Equal", clip[0], g.constant(0.0, "zero"))
            kept = g.op("Reshape", cast(g, g.op("Not", begins)), g.constant([-1, count], "items"))
            (top,) = super().emit(g, steps, kept)
        else:
            top, *_ = self._emit_whole(g, steps, ())
        return (g.op("Reshape", top, g.constant([-1, self.weight_h.shape[1]], "rows")) if self.batch else top,)


class _Fed(torch.autograd.Function):
    """What the outputs of the step before, where kept, give to the gates; the weights' gradient is the fork's."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, keep: Tensor, weight: Tensor, first: bool) -> Tensor:
        ctx.save_for_backward(h, keep, weight)
        ctx.first = first
        return (keep * h) @ weight.t()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, Tensor, None]:
        h, keep, weight = ctx.saved_tensors
        count, upstream = 1 if ctx.first else len(h), upstream.to(weight)  # another type under autocast
        return keep * (upstream @ weight), None, upstream[:count].t() @ h[:count].to(weight), None
