"""From a model's files to a net: the prototxt, the shapes that only its stores know, and the weights."""

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data import sources
from data.allocation import keep_freed_memory
from nets import graph
from nets.graph import Graph, unknown_layers
from nets.layer import Shape
from nets.net import Net
from nets.weights import load_weights
from protos import text
from protos.errors import CaffeError, CaffeWarning, ParseError, UnknownFieldError, listing
from protos.schema import LayerParameter, NetParameter


def load(
    model: str | os.PathLike[str] | NetParameter,
    weights: str | os.PathLike[str] | None = None,
    phase: str = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    allow_unknown: bool = False,
    allow_python: bool = False,
) -> Net:
    """The net in the prototxt file *model* (or the message), with the blobs of the file *weights* if given.

    Data layers whose shape *input_shapes* does not name are asked for it, which reads one record of their store. The
    process keeps the memory of blobs that are done with, see `keep_freed_memory`.
    """
    keep_freed_memory()
    param = model if isinstance(model, NetParameter) else read(Path(model), allow_unknown)
    net = Net(with_shapes(param, phase, level, stages, input_shapes or {}, allow_python, remedy="in input_shapes"))
    if weights is not None:
        load_weights(net, weights)
    return net


def read(path: str | os.PathLike[str], allow_unknown: bool = False) -> NetParameter:
    """The net in the file at *path*, as `protos.text.read_net` reads it.

    Where fields in it are unknown, the error names the layers of unknown types as well: ignoring the fields of a fork
    does not help where its layers are missing.
    """
    try:
        return text.read_net(path, allow_unknown=allow_unknown)
    except UnknownFieldError as error:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CaffeWarning)
            foreign = unknown_layers(text.read_net(path, allow_unknown=True))
        raise ParseError(listing([str(error), *foreign])) from error


def with_shapes(
    param: NetParameter,
    phase: str,
    level: int,
    stages: Iterable[str],
    input_shapes: Mapping[str, Sequence[int]],
    allow_python: bool = False,
    remedy: str = "",
) -> Graph:
    """The graph of *param*, with the shapes of data layers' tops asked of their stores where none is given.

    *remedy*: where the caller may name the shape of a store that cannot be read, if anywhere.
    """
    found = graph.build(param, phase, level, stages, input_shapes, allow_python)
    asked: dict[str, Sequence[int]] = {}
    for source in found.sources:
        if any(top not in input_shapes for top in source.top):
            asked |= _ask(source, phase, remedy)
    return graph.build(param, phase, level, stages, {**asked, **input_shapes}, allow_python) if asked else found


def _ask(source: LayerParameter, phase: str, remedy: str) -> dict[str, Shape]:
    try:
        return sources.top_shapes(source, phase)
    except CaffeError as error:
        tops = ", ".join(f"'{top}'" for top in source.top)
        hint = f"; or name the shape of {tops} {remedy}" if remedy else ""
        layer = f"layer '{source.name}' ({source.type}): "
        raise type(error)(f"{layer}{str(error).removeprefix(layer)}{hint}") from error
