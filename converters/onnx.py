"""Nets out, as ONNX: ``python -m converters.onnx MODEL.prototxt WEIGHTS OUT.onnx``.

Each layer writes itself (``Layer.emit``); this module decides what is an input, an output, a constant, and which sizes
stay open. Data layers become inputs, losses their predictions; Accuracy, Silence and Dropout go.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import Tensor

from converters import flags
from converters.checking import compare
from converters.facts import origin, preprocessing
from converters.folding import fold
from converters.layout import Layout, lay_out
from converters.lrn import spread_lrn
from converters.model_file import summary, write
from converters.model_proto import Recorded, to_model, without_dead
from converters.recorder import Node
from converters.writer import Writer, constant_conts
from nets import console, runtime
from nets.inference import load_for_inference
from nets.layer import Layer
from nets.net import Net
from nets.predictions import plan
from protos.errors import CaffeError, NetError, listing

Path_ = str | os.PathLike[str]

OPSET = 17
OLDEST_OPSET = 13


def export_onnx(
    net: Net,
    path: Path_,
    batch: int | None = None,
    *,
    opset: int = OPSET,
    fold_bn: bool = False,
    fast_lrn: bool = False,
    dynamic_spatial: bool = False,
    constants: Mapping[str, float] | None = None,
    sources: Sequence[Path_] = (),
) -> None:
    """Write *net*, as it works in testing, to *path* as an ONNX model.

    The batch is left open, or fixed at *batch*; *dynamic_spatial* leaves height and width of images open too.
    *fold_bn* draws BatchNorm and Scale into the layers before them; *fast_lrn* writes LRN out as several nodes,
    which engines run faster than the one. *constants* are inputs that have one value
    (``cont`` of a recurrent layer: 1). *sources* are the files that the net came from, whose names and hashes
    stand in the model's metadata. Raises NetError that lists all layers that have no form in ONNX.
    """
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise CaffeError(f"opset {opset} is not known: choose one from {OLDEST_OPSET} to {newest}")
    if batch is not None and batch < 1:
        raise CaffeError(f"a batch of {batch} is not possible: at least 1, or leave it open")
    if Path(path).is_dir():
        raise CaffeError(f"{os.fspath(path)}: is a folder: name a file in it")
    recorded = _record(net, lay_out_checked(net, batch, dynamic_spatial), opset, constants or {})
    recorded.nodes = _rewritten(recorded, fold_bn, fast_lrn)
    about = {**origin(net, sources), **preprocessing(net, recorded.inputs)}
    model, initializers = to_model(recorded, opset, about)
    write(model, initializers, path)


def lay_out_checked(net: Net, batch: int | None, dynamic_spatial: bool) -> Layout:
    """The layout of *net*; NetError that lists all layers without a form in ONNX."""
    judges = plan(net).judges
    problems = [f"layer '{layer.name}' ({layer.type})" for layer in net.graph.sources if layer.type == "WindowData"]
    problems += [str(node) for node, layer in net.nodes if type(layer).emit is Layer.emit and node.name not in judges]
    if problems:
        raise NetError(
            f"net '{net.graph.name}' cannot be exported, for these have no form in ONNX: {listing(problems)}"
        )
    return lay_out(net, batch, dynamic_spatial)


# ---- recording


def _record(net: Net, layout: Layout, opset: int, constants: Mapping[str, float]) -> Recorded:
    """All that the predictions of *net* need. Raises NetError that lists all that stands in the way."""
    writer = Writer(net, layout, opset, plan(net), constants)
    problems = list(writer.run())
    if problems:
        raise NetError(f"net '{net.graph.name}' cannot be exported: {listing(problems)}")
    outputs = writer.outputs()
    nodes = without_dead(writer.recorder.nodes, [value for _, value, _, _ in outputs])
    read = {value for node in nodes for value in node.uses()}
    inputs = {name: value for name, value in writer.inputs.items() if value in read}
    return Recorded(net.graph.name, inputs, nodes, outputs, writer.bound, writer.recorder.hints)


def _rewritten(recorded: Recorded, fold_bn: bool, fast_lrn: bool) -> list[Node]:
    nodes = recorded.nodes
    if fold_bn:
        nodes = fold(nodes, [value for _, value, _, _ in recorded.outputs], recorded.hints)
    return spread_lrn(nodes, recorded.hints) if fast_lrn else nodes


# ---- the command


def check(net: Net, path: Path_, seed: int = 0, constants: Mapping[str, float] | None = None) -> list[str]:
    """Run the model at *path* in onnxruntime beside *net* on random inputs; a line for each output.

    Raises CaffeError where an output differs by more than 1e-4 of its largest value.
    """
    session = runtime.open_session(path)

    def run(inputs: dict[str, Tensor]) -> Mapping[str, NDArray[np.float32]]:
        return session.run({name: value.numpy() for name, value in inputs.items() if name in session.inputs})

    return compare(net, run, f"{os.fspath(path)}: onnxruntime", session.inputs, constants or {}, seed)


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    about, check = "Write a net and its weights as an ONNX model.", "run the model in onnxruntime beside the net"
    made = flags.parser("converters.onnx", about, "OUT.onnx", "the model", check)
    console.flag(made, "opset", f"ONNX operator set (default {OPSET})", type=int, default=OPSET, metavar="N")
    console.flag(made, "fold_bn", "draw BatchNorm and Scale into the layers before them", action="store_true")
    console.flag(made, "fast_lrn", "write LRN out as several nodes, which run faster", action="store_true")
    console.flag(made, "constant", "an input that has one value", action="append", default=[], metavar="NAME=VALUE")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    args = console.parse(parser(), argv)
    if Path(args.out).is_dir():
        raise CaffeError(f"{args.out}: is a folder: name a file in it")
    constants = dict(_constant(said) for said in args.constant)
    net = load_for_inference(args.model, args.weights, args)
    export_onnx(
        net,
        args.out,
        flags.batch(args.batch),
        opset=args.opset,
        fold_bn=args.fold_bn,
        fast_lrn=args.fast_lrn,
        dynamic_spatial=args.dynamic_spatial,
        constants=constants,
        sources=(args.model, *args.weights.split(",")[:1]),
    )
    print(f"{args.out}: {summary(args.out)}")
    if args.check:
        for line in check(net, args.out, constants={**constant_conts(net), **constants}):
            print(line)
    return 0


def _constant(said: str) -> tuple[str, float]:
    name, _, value = said.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise CaffeError(f"--constant {said}: give NAME=NUMBER") from None


if __name__ == "__main__":
    console.run(main)
