"""Recurrent layers: N x T x features in, N x T x units out, or N x units with only_return_final."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.lasagne import init, nonlinearities
from converters.lasagne.layers.base import ComputedMerge, Layer, call, matched, plain, value
from converters.lasagne.layers.dense import DenseLayer
from converters.lasagne.layers.helper import get_all_params, get_output
from converters.lasagne.layers.input import GivenLayer, InputLayer
from converters.lasagne.theano.gradient import grad_clip
from converters.lasagne.theano.tensor.nnet import relu
from converters.lasagne.theano.variable import Input, Variable, ancestors
from nets.layers.product import linear_beside_steps
from nets.layers.unrolled import BENDS, RECTIFY, Way, gru, lstm, rnn

States = tuple[Tensor, ...]
sigmoid, tanh, identity = nonlinearities.sigmoid, nonlinearities.tanh, nonlinearities.identity
KNOWN_BENDS = (
    (nonlinearities.rectify, RECTIFY), (relu, RECTIFY), (tanh, BENDS["TANH"]), (sigmoid, BENDS["SIGMOID"]),
    (identity, BENDS["LINEAR"]),
)  # fmt: skip


def _is_given(first: Any) -> bool:
    """Whether a first state comes from what a function will be given: a row for each item, as in Lasagne 0.1."""
    return isinstance(first, Variable) and any(isinstance(node, Input) for node in ancestors([first]))


class _Sequence(ComputedMerge):
    """What all recurrent layers share: the run over time, backwards, masks, first states, cut gradients."""

    states: tuple[str, ...] = ("hid_init",)

    def _prepare(self, incoming: Any, mask_input: Any, options: dict[str, Any], firsts: dict[str, Any]) -> None:
        """Set the options; *firsts*: the first states as given. Layers among them and the mask become inputs."""
        self.mask_input = mask_input
        incomings = [incoming] + ([mask_input] if mask_input is not None else [])
        self.mask_incoming_index = len(incomings) - 1 if mask_input is not None else -1
        self.places: dict[str, int] = {}
        for name, first in firsts.items():
            if isinstance(first, Layer) or _is_given(first):
                self.places[name] = len(incomings)
                incomings.append(first if isinstance(first, Layer) else GivenLayer((None,) * first.ndim, first))
        super().__init__(incomings, name=options.pop("name", None))
        for key in ("backwards", "learn_init", "gradient_steps", "grad_clipping", "unroll_scan", "precompute_input",
                    "only_return_final"):  # fmt: skip
            setattr(self, key, options.pop(key))
        if options:
            raise TypeError(f"{type(self).__name__} takes no argument {', '.join(options)}")
        if self.unroll_scan and self.gradient_steps != -1:  # type: ignore[attr-defined]
            raise ValueError("Gradient steps must be -1 when unroll_scan is true.")
        if self.unroll_scan and self.input_shapes[0][1] is None:  # type: ignore[attr-defined]
            raise ValueError("Input sequence length cannot be specified as None when unroll_scan is True")

    def _add_first(self, name: str, first: Any, shape: Sequence[int]) -> None:
        if name in self.places:
            setattr(self, name, first)
            return
        setattr(self, name, self.add_param(
            first, (1, *shape), name=name, trainable=self.learn_init, regularizable=False  # type: ignore[attr-defined]
        ))  # fmt: skip

    def _first(self, name: str, x: Any) -> Tensor:
        if name in self.places:
            given: Tensor = x[self.places[name]]
            return given
        spread: Tensor = value(getattr(self, name), x[0])
        return spread.expand(x[0].shape[0], *spread.shape[1:])

    def inputs(self, sequence: Tensor, **kwargs: Any) -> tuple[Tensor, ...]:
        """What the steps get of the sequence, N x T x any, and what else they share."""
        return (sequence,)

    def step(self, x: Tensor, states: States, *shared: Tensor, **kwargs: Any) -> States:
        """The states behind a step, the output first, from its input and the states in front of it."""
        raise NotImplementedError

    def at_once(self, inputs: Tensor, states: States, mask: Tensor | None, *shared: Tensor) -> Tensor | None:
        """All steps, or the last, where one operator makes them."""
        return None

    def way(self, *given: Tensor) -> Way | None:
        """How one operator runs the steps; None where gradients are cut, bounds are no numbers or kinds are mixed."""
        bound = self.grad_clipping  # type: ignore[attr-defined]
        mixed = any(x.dtype != given[0].dtype or x.is_meta for x in given)
        if self.gradient_steps != -1 or not isinstance(bound, int | float) or mixed:  # type: ignore[attr-defined]
            return None
        return Way(self.backwards, self.only_return_final, bound)  # type: ignore[attr-defined]

    def clip(self, x: Tensor) -> Tensor:
        """*x*, with its gradient kept within +-grad_clipping."""
        bound = self.grad_clipping  # type: ignore[attr-defined]
        clipped: Tensor = grad_clip(x, -bound, bound) if bound else x
        return clipped

    def forward(self, x: Any, **kwargs: Any) -> Any:
        """All steps, or the last."""
        sequence, mask = x[0], None if self.mask_input is None else x[self.mask_incoming_index]
        states = tuple(matched(sequence, self._first(name, x))[1] for name in self.states)
        inputs, *shared = self.inputs(sequence, **kwargs)
        whole = self.at_once(inputs, states, mask, *shared)
        if whole is not None:
            return whole
        count = sequence.shape[1]
        order = list(reversed(range(count)) if self.backwards else range(count))  # type: ignore[attr-defined]
        outputs: list[Tensor] = []
        keep = self.gradient_steps  # type: ignore[attr-defined]
        for done, t in enumerate(order):
            if keep > 0 and done == count - keep:
                states = tuple(grad_clip(state, 0.0, 0.0) for state in states)
                outputs = [grad_clip(output, 0.0, 0.0) for output in outputs]
            after = self.step(inputs[:, t], states, *shared, **kwargs)
            if mask is not None:
                on = mask[:, t].reshape(-1, *[1] * (after[0].ndim - 1)).bool()
                after = tuple(torch.where(on, new, old) for new, old in zip(after, states, strict=True))
            states = after
            outputs.append(states[0])
        if self.only_return_final:  # type: ignore[attr-defined]
            return states[0]
        return torch.stack(outputs[::-1] if self.backwards else outputs, 1)  # type: ignore[attr-defined]

    def units_shape(self) -> tuple[Any, ...]:
        """The shape of one item's state."""
        raise NotImplementedError

    @property
    def hid_units(self) -> int:
        """The number of values of one item's state."""
        return int(np.prod(self.units_shape()))

    def get_output_shape_for(self, input_shapes: Any) -> Any:
        """N x T x units, or N x units."""
        shape = input_shapes[0]
        steps = () if self.only_return_final else (shape[1],)  # type: ignore[attr-defined]
        return (shape[0], *steps, *self.units_shape())


