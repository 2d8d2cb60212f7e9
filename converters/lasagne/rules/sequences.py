"""Recurrent layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.lasagne import layers as ll
from converters.lasagne.nonlinearities import identity, rectify, sigmoid, tanh
from converters.lasagne.rules.registry import rule
from converters.lasagne.theano.tensor import nnet
from converters.lasagne.writer import Blob, Writer, weights
from protos.errors import NetError
from protos.schema import LayerParameter, SequenceParameter

KINDS = {rectify: "RELU", nnet.relu: "RELU", tanh: "TANH", sigmoid: "SIGMOID", identity: "LINEAR"}
STATES = {"hid_init": 0, "cell_init": 1}


def _activation(layer: Any, name: str) -> SequenceParameter.Activation:
    """The number of the nonlinearity in the attribute *name*. Raises NetError for one that has none."""
    function = getattr(layer, name)
    if function not in KINDS:
        said = getattr(function, "__name__", type(function).__name__)
        raise NetError(f"{layer}: {name} must be rectify, tanh, sigmoid or linear in a net, not {said}")
    activation: SequenceParameter.Activation = getattr(SequenceParameter, KINDS[function])
    return activation


def _sequence(w: Writer, layer: Any, kind: str, bottoms: list[str], blobs: Sequence[Any]) -> LayerParameter:
    made = w.add(kind, w.name(layer), bottoms, None, blobs)
    p = made.sequence_param
    p.num_output, p.backwards, p.last_only = layer.hid_units, layer.backwards, layer.only_return_final
    p.given_state.extend(STATES[name] for name in layer.places)
    if w.training and layer.grad_clipping:
        p.clip_gradients = float(layer.grad_clipping)
    if w.training and layer.gradient_steps > 0:
        p.gradient_steps = layer.gradient_steps
    return made


def _gates(layer: Any, names: Sequence[str]) -> list[Blob]:
    def side_by_side(arrays: list[Any]) -> Any:
        return np.concatenate([matrix.T for matrix in arrays])

    return [
        Blob.of(layer, *(f"{kind}_{name}" for name in names), join=side_by_side)
        for kind in ("W_in_to", "W_hid_to", "b")
    ]


def _first(layer: Any, *names: str) -> Any:
    """The first states; zeros for those that another layer gives."""
    own = [name for name in names if name not in layer.places]
    if not own:
        return np.zeros((len(names), layer.hid_units))
    rows = [weights(getattr(layer, name)) if name in own else np.zeros((1, layer.hid_units)) for name in names]
    return Blob(layer, tuple(getattr(layer, name) for name in own), np.concatenate(rows))


def _add_gates(layer: Any, made: LayerParameter, names: Sequence[str]) -> None:
    found = [_activation(layer, f"nonlinearity_{name}") for name in names]
    usual = [
        SequenceParameter.TANH if name in ("cell", "hidden_update") else SequenceParameter.SIGMOID for name in names
    ]
    if found != usual:
        made.sequence_param.gate.extend(found)


@rule(ll.GRULayer)
def _gru(w: Writer, layer: Any, bottoms: list[str]) -> str:
    names = ("updategate", "resetgate", "hidden_update")
    made = _sequence(w, layer, "GRU", bottoms, [*_gates(layer, names), _first(layer, "hid_init")])
    _add_gates(layer, made, names)
    return made.top[0]


@rule(ll.LSTMLayer)
def _lstm(w: Writer, layer: Any, bottoms: list[str]) -> str:
    names = ("ingate", "forgetgate", "cell", "outgate")
    looks = [f"W_cell_to_{name}" for name in names if name != "cell"]
    peepholes = Blob.of(layer, *looks, join=np.stack) if layer.peepholes else np.zeros((3, layer.num_units))
    blobs = [*_gates(layer, names), _first(layer, "hid_init", "cell_init"), peepholes]
    made = _sequence(w, layer, "PeepholeLSTM", bottoms, blobs)
    _add_gates(layer, made, names)
    made.sequence_param.activation = _activation(layer, "nonlinearity")
    return made.top[0]


@rule(ll.CustomRecurrentLayer, ll.RecurrentLayer)
def _rnn(w: Writer, layer: Any, bottoms: list[str]) -> str:
    into, around = layer.input_to_hidden, layer.hidden_to_hidden
    if not (_is_product(into) and _is_product(around)):
        raise NetError(f"{layer}: input_to_hidden and hidden_to_hidden must be a DenseLayer each, behind an InputLayer "
                       "and with nonlinearity=None, to be a SimpleRNN")  # fmt: skip
    biases = [one.b for one in (into, around) if one.b is not None]
    if w.training and len(biases) > 1:
        raise NetError(f"{layer}: a SimpleRNN learns one bias: give hidden_to_hidden b=None")
    total = sum((weights(b) for b in biases), np.zeros(layer.hid_units))
    blobs = [
        Blob(layer, (into.W,), weights(into.W).T), Blob(layer, (around.W,), weights(around.W).T),
        Blob(layer, tuple(biases), total) if biases else total, _first(layer, "hid_init"),
    ]  # fmt: skip
    made = _sequence(w, layer, "SimpleRNN", bottoms, blobs)
    made.sequence_param.activation = _activation(layer, "nonlinearity")
    return made.top[0]


def _is_product(layer: Any) -> bool:
    plain = type(layer) is ll.DenseLayer and layer.nonlinearity is identity and layer.num_leading_axes == 1
    return plain and isinstance(layer.input_layer, ll.InputLayer)
