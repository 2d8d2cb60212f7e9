"""RNN, LSTM and LSTMUnit. Sequences are T x N x any; ``cont`` (T x N) is 0 where a new sequence begins, else 1.

Any other ``cont`` scales the states, and the gradient of LSTM's forget gates is the derivative: the original's is not.
"""

from collections.abc import Sequence
from math import inf
from typing import ClassVar, Self

import torch
from torch import Tensor

from nets.emitter import Dim, Emitter, Value, fixed
from nets.fillers import Filler
from nets.layer import LAYERS, Layer, Shape, shape_text
from nets.layers.plain import is_followed
from nets.layers.product import linear_beside_steps
from nets.layers.unrolled import BENDS, kept_lstm, kept_rnn
from protos.errors import NetError
from protos.schema import LayerParameter

States = tuple[Tensor, ...]


class _Recurrent(Layer):
    """What RNN and LSTM share.

    bottoms: x, cont, the static input (N x any) if any, and with expose_hidden the first states (1 x N x D each);
    tops: the outputs T x N x D, and with expose_hidden the last states. No gradient flows through exposed states, as in
    the original: it stops where a sequence was cut into several batches.

    Without expose_hidden the last states (``carried``, 1 x N x D each) are the first ones of the next pass, as in the
    original, so that a sequence may go on in the next batch; where cont is 0 in the first step they do not matter.
    A batch of another N begins with zeros.
    """

    message = "recurrent_param"
    options = frozenset({"num_output", "weight_filler", "bias_filler", "expose_hidden"})
    hints = frozenset({"debug_info"})
    node: ClassVar[str]  # ONNX's name for it
    states: ClassVar[int]
    gates: ClassVar[tuple[int, ...]]  # where ONNX's gates are among torch's
    long: ClassVar[float]  # so many steps a stretch are faster one stretch after the other, on a CPU
    labels = (1,)
    weight_h: Tensor

    def __init__(self, has_static: bool, expose_hidden: bool) -> None:
        super().__init__()
        self.has_static = has_static
        self.expose_hidden = expose_hidden

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.recurrent_param
        hidden = cls.states if p.expose_hidden else 0
        if len(bottoms) - 2 not in (hidden, hidden + 1):
            raise NetError(f"takes x, cont, perhaps a static input{f', and {hidden} first states' if hidden else ''}")
        if len(proto.top) != 1 + hidden:
            raise NetError(f"makes {1 + hidden} tops, not {len(proto.top)}")
        x, cont = bottoms[:2]
        if len(x) < 3 or cont != x[:2]:
            raise NetError(f"x must be T x N x any, and cont T x N, not {shape_text(cont)}")
        if p.num_output <= 0:
            raise NetError("num_output must be set and positive")
        static = bottoms[2] if len(bottoms) == hidden + 3 else None
        if static is not None and (len(static) < 2 or static[0] != x[1]):
            raise NetError(f"its static input must be N x any, not {shape_text(static)}")
        for shape in bottoms[len(bottoms) - hidden :]:
            if shape != (1, x[1], p.num_output):
                raise NetError(f"its first states must be 1x{x[1]}x{p.num_output}, not {shape_text(shape)}")
        sizes = torch.Size(x[2:]).numel(), None if static is None else torch.Size(static[1:]).numel()
        return cls.sized(
            *sizes, p.num_output, p.expose_hidden, Filler.from_proto(p.weight_filler), Filler.from_proto(p.bias_filler)
        )

    @classmethod
    def sized(
        cls,
        inputs: int,
        static: int | None,
        num_output: int,
        expose_hidden: bool,
        weight_filler: Filler,
        bias_filler: Filler,
    ) -> Self:
        """The layer for inputs and static inputs of these sizes."""
        raise NotImplementedError

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        steps, batch = bottoms[1]
        width = self.weight_h.shape[1]
        exposed = self.states if self.expose_hidden else 0
        return [(steps, batch, width), *[(1, batch, width)] * exposed]

    def forward(self, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        if bottoms[0].device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):  # few CPUs have these kernels in bfloat16
                return self.sequence(*[bottom.float() for bottom in bottoms])
        return self.sequence(*bottoms)

    def sequence(self, x: Tensor, cont: Tensor, *others: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The tops: all steps, stretch by stretch."""
        steps = x.flatten(2)
        weight, recurrent, bias = self.weights()
        static = others[0].flatten(1) if self.has_static else None
        if static is not None:
            steps = torch.cat((steps, static.expand(steps.shape[0], *static.shape)), 2)
        first = tuple(state.detach() for state in others[int(self.has_static) :])
        if not first:
            first = self._first(steps, (1, steps.shape[1], recurrent.shape[1]))
        hidden, last = self._hidden(steps, cont, first, (weight, recurrent, bias))
        top, last = self.read_out(hidden), tuple(state.detach() for state in last)
        if self.expose_hidden:
            return (top, *last)
        if not top.is_meta:
            self.carried = last
        return top

    def _hidden(
        self, steps: Tensor, cont: Tensor, first: States, weights: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, States]:
        """The hidden outputs of all steps, and the states behind them."""
        if _is_spelled_out():
            return self.run(steps, first, *weights, cont)
        stretches, outputs = segments(cont), []
        several = len(stretches) > 1
        if several and _is_stepped(steps) and len(steps) < self.long * len(stretches):
            return self.run(steps, first, *weights, cont)
        for start, end, fresh in stretches:
            if fresh:
                first = tuple(state * cont[start][:, None] for state in first)
            now = steps[start:end] if several else steps  # a slice of all steps would still copy its gradient
            y, first = self.run(now, first, *weights)
            outputs.append(y)
        return torch.cat(outputs) if several else outputs[0], first

    def _first(self, steps: Tensor, shape: Shape) -> tuple[Tensor, ...]:
        """The states that the last pass left, of this *shape*, or zeros."""
        if self.carried and self.carried[0].shape == shape:
            return tuple(state.to(steps) for state in self.carried)
        return (steps.new_zeros(shape),) * self.states

    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """The weights of the (joined) input, of the last output, and the bias, in torch's order of gates."""
        raise NotImplementedError

    def run(
        self, x: Tensor, first: States, weight: Tensor, recurrent: Tensor, bias: Tensor, keep: Tensor | None = None
    ) -> tuple[Tensor, States]:
        """The hidden outputs of steps in front of which the states are multiplied by *keep*, and the states behind."""
        raise NotImplementedError

    def read_out(self, hidden: Tensor) -> Tensor:
        """The top, from the hidden outputs of all steps."""
        return hidden

    def emit(self, g: Emitter, x: Value, cont: Value, *others: Value) -> tuple[Value, ...]:
        steps = x
        if len(x.shape) != 3:
            steps = g.op("Reshape", x, g.constant([0, 0, -1], "rows"))
        if self.has_static:
            steps = self._emit_static(g, steps, x.shape[0], others[0])
        first = others[int(self.has_static) :]
        width = self.weights()[1].shape[1]
        if cont.data is not None and bool((cont.data[0 if first else 1 :] == 1).all()):
            outputs, *last = self._emit_whole(g, steps, first)
        else:
            zero = None if first else g.constant(torch.zeros(*fixed(x, [1]), width), "zero")
            outputs, *last = self._emit_steps(g, steps, cont, first, zero)
        top = self.emit_read_out(g, outputs)
        return (top, *last) if self.expose_hidden else (top,)

    def _emit_static(self, g: Emitter, steps: Value, count: Dim, static: Value) -> Value:
        """The steps with the static input behind each."""
        if len(static.shape) != 2:
            static = g.op("Flatten", static)
        if isinstance(count, int):
            times = g.constant([count, 1, 1], "times")
        else:
            size = g.op("Gather", g.op("Shape", steps), g.constant([0], "time"))
            times = g.op("Concat", size, g.constant([1, 1], "one"), axis=0)
        return g.op("Concat", steps, g.op("Expand", static, times), axis=2)

    def _emit_whole(self, g: Emitter, x: Value, first: tuple[Value, ...]) -> tuple[Value, ...]:
        """One node for all steps of sequences that nothing interrupts: outputs and last states."""
        w, r, b = (_onnx_gates(blob, self.gates)[None] for blob in self.weights())
        given = [g.constant(w, "W"), g.constant(r, "R"), g.constant(torch.cat((b, torch.zeros_like(b)), 1), "B")]
        y, *last = g.ops(self.node, 1 + self.states, x, *given, None, *first, hidden_size=r.shape[2])
        return g.op("Squeeze", y, g.constant([1], "direction")), *last

    def _emit_steps(
        self, g: Emitter, x: Value, cont: Value, first: tuple[Value, ...], zero: Value | None
    ) -> tuple[Value, ...]:
        """Step by step, the states scaled by cont before each: outputs and last states."""
        weight, recurrent, bias = self.weights()
        inputs = g.op("Add", g.op("MatMul", x, g.constant(weight.t(), "weight")), g.constant(bias, "bias"))
        turned, axis = g.constant(recurrent.t(), "recurrent"), g.constant([0], "axis")

        def body(states: tuple[Value, ...], step: tuple[Value, ...]) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
            gate_inputs, keep = step
            kept = g.op("Unsqueeze", keep, g.constant([1], "last"))
            h, *others = [g.op("Mul", state, kept) for state in states]
            gates = g.op("Add", gate_inputs, g.op("MatMul", h, turned))
            after = self.emit_step(g, gates, *others)
            return after, (after[0],)

        states = [zero] * self.states if zero else [g.op("Squeeze", state, axis) for state in first]
        *last, outputs = g.scan(body, states, (inputs, cont))
        return outputs, *[g.op("Unsqueeze", state, axis) for state in last]

    def emit_step(self, g: Emitter, gates: Value, *others: Value) -> tuple[Value, ...]:
        """The states behind a step, the hidden output first, from the gates' inputs and the other states."""
        raise NotImplementedError

    def emit_read_out(self, g: Emitter, hidden: Value) -> Value:
        """The top, from the hidden outputs of all steps."""
        return hidden


def segments(cont: Tensor) -> list[tuple[int, int, bool]]:
    """``(start, end, fresh)`` of the stretches that run without a look at *cont*; fresh: cont scales the states first.

    Where the values cannot be looked at (meta tensors, while compiling) every step is a stretch of its own.
    """
    steps = cont.shape[0]
    if cont.device.type == "meta" or torch.compiler.is_compiling():
        cuts = list(range(steps))
    else:
        changed = (cont != 1).reshape(steps, -1).any(1)
        cuts = [t for t, fresh in enumerate(changed.tolist()) if fresh]
    starts = sorted({0, *cuts})
    fresh = set(cuts)
    return [(a, b, a in fresh) for a, b in zip(starts, [*starts[1:], steps], strict=True)]


def _is_spelled_out() -> bool:
    """Whether small operators make each step: PyTorch neither compiles training through its LSTM nor transforms it."""
    return torch.compiler.is_dynamo_compiling() or torch._C._are_functorch_transforms_active()


def _is_stepped(x: Tensor) -> bool:
    """Whether this project's own operators run the steps."""
    return x.device.type == "cpu" and not is_followed()


def _packed(weight: Tensor, recurrent: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """The parameters that torch's recurrent functions take, the second bias zero.

    On a GPU they are views of one chunk of memory in cuDNN's order, which would pack them itself and warn of it.
    """
    params = weight, recurrent, bias, torch.zeros_like(bias)
    if bias.device.type != "cuda":
        return params
    chunk = torch.cat([blob.flatten() for blob in params])
    parts = torch.split_with_sizes(chunk, [blob.numel() for blob in params])
    return tuple(part.view_as(blob) for part, blob in zip(parts, params, strict=True))


@LAYERS("LSTM")
class LSTM(_Recurrent):
    """i, f, o = sigmoid, g = tanh of W_x x + b + W_s s + W_h (cont h); c = cont f c + i g; h = o tanh(c).

    bottoms: x (T x N x any), cont (T x N), s if there is a static input (N x any); top: h (T x N x D).
    Options: num_output (D), weight_filler, bias_filler (constant 0), expose_hidden (false; true: two more bottoms h_0,
    c_0 and tops h_T, c_T, 1 x N x D each). Blobs: weight_x (4D x I), bias (4D), weight_s (4D x S, with a static
    input), weight_h (4D x D); gates in the order i, f, o, g. torch's is i, f, g, o.
    """

    bottoms = (2, 5)
    tops = (1, 3)
    node = "LSTM"
    states = 2
    long = 3
    gates = (0, 3, 1, 2)
    blob_names: ClassVar[tuple[str, ...]] = ("weight_x", "bias", "weight_s", "weight_h")
    weight_x: Tensor
    bias: Tensor
    weight_s: Tensor | None

    @classmethod
    def sized(
        cls,
        inputs: int,
        static: int | None,
        num_output: int,
        expose_hidden: bool,
        weight_filler: Filler,
        bias_filler: Filler,
    ) -> Self:
        layer = cls(static is not None, expose_hidden)
        rows = 4 * num_output
        layer.add_blob("weight_x", (rows, inputs), weight_filler)
        layer.add_blob("bias", (rows,), bias_filler)
        layer.add_blob("weight_s", None if static is None else (rows, static), weight_filler)
        layer.add_blob("weight_h", (rows, num_output), weight_filler)
        return layer

    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        weight = self.weight_x if self.weight_s is None else torch.cat((self.weight_x, self.weight_s), 1)
        return _swap_gates(weight), _swap_gates(self.weight_h), _swap_gates(self.bias)

    def run(
        self, x: Tensor, first: States, weight: Tensor, recurrent: Tensor, bias: Tensor, keep: Tensor | None = None
    ) -> tuple[Tensor, States]:
        last: Sequence[Tensor]
        if keep is None and not _is_spelled_out():
            params = _packed(weight, recurrent, bias)
            y, *last = torch.lstm(x, first, params, True, 1, 0.0, torch.is_grad_enabled(), False, False)
        else:
            h, c = first
            y, *last = kept_lstm(linear_beside_steps(x, weight, bias), recurrent.t(), (h[0], c[0]), keep)
        return y, tuple(state.reshape(first[0].shape) for state in last)  # PyTorch 2.12 traces an axis too many

    def emit_step(self, g: Emitter, gates: Value, *others: Value) -> tuple[Value, ...]:
        i, f, cell, o = g.ops("Split", 4, gates, axis=1)
        kept = g.op("Mul", g.op("Sigmoid", f), others[0])
        c = g.op("Add", kept, g.op("Mul", g.op("Sigmoid", i), g.op("Tanh", cell)))
        return g.op("Mul", g.op("Sigmoid", o), g.op("Tanh", c)), c


def _swap_gates(blob: Tensor) -> Tensor:
    i, f, o, g = blob.chunk(4)
    return torch.cat((i, f, g, o))


@LAYERS("RNN")
class RNN(_Recurrent):
    """h = tanh(W_h (cont h) + W_x x + b + W_s s); y = tanh(W_o h + b_o).

    bottoms: x (T x N x any), cont (T x N), s if there is a static input (N x any); top: y (T x N x D).
    Options: num_output (D), weight_filler, bias_filler (constant 0), expose_hidden (false; true: one more bottom h_0
    and top h_T, 1 x N x D each). Blobs: weight_x (D x I), bias (D), weight_s (D x S, with a static input), weight_h
    (D x D), weight_o (D x D), bias_o (D). torch's RNN has no output weights.
    """

    bottoms = (2, 4)
    tops = (1, 2)
    node = "RNN"
    states = 1
    long = inf
    gates = (0,)
    blob_names = ("weight_x", "bias", "weight_s", "weight_h", "weight_o", "bias_o")
    weight_x: Tensor
    bias: Tensor
    weight_s: Tensor | None
    weight_o: Tensor
    bias_o: Tensor

    @classmethod
    def sized(
        cls,
        inputs: int,
        static: int | None,
        num_output: int,
        expose_hidden: bool,
        weight_filler: Filler,
        bias_filler: Filler,
    ) -> Self:
        layer = cls(static is not None, expose_hidden)
        layer.add_blob("weight_x", (num_output, inputs), weight_filler)
        layer.add_blob("bias", (num_output,), bias_filler)
        layer.add_blob("weight_s", None if static is None else (num_output, static), weight_filler)
        layer.add_blob("weight_h", (num_output, num_output), weight_filler)
        layer.add_blob("weight_o", (num_output, num_output), weight_filler)
        layer.add_blob("bias_o", (num_output,), bias_filler)
        return layer

    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        weight = self.weight_x if self.weight_s is None else torch.cat((self.weight_x, self.weight_s), 1)
        return weight, self.weight_h, self.bias

    def run(
        self, x: Tensor, first: States, weight: Tensor, recurrent: Tensor, bias: Tensor, keep: Tensor | None = None
    ) -> tuple[Tensor, States]:
        if keep is not None or _is_stepped(x):
            y, h = kept_rnn(linear_beside_steps(x, weight, bias), recurrent.t(), first[0][0], keep, BENDS["TANH"])
            return y, (h[None],)
        params = _packed(weight, recurrent, bias)
        y, h = torch.rnn_tanh(x, first[0], params, True, 1, 0.0, torch.is_grad_enabled(), False, False)
        return y, (h,)

    def read_out(self, hidden: Tensor) -> Tensor:
        return torch.tanh(linear_beside_steps(hidden, self.weight_o, self.bias_o))

    def emit_step(self, g: Emitter, gates: Value, *others: Value) -> tuple[Value, ...]:
        return (g.op("Tanh", gates),)

    def emit_read_out(self, g: Emitter, hidden: Value) -> Value:
        weight, bias = g.constant(self.weight_o.t(), "weight_o"), g.blob("bias_o")
        return g.op("Tanh", g.op("Add", g.op("MatMul", hidden, weight), bias))


@LAYERS("LSTMUnit")
class LSTMUnit(Layer):
    """One step of an LSTM: c = cont f c_prev + i g; h = o tanh(c), with the gates' inputs given.

    bottoms: c_prev (1 x N x D), gates' inputs (1 x N x 4D, in the order i, f, o, g), cont (1 x N);
    tops: c and h (1 x N x D).
    """

    bottoms = (3, 3)
    tops = (2, 2)
    labels = (2,)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        c, gates, cont = bottoms
        if len(c) != 3 or c[0] != 1 or gates != (1, c[1], 4 * c[2]) or cont != (1, c[1]):
            raise NetError("its bottoms must be 1 x N x D, 1 x N x 4D and 1 x N")
        return cls()

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [bottoms[0]] * 2

    def forward(self, c_prev: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, Tensor]:
        i, f, o, g = gates.chunk(4, 2)
        c = cont[..., None] * torch.sigmoid(f) * c_prev + torch.sigmoid(i) * torch.tanh(g)
        return c, torch.sigmoid(o) * torch.tanh(c)

    def emit(self, g: Emitter, c_prev: Value, gates: Value, cont: Value) -> tuple[Value, ...]:
        i, f, o, cell = g.ops("Split", 4, gates, axis=2)
        kept = g.op("Mul", g.op("Unsqueeze", cont, g.constant([2], "axis")), g.op("Sigmoid", f))
        fresh = g.op("Mul", g.op("Sigmoid", i), g.op("Tanh", cell))
        c = g.op("Add", g.op("Mul", kept, c_prev), fresh)
        return c, g.op("Mul", g.op("Sigmoid", o), g.op("Tanh", c))


def _onnx_gates(blob: Tensor, order: Sequence[int]) -> Tensor:
    """A blob with torch's gates in ONNX's order."""
    parts = blob.chunk(len(order))
    return torch.cat([parts[i] for i in order])