class CustomRecurrentLayer(_Sequence):
    """h = nonlinearity(input_to_hidden(x) + hidden_to_hidden(h)), by two layers of one's own."""

    def __init__(
        self,
        incoming: Any,
        input_to_hidden: Any,
        hidden_to_hidden: Any,
        nonlinearity: Any = nonlinearities.rectify,
        hid_init: Any = init.Constant(0.0),  # noqa: B008  # the original's signature; it keeps no state
        backwards: bool = False,
        learn_init: bool = False,
        gradient_steps: int = -1,
        grad_clipping: Any = 0,
        unroll_scan: bool = False,
        precompute_input: bool = True,
        mask_input: Any = None,
        only_return_final: bool = False,
        **kwargs: Any,
    ) -> None:
        options = {"backwards": backwards, "learn_init": learn_init, "gradient_steps": gradient_steps,
                   "grad_clipping": grad_clipping, "unroll_scan": unroll_scan, "precompute_input": precompute_input,
                   "only_return_final": only_return_final, **kwargs}  # fmt: skip
        self._prepare(incoming, mask_input, options, {"hid_init": hid_init})
        self.input_to_hidden = input_to_hidden
        self.hidden_to_hidden = hidden_to_hidden
        self.nonlinearity = plain(nonlinearity)
        shapes = hidden_to_hidden.output_shape, input_to_hidden.output_shape
        if any(a != b for a, b in zip(*(shape[1:] for shape in shapes), strict=True) if None not in (a, b)):
            raise ValueError(f"The output shape for hidden_to_hidden and input_to_hidden must be equal, but hidden_to_"
                             f"hidden.output_shape={shapes[0]} and input_to_hidden.output_shape={shapes[1]}")  # fmt: skip  # noqa: E501
        self._add_first("hid_init", hid_init, hidden_to_hidden.output_shape[1:])

    def get_params(self, unwrap_shared: bool = True, **tags: bool) -> list[Any]:
        """Its own, then those of the two layers."""
        found = super().get_params(unwrap_shared, **tags)
        for layer in (self.input_to_hidden, self.hidden_to_hidden):
            found += get_all_params(layer, unwrap_shared, **tags)
        return found

    def units_shape(self) -> tuple[Any, ...]:
        """The shape behind hidden_to_hidden."""
        return tuple(self.hidden_to_hidden.output_shape[1:])

    def inputs(self, sequence: Tensor, **kwargs: Any) -> tuple[Tensor, ...]:
        """What input_to_hidden makes of all steps at once, N x T x any; without precompute_input the sequence."""
        if not self.precompute_input:  # type: ignore[attr-defined]
            return (sequence,)
        made = get_output(self.input_to_hidden, sequence.transpose(0, 1).flatten(0, 1), **kwargs)
        return (torch.unflatten(made, 0, sequence.shape[1::-1]).transpose(0, 1),)

    def step(self, x: Tensor, states: States, *shared: Tensor, **kwargs: Any) -> States:
        """One step."""
        if not self.precompute_input:  # type: ignore[attr-defined]
            x = get_output(self.input_to_hidden, x, **kwargs)
        return (call(self.nonlinearity, self.clip(x + get_output(self.hidden_to_hidden, states[0], **kwargs))),)


