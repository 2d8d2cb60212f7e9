"""From recorded nodes to an ONNX model: names, and the constants apart from it."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

import onnx
from onnx import TensorProto, helper

from converters.recorder import Node
from nets.emitter import Dims, Value


@dataclass
class Recorded:
    """A model before it has a form. ``bound``: (blob, value, the shape of the value) in the order in which layers
    wrote them; ``outputs``: (name, value, its shape, what it stands for); ``hints``: names for constants."""

    name: str
    inputs: dict[str, Value]
    nodes: list[Node]
    outputs: list[tuple[str, Value, Dims, str]]
    bound: list[tuple[str, Value, Dims]]
    hints: dict[Value, str]


class Names:
    """Names, each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def free(self, wanted: str) -> str:
        """*wanted*, with #2, #3 ... where it is taken."""
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}#{count}"
        self._taken.add(name)
        return name


def without_dead(nodes: Sequence[Node], outputs: Iterable[Value]) -> list[Node]:
    """The nodes that *outputs* need."""
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if needed & {*node.outputs}:
            needed.update(node.uses())
            kept.append(node)
    return kept[::-1]


def name_all(recorded: Recorded) -> None:
    """Name every value and node: after blobs, LAYER.constant, LAYER/kind for what is inside of a layer.

    Where layers work in place, what comes out in the end has the blob's name; before it are blob#1, blob#2 ...
    """
    values, nodes = Names(), Names()
    for name, value in recorded.inputs.items():
        value.name = values.free(name)
    for name, value, _, _ in recorded.outputs:
        value.name = values.free(name)
    tops = _name_blobs(recorded, values)
    for node in _all_nodes(recorded.nodes):
        plain = bool(tops & {*node.outputs})
        node.name = nodes.free(node.layer if plain else f"{node.layer}/{node.kind}")
        for read in node.inputs:
            if read is not None and read.data is not None and not read.name:
                read.name = values.free(recorded.hints[read])
        for value in (*(node.body.inputs if node.body else ()), *node.outputs):
            value.name = value.name or values.free(node.name if not plain else f"{node.name}/{node.kind}")


def _name_blobs(recorded: Recorded, values: Names) -> set[Value]:
    """Name what layers wrote; all those values."""
    made = {value for node in recorded.nodes for value in node.outputs}
    chains: dict[str, list[Value]] = {}
    tops: set[Value] = set()
    for blob, value, _ in recorded.bound:
        if value in made and value not in tops:
            tops.add(value)
            chains.setdefault(blob, []).append(value)
    for blob, chain in chains.items():
        if not chain[-1].name:
            chain[-1].name = values.free(blob)
        for i, value in enumerate(chain[:-1], 1):
            value.name = value.name or values.free(f"{blob}#{i}")
    return tops


def _all_nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        if node.body is not None:
            yield from _all_nodes(node.body.nodes)


def to_model(recorded: Recorded, opset: int, about: Mapping[str, str]) -> tuple[onnx.ModelProto, list[Value]]:
    """The model without its constants, and those, all named: they are the initializers of its graph."""
    name_all(recorded)
    open_sizes = {dim for value in recorded.inputs.values() for dim in value.shape if isinstance(dim, str)}
    nodes = list(_all_nodes(recorded.nodes))
    constants = list(dict.fromkeys(v for node in nodes for v in node.inputs if v is not None and v.data is not None))
    read = {value for node in nodes for value in node.inputs}
    outputs = {value for _, value, _, _ in recorded.outputs}
    inside = [
        (value.name, shape)
        for value, shape in {value: shape for _, value, shape in recorded.bound}.items()
        if value in read and value not in outputs and value.data is None and value not in recorded.inputs.values()
    ]
    graph = helper.make_graph(
        [_node(node) for node in recorded.nodes],
        recorded.name or "net",
        [_info(value.name, value.shape, open_sizes) for value in recorded.inputs.values()],
        [_info(value.name, shape, open_sizes, doc) for _, value, shape, doc in recorded.outputs],
        value_info=[_info(name, shape, open_sizes) for name, shape in inside],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets), producer_name="caffetorch"
    )
    with contextlib.suppress(metadata.PackageNotFoundError):
        model.producer_version = metadata.version("caffetorch")
    helper.set_model_props(model, dict(about))
    return model, constants


def _node(node: Node) -> onnx.NodeProto:
    made = helper.make_node(
        node.kind,
        [value.name if value is not None else "" for value in node.inputs],
        [value.name for value in node.outputs],
        name=node.name,
        **node.attributes,  # type: ignore[arg-type]  # attributes, and no parameter of this function
    )
    if node.body is not None:
        inputs = [onnx.ValueInfoProto(name=value.name) for value in node.body.inputs]
        outputs = [onnx.ValueInfoProto(name=value.name) for value in node.body.outputs]
        for info in (*inputs, *outputs):
            info.type.tensor_type.elem_type = TensorProto.FLOAT
        body = helper.make_graph([_node(one) for one in node.body.nodes], f"{node.name}/step", inputs, outputs)
        made.attribute.append(helper.make_attribute("body", body))
    return made


def _info(name: str, shape: Dims, open_sizes: set[str], doc: str = "") -> onnx.ValueInfoProto:
    sizes = [dim if isinstance(dim, int) or dim in open_sizes else None for dim in shape]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes, doc_string=doc)
