"""A net, layer by layer, into a recorder: what is bound to which blob, and what comes out."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from converters.layout import Layout
from converters.recorder import Node, Recorder
from nets.emitter import Dims, Value
from nets.layers.recurrent import LSTM, RNN
from nets.net import Net
from nets.predictions import Plan
from protos.errors import NetError
from protos.schema import FillerParameter


class Writer:
    """Walks through a net and lets each layer write itself."""

    def __init__(self, net: Net, layout: Layout, opset: int, planned: Plan, constants: Mapping[str, float]) -> None:
        self.net = net
        self.layout = layout
        self.plan = planned
        self.recorder = Recorder(opset)
        self.inputs = {name: Value(dims) for name, dims in layout.inputs.items()}
        self.bound: list[tuple[str, Value, Dims]] = []
        self._blobs: dict[str, tuple[Value, Dims]] = {name: (v, v.shape) for name, v in self.inputs.items()}
        self._predicted: dict[str, tuple[Value, Dims]] = {}
        for name, value in {**constant_conts(net), **constants}.items():
            self._fix(name, value)

    def _fix(self, name: str, value: float) -> None:
        """Let the input *name* be a constant."""
        if name not in self.inputs:
            raise NetError(f"'{name}' is no input of the net: it has {', '.join(self.inputs)}")
        dims = self.layout.inputs[name]
        shape = tuple(1 if isinstance(dim, str) else dim or 1 for dim in dims)
        fixed = Value(dims, data=np.full(shape, value, np.float32))
        self.recorder.hints[fixed] = name
        self._blobs[name] = (fixed, dims)

    def run(self) -> Iterator[str]:
        """Record all layers that predictions need; what stands in the way, a line each."""
        losses = {one.loss: one.name for one in self.plan.predictions if one.loss}
        for (node, layer), tops in zip(self.net.nodes, self.layout.tops, strict=True):
            if node.name in self.plan.judges and node.name not in losses:
                continue
            self.recorder.enter(node.name, layer, tops)
            bottoms = self._take(node.bottoms)
            try:
                made = layer.emit(self.recorder, *bottoms)
            except NetError as error:
                yield f"{node} {error}"
                made = tuple(Value(dims) for dims in tops)
            values = made if isinstance(made, tuple) else (made,)
            if node.name in losses:
                self._predict(losses[node.name], node.bottoms[0], values[0], node.tops)
            else:
                for top, value, dims in zip(node.tops, values, tops, strict=True):
                    self._bind(top, value, dims)

    def _take(self, names: Sequence[str]) -> list[Value]:
        taken = [self._blobs[name] for name in names]
        for value, dims in taken:
            value.shape = dims
        return [value for value, _ in taken]

    def _bind(self, blob: str, value: Value, dims: Dims) -> None:
        if value.data is None:
            value.shape = dims
        self._blobs[blob] = (value, dims)
        self.bound.append((blob, value, dims))

    def _predict(self, name: str, bottom: str, value: Value, tops: Sequence[str]) -> None:
        dims = self._blobs[bottom][1]
        self._predicted[name] = (value, dims)
        self.bound.append((name, value, dims))
        if name in tops[1:]:  # the second top of a softmax loss: its probabilities, that others may take
            self._blobs[name] = (value, dims)

    def outputs(self) -> list[tuple[str, Value, Dims, str]]:
        """(name, value, shape, what it is) of each prediction; no value that is an input or an output already."""
        found: list[tuple[str, Value, Dims, str]] = []
        taken: set[Value] = {*self.inputs.values()}
        for one in self.plan.predictions:
            value, dims = self._predicted[one.name] if one.loss else self._blobs[one.blob]
            if value in taken or value.data is not None or (not one.loss and self._owner(value) != one.blob):
                copy = Value(dims)
                self.recorder.nodes.append(Node("Identity", self._writer_of(one.blob), [value], [copy], {}))
                self.bound.append((one.name, copy, dims))
                value = copy
            taken.add(value)
            found.append((one.name, value, dims, f"predictions of the loss layer '{one.loss}'" if one.loss else ""))
        return found

    def _owner(self, value: Value) -> str:
        return next(blob for blob, bound, _ in self.bound if bound is value)

    def _writer_of(self, blob: str) -> str:
        return [node.name for node, _ in self.net.nodes if blob in node.tops][-1]


def constant_conts(net: Net) -> dict[str, float]:
    """Tops of DummyData layers that hold one number and are nothing but ``cont`` of recurrent layers."""
    found = {}
    for source in net.graph.sources:
        if source.type != "DummyData":
            continue
        fillers = list(source.dummy_data_param.data_filler)
        for i, top in enumerate(source.top):
            filler = fillers[min(i, len(fillers) - 1)] if fillers else FillerParameter()
            users = [(node, layer) for node, layer in net.nodes if top in node.bottoms]
            is_cont = all(isinstance(layer, RNN | LSTM) and node.bottoms[1:2] == (top,) for node, layer in users)
            if users and is_cont and filler.type == "constant":
                found[top] = filler.value
    return found
