"""CtcLoss, LabelsequenceAccuracy, ContinuationIndicator and Reverse, which forks for reading lines of text have."""

from collections.abc import Iterable, Sequence
from typing import Self

import torch
from torch import Tensor

from nets.emitter import Emitter, Value
from nets.layer import LAYERS, Layer, Shape, canonical_axis, not_in_place, shape_text
from nets.layers.loss import Loss, check_labels
from protos.errors import NetError
from protos.schema import LayerParameter

NEVER = -1e30  # the logarithm of the probability of what cannot be; infinities would make gradients NaN


@LAYERS("CtcLoss")
class CtcLoss(Loss):
    """-log of the probability that a line reads as its labels, in the mean over the lines.

    bottoms: scores T x N x C, of which it takes the softmax itself, and labels N x L, where blank_label stands for
    nothing; top: scalar. A reading has a label or a blank at each of T times: equal neighbours are one, then blanks go.
    A line that T times are too short for counts 0. As in the original, the gradient is that of the sum over the lines
    and not of the mean. torch's ctc_loss has no form that a CUDA graph can hold.
    Options: alphabet_size (C), time_step (T), blank_label (0). Source: the layer of this name around Baidu's warp-ctc.
    """

    message = "ctc_loss_param"
    options = frozenset({"alphabet_size", "time_step", "blank_label"})
    activates = True
    labels = (1,)

    def __init__(self, blank: int = 0) -> None:
        super().__init__()
        self.blank = blank

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, (x, label) = proto.ctc_loss_param, bottoms
        if len(x) != 3 or len(label) < 2 or label[0] != x[1]:
            raise NetError("its bottoms must be T x N x C and N x L")
        for name, value, size in (("time_step", p.time_step, x[0]), ("alphabet_size", p.alphabet_size, x[2])):
            if value != size:
                raise NetError(f"{name} {value} must be set to the {size} of its first bottom, {shape_text(x)}")
        if not 0 <= p.blank_label < x[2]:
            raise NetError(f"blank_label {p.blank_label} must be 0 to {x[2] - 1}")
        return cls(p.blank_label)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        check_labels(label.long(), x.shape[2], None)
        losses = self._losses(torch.log_softmax(x, 2), label.flatten(1).long())
        total = losses.sum()
        return total + (total / max(1, len(losses)) - total).detach()

    def _losses(self, logs: Tensor, label: Tensor) -> Tensor:
        """The loss of each line (N), by the forward variables: the best reached ends of all beginnings of readings."""
        labels, lengths = packed(label, label != self.blank, self.blank)
        states = torch.full((len(label), 2 * labels.shape[1] + 1), self.blank, device=label.device)
        states[:, 1::2] = labels
        # A label may follow the last but one state, over the blank between, if it is another label than that.
        skips = states[:, 2:] != states[:, :-2]
        skips &= states[:, 2:] != self.blank
        reached = logs.new_full(states.shape, NEVER)
        reached[:, :2] = 0  # a reading begins with a blank or its first label
        nothing = torch.full_like(reached[:, :1], NEVER)
        for t, step in enumerate(logs):
            if t:
                over = reached[:, :-2].where(skips, NEVER)
                ways = (reached, torch.cat((nothing, reached[:, :-1]), 1), torch.cat((nothing, nothing, over), 1))
                reached = torch.logsumexp(torch.stack(ways), 0)
            reached = reached + step.gather(1, states)
        ends = 2 * lengths[:, None]
        blank_last = reached.gather(1, ends)[:, 0]
        label_last = reached.gather(1, (ends - 1).clamp(min=0))[:, 0].where(lengths > 0, NEVER)
        total = torch.logaddexp(blank_last, label_last)
        return (-total).where(total > NEVER / 2, 0)

    def predict(self, x: Tensor) -> Tensor:
        return torch.softmax(x, 2)

    def emit(self, g: Emitter, x: Value, *labels: Value) -> Value:
        return g.op("Softmax", x, axis=2)


def packed(values: Tensor, kept: Tensor, rest: int) -> tuple[Tensor, Tensor]:
    """The *kept* of each row of *values*, in their order, at its start, and *rest* behind them; how many they are."""
    order = torch.argsort((~kept).to(torch.uint8), dim=1, stable=True)
    return values.where(kept, rest).gather(1, order), kept.sum(1)


