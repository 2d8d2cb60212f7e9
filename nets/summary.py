"""``python -m nets.summary MODEL``: the table of layers with shapes, parameters, multiply-adds and memory."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from nets import console
from nets.graph import Node
from nets.inference import parse_shapes, shape_flag, shaped_net
from nets.layer import Layer, Shape, shape_text
from nets.model import read
from nets.net import Net
from protos import files

FLOAT = 4  # bytes

Count = Callable[[Layer, Shape, Shape], int]


def _by_output(layer: Layer, bottom: Shape, top: Shape) -> int:
    """Each position of the top takes the whole weight once."""
    return prod(top) // layer.blobs[0].shape[0] * layer.blobs[0].numel()


def _by_input(layer: Layer, bottom: Shape, top: Shape) -> int:
    """Each position of the bottom spreads the whole weight once."""
    return prod(bottom) // layer.blobs[0].shape[0] * layer.blobs[0].numel()


def _by_row(layer: Layer, bottom: Shape, top: Shape) -> int:
    """Each row of values goes through the whole matrix."""
    rows = prod(top) // (layer.blobs[-1].numel() if len(layer.blobs) == 2 else top[-1])
    return rows * layer.blobs[0].numel()


def _by_step(layer: Layer, bottom: Shape, top: Shape) -> int:
    """Each item at each time goes through all matrices."""
    return prod(top[:-1]) * sum(blob.numel() for blob in layer.blobs if blob.dim() == 2)


def _by_value(layer: Layer, bottom: Shape, top: Shape) -> int:
    return prod(top)


MULTIPLY_ADDS: dict[str, Count] = {
    "Convolution": _by_output,
    "ConvolutionDepthwise": _by_output,
    "DepthwiseConvolution": _by_output,
    "Deconvolution": _by_input,
    "InnerProduct": _by_row,
    "LSTM": _by_step,
    "Lstm": _by_step,
    "RNN": _by_step,
    "BatchNorm": _by_value,
    "BN": _by_value,
    "Scale": _by_value,
}


@dataclass(frozen=True)
class Row:
    """One layer: ``parameters`` and ``multiply_adds`` counted, ``memory`` of its tops in bytes as float32.

    A blob changed in place, and a shared parameter, count with the first layer that has them.
    """

    name: str
    type: str
    tops: str
    parameters: int
    multiply_adds: int
    memory: int


def rows(net: Net) -> list[Row]:
    """A row for each input and each layer of *net*, for one pass over a batch of the size of its inputs."""
    found = [
        Row(name, "input", shape_text(net.shapes[name]), 0, 0, FLOAT * prod(net.shapes[name]))
        for name in net.graph.inputs
    ]
    seen_blobs: set[int] = set()
    seen_tops = set(net.graph.inputs)
    for node, layer in net.nodes:
        own = [blob for blob in layer.blobs if blob.data_ptr() not in seen_blobs]
        seen_blobs |= {blob.data_ptr() for blob in layer.blobs}
        new = [top for top in node.tops if top not in seen_tops]
        seen_tops |= {*new}
        found.append(
            Row(
                node.name,
                node.type,
                " ".join(shape_text(net.shapes[top]) for top in node.tops),
                sum(blob.numel() for blob in own),
                _multiply_adds(net, node, layer),
                FLOAT * sum(prod(net.shapes[top]) for top in new),
            )
        )
    return found


def multiply_adds(net: Net) -> int | None:
    """The multiply-adds of a pass; None where a layer with blobs is of a type whose are not counted."""
    if any(layer.blobs and node.type not in MULTIPLY_ADDS for node, layer in net.nodes):
        return None
    return sum(row.multiply_adds for row in rows(net))


def _multiply_adds(net: Net, node: Node, layer: Layer) -> int:
    count = MULTIPLY_ADDS.get(node.type)
    if count is None:
        return 0
    pairs = zip(node.bottoms, node.tops, strict=False)
    if node.type in ("LSTM", "RNN", "Scale"):
        pairs = zip(node.bottoms[:1], node.tops[:1], strict=True)
    return sum(count(layer, net.shapes[bottom], net.shapes[top]) for bottom, top in pairs)


@dataclass(frozen=True)
class Cells:
    """A table as text: ``header``, a line for each row, the ``total``, and a ``note`` on the units."""

    header: tuple[str, ...]
    lines: list[tuple[str, ...]]
    total: tuple[str, ...]
    note: str


def cells(net: Net) -> Cells:
    """The rows as people read them, and the sums."""
    found = rows(net)
    header = ("layer", "type", "top", "parameters", "multiply-adds", "memory")
    lines: list[tuple[str, ...]] = [
        (row.name, row.type, row.tops, _number(row.parameters), _number(row.multiply_adds), _bytes(row.memory))
        for row in found
    ]
    parameters = sum(row.parameters for row in found)
    total = ("total", "", "", f"{parameters:,}", f"{sum(row.multiply_adds for row in found):,}",
             _bytes(sum(row.memory for row in found)))  # fmt: skip
    batch = next((shape[0] for shape in map(net.shapes.__getitem__, net.graph.inputs) if shape), 1)
    note = f"for a batch of {batch}; memory of tops as float32, parameters take {_bytes(FLOAT * parameters)} more"
    return Cells(header, lines, total, note)


def table(net: Net) -> str:
    """The cells as one text."""
    said = cells(net)
    widths = [max(map(len, column)) for column in zip(said.header, *said.lines, said.total, strict=True)]
    ruler = "  ".join("-" * width for width in widths)
    body = [_line(line, widths) for line in said.lines]
    return "\n".join((_line(said.header, widths), ruler, *body, ruler, _line(said.total, widths), said.note))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Names to the left, numbers to the right."""
    placed = [
        cell.ljust(width) if i < 3 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(placed).rstrip()


def _number(value: int) -> str:
    return f"{value:,}" if value else "-"


def _bytes(value: int) -> str:
    """A size as people say it.

    >>> _bytes(1536), _bytes(0)
    ('1.5 KiB', '-')
    """
    if not value:
        return "-"
    size, units = float(value), ["B", "KiB", "MiB", "GiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    made = console.parser("nets.summary", "Print a net's layers with shapes, parameters, multiply-adds and memory.")
    made.add_argument("model", metavar="MODEL", help="the net prototxt")
    add_net_flags(made)
    return made


def add_net_flags(made: argparse.ArgumentParser) -> None:
    """Add the flags by which commands that look at a net choose its layers and shapes."""
    console.flag(made, "phase", "TRAIN or TEST (default)", default="TEST", choices=("TRAIN", "TEST"))
    shape_flag(made)
    console.state_flags(made)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    args = console.parse(parser(), argv)
    param = read(files.find(args.model), args.allow_unknown)
    print(table(shaped_net(param, parse_shapes(args.shape), args.level, console.stages(args.stage), args.phase)))
    return 0


if __name__ == "__main__":
    console.run(main)
