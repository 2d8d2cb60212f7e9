"""``python -m nets.draw MODEL OUT.{svg,png,dot}``: a picture of the graph, boxes by kind of layer, shapes on edges.

Layers of unknown types are drawn, too, with a dashed border. Behind them, and behind Python layers, whose code does not
run here, there are shapes only where ``--shape`` says those of their tops.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from nets import console
from nets.graph import INPUT as INPUT_TYPE
from nets.graph import Graph, Node, build, is_known, unknown_layers
from nets.inference import parse_shapes, shaped_net
from nets.layer import LAYERS, Shape, shape_text
from nets.summary import add_net_flags
from protos import files, text
from protos.errors import CaffeError, NetError
from protos.schema import ConvolutionParameter, LayerParameter, NetParameter, PoolingParameter

FORMATS = (".svg", ".png", ".dot")

# The module that a layer's class stands in says of what kind it is: fill and border of its box.
COLOURS = {
    "convolution": ("#dbe9f6", "#2f6ba8"),
    "depthwise": ("#dbe9f6", "#2f6ba8"),
    "dense": ("#dbe9f6", "#2f6ba8"),
    "recurrent": ("#dbe9f6", "#2f6ba8"),
    "lstm": ("#dbe9f6", "#2f6ba8"),
    "pooling": ("#fde8d0", "#c46a11"),
    "normalization": ("#e6e0f0", "#6b4fa0"),
    "bn": ("#e6e0f0", "#6b4fa0"),
    "activation": ("#e1f2e1", "#3a8a3a"),
    "elementwise": ("#fff6cc", "#a08500"),
    "loss": ("#f9dcdc", "#b83232"),
    "metrics": ("#f9dcdc", "#b83232"),
    "ctc": ("#f9dcdc", "#b83232"),
}
OTHER = ("#f0f0f0", "#666666")
INPUT = ("#ffffff", "#333333")


@dataclass
class Box:
    """A layer, or an input, with the layers in place behind it."""

    key: str
    lines: list[str]
    colours: tuple[str, str]
    tops: list[str] = field(default_factory=list)
    dashed: bool = False


@dataclass(frozen=True)
class Edge:
    """A blob from box to box, with its name and shape."""

    start: str
    end: str
    label: str


def boxes_and_edges(graph: Graph, shapes: dict[str, Shape]) -> tuple[list[Box], list[Edge]]:
    """The picture as data; *shapes* may lack blobs, whose edges then have names alone."""
    boxes: list[Box] = []
    edges: list[Edge] = []
    makers: dict[str, Box] = {}
    for name in graph.inputs:
        source = next((source for source in graph.sources if name in source.top), None)
        if source is not None and source.top[0] != name and source.top[0] in makers:
            box = makers[source.top[0]]
            box.lines[0] = f"{box.lines[0]}, {name}"
        else:
            kind = f"{source.name} ({source.type})" if source is not None else "input"
            box = Box(f"n{len(boxes)}", [name, kind], INPUT)
            boxes.append(box)
        makers[name] = box
    for node in graph.layers:
        known = is_known(node.type)
        if known and len(node.bottoms) == len(node.tops) == 1 and node.bottoms == node.tops:
            makers[node.bottoms[0]].lines.append(f"+ {node.name} ({node.type})")
            continue
        colours = COLOURS.get(_module(node.type), OTHER) if known else OTHER
        box = Box(f"n{len(boxes)}", [node.name, _kind(node)], colours, list(node.tops), dashed=not known)
        boxes.append(box)
        for bottom in node.bottoms:
            edges.append(Edge(makers[bottom].key, box.key, _label(bottom, shapes, makers[bottom])))
        makers |= dict.fromkeys(node.tops, box)
    for name in graph.outputs:
        if name in makers and name not in graph.inputs:
            end = Box(f"n{len(boxes)}", [name], INPUT)
            boxes.append(end)
            edges.append(Edge(makers[name].key, end.key, shape_text(shapes[name]) if name in shapes else ""))
    return boxes, edges


def _label(blob: str, shapes: dict[str, Shape], maker: Box) -> str:
    """The shape; the blob's name too where it is not that of its layer."""
    said = [blob] if blob != maker.lines[0] else []
    return "\n".join([*said, *([shape_text(shapes[blob])] if blob in shapes else [])])


