"""SimpleRNN, PeepholeLSTM and GRU over N x T x any, which Lasagne's nets need."""

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.emitter import Emitter, Value
from nets.fillers import Filler
from nets.layer import LAYERS, Layer, Shape
from protos.errors import NetError
from protos.schema import LayerParameter, SequenceParameter

States = tuple[Tensor, ...]
ACTIVATIONS = {"LINEAR": "Identity", "RELU": "Relu", "TANH": "Tanh", "SIGMOID": "Sigmoid"}


class _Sequence(Layer):
    """What the three share: the run over time.

    bottoms: x (N x T x any), and a mask (N x T) if any, 0 where a step leaves the states; top: N x T x D, or
    with ``last_only`` N x D. Options: num_output (D), backwards (false), last_only (false), fillers; SimpleRNN has
    activation (TANH) besides. Blobs: weight (gates * D x inputs), recurrent (gates * D x D), bias (gates * D), first
    (states x D), the states in front of the first step.
    """

    message = "sequence_param"
    options = frozenset({"num_output", "backwards", "last_only", "weight_filler", "bias_filler"})
    bottoms = (1, 2)
    labels = (1,)
    blob_names: ClassVar[tuple[str, ...]] = ("weight", "recurrent", "bias", "first")
    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1
    weight: Tensor
    recurrent: Tensor
    bias: Tensor
    first: Tensor

    def __init__(self, inputs: int, units: int, backwards: bool, last_only: bool, fillers: tuple[Filler, Filler]):
        super().__init__()
        self.units = units
        self.backwards = backwards
        self.last_only = last_only
        self.activation = "TANH"
        self.add_blob("weight", (self.gates * units, inputs), fillers[0])
        self.add_blob("recurrent", (self.gates * units, units), fillers[0])
        self.add_blob("bias", (self.gates * units,), fillers[1])
        self.add_blob("first", (self.states, units), Filler())

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.sequence_param
        if len(bottoms[0]) < 3 or any(mask != bottoms[0][:2] for mask in bottoms[1:]):
            raise NetError("x must be N x T x any, and the mask N x T")
        if p.num_output <= 0:
            raise NetError("num_output must be set and positive")
        inputs = torch.Size(bottoms[0][2:]).numel()
        fillers = Filler.from_proto(p.weight_filler), Filler.from_proto(p.bias_filler)
        layer = cls(inputs, p.num_output, p.backwards, p.last_only, fillers)
        layer.activation = SequenceParameter.Activation.Name(p.activation)
        return layer

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        flat = x.flatten(2)
        inputs = F.linear(flat, self.weight.to(flat.dtype), self.bias.to(flat.dtype))
        kind = inputs.dtype
        states: States = tuple(row.to(kind).expand(x.shape[0], -1) for row in self.first)
        steps = range(x.shape[1])
        tops = []
        for t in reversed(steps) if self.backwards else steps:
            after = tuple(state.to(kind) for state in self.step(inputs[:, t], states))
            if mask is not None:
                on = mask[:, t, None] != 0
                after = tuple(torch.where(on, new, old) for new, old in zip(after, states, strict=True))
            states = after
            tops.append(states[0])
        if self.last_only:
            return states[0]
        return torch.stack(tops[::-1] if self.backwards else tops, 1)

    def step(self, inputs: Tensor, states: States) -> States:
        """The states behind a step, the output first, from the gates' inputs and the states in front of it."""
        raise NotImplementedError

    def emit_step(self, g: Emitter, inputs: Value, states: tuple[Value, ...]) -> tuple[Value, ...]:
        """The same in ONNX."""
        raise NotImplementedError

    def emit(self, g: Emitter, x: Value, mask: Value | None = None) -> Value:
        flat = x if len(x.shape) == 3 else g.op("Reshape", x, g.constant([0, 0, -1], "rows"))
        steps = self._in_order(g, g.op("Transpose", flat, perm=[1, 0, 2]))
        inputs = g.op("Add", g.op("MatMul", steps, g.constant(self.weight.t(), "weight_t")), g.blob("bias"))
        rows = g.op("Gather", steps, g.constant(0, "front"), axis=0)
        nothing = g.op("MatMul", rows, g.constant(torch.zeros(self.weight.shape[1], self.units), "nothing"))
        states = [g.op("Add", nothing, g.constant(row, "first")) for row in self.first]
        masks = () if mask is None else (self._in_order(g, g.op("Transpose", mask, perm=[1, 0])),)

        def body(before: tuple[Value, ...], step: tuple[Value, ...]) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
            after = self.emit_step(g, step[0], before)
            if len(step) > 1:
                on = g.op("Unsqueeze", step[1], g.constant([1], "last"))
                change = [g.op("Mul", on, g.op("Sub", new, old)) for new, old in zip(after, before, strict=True)]
                after = tuple(g.op("Add", old, by) for old, by in zip(before, change, strict=True))
            return after, (after[0],)

        *last, tops = g.scan(body, states, (inputs, *masks))
        if self.last_only:
            return last[0]
        return g.op("Transpose", self._in_order(g, tops), perm=[1, 0, 2])

    def _in_order(self, g: Emitter, steps: Value) -> Value:
        """The steps along the first axis, in the order of the run."""
        if not self.backwards:
            return steps
        ends = g.constant([-1], "starts"), g.constant([-(2**31)], "ends"), g.constant([0], "time")
        return g.op("Slice", steps, *ends, g.constant([-1], "step"))

    def _emit_split(self, g: Emitter, inputs: Value) -> list[Value]:
        sizes = g.constant([self.units] * self.gates, "units")
        return list(g.ops("Split", self.gates, inputs, sizes, axis=1))

    def _emit_recurrent(self, g: Emitter, h: Value) -> Value:
        return g.op("MatMul", h, g.constant(self.recurrent.t(), "recurrent_t"))


