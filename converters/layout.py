"""Which sizes of a net are fixed and which are left open, found by shaping it with several sizes of input.

The layers' own ``forward`` is the only rule of shapes, here too: an axis that moves with an input's is open.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from nets.emitter import Dim, Dims
from nets.layer import LAYERS, Shape, shape_text
from nets.net import Net
from protos.errors import NetError

BATCH, HEIGHT, WIDTH = "N", "H", "W"

_Tops = list[list[Shape]]
_Places = dict[str, int]  # input -> axis


@dataclass(frozen=True)
class Layout:
    """The sizes of the ``inputs`` by name, and of the ``tops`` of each layer in order. A text is an open size, equal
    for equal sizes: "N", "H" and "W", or "N_idx" of another input "idx", and others of what follows from them."""

    inputs: dict[str, Dims]
    tops: list[list[Dims]]


def lay_out(net: Net, batch: int | None, dynamic_spatial: bool) -> Layout:
    """The layout of *net* with its batch left open, or fixed at *batch*; *dynamic_spatial* opens height and width.

    The batch is the first axis of the first input, and of all others of the same size there. Raises NetError where
    the net does not work with sizes but its own.
    """
    inputs = {name: shape for name, shape in net.graph.inputs.items() if shape}
    if not inputs:
        raise NetError(f"net '{net.graph.name}' has no inputs: a model needs one")
    first = next(iter(inputs.values()))
    batched = {name: 0 for name, shape in inputs.items() if shape[0] == first[0]}
    if batch is not None:
        inputs = {name: (batch, *shape[1:]) if name in batched else shape for name, shape in inputs.items()}
    found = _Open(net, inputs)
    if batch is None:
        found.open(BATCH, batched, 2, 0, "its batch cannot be left open ({}): fix it with --batch N")
        for name in inputs:
            if name not in batched:
                found.open(f"{BATCH}_{name}", {name: 0}, 2, 0, None)
    if dynamic_spatial:
        images = {name: shape for name, shape in inputs.items() if len(shape) == 4}
        if not images:
            raise NetError(f"net '{net.graph.name}' has no images to leave the size of open")
        size = next(iter(images.values()))[2:]
        alike = [name for name, shape in images.items() if shape[2:] == size]
        why = "it is not fully convolutional, its image's size cannot be left open ({})"
        found.open(HEIGHT, dict.fromkeys(alike, 2), 1, 256, why)
        found.open(WIDTH, dict.fromkeys(alike, 3), 1, 512, why)
    for node, layer in net.nodes:
        if layer.open_axis is not None:
            found.open_rows(node.name, node.tops[0], layer.open_axis)
    return Layout({name: tuple(dims) for name, dims in found.inputs.items()}, found.tops)


class _Open:
    """The sizes so far: those with the inputs as they are, opened one by one."""

    def __init__(self, net: Net, inputs: Mapping[str, Shape]) -> None:
        self.net = net
        self.base_inputs = dict(inputs)
        self.base = top_shapes(net, inputs)
        self.inputs: dict[str, list[Dim]] = {name: list(shape) for name, shape in inputs.items()}
        self.tops: list[list[Dims]] = [list(shapes) for shapes in self.base]

    def open(self, symbol: str, places: _Places, factor: int, more: int, complaint: str | None) -> None:
        """Leave the axes *places* open as *symbol*, after a look at them *factor* times and by *more* larger.

        Where that does not work they stay as they are, or with a *complaint* NetError is raised.
        """
        moved = {name: list(shape) for name, shape in self.base_inputs.items()}
        for name, axis in places.items():
            moved[name][axis] = moved[name][axis] * factor + more
        try:
            tops = top_shapes(self.net, {name: tuple(shape) for name, shape in moved.items()})
        except NetError as error:
            if complaint is None:
                return
            raise NetError(f"net '{self.net.graph.name}': {complaint.format(error)}") from error
        name, axis = next(iter(places.items()))
        of_input = (self.base_inputs[name][axis], moved[name][axis])
        for name, axis in places.items():
            self.inputs[name][axis] = symbol
        for known, before, after in zip(self.tops, self.base, tops, strict=True):
            known[:] = [_merged(*three, symbol, of_input) for three in zip(known, before, after, strict=True)]

    def open_rows(self, layer: str, top: str, axis: int) -> None:
        """Leave *axis* of the tops of *layer*, which only values decide, and what follows from it open as "N_TOP"."""
        symbol = f"{BATCH}_{top}"
        try:
            grown = top_shapes(self.net, self.base_inputs, layer, axis)
        except NetError:
            return  # a later layer works with this size alone
        at = [node.name for node, _ in self.net.nodes].index(layer)
        size = self.base[at][0][axis]
        for known, before, after in zip(self.tops, self.base, grown, strict=True):
            for i, (dims, old, new) in enumerate(zip(known, before, after, strict=True)):
                moved = (
                    symbol if (a, b) == (size, size + 1) else f"{symbol}({a},{b})"
                    for a, b in zip(old, new, strict=True)
                )
                known[i] = tuple(text if a != b else dim for dim, a, b, text in zip(dims, old, new, moved, strict=True))


def _merged(known: Dims, before: Shape, after: Shape, symbol: str, of_input: tuple[int, int]) -> Dims:
    """The sizes *known* so far, open where *before* and *after* differ."""
    sizes: list[Dim] = []
    for dim, a, b in zip(known, before, after, strict=True):
        if a == b:
            sizes.append(dim)
        elif not isinstance(dim, int):
            sizes.append(None)  # it depends on two open sizes
        else:
            sizes.append(symbol if (a, b) == of_input else f"{symbol}({a},{b})")
    return tuple(sizes)


def top_shapes(net: Net, inputs: Mapping[str, Shape], grown: str = "", axis: int = 0) -> _Tops:
    """The shapes of all layers' tops for *inputs*, with blobs of the net's shapes.

    The tops of the layer *grown* are longer by 1 along *axis* than they are.
    """
    shapes = dict(inputs)
    tops: _Tops = []
    for node, layer in net.nodes:
        bottoms = [shapes[name] for name in node.bottoms]
        try:
            with torch.device("meta"):
                fresh = LAYERS[node.type].from_proto(node.proto, bottoms).eval()
                made = fresh.top_shapes(bottoms)
        except (RuntimeError, ValueError, IndexError, NetError) as error:
            raise NetError(f"{node}: {str(error).splitlines()[0]}") from error
        for (name, blob), (_, needed) in zip(layer.blob_items, fresh.blob_items, strict=True):
            if blob.shape != needed.shape:
                sizes = f"{shape_text(blob.shape)}, and would have to be {shape_text(needed.shape)}"
                raise NetError(f"{node}: its {name} is {sizes}")
        if node.name == grown:
            made = [(*shape[:axis], shape[axis] + 1, *shape[axis + 1 :]) for shape in made]
        tops.append(made)
        shapes.update(zip(node.tops, made, strict=True))
    return tops