class RecurrentLayer(CustomRecurrentLayer):
    """h = nonlinearity(x W_in_to_hid + h W_hid_to_hid + b)."""

    def __init__(
        self,
        incoming: Any,
        num_units: int,
        W_in_to_hid: Any = init.Uniform(),  # noqa: B008
        W_hid_to_hid: Any = init.Uniform(),  # noqa: B008
        b: Any = init.Constant(0.0),  # noqa: B008
        nonlinearity: Any = nonlinearities.rectify,
        hid_init: Any = init.Constant(0.0),  # noqa: B008
        backwards: bool = False,
        learn_init: bool = False,
        gradient_steps: int = -1,
        grad_clipping: Any = 0,
        unroll_scan: bool = False,
        precompute_input: bool = True,
        mask_input: Any = None,
        only_return_final: bool = False,
        **kwargs: Any,
    ) -> None:
        shape = incoming if isinstance(incoming, tuple) else incoming.output_shape
        prefix = f"{kwargs['name']}." if kwargs.get("name") else ""
        into = DenseLayer(InputLayer((None, *shape[2:])), num_units, W=W_in_to_hid, b=b, nonlinearity=None,
                          name=f"{prefix}input_to_hidden")  # fmt: skip
        around = DenseLayer(InputLayer((None, num_units)), num_units, W=W_hid_to_hid, b=None, nonlinearity=None,
                            name=f"{prefix}hidden_to_hidden")  # fmt: skip
        self.W_in_to_hid, self.W_hid_to_hid, self.b, self.num_units = into.W, around.W, into.b, num_units
        super().__init__(incoming, into, around, nonlinearity, hid_init, backwards, learn_init, gradient_steps,
                         grad_clipping, unroll_scan, precompute_input, mask_input, only_return_final, **kwargs)  # fmt: skip  # noqa: E501

    def at_once(self, inputs: Tensor, states: States, mask: Tensor | None, *shared: Tensor) -> Tensor | None:
        """All steps, or the last, of the nonlinearities whose slopes are known."""
        around, bend = self.hidden_to_hidden, next((b for known, b in KNOWN_BENDS if known is self.nonlinearity), None)
        usual = type(self) is RecurrentLayer and type(around) is DenseLayer and self.precompute_input  # type: ignore[attr-defined]
        if bend is None or not usual or around.b is not None or around.nonlinearity is not identity:
            return None
        recurrent = value(around.W, inputs)
        way = self.way(inputs, recurrent, *states)
        return None if way is None else rnn(inputs, recurrent, states[0], mask, bend, way)


