"""All steps of a recurrent layer as one operator, whose gradient needs a few operators a step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nets.layers.plain import applied, is_followed
from nets.layers.unrolled.gru import GRU
from nets.layers.unrolled.lstm import LSTM, lstm_step
from nets.layers.unrolled.rnn import BENDS, RECTIFY, RNN, Bend
from nets.layers.unrolled.steps import each_step

__all__ = ["BENDS", "RECTIFY", "Bend", "Way", "gru", "kept_lstm", "kept_rnn", "lstm", "rnn"]


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
    return _in_order(
        inputs, mask, way, lambda x, on: applied(LSTM, x, recurrent, peephole, *first, on, None, way.clip)[0]
    )


def gru(inputs: Tensor, recurrent: Tensor, first: Tensor, mask: Tensor | None, way: Way) -> Tensor:
    """The outputs of all steps, or of the last: (1 - z) h + z n, n = tanh(its input + r * its recurrent product).

    z and r are sigmoids. *inputs*: N x T x 3D, for z, r and n; *recurrent*: D x 3D; the others as for ``lstm``.
    """
    return _in_order(inputs, mask, way, lambda x, on: applied(GRU, x, recurrent, first, on, way.clip))


def rnn(inputs: Tensor, recurrent: Tensor, first: Tensor, mask: Tensor | None, bend: Bend, way: Way) -> Tensor:
    """The outputs of all steps, or of the last: *bend* of the input and the recurrent product.

    *inputs*: N x T x D; *recurrent*: D x D; the others as for ``lstm``.
    """
    return _in_order(inputs, mask, way, lambda x, on: applied(RNN, x, recurrent, first, on, None, bend, way.clip))


def kept_lstm(
    inputs: Tensor, recurrent: Tensor, first: tuple[Tensor, Tensor], keep: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs of all steps, T x N x D, the last of them and the last cell, N x D, without a gradient.

    *inputs*: T x N x 4D; *keep*: T x N, by which the states in front of each step are multiplied; else as ``lstm``.
    """
    scale = None if keep is None else keep[..., None]
    if is_followed():
        made, states = each_step(inputs, None, scale, first, lstm_step(recurrent, None, 0.0))
        return made, states[0].detach(), states[1].detach()
    made, cell = applied(LSTM, inputs, recurrent, None, *first, None, scale, 0.0)
    return made, _alone(made[-1]), cell


def kept_rnn(
    inputs: Tensor, recurrent: Tensor, first: Tensor, keep: Tensor | None, bend: Bend
) -> tuple[Tensor, Tensor]:
    """The outputs of all steps, T x N x D, and the last, without a gradient. *inputs*: T x N x D; see ``kept_lstm``."""
    scale = None if keep is None else keep[..., None]
    if is_followed():
        made, (last,) = each_step(inputs, None, scale, (first,), lambda x, h: (bend.apply(x + h @ recurrent),))
        return made, last.detach()
    made = applied(RNN, inputs, recurrent, first, None, scale, bend, 0.0)
    return made, _alone(made[-1])


def _alone(state: Tensor) -> Tensor:
    """*state* without a gradient, and without the memory of the other steps, which outlives the pass with it."""
    return state.detach().clone()


def _in_order(inputs: Tensor, mask: Tensor | None, way: Way, run: Callable[[Tensor, Tensor | None], Any]) -> Tensor:
    """What *run* makes of the inputs and the mask, T x N x 1, both in the order of the steps."""
    steps, on = inputs.transpose(0, 1), None if mask is None else (mask != 0).t()[..., None]
    if way.backwards:
        steps, on = steps.flip(0), None if on is None else on.flip(0)
    made: Tensor = run(steps, on)
    if way.last_only:
        return made[-1]
    return (made.flip(0) if way.backwards else made).transpose(0, 1)