def _module(kind: str) -> str:
    return LAYERS[kind].__module__.rsplit(".", 1)[-1]


def _kind(node: Node) -> str:
    """The type with the figures that matter: channels, kernel, stride."""
    proto: LayerParameter = node.proto
    if node.type in ("Convolution", "Deconvolution", "DepthwiseConvolution"):
        p = proto.convolution_param
        return f"{node.type} {p.num_output}, {_window(p)}"
    if node.type == "Pooling":
        q = proto.pooling_param
        method = PoolingParameter.PoolMethod.Name(q.pool)
        return f"{method} pooling, {'whole image' if q.global_pooling else _window(q)}"
    if node.type == "InnerProduct":
        return f"InnerProduct {proto.inner_product_param.num_output}"
    return node.type or "unknown type"


def _window(p: ConvolutionParameter | PoolingParameter) -> str:
    """``3x3``, with ``/2`` for a stride of 2 and ``pad 1``."""
    sizes = {}
    for name, stem, default in (("kernel_size", "kernel", 1), ("stride", "stride", 1), ("pad", "pad", 0)):
        value = getattr(p, name)
        values = [value] * 2 if isinstance(value, int) else list(value) or [default]
        pair = values * 2 if len(values) == 1 else values
        if p.HasField(f"{stem}_h"):
            pair = [getattr(p, f"{stem}_h"), getattr(p, f"{stem}_w")]
        sizes[stem] = pair
    said = shape_text(sizes["kernel"])
    if any(s != 1 for s in sizes["stride"]):
        said += f" /{_one(sizes['stride'])}"
    return f"{said} pad {_one(sizes['pad'])}" if any(sizes["pad"]) else said


def _one(values: Sequence[int]) -> str:
    return str(values[0]) if len(set(values)) == 1 else shape_text(values)


def to_dot(graph: Graph, shapes: dict[str, Shape]) -> Any:
    """The picture as a ``pygraphviz.AGraph``. Raises CaffeError where the package is not installed."""
    made = empty_graph(graph.name or "net")
    # A title as a label would be a hint for engines; fonts are those that every system has a stand-in for.
    title = label_of([f"{graph.name} ({graph.phase})"])
    made.graph_attr.update(rankdir="TB", nodesep="0.35", ranksep="0.45", label=title, labelloc="t",
                           fontname="Helvetica", fontsize="16")  # fmt: skip
    made.node_attr.update(shape="box", fontname="Helvetica", fontsize="11", margin="0.15,0.07")
    made.edge_attr.update(fontname="Helvetica", fontsize="9", fontcolor="#444444", color="#777777", arrowsize="0.7")
    boxes, edges = boxes_and_edges(graph, shapes)
    for box in boxes:
        fill, border = box.colours
        style = "rounded,filled,dashed" if box.dashed else "rounded,filled"
        made.add_node(box.key, label=label_of(box.lines), fillcolor=fill, color=border, style=style)
    for edge in edges:
        made.add_edge(edge.start, edge.end, label=_on_white(edge.label))
    return made


def empty_graph(name: str) -> Any:
    """A ``pygraphviz.AGraph`` to draw with. Raises CaffeError where the package is not installed."""
    try:
        import pygraphviz  # noqa: PLC0415  # an optional dependency
    except ImportError:
        raise CaffeError("drawing needs the pygraphviz package: pip install 'caffetorch[plot]'") from None
    return pygraphviz.AGraph(strict=False, directed=True, name=name)