class Gate:
    """The first values of one gate, and its nonlinearity."""

    def __init__(
        self,
        W_in: Any = init.Normal(0.1),  # noqa: B008
        W_hid: Any = init.Normal(0.1),  # noqa: B008
        W_cell: Any = init.Normal(0.1),  # noqa: B008
        b: Any = init.Constant(0.0),  # noqa: B008
        nonlinearity: Any = nonlinearities.sigmoid,
    ) -> None:
        self.W_in = W_in
        self.W_hid = W_hid
        if W_cell is not None:
            self.W_cell = W_cell
        self.b = b
        self.nonlinearity = plain(nonlinearity)


class _Gated(_Sequence):
    num_units: int
    gates: tuple[str, ...]

    def _add_gate(self, gate: Gate, name: str) -> None:
        inputs = int(np.prod(self.input_shapes[0][2:]))
        setattr(self, f"W_in_to_{name}", self.add_param(gate.W_in, (inputs, self.num_units), name=f"W_in_to_{name}"))
        shape = (self.num_units, self.num_units)
        setattr(self, f"W_hid_to_{name}", self.add_param(gate.W_hid, shape, name=f"W_hid_to_{name}"))
        b = self.add_param(gate.b, (self.num_units,), name=f"b_{name}", regularizable=False)
        setattr(self, f"b_{name}", b)
        setattr(self, f"nonlinearity_{name}", gate.nonlinearity)

    def units_shape(self) -> tuple[Any, ...]:
        """The units."""
        return (self.num_units,)

    def _gate(self, name: str, x: Tensor) -> Tensor:
        opened: Tensor = call(getattr(self, f"nonlinearity_{name}"), x)
        return opened

    def has_bends(self, *bends: Any) -> bool:
        """Whether the nonlinearities of the gates are these."""
        return all(getattr(self, f"nonlinearity_{name}") is bend for name, bend in zip(self.gates, bends, strict=True))

    def inputs(self, sequence: Tensor, **kwargs: Any) -> tuple[Tensor, ...]:
        """The gates' inputs with their biases, for all steps at once, and the recurrent weights side by side."""
        flat = sequence.flatten(2)
        w_in, w_hid, b = (
            torch.cat([value(getattr(self, f"{kind}_{name}"), flat) for name in self.gates], -1)
            for kind in ("W_in_to", "W_hid_to", "b")
        )
        flat, w_in, w_hid, b = matched(flat, w_in, w_hid, b)
        return linear_beside_steps(flat, w_in.t(), b), w_hid


class LSTMLayer(_Gated):
    """Long short-term memory with peepholes. Gates in the order in, forget, cell, out; the cell state is kept beside."""  # noqa: E501

    states = ("hid_init", "cell_init")
    gates = ("ingate", "forgetgate", "cell", "outgate")

    def __init__(
        self,
        incoming: Any,
        num_units: int,
        ingate: Any = Gate(),  # noqa: B008
        forgetgate: Any = Gate(),  # noqa: B008
        cell: Any = Gate(W_cell=None, nonlinearity=nonlinearities.tanh),  # noqa: B008
        outgate: Any = Gate(),  # noqa: B008
        nonlinearity: Any = nonlinearities.tanh,
        cell_init: Any = init.Constant(0.0),  # noqa: B008
        hid_init: Any = init.Constant(0.0),  # noqa: B008
        backwards: bool = False,
        learn_init: bool = False,
        peepholes: bool = True,
        gradient_steps: int = -1,
        grad_clipping: Any = 0,
        unroll_scan: bool = False,
        precompute_input: bool = True,
        mask_input: Any = None,
        only_return_final: bool = False,
        **kwargs: Any,
    ) -> None:
        options = {"backwards": backwards, "learn_init": learn_init, "gradient_steps": gradient_steps,
                   "grad_clipping": grad_clipping, "unroll_scan": unroll_scan, "precompute_input": precompute_input,
                   "only_return_final": only_return_final, **kwargs}  # fmt: skip
        self._prepare(incoming, mask_input, options, {"hid_init": hid_init, "cell_init": cell_init})
        self.num_units = operator.index(num_units)
        self.nonlinearity = plain(nonlinearity)
        self.peepholes = peepholes
        for name, gate in (("ingate", ingate), ("forgetgate", forgetgate), ("cell", cell), ("outgate", outgate)):
            self._add_gate(gate, name)
        if peepholes:
            for name, gate in (("ingate", ingate), ("forgetgate", forgetgate), ("outgate", outgate)):
                param = self.add_param(gate.W_cell, (num_units,), name=f"W_cell_to_{name}")
                setattr(self, f"W_cell_to_{name}", param)
        self._add_first("cell_init", cell_init, (num_units,))
        self._add_first("hid_init", hid_init, (num_units,))

    def peephole(self, name: str, cell: Tensor) -> Tensor:
        """What a gate sees of the cell state."""
        if not self.peepholes:
            return torch.zeros((), dtype=cell.dtype, device=cell.device)
        return cell * value(getattr(self, f"W_cell_to_{name}"), cell)

    def at_once(self, inputs: Tensor, states: States, mask: Tensor | None, *shared: Tensor) -> Tensor | None:
        """All steps, or the last, of the usual gates."""
        way = self.way(inputs, *shared, *states)
        if way is None or type(self) is not LSTMLayer or not self.has_bends(sigmoid, sigmoid, tanh, sigmoid):
            return None
        if self.nonlinearity is not tanh:
            return None
        peephole = None
        if self.peepholes:
            looks = [value(getattr(self, f"W_cell_to_{name}"), inputs) for name in ("ingate", "forgetgate", "outgate")]
            peephole = torch.stack(looks).to(inputs.dtype)
        h, c = states
        return lstm(inputs, shared[0], peephole, (h, c), mask, way)

    def step(self, x: Tensor, states: States, *shared: Tensor, **kwargs: Any) -> States:
        """One step."""
        h, c = states
        ingate, forgetgate, cell, outgate = self.clip(x + h @ shared[0]).chunk(4, -1)
        ingate = self._gate("ingate", ingate + self.peephole("ingate", c))
        forgetgate = self._gate("forgetgate", forgetgate + self.peephole("forgetgate", c))
        c = forgetgate * c + ingate * self._gate("cell", cell)
        outgate = self._gate("outgate", outgate + self.peephole("outgate", c))
        return outgate * call(self.nonlinearity, c), c