@LAYERS("LabelsequenceAccuracy")
class LabelsequenceAccuracy(Layer):
    """The share of lines whose likeliest reading is their labels: the greatest score at each time, equal neighbours
    once, without blanks.

    bottoms: scores N x T x C, labels N x L, where blank_label stands for nothing; top: scalar.
    Options: blank_label (0).
    """

    differentiable = False
    message = "labelsequence_accuracy_param"
    options = frozenset({"blank_label"})
    bottoms = (2, 2)

    def __init__(self, blank: int = 0) -> None:
        super().__init__()
        self.blank = blank

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        x, label = bottoms
        if len(x) != 3 or len(label) < 2 or label[0] != x[0]:
            raise NetError("its bottoms must be N x T x C and N x L")
        return cls(proto.labelsequence_accuracy_param.blank_label)

    @torch.no_grad()
    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        best, wanted = x.argmax(2), label.flatten(1).long()
        before = torch.cat((torch.full_like(best[:, :1], self.blank), best[:, :-1]), 1)
        found, _ = packed(best, (best != self.blank) & (best != before), -1)
        sought, _ = packed(wanted, wanted != self.blank, -1)
        width = max(found.shape[1], sought.shape[1])
        pairs = [torch.nn.functional.pad(one, (0, width - one.shape[1]), value=-1) for one in (found, sought)]
        right = (pairs[0] == pairs[1]).all(1)
        return right.sum().to(torch.promote_types(x.dtype, torch.float32)) / max(1, len(x))


@LAYERS("ContinuationIndicator")
class ContinuationIndicator(Layer):
    """What LSTM and RNN take for lines of time_step steps each: 0 at the first step, 1 at all others.

    top: time_step x batch_size; with one bottom time_step x the size of its axis.
    Options: time_step, batch_size, axis (0).
    """

    message = "continuation_indicator_param"
    options = frozenset({"time_step", "batch_size", "axis"})
    bottoms = (0, 1)
    differentiable = False
    place: Tensor

    def __init__(self, steps: int, batch: int, axis: int) -> None:
        super().__init__()
        self.steps = steps
        self.batch = batch
        self.axis = axis
        self.register_buffer("place", torch.empty(0), persistent=False)  # it knows the device

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        p = proto.continuation_indicator_param
        if not p.time_step:
            yield "continuation_indicator_param.time_step must be set and positive"
        if bool(proto.bottom) == bool(p.batch_size):
            yield "takes a bottom, for the size of its axis, or else continuation_indicator_param.batch_size"

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.continuation_indicator_param
        return cls(p.time_step, p.batch_size, canonical_axis(p.axis, len(bottoms[0])) if bottoms else 0)

    @torch.no_grad()
    def forward(self, *bottoms: Tensor) -> Tensor:
        batch = bottoms[0].shape[self.axis] if bottoms else self.batch
        found = torch.ones((self.steps, batch), device=bottoms[0].device if bottoms else self.place.device)
        found[0] = 0
        return found

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(self.steps, bottoms[0][self.axis] if bottoms else self.batch)]

    def emit(self, g: Emitter, *bottoms: Value) -> Value:
        column = torch.ones(self.steps, 1)
        column[0] = 0
        if not bottoms:
            return g.constant(column.expand(-1, self.batch), "cont")
        size = g.op("Gather", g.op("Shape", bottoms[0]), g.constant([self.axis], "axis"))
        return g.op("Expand", g.constant(column, "cont"), g.op("Concat", g.constant([1], "one"), size, axis=0))


@LAYERS("Reverse")
class Reverse(Layer):
    """The bottom from its end to its start along an axis. bottom, top: any shape, equal. Options: axis (0)."""

    alike = True
    message = "reverse_param"
    options = frozenset({"axis"})

    def __init__(self, axis: int = 0) -> None:
        super().__init__()
        self.axis = axis

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        return not_in_place(proto)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        return cls(canonical_axis(proto.reverse_param.axis, len(bottoms[0])))

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(self.axis)

    def emit(self, g: Emitter, x: Value) -> Value:
        ends = ((-1, "from"), (-(2**62), "to"), (self.axis, "along"), (-1, "by"))
        return g.op("Slice", x, *(g.constant([n], name) for n, name in ends))
