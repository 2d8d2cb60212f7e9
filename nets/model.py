"""From a model's files to a net: the prototxt, the shapes that only its stores know, and the weights."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data import sources
from protos import text
from protos.errors import CaffeError
from protos.schema import LayerParameter, NetParameter

from nets import graph
from nets.layer import Shape
from nets.net import Net
from nets.weights import load_weights


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

    Data layers whose shape *input_shapes* does not name are asked for it, which reads one record of their store.
    """
    param = model if isinstance(model, NetParameter) else text.read_net(Path(model), allow_unknown=allow_unknown)
    shapes = dict(input_shapes or {})
    found = graph.build(param, phase, level, stages, shapes, allow_python)
    for source in found.sources:
        if any(top not in shapes for top in source.top):
            shapes = {**_ask(source, phase), **shapes}
    net = Net(graph.build(param, phase, level, stages, shapes, allow_python))
    if weights is not None:
        load_weights(net, weights)
    return net


def _ask(source: LayerParameter, phase: str) -> dict[str, Shape]:
    try:
        return sources.top_shapes(source, phase)
    except CaffeError as error:
        tops = ", ".join(f"'{top}'" for top in source.top)
        raise type(error)(f"layer '{source.name}' ({source.type}): {error}; or name the shape of {tops} in input_shapes") from error
