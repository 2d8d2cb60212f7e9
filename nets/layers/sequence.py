"""SimpleRNN, PeepholeLSTM and GRU over N x T x any, which Lasagne's nets need."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value
from nets.fillers import Filler
from nets.layer import LAYERS, Layer, Shape
from nets.layers.clipping import Clipped
from nets.layers.plain import applied, is_followed
from nets.layers.product import linear_beside_steps
from nets.layers.unrolled import BENDS, Way, gru, lstm, rnn
from protos.errors import NetError
from protos.schema import LayerParameter, SequenceParameter

States = tuple[Tensor, ...]
ACTIVATIONS = {"LINEAR": "Identity", "RELU": "Relu", "TANH": "Tanh", "SIGMOID": "Sigmoid"}
FUNCTIONS = {kind: bend.apply for kind, bend in BENDS.items()}


@dataclass(frozen=True)
class Run(Way):
    """How a sequence is run, see ``_Sequence``. ``given``: the states whose first values are bottoms."""

    steps: int = 0
    given: tuple[int, ...] = ()


class _Sequence(Layer):
    """What the three share: the run over time.

    bottoms: x (N x T x any), and a mask (N x T) if any, 0 where a step leaves the states, and the first values (N x D)
    of the states that ``given_state`` lists, 0 being the output; top: N x T x D, or with ``last_only`` N x D.
    Options: num_output (D), backwards (false), last_only (false), clip_gradients (0: not; keeps those of what goes into
    the activations between -it and it), gradient_steps (0: all; how many of the last steps have a gradient),
    given_state, fillers; SimpleRNN and PeepholeLSTM have activation (TANH), the gated ones gate (each one's activation)
    besides. Blobs: weight (gates * D x inputs), recurrent (gates * D x D), bias (gates * D), first (states x D), the
    states in front of the first step.
    """

    message = "sequence_param"
    options = frozenset({"num_output", "backwards", "last_only", "weight_filler", "bias_filler", "clip_gradients",
                         "gradient_steps", "given_state"})  # fmt: skip
    bottoms = (1, 4)
    blob_names: ClassVar[tuple[str, ...]] = ("weight", "recurrent", "bias", "first")
    gates: ClassVar[tuple[str, ...]] = ("",)
    states: ClassVar[int] = 1
    weight: Tensor
    recurrent: Tensor
    bias: Tensor
    first: Tensor

    def __init__(self, inputs: int, units: int, run: Run, fillers: tuple[Filler, Filler]) -> None:
        super().__init__()
        self.units = units
        self.run = run
        self.activation = "TANH"
        self.gate = self.gates
        wide = len(self.gates) * units
        self.add_blob("weight", (wide, inputs), fillers[0])
        self.add_blob("recurrent", (wide, units), fillers[0])
        self.add_blob("bias", (wide,), fillers[1])
        self.add_blob("first", (self.states, units), Filler())

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.sequence_param
        if p.num_output <= 0:
            raise NetError("num_output must be set and positive")
        given, front = tuple(p.given_state), len(bottoms) - len(p.given_state)
        if any(state >= cls.states for state in given) or not 1 <= front <= 2:
            raise NetError(
                f"its bottoms are x, a mask if any, and the {len(given)} of given_state, each below {cls.states}"
            )
        if len(bottoms[0]) < 3 or any(mask != bottoms[0][:2] for mask in bottoms[1:front]):
            raise NetError("x must be N x T x any, and the mask N x T")
        if any(first != (bottoms[0][0], p.num_output) for first in bottoms[front:]):
            raise NetError(f"first states must be N x {p.num_output}")
        inputs = torch.Size(bottoms[0][2:]).numel()
        fillers = Filler.from_proto(p.weight_filler), Filler.from_proto(p.bias_filler)
        run = Run(p.backwards, p.last_only, p.clip_gradients, p.gradient_steps, given)
        layer = cls(inputs, p.num_output, run, fillers)
        layer.activation = SequenceParameter.Activation.Name(p.activation)
        if p.gate:
            layer.gate = tuple(SequenceParameter.Activation.Name(kind) for kind in p.gate)
        if len(layer.gate) != len(cls.gates):
            raise NetError(f"gate needs {len(cls.gates)} activations, one a gate")
        return layer

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        flat, mask, given = x.flatten(2), *self._others(others)
        inputs = linear_beside_steps(flat, self.weight.to(flat.dtype), self.bias.to(flat.dtype))
        kind = inputs.dtype
        states: States = tuple(
            given[i].to(kind) if i in given else row.to(kind).expand(x.shape[0], -1) for i, row in enumerate(self.first)
        )
        if self.is_usual and not (self.run.steps or inputs.is_meta or is_followed()):
            return self.at_once(inputs, self.recurrent.t().to(kind), states, mask)
        order = list(range(x.shape[1]))
        tops: list[Tensor] = []
        for done, t in enumerate(reversed(order) if self.run.backwards else order):
            if self.run.steps and done == len(order) - self.run.steps:
                states, tops = tuple(state.detach() for state in states), [top.detach() for top in tops]
            after = tuple(state.to(kind) for state in self.step(inputs[:, t], states))
            if mask is not None:
                on = mask[:, t, None] != 0
                after = tuple(torch.where(on, new, old) for new, old in zip(after, states, strict=True))
            states = after
            tops.append(states[0])
        if self.run.last_only:
            return states[0]
        return torch.stack(tops[::-1] if self.run.backwards else tops, 1)

    def _others(self, others: Sequence[Any]) -> tuple[Any, dict[int, Any]]:
        """The mask, or None, and the first states that are bottoms."""
        front = len(others) - len(self.run.given)
        return others[0] if front else None, dict(zip(self.run.given, others[front:], strict=True))

    @property
    def is_usual(self) -> bool:
        """Whether ``at_once`` knows its activations."""
        return self.gate == self.gates

    def at_once(self, inputs: Tensor, recurrent: Tensor, states: States, mask: Tensor | None) -> Tensor:
        """The top, by one operator that makes all steps; *recurrent* is D x gates * D."""
        raise NotImplementedError

    def clip(self, x: Tensor) -> Tensor:
        """*x*, with its gradient clipped."""
        bound = self.run.clip
        clipped: Tensor = applied(Clipped, x, -bound, bound) if bound else x
        return clipped

    def step(self, inputs: Tensor, states: States) -> States:
        """The states behind a step, the output first, from the gates' inputs and the states in front of it."""
        raise NotImplementedError

    def emit_step(self, g: Emitter, inputs: Value, states: tuple[Value, ...]) -> tuple[Value, ...]:
        """The same in ONNX."""
        raise NotImplementedError

    def emit(self, g: Emitter, x: Value, *others: Value) -> Value:
        mask, given = self._others(others)
        flat = x if len(x.shape) == 3 else g.op("Reshape", x, g.constant([0, 0, -1], "rows"))
        steps = self._in_order(g, g.op("Transpose", flat, perm=[1, 0, 2]))
        inputs = g.op("Add", g.op("MatMul", steps, g.constant(self.weight.t(), "weight_t")), g.blob("bias"))
        rows = g.op("Gather", steps, g.constant(0, "front"), axis=0)
        nothing = g.op("MatMul", rows, g.constant(torch.zeros(self.weight.shape[1], self.units), "nothing"))
        states = [
            given[i] if i in given else g.op("Add", nothing, g.constant(row, "first"))
            for i, row in enumerate(self.first)
        ]
        masks = () if mask is None else (self._in_order(g, g.op("Transpose", mask, perm=[1, 0])),)

        def body(before: tuple[Value, ...], step: tuple[Value, ...]) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
            after = self.emit_step(g, step[0], before)
            if len(step) > 1:
                on = g.op("Unsqueeze", step[1], g.constant([1], "last"))
                change = [g.op("Mul", on, g.op("Sub", new, old)) for new, old in zip(after, before, strict=True)]
                after = tuple(g.op("Add", old, by) for old, by in zip(before, change, strict=True))
            return after, (after[0],)

        *last, tops = g.scan(body, states, (inputs, *masks))
        if self.run.last_only:
            return last[0]
        return g.op("Transpose", self._in_order(g, tops), perm=[1, 0, 2])

    def _in_order(self, g: Emitter, steps: Value) -> Value:
        """The steps along the first axis, in the order of the run."""
        if not self.run.backwards:
            return steps
        ends = g.constant([-1], "starts"), g.constant([-(2**31)], "ends"), g.constant([0], "time")
        return g.op("Slice", steps, *ends, g.constant([-1], "step"))

    def _emit_split(self, g: Emitter, inputs: Value) -> list[Value]:
        sizes = g.constant([self.units] * len(self.gates), "units")
        return list(g.ops("Split", len(self.gates), inputs, sizes, axis=1))

    def _emit_recurrent(self, g: Emitter, h: Value) -> Value:
        return g.op("MatMul", h, g.constant(self.recurrent.t(), "recurrent_t"))


@LAYERS("SimpleRNN")
class SimpleRNN(_Sequence):
    """h = activation(weight x + recurrent h + bias). Caffe's RNN has a second transformation behind it.

    bottoms, top, options, blobs: as of all three, see this module; activation: TANH, RELU, SIGMOID, LINEAR.
    Source: this project, for Lasagne's RecurrentLayer.
    """

    options = _Sequence.options | {"activation"}
    gates = ("",)

    def at_once(self, inputs: Tensor, recurrent: Tensor, states: States, mask: Tensor | None) -> Tensor:
        return rnn(inputs, recurrent, states[0], mask, BENDS[self.activation], self.run)

    def step(self, inputs: Tensor, states: States) -> States:
        total = self.clip(inputs + F.linear(states[0], self.recurrent.to(inputs.dtype)))
        return (FUNCTIONS[self.activation](total),)

    def emit_step(self, g: Emitter, inputs: Value, states: tuple[Value, ...]) -> tuple[Value, ...]:
        return (g.op(ACTIVATIONS[self.activation], g.op("Add", inputs, self._emit_recurrent(g, states[0]))),)


@LAYERS("PeepholeLSTM")
class PeepholeLSTM(_Sequence):
    """Gates i, f, g, o of weight x + recurrent h + bias; i and f see c, o sees the new c.

    c = sigmoid(f + p_f c) c + sigmoid(i + p_i c) tanh(g); h = sigmoid(o + p_o c) activation(c).
    bottoms, top, options, blobs: as of all three, see this module, the states h and c, and peephole (3 x D: i, f, o).
    Source: this project, for Lasagne's LSTMLayer; Caffe's LSTM has no peepholes.
    """

    blob_names = ("weight", "recurrent", "bias", "first", "peephole")
    options = _Sequence.options | {"activation", "gate"}
    gates = ("SIGMOID", "SIGMOID", "TANH", "SIGMOID")
    states = 2
    peephole: Tensor

    def __init__(self, inputs: int, units: int, run: Run, fillers: tuple[Filler, Filler]) -> None:
        super().__init__(inputs, units, run, fillers)
        self.add_blob("peephole", (3, units), fillers[0])

    @property
    def is_usual(self) -> bool:
        return super().is_usual and self.activation == "TANH"

    def at_once(self, inputs: Tensor, recurrent: Tensor, states: States, mask: Tensor | None) -> Tensor:
        h, c = states
        return lstm(inputs, recurrent, self.peephole.to(inputs.dtype), (h, c), mask, self.run)

    def step(self, inputs: Tensor, states: States) -> States:
        h, c = states
        look, act = self.peephole.to(inputs.dtype), [FUNCTIONS[kind] for kind in self.gate]
        i, f, new, o = self.clip(inputs + F.linear(h, self.recurrent.to(inputs.dtype))).chunk(4, 1)
        c = act[1](f + look[1] * c) * c + act[0](i + look[0] * c) * act[2](new)
        return act[3](o + look[2] * c) * FUNCTIONS[self.activation](c), c

    def emit_step(self, g: Emitter, inputs: Value, states: tuple[Value, ...]) -> tuple[Value, ...]:
        h, c = states
        i, f, new, o = self._emit_split(g, g.op("Add", inputs, self._emit_recurrent(g, h)))

        kinds = [ACTIVATIONS[kind] for kind in self.gate]

        def gate(x: Value, cell: Value, row: int, kind: str) -> Value:
            seen = g.op("Mul", cell, g.constant(self.peephole[row], "peephole"))
            return g.op(kind, g.op("Add", x, seen))

        kept, added = g.op("Mul", gate(f, c, 1, kinds[1]), c), g.op("Mul", gate(i, c, 0, kinds[0]), g.op(kinds[2], new))
        after = g.op("Add", kept, added)
        return g.op("Mul", gate(o, after, 2, kinds[3]), g.op(ACTIVATIONS[self.activation], after)), after


@LAYERS("GRU")
class GRU(_Sequence):
    """z, r: sigmoid of their gates; n = tanh(weight x + bias + r * recurrent h); h = (1 - z) h + z n.

    bottoms, top, options, blobs: as of all three, see this module; gates in the order z, r, n.
    Source: this project, for Lasagne's GRULayer, whose z weights the new state (torch's the old one).
    """

    options = _Sequence.options | {"gate"}
    gates = ("SIGMOID", "SIGMOID", "TANH")

    def at_once(self, inputs: Tensor, recurrent: Tensor, states: States, mask: Tensor | None) -> Tensor:
        return gru(inputs, recurrent, states[0], mask, self.run)

    def step(self, inputs: Tensor, states: States) -> States:
        h, act = states[0], [FUNCTIONS[kind] for kind in self.gate]
        zx, rx, nx = self.clip(inputs).chunk(3, 1)
        zh, rh, nh = self.clip(F.linear(h, self.recurrent.to(inputs.dtype))).chunk(3, 1)
        z = act[0](zx + zh)
        return ((1 - z) * h + z * act[2](self.clip(nx + act[1](rx + rh) * nh)),)

    def emit_step(self, g: Emitter, inputs: Value, states: tuple[Value, ...]) -> tuple[Value, ...]:
        h = states[0]
        zx, rx, nx = self._emit_split(g, inputs)
        zh, rh, nh = self._emit_split(g, self._emit_recurrent(g, h))
        kinds = [ACTIVATIONS[kind] for kind in self.gate]
        z = g.op(kinds[0], g.op("Add", zx, zh))
        r = g.op(kinds[1], g.op("Add", rx, rh))
        new = g.op(kinds[2], g.op("Add", nx, g.op("Mul", r, nh)))
        return (g.op("Add", h, g.op("Mul", z, g.op("Sub", new, h))),)
