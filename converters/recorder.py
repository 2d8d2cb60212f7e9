"""The emitter that layers write themselves to: a list of nodes, with names in the end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets.emitter import Body, Constant, Dims, Value
from nets.layer import Layer


@dataclass(eq=False)
class Node:
    """One ONNX node: what *layer* it came from, and in ``body`` the nodes that a Scan runs."""

    kind: str
    layer: str
    inputs: list[Value | None]
    outputs: list[Value]
    attributes: dict[str, object]
    name: str = ""
    body: "Part | None" = None

    def uses(self) -> Iterator[Value]:
        """All values that it reads, those of its body that come from outside included."""
        yield from (value for value in self.inputs if value is not None)
        if self.body is not None:
            inside = {value for node in self.body.nodes for value in node.outputs} | {*self.body.inputs}
            yield from (value for node in self.body.nodes for value in node.uses() if value not in inside)


@dataclass
class Part:
    """Nodes with their inputs and outputs: what a Scan runs at each step."""

    inputs: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)


class Recorder:
    """Keeps what layers emit, in order. See ``nets.emitter.Emitter``."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[Node] = []
        self.hints: dict[Value, str] = {}  # constant -> LAYER.name
        self.tops: Sequence[Dims] = ()
        self._layer_name = ""
        self._layer: Layer | None = None
        self._blobs: dict[tuple[int, tuple[int, ...]], Value] = {}

    def enter(self, name: str, layer: Layer, tops: Sequence[Dims]) -> None:
        """Begin *layer*, whose tops have these shapes."""
        self._layer_name, self._layer, self.tops = name, layer, tops

    def op(self, kind: str, *inputs: Value | None, **attributes: object) -> Value:
        """The output of a node of this *kind*."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: Value | None, **attributes: object) -> tuple[Value, ...]:
        """The outputs of a node that has several."""
        made = tuple(Value() for _ in range(outputs))
        given = list(inputs)
        while given and given[-1] is None:
            given.pop()
        kept = {name: value for name, value in attributes.items() if value is not None}
        node = Node(kind, self._layer_name, given, list(made), kept)
        self._adapt(node)
        self.nodes.append(node)
        return made

    def _adapt(self, node: Node) -> None:
        """Say what operator sets say in different ways in the way of this one."""
        if node.kind.startswith("Reduce") and (self.opset >= 18 or node.kind == "ReduceSum"):
            axes = node.attributes.pop("axes")
            node.inputs.append(self.constant(axes, "axes"))  # type: ignore[arg-type]  # a list of axes
        if node.kind == "Split" and len(node.inputs) == 1 and self.opset >= 18:
            node.attributes["num_outputs"] = len(node.outputs)

    def constant(self, values: Constant, name: str) -> Value:
        """A constant, called LAYER.name; whole numbers are int64, all others float32."""
        made = Value(data=_array(values))
        made.shape = made.data.shape if made.data is not None else ()
        self.hints[made] = f"{self._layer_name}.{name}"
        return made

    def blob(self, name: str, shape: tuple[int, ...] | None = None) -> Value:
        """A blob of the layer, called LAYER.name; one that layers share in one shape stands there once."""
        tensor: Tensor = getattr(self._layer, name)
        wanted = tuple(tensor.shape) if shape is None else shape
        key = (tensor.data_ptr(), wanted)
        if key not in self._blobs:
            self._blobs[key] = self.constant(tensor.detach().reshape(wanted), name)
        return self._blobs[key]

    def scan(self, body: Body, states: Sequence[Value], steps: Sequence[Value]) -> tuple[Value, ...]:
        """Run *body* along the first axis of *steps*."""
        outside, self.nodes = self.nodes, []
        before, step = tuple(Value() for _ in states), tuple(Value() for _ in steps)
        after, outputs = body(before, step)
        part = Part([*before, *step], self.nodes, [])
        self.nodes = outside
        # An output that is another output too, or an input, has to be a value of its own.
        for value in (*after, *outputs):
            own = value
            if value in part.outputs or value in part.inputs:
                own = Value()
                part.nodes.append(Node("Identity", self._layer_name, [value], [own], {}))
            part.outputs.append(own)
        made = self.ops("Scan", len(part.outputs), *states, *steps, num_scan_inputs=len(steps))
        self.nodes[-1].body = part
        return made


def _array(values: Constant) -> NDArray[np.generic]:
    if isinstance(values, Tensor):
        kind = torch.float32 if values.is_floating_point() else torch.int64
        return np.asarray(values.detach().to("cpu", kind).contiguous().numpy())
    array = np.asarray(values)
    return array.astype(np.int64 if array.dtype.kind in "iu" or not array.size else np.float32)