class GRULayer(_Gated):
    """Gated recurrent units: the reset gate acts behind the hidden product, the update gate weights the new state."""

    gates = ("updategate", "resetgate", "hidden_update")

    def __init__(
        self,
        incoming: Any,
        num_units: int,
        resetgate: Any = Gate(W_cell=None),  # noqa: B008
        updategate: Any = Gate(W_cell=None),  # noqa: B008
        hidden_update: Any = Gate(W_cell=None, nonlinearity=nonlinearities.tanh),  # noqa: B008
        hid_init: Any = init.Constant(0.0),  # noqa: B008
        backwards: bool = False,
        learn_init: bool = False,
        gradient_steps: int = -1,
        grad_clipping: Any = 0,
        unroll_scan: bool = False,
        precompute_input: bool = True,
        mask_input: Any = None,
        only_return_final: bool = False,
        **kwargs: Any,
    ) -> None:
        options = {"backwards": backwards, "learn_init": learn_init, "gradient_steps": gradient_steps,
                   "grad_clipping": grad_clipping, "unroll_scan": unroll_scan, "precompute_input": precompute_input,
                   "only_return_final": only_return_final, **kwargs}  # fmt: skip
        self._prepare(incoming, mask_input, options, {"hid_init": hid_init})
        self.num_units = operator.index(num_units)
        for name, gate in zip(self.gates, (updategate, resetgate, hidden_update), strict=True):
            self._add_gate(gate, name)
        self._add_first("hid_init", hid_init, (num_units,))

    def at_once(self, inputs: Tensor, states: States, mask: Tensor | None, *shared: Tensor) -> Tensor | None:
        """All steps, or the last, of the usual gates."""
        way = self.way(inputs, *shared, *states)
        if way is None or type(self) is not GRULayer or not self.has_bends(sigmoid, sigmoid, tanh):
            return None
        return gru(inputs, shared[0], states[0], mask, way)

    def step(self, x: Tensor, states: States, *shared: Tensor, **kwargs: Any) -> States:
        """One step."""
        h = states[0]
        into, around = self.clip(x).chunk(3, -1), self.clip(h @ shared[0]).chunk(3, -1)
        update = self._gate("updategate", into[0] + around[0])
        reset = self._gate("resetgate", into[1] + around[1])
        new = self.clip(into[2] + reset * around[2])
        return ((1 - update) * h + update * self._gate("hidden_update", new),)