@LAYERS("SimpleRNN")
class SimpleRNN(_Sequence):
    """h = activation(weight x + recurrent h + bias). Caffe's RNN has a second transformation behind it.

    bottoms, top, options, blobs: as of all three, see this module; activation: TANH, RELU, SIGMOID, LINEAR.
    Source: this project, for Lasagne's RecurrentLayer.
    """

    options = _Sequence.options | {"activation"}

    def step(self, inputs: Tensor, states: States) -> States:
        total = inputs + F.linear(states[0], self.recurrent.to(inputs.dtype))
        functions = {"RELU": torch.relu, "TANH": torch.tanh, "SIGMOID": torch.sigmoid}
        return (functions[self.activation](total) if self.activation in functions else total,)

    def emit_step(self, g: Emitter, inputs: Value, states: tuple[Value, ...]) -> tuple[Value, ...]:
        return (g.op(ACTIVATIONS[self.activation], g.op("Add", inputs, self._emit_recurrent(g, states[0]))),)


@LAYERS("PeepholeLSTM")
class PeepholeLSTM(_Sequence):
    """Gates i, f, g, o of weight x + recurrent h + bias; i and f see c, o sees the new c.

    c = sigmoid(f + p_f c) c + sigmoid(i + p_i c) tanh(g); h = sigmoid(o + p_o c) tanh(c).
    bottoms, top, options, blobs: as of all three, see this module, the states h and c, and peephole (3 x D: i, f, o).
    Source: this project, for Lasagne's LSTMLayer; Caffe's LSTM has no peepholes.
    """

    blob_names = ("weight", "recurrent", "bias", "first", "peephole")
    gates = 4
    states = 2
    peephole: Tensor

    def __init__(self, inputs: int, units: int, backwards: bool, last_only: bool, fillers: tuple[Filler, Filler]):
        super().__init__(inputs, units, backwards, last_only, fillers)
        self.add_blob("peephole", (3, units), fillers[0])

    def step(self, inputs: Tensor, states: States) -> States:
        h, c = states
        look = self.peephole.to(inputs.dtype)
        i, f, new, o = (inputs + F.linear(h, self.recurrent.to(inputs.dtype))).chunk(4, 1)
        c = torch.sigmoid(f + look[1] * c) * c + torch.sigmoid(i + look[0] * c) * torch.tanh(new)
        return torch.sigmoid(o + look[2] * c) * torch.tanh(c), c

    def emit_step(self, g: Emitter, inputs: Value, states: tuple[Value, ...]) -> tuple[Value, ...]:
        h, c = states
        i, f, new, o = self._emit_split(g, g.op("Add", inputs, self._emit_recurrent(g, h)))

        def gate(x: Value, cell: Value, row: int) -> Value:
            seen = g.op("Mul", cell, g.constant(self.peephole[row], "peephole"))
            return g.op("Sigmoid", g.op("Add", x, seen))

        kept, added = g.op("Mul", gate(f, c, 1), c), g.op("Mul", gate(i, c, 0), g.op("Tanh", new))
        after = g.op("Add", kept, added)
        return g.op("Mul", gate(o, after, 2), g.op("Tanh", after)), after


@LAYERS("GRU")
class GRU(_Sequence):
    """z, r: sigmoid of their gates; n = tanh(weight x + bias + r * recurrent h); h = (1 - z) h + z n.

    bottoms, top, options, blobs: as of all three, see this module; gates in the order z, r, n.
    Source: this project, for Lasagne's GRULayer, whose z weights the new state (torch's the old one).
    """

    gates = 3

    def step(self, inputs: Tensor, states: States) -> States:
        h = states[0]
        zx, rx, nx = inputs.chunk(3, 1)
        zh, rh, nh = F.linear(h, self.recurrent.to(inputs.dtype)).chunk(3, 1)
        z = torch.sigmoid(zx + zh)
        return ((1 - z) * h + z * torch.tanh(nx + torch.sigmoid(rx + rh) * nh),)

    def emit_step(self, g: Emitter, inputs: Value, states: tuple[Value, ...]) -> tuple[Value, ...]:
        h = states[0]
        zx, rx, nx = self._emit_split(g, inputs)
        zh, rh, nh = self._emit_split(g, self._emit_recurrent(g, h))
        z = g.op("Sigmoid", g.op("Add", zx, zh))
        r = g.op("Sigmoid", g.op("Add", rx, rh))
        new = g.op("Tanh", g.op("Add", nx, g.op("Mul", r, nh)))
        return (g.op("Add", h, g.op("Mul", z, g.op("Sub", new, h))),)
