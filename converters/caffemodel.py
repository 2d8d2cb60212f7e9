"""Nets out, as Caffe: ``python -m converters.caffemodel MODEL.prototxt WEIGHTS OUT.prototxt``.

A net to use, for those who still need Caffe, a chip's compiler for one: whatever age and kind the files are that it
comes from, it leaves as a prototxt in the current format and a caffemodel. Data layers become inputs, and losses
predictions.
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from converters import bvlc, flags, merging
from converters.checking import compare
from converters.deploy import deployed
from converters.draft import Draft
from converters.facts import origin, preprocessing
from converters.layout import lay_out, top_shapes
from nets import console
from nets.graph import INPUT, build
from nets.inference import load_for_inference
from nets.layer import Shape, shape_text
from nets.model import load
from nets.net import Net
from nets.weights import save_weights
from protos import files, text
from protos.errors import CaffeError
from protos.schema import BlobShape, NetParameter

Path_ = str | os.PathLike[str]

SUFFIX = ".prototxt"


def export_caffe(
    net: Net,
    path: Path_,
    batch: int | None = None,
    *,
    fold_bn: bool = False,
    bvlc_only: bool = False,
    old_inputs: bool = False,
    sources: Sequence[Path_] = (),
) -> Draft:
    """Write *net*, as it works in testing, to *path*, a prototxt, and a caffemodel of the same name beside it.

    The batch is that of the net's inputs, or *batch*. *fold_bn* draws BatchNorm and Scale into the layers before them;
    *bvlc_only* says layers of forks in BVLC Caffe's words; *old_inputs* writes ``input`` and ``input_dim`` instead of
    Input layers, for what is older than these. *sources* are the files that the net came from: their names and hashes
    stand in the prototxt, as a comment. Gives what was written. Raises NetError that lists all that BVLC's words lack.
    """
    out = _checked(path, sources)
    draft = _drafted(net, batch)
    if fold_bn:
        merging.merge(draft)
    if bvlc_only:
        bvlc.translate(draft)
    param = draft.to_proto()
    made = Net(build(param, allow_python=True))
    draft.fill(made)
    head = "".join(f"# {line}\n" for line in _facts(net, draft, sources))
    save_weights(made, out.with_suffix(".caffemodel"))
    with files.replacing(out) as file:
        file.write((head + text.to_text(_with_old_inputs(param) if old_inputs else param)).encode())
    return draft


def _checked(path: Path_, sources: Sequence[Path_]) -> Path:
    out = Path(path)
    if out.is_dir():
        raise CaffeError(f"{out}: is a folder: name a file in it")
    if out.suffix != SUFFIX:
        raise CaffeError(f"{out}: name a file that ends in {SUFFIX}: the weights go beside it")
    for made in (out, out.with_suffix(".caffemodel")):
        if any(Path(source).exists() and made.exists() and made.samefile(source) for source in sources):
            raise CaffeError(f"{made}: the net comes from this file: write to another")
    return out


def _drafted(net: Net, batch: int | None) -> Draft:
    inputs = {name: tuple(shape) for name, shape in net.graph.inputs.items() if shape is not None}
    if batch is not None:
        inputs = {name: _fixed(sizes) for name, sizes in lay_out(net, batch, False).inputs.items()}
    return deployed(net, inputs, top_shapes(net, inputs))


def _fixed(sizes: Sequence[object]) -> Shape:
    return tuple(size for size in sizes if isinstance(size, int))


def _facts(net: Net, draft: Draft, sources: Sequence[Path_]) -> Iterator[str]:
    """What stands at the head of the prototxt."""
    inputs = [part.tops[0].name for part in draft.parts if part.proto.type == INPUT]
    yield "Written by caffetorch: a net to use, without what trains and tests it."
    for key, value in {**origin(net, sources), **preprocessing(net, inputs)}.items():
        yield f"{key}: {' '.join(value.split())}"


def _with_old_inputs(param: NetParameter) -> NetParameter:
    """*param* with its inputs as nets declared them before there were Input layers; input_dim where all have four."""
    made = NetParameter(name=param.name)
    shapes: list[BlobShape] = []
    for layer in param.layer:
        if layer.type == INPUT:
            made.input.extend(layer.top)
            shapes += layer.input_param.shape
        else:
            made.layer.append(layer)
    if all(len(shape.dim) == 4 for shape in shapes):
        made.input_dim.extend(size for shape in shapes for size in shape.dim)
    else:
        made.input_shape.extend(shapes)
    return made


# ---- the command


def check(net: Net, path: Path_, draft: Draft, seed: int = 0) -> list[str]:
    """Read the files at *path* again and run their net beside *net* on random inputs; a line for each output.

    Raises CaffeError where an output differs by more than 1e-4 of its largest value.
    """
    made = load(path, Path(path).with_suffix(".caffemodel"))

    def run(inputs: dict[str, Tensor]) -> Mapping[str, NDArray[np.float32]]:
        blobs = made.activations(**{name: inputs[name] for name in made.graph.inputs})
        return {name: blobs[value.name].detach().numpy() for name, value in draft.outputs.items()}

    sizes = {name: shape for name, shape in made.graph.inputs.items() if shape is not None}
    called = {name: value.name for name, value in draft.outputs.items()}
    return compare(net, run, path, sizes, {}, seed, called)


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    about = "Write a net and its weights for Caffe: a prototxt to use the net by, and a caffemodel."
    meaning = "the prototxt; the weights go to OUT.caffemodel beside it"
    said = "read what was written and run it beside the net"
    made = flags.parser("converters.caffemodel", about, "OUT.prototxt", meaning, said, open_sizes=False)
    console.flag(made, "batch", "the batch of the inputs (default: as they have it)", type=int, metavar="N")
    console.flag(made, "fold_bn", "draw BatchNorm and Scale into the layers before them", action="store_true")
    console.flag(made, "bvlc", "say layers of forks in BVLC Caffe's words, or say which it lacks", action="store_true")
    console.flag(made, "old_inputs", "declare inputs by input and input_dim, not by Input layers", action="store_true")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    args = console.parse(parser(), argv)
    if args.batch is not None and args.batch < 1:
        raise CaffeError(f"a batch of {args.batch} is not possible: at least 1")
    weights = args.weights.split(",")
    _checked(args.out, (args.model, *weights))
    net = load_for_inference(args.model, args.weights, args)
    draft = export_caffe(
        net,
        args.out,
        args.batch,
        fold_bn=args.fold_bn,
        bvlc_only=args.bvlc,
        old_inputs=args.old_inputs,
        sources=(args.model, *weights),
    )
    for line in _summary(args.out, draft):
        print(line)
    if args.check:
        for line in check(net, args.out, draft):
            print(line)
    return 0


def _summary(out: str, draft: Draft) -> Iterator[str]:
    inputs = [part.tops[0] for part in draft.parts if part.proto.type == INPUT]
    sides = [
        ", ".join(f"{value.name} {shape_text(value.shape)}" for value in side)
        for side in (inputs, draft.outputs.values())
    ]
    yield f"{out}: {len(draft.parts) - len(inputs)} layers, {sides[0]} -> {sides[1]}"
    others: dict[str, list[str]] = defaultdict(list)
    for part in draft.parts:
        if part.proto.type not in bvlc.TYPES:
            others[part.proto.type].append(part.proto.name)
    if others:
        said = "; ".join(f"{type} ({', '.join(names)})" for type, names in others.items())
        yield f"not in BVLC Caffe: {said}"


if __name__ == "__main__":
    console.run(main)
