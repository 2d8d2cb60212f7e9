"""Loading a net to use it, not to train it: every layer must have weights, and no store has to be there."""

import argparse
import os
from collections.abc import Iterable

from nets import console
from nets.graph import build
from nets.model import read, with_shapes
from nets.net import Net
from nets.weights import load_weights
from protos import files
from protos.errors import CaffeError, NetError, WeightsError
from protos.schema import NetParameter

Shapes = dict[str, tuple[int, ...]]
SAID = "with --shape NAME=N,C,H,W"


def shape_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--shape``, for inputs whose shape the prototxt does not say."""
    said = "the shape of an input, where the prototxt does not say it; again for each further input"
    console.flag(parser, "shape", said, action="append", default=[], metavar="NAME=N,C,H,W")


def parse_shapes(said: Iterable[str]) -> Shapes:
    """The shapes in the texts of ``--shape`` flags.

    >>> parse_shapes(["data=1,3,224,224"])
    {'data': (1, 3, 224, 224)}
    """
    shapes = {}
    for one in said:
        name, _, sizes = one.partition("=")
        parts = sizes.split(",")
        if not name or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
            raise CaffeError(f"--shape {one}: give NAME=N,C,H,W in positive numbers")
        shapes[name] = tuple(int(part) for part in parts)
    return shapes


def load_for_inference(model: str | os.PathLike[str], weights: str, args: argparse.Namespace) -> Net:
    """The TEST net of the prototxt *model* with all blobs of the files *weights*, as the flags in *args* choose it.

    Raises WeightsError where a layer of the net has no weights in the file.
    """
    param = read(files.find(model), args.allow_unknown)
    try:
        net = shaped_net(param, parse_shapes(args.shape), args.level, console.stages(args.stage))
        report = load_weights(net, weights)
    except (NetError, WeightsError) as error:
        if any(layer.blobs for layer in param.layer):
            raise type(error)(
                f"{error}; {os.fspath(model)} holds weights: should it change places with {weights}?"
            ) from error
        raise
    if report.missing:
        raise WeightsError(f"{weights}: there are no weights for {', '.join(report.missing)}")
    return net


def shaped_net(
    param: NetParameter,
    shapes: Shapes,
    level: int = 0,
    stages: Iterable[str] = (),
    phase: str = "TEST",
    allow_python: bool = False,
) -> Net:
    """The net of *param*; *shapes* spares asking data layers' stores. Raises NetError where one is not known."""
    graph = build(param, phase, level, stages, allow_python=allow_python)
    known = dict(shapes)
    for source in graph.sources:  # with the data known, the labels are one for each item
        if source.top and source.top[0] in known:
            known |= {top: known[source.top[0]][:1] for top in source.top[1:] if top not in known}
    try:
        return Net(with_shapes(param, phase, level, stages, known, allow_python, SAID))
    except CaffeError as error:
        raise type(error)(str(error).replace("in input_shapes", SAID)) from error
    except ValueError as error:
        raise NetError(str(error)) from error