def label_of(lines: Iterable[str]) -> str:
    """*lines* as a label of Graphviz, for which a backslash begins a sign, and <...> is HTML."""
    label = "\\n".join(line.replace("\\", "\\\\") for line in lines)
    return f" {label}" if label.startswith("<") else label


def _on_white(label: str) -> str:
    """A label in Graphviz's HTML: an edge that runs behind it does not cross it out."""
    lines = "<BR/>".join(escape(line) for line in label.split("\n"))
    if not label:
        return ""
    side = '<TD WIDTH="3"></TD>'  # without colour, for the label's own edge
    row = f'{side}<TD BGCOLOR="white">{lines}</TD>{side}'
    return f'<<TABLE BORDER="0" CELLPADDING="0" CELLSPACING="0"><TR>{row}</TR></TABLE>>'


def draw(graph: Graph, shapes: dict[str, Shape], path: Path) -> None:
    """Write the picture of *graph* to *path*, in the format of its suffix."""
    if path.suffix not in FORMATS:
        raise CaffeError(f"{path}: name a file that ends in {', '.join(FORMATS)}")
    content = rendered(to_dot(graph, shapes), path.suffix[1:])
    with files.replacing(path) as file:
        file.write(content)


def rendered(dot: Any, kind: str) -> bytes:
    """The picture that `to_dot` made in the format *kind*. Raises CaffeError where Graphviz cannot draw it."""
    if kind == "dot":
        return str(dot.to_string()).encode()
    with unheard() as said:
        try:
            return bytes(dot.draw(format=kind, prog="dot"))
        except (ValueError, TypeError, OSError) as error:
            reason = said() or str(error)
    raise CaffeError(f"Graphviz failed on a picture in {kind}: {' '.join(reason.split())}")


@contextlib.contextmanager
def unheard() -> Iterator[Callable[[], str]]:
    """Keep what libraries below Python write to stderr, remarks on the system's fonts for one; a call gives it."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:

        def said() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(before, 2)
            os.close(before)


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    made = console.parser("nets.draw", "Draw a net.")
    made.add_argument("model", metavar="MODEL", help="the net prototxt")
    made.add_argument("out", type=Path, metavar="OUT.{svg,png,dot}")
    add_net_flags(made)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    args = console.parse(parser(), argv)
    param = text.read_net(files.find(args.model), allow_unknown=args.allow_unknown)
    graph = build(param, args.phase, args.level, console.stages(args.stage), allow_python=True, allow_foreign=True)
    draw(graph, _shapes(graph.param, args), args.out)
    return 0


def _shapes(param: NetParameter, args: argparse.Namespace) -> dict[str, Shape]:
    """The shapes of all blobs that need no unknown layer; none where there are none to be had; a word says why."""
    for said in unknown_layers(param):
        console.log.warning("with a dashed border: %s", said)
    try:
        given = parse_shapes(args.shape)
        part = _shapeable(param, given)
        return shaped_net(part, given, args.level, console.stages(args.stage), args.phase).shapes
    except NetError:
        raise
    except CaffeError as error:
        console.log.warning("no shapes: %s", error)
        return {}


def _is_shaped(type: str) -> bool:
    """Whether layers of this type can be shaped: those in Python would run code that nobody has allowed."""
    return is_known(type) and type != "Python"


def _shapeable(param: NetParameter, given: Iterable[str]) -> NetParameter:
    """*param* without the layers that cannot be shaped and all that needs their tops, but for those *given*."""
    kept = NetParameter()
    kept.CopyFrom(param)
    del kept.layer[:]
    lost: set[str] = set()
    for layer in param.layer:
        if _is_shaped(layer.type) and lost.isdisjoint(layer.bottom):
            kept.layer.append(layer)
            continue
        new = set(layer.top) - set(layer.bottom)  # what it works on in place keeps its shape
        lost |= new.difference(given)
        if inputs := sorted(new.intersection(given)):
            kept.layer.append(LayerParameter(name=layer.name, type=INPUT_TYPE, top=inputs))
    return kept


if __name__ == "__main__":
    console.run(main)
