"""Nets out, as ONNX: ``python -m converters.onnx MODEL.prototxt WEIGHTS OUT.onnx``.

Each layer writes itself (``Layer.emit``); this module decides what is an input, an output, a constant, and which sizes
stay open. Data layers become inputs, losses their predictions; Accuracy, Silence and Dropout go.
"""

import argparse
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch

from converters.folding import fold
from converters.layout import Layout, lay_out
from converters.model_proto import Recorded, to_model, without_dead, write
from converters.recorder import Node, Recorder
from nets import console, runtime
from nets.emitter import Dims, Value
from nets.inference import load_for_inference, shape_flag
from nets.layer import Layer
from nets.layers.recurrent import LSTM, RNN
from nets.net import Net
from nets.predictions import Plan, plan, predict
from protos import text
from protos.errors import CaffeError, NetError, listing
from protos.schema import FillerParameter, TransformationParameter

Path_ = str | os.PathLike[str]

OPSET = 17
OLDEST_OPSET = 13
TOLERANCE = 1e-4  # relative to the largest value of an output, for --check


def export_onnx(
    net: Net,
    path: Path_,
    batch: int | None = None,
    *,
    opset: int = OPSET,
    fold_bn: bool = False,
    dynamic_spatial: bool = False,
    constants: Mapping[str, float] | None = None,
    sources: Sequence[Path_] = (),
) -> None:
    """Write *net*, as it works in testing, to *path* as an ONNX model.

    The batch is left open, or fixed at *batch*; *dynamic_spatial* leaves height and width of images open too.
    *fold_bn* draws BatchNorm and Scale into the layers before them. *constants* are inputs that have one value
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
    recorded = _record(net, lay_out_checked(net, batch, dynamic_spatial), opset, constants or {}, fold_bn)
    about = {**_origin(net, sources), **_preprocessing(net, recorded.inputs)}
    model, external = to_model(recorded, opset, about)
    write(model, external, path)


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


def _record(net: Net, layout: Layout, opset: int, constants: Mapping[str, float], fold_bn: bool) -> Recorded:
    planned = plan(net)
    writer = _Writer(net, layout, opset, planned, constants)
    problems = list(writer.run())
    if problems:
        raise NetError(f"net '{net.graph.name}' cannot be exported: {listing(problems)}")
    outputs = writer.outputs()
    nodes = writer.recorder.nodes
    wanted = [value for _, value, _, _ in outputs]
    if fold_bn:
        nodes = fold(without_dead(nodes, wanted), wanted, writer.recorder.hints)
    nodes = without_dead(nodes, wanted)
    read = {value for node in nodes for value in node.uses()}
    inputs = {name: value for name, value in writer.inputs.items() if value in read}
    return Recorded(net.graph.name, inputs, nodes, outputs, writer.bound, writer.recorder.hints)


class _Writer:
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
        for name, value in {**_constant_conts(net), **constants}.items():
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


def _constant_conts(net: Net) -> dict[str, float]:
    """Tops of DummyData layers that hold one number and are nothing but ``cont`` of recurrent layers."""
    found = {}
    for source in net.graph.sources:
        if source.type != "DummyData":
            continue
        fillers = list(source.dummy_data_param.data_filler)
        for i, top in enumerate(source.top):
            filler = fillers[min(i, len(fillers) - 1)] if fillers else FillerParameter()
            users = [(node, layer) for node, layer in net.nodes if top in node.bottoms]
            is_cont = all(isinstance(layer, RNN | LSTM) and node.bottoms[1] == top for node, layer in users)
            if users and is_cont and filler.type == "constant":
                found[top] = filler.value
    return found


# ---- metadata


def _origin(net: Net, sources: Sequence[Path_]) -> dict[str, str]:
    """Names and hashes of the files that the net came from; without any, the hash of its layers as text."""
    about = {"caffe.net": net.graph.name, "caffe.phase": net.graph.phase}
    for kind, path in zip(("model", "weights"), sources, strict=False):
        about[f"caffe.{kind}"] = Path(path).name
        about[f"caffe.{kind}.sha256"] = _sha256(path)
    if not sources:
        about["caffe.prototxt.sha256"] = hashlib.sha256(text.to_text(net.graph.param).encode()).hexdigest()
    return about


def _sha256(path: Path_) -> str:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CaffeError(f"{os.fspath(path)}: cannot be read: {(error.strerror or str(error)).lower()}") from error


def _preprocessing(net: Net, inputs: Mapping[str, Value]) -> dict[str, str]:
    """What the data layers did to pixels before they became the inputs, one entry a fact."""
    about: dict[str, str] = {}
    for source in net.graph.sources:
        top = source.top[0]
        if top in inputs and source.type in ("Data", "ImageData", "MemoryData"):
            shape = net.shapes[top]
            about |= {f"{top}.{key}": said for key, said in _transform(source.transform_param, shape)}
    return about


def _transform(param: TransformationParameter, shape: Sequence[int]) -> Iterator[tuple[str, str]]:
    yield "layout", "N x C x H x W"
    if len(shape) > 1 and shape[1] == 3:
        yield "channel_order", "BGR"
    yield "range", "0 to 255 before mean and scale"
    yield "formula", "(pixel - mean) * scale"
    yield "scale", f"{param.scale:.9g}"
    if param.mean_value:
        yield "mean_value", ",".join(f"{value:.9g}" for value in param.mean_value)
    if param.mean_file:
        yield "mean_file", Path(param.mean_file).name
        if Path(param.mean_file).is_file():
            yield "mean_file.sha256", _sha256(param.mean_file)
    if param.crop_size:
        yield "crop_size", f"{param.crop_size}"
        yield "crop", "from the centre"


# ---- the command


def check(net: Net, path: Path_, seed: int = 0, constants: Mapping[str, float] | None = None) -> list[str]:
    """Run the model at *path* in onnxruntime beside *net* on random inputs; a line for each output.

    Raises CaffeError where an output differs by more than 1e-4 of its largest value.
    """
    session = runtime.open_session(path)
    inputs = _random_inputs(net, session, seed, constants or {})
    wanted = predict(net, inputs)
    found = session.run({name: value.numpy() for name, value in inputs.items() if name in session.inputs})
    lines, wrong = [], []
    for name, values in found.items():
        expected = wanted[name].numpy()
        most = max(float(np.abs(expected).max(initial=0)), 1e-30)
        difference = float(np.abs(values - expected).max(initial=0))
        lines.append(f"{name}: {'x'.join(map(str, values.shape))}, differs by {difference / most:.1e} of {most:.3g}")
        if not difference <= TOLERANCE * most:
            wrong.append(lines[-1])
    if wrong:
        raise CaffeError(f"{os.fspath(path)}: onnxruntime disagrees: {listing(wrong)}")
    return lines


def _random_inputs(
    net: Net, session: runtime.Session, seed: int, constants: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """Normal numbers for data, zeros and ones for labels, indices and cont."""
    chance = torch.Generator().manual_seed(seed)
    whole = {node.bottoms[i] for node, layer in net.nodes for i in layer.labels if i < len(node.bottoms)}
    inputs = {}
    for name, shape in net.graph.inputs.items():
        assert shape is not None
        sizes = tuple(
            declared if isinstance(declared, int) else size
            for size, declared in zip(shape, session.inputs.get(name, shape), strict=True)
        )
        if name in constants:
            inputs[name] = torch.full(sizes, constants[name])
        elif name in whole:
            inputs[name] = torch.randint(0, 2, sizes, generator=chance).float()
        else:
            inputs[name] = torch.randn(sizes, generator=chance)
    return inputs


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    made = console.parser("converters.onnx", "Write a net and its weights as an ONNX model.")
    made.add_argument("model", metavar="MODEL.prototxt", help="the net")
    made.add_argument("weights", metavar="WEIGHTS", help=".caffemodel or .h5; several separated by commas")
    made.add_argument("out", metavar="OUT.onnx")
    console.flag(made, "opset", f"ONNX operator set (default {OPSET})", type=int, default=OPSET, metavar="N")
    console.flag(made, "batch", "a number, or 'dynamic' (default)", default="dynamic", metavar="N")
    console.flag(made, "dynamic_spatial", "leave height and width of the image open", action="store_true")
    console.flag(made, "fold_bn", "draw BatchNorm and Scale into the layers before them", action="store_true")
    console.flag(made, "check", "run the model in onnxruntime beside the net", action="store_true")
    console.flag(made, "constant", "an input that has one value", action="append", default=[], metavar="NAME=VALUE")
    shape_flag(made)
    console.flag(made, "level", "level of the net state", type=int, default=0, metavar="N")
    console.flag(made, "stage", "stages of the net state, separated by commas", default="", metavar="A,B")
    console.flag(made, "allow_unknown", "warn of fields that no schema knows instead of stopping", action="store_true")
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
        _batch(args.batch),
        opset=args.opset,
        fold_bn=args.fold_bn,
        dynamic_spatial=args.dynamic_spatial,
        constants=constants,
        sources=(args.model, *args.weights.split(",")[:1]),
    )
    print(f"{args.out}: {_summary(args.out)}")
    if args.check:
        for line in check(net, args.out, constants={**_constant_conts(net), **constants}):
            print(line)
    return 0


def _batch(said: str) -> int | None:
    if said == "dynamic":
        return None
    if not said.isdecimal():
        raise CaffeError(f"--batch {said}: give a number, or 'dynamic'")
    return int(said)


def _constant(said: str) -> tuple[str, float]:
    name, _, value = said.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise CaffeError(f"--constant {said}: give NAME=NUMBER") from None


def _summary(path: Path_) -> str:
    graph = onnx.load(path, load_external_data=False).graph
    sides = [", ".join(value.name for value in side) for side in (graph.input, graph.output)]
    return f"{len(graph.node)} nodes, {sides[0]} -> {sides[1]}"


if __name__ == "__main__":
    console.run(main)
