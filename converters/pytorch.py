"""Nets out, as plain PyTorch: ``python -m converters.pytorch MODEL.prototxt WEIGHTS OUT.py`` (or ``OUT.pt2``).

OUT.py is the source of a module, for people to read and to go on from, and OUT.pt beside it its ``state_dict``. OUT.pt2
is a program of ``torch.export``. Both hold the net as it works in testing, and need torch alone.
"""

import argparse
import contextlib
import inspect
import logging
import os
import runpy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import is_concrete_int

from converters import flags
from converters.checking import compare
from converters.facts import origin, preprocessing
from converters.layout import lay_out
from converters.source import Source, identifier
from nets import console
from nets.emitter import Dims
from nets.inference import load_for_inference
from nets.net import Net
from nets.predictions import plan, predictions
from protos import files
from protos.errors import CaffeError, NetError, listing

Path_ = str | os.PathLike[str]
SUFFIXES = (".py", ".pt2")
NO_FORM = (
    "DetectionOutput", "HDF5Output", "MarginInnerProduct", "Proposal", "Python", "YoloDetectionOutput",
    "Yolov3DetectionOutput",
)  # fmt: skip
FIX = "fix the batch (in recurrent nets the steps) with --batch N"


def export_pytorch(
    net: Net, path: Path_, batch: int | None = None, *, dynamic_spatial: bool = False, sources: Sequence[Path_] = ()
) -> None:
    """Write *net*, as it works in testing, to *path*: as source (.py, with its weights in a .pt beside it) or as a
    program of torch.export (.pt2).

    Its inputs are called as the net's blobs, where Python allows that, and it gives ``{top: tensor}``, predictions in
    the place of losses. The batch is left open, or fixed at *batch*; *dynamic_spatial* leaves height and width of
    images open too. *sources* are the files that the net came from, whose names and hashes are written down. Gradients
    flow, so that one can train on; but Dropout is gone, and BatchNorm keeps its averages. Raises NetError that names
    the layers which torch.export cannot follow.
    """
    target = Path(path)
    if target.suffix not in SUFFIXES:
        raise CaffeError(f"{target}: name a file that ends in {' or '.join(SUFFIXES)}")
    if batch is not None and batch < 1:
        raise CaffeError(f"a batch of {batch} is not possible: at least 1, or leave it open")
    program, letters = _exported(net, batch, dynamic_spatial)
    about = {**origin(net, sources), **preprocessing(net, net.graph.inputs)}
    if target.suffix == ".pt2":
        with files.replacing(target) as file:
            torch.export.save(program, file, extra_files={"caffe.txt": "\n".join(map(": ".join, about.items()))})
        return
    kinds = {key: node.type for key, (node, _) in zip(_layer_names(net), net.nodes, strict=True)}
    source = Source(program, net.graph.name, kinds, letters, about)
    with files.replacing(target.with_suffix(".pt")) as file:
        torch.save({key: tensor.clone() for key, tensor in source.state.items()}, file)
    with files.replacing(target) as file:
        file.write(source.text.encode())


def _exported(net: Net, batch: int | None, dynamic_spatial: bool) -> tuple[ExportedProgram, dict[str, str]]:
    """What torch.export makes of the predictions of *net*, and the letters of its open sizes by torch's symbols."""
    judges = plan(net).judges
    if stuck := [str(node) for node, _ in net.nodes if node.type in NO_FORM and node.name not in judges]:
        raise NetError(f"net '{net.graph.name}' cannot be exported, for torch cannot follow {listing(stuck)}")
    layout = lay_out(net, batch, dynamic_spatial)
    names = _input_names(net)
    sizes = {name: layout.inputs[blob] for blob, name in names.items()}
    with _quiet(), torch.no_grad():  # so that no layer's own no_grad is written down
        try:
            program = torch.export.export(
                _Predictions(net, names),
                (),
                {name: _example(net.shapes[blob], sizes[name]) for blob, name in names.items()},
                dynamic_shapes={name: dict.fromkeys(_open(dims), Dim.AUTO) for name, dims in sizes.items()},
                strict=False,
            )
        except (RuntimeError, ValueError, TypeError, IndexError, NetError) as error:
            said = str(error).strip().splitlines()[0] + (f"; {FIX}" if batch is None else "")
            raise NetError(f"net '{net.graph.name}' cannot be exported: {said}") from error
    return program, _letters(program, sizes)


def _input_names(net: Net) -> dict[str, str]:
    """The inputs that the predictions of *net* need, and what Python calls them."""
    planned = plan(net)
    read = {name for node, _ in net.nodes if node.name not in planned.judges for name in node.bottoms}
    read |= {one.blob for one in planned.predictions}
    names: dict[str, str] = {}
    for blob in net.graph.inputs:
        if blob in read:
            names[blob] = identifier(blob, [*names.values(), "self", "torch", "aten"])
    return names


def _layer_names(net: Net) -> list[str]:
    """What the layers of *net* are called as attributes of a module: "inception_3a/1x1" as inception_3a_1x1."""
    names: list[str] = []
    taken = dir(nn.Module())
    for key, _ in net.named_children():
        names.append(identifier(key, [*taken, *names]))
    return names


def _open(dims: Dims) -> list[int]:
    return [axis for axis, size in enumerate(dims) if not isinstance(size, int)]


def _example(shape: Sequence[int], dims: Dims) -> Tensor:
    """An input to follow the net with. Open sizes are doubled: with one item torch would take it that one it stays."""
    sizes = (size if isinstance(size, int) else 2 * own for own, size in zip(shape, dims, strict=True))
    return torch.zeros(*sizes)


def _letters(program: ExportedProgram, sizes: Mapping[str, Dims]) -> dict[str, str]:
    """N, H, W by torch's symbols. Raises NetError where torch found that a size must be what it was."""
    letters: dict[str, str] = {}
    for node in program.graph.nodes:
        for axis in _open(sizes.get(node.name, ())) if node.op == "placeholder" else ():
            size = node.meta["val"].shape[axis]
            if is_concrete_int(size):
                raise NetError(f"axis {axis} of input '{node.name}' cannot be left open: {FIX}")
            letters.setdefault(str(size), str(sizes[node.name][axis]))
    return letters


class _Predictions(nn.Module):
    """The predictions of a net, as a module whose ``forward`` has parameters of the given names."""

    def __init__(self, net: Net, names: Mapping[str, str]) -> None:
        super().__init__()
        for key, (_, layer) in zip(_layer_names(net), net.nodes, strict=True):
            self.add_module(key, layer)
        self.eval()
        self.forward = _with_parameters(net, names)


def _with_parameters(net: Net, names: Mapping[str, str]) -> Callable[..., dict[str, Tensor]]:
    def forward(**inputs: Tensor) -> dict[str, Tensor]:
        made = predictions(net, {blob: inputs[name] for blob, name in names.items()})
        net.forget()  # what LSTM and RNN layers would carry to the next pass is no part of the program
        return made

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names.values()]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # which torch.export reads
    return forward


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A block without what torch.export logs and warns about its own workings."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


# ---- the command


def check(net: Net, path: Path_, batch: int | None = None) -> list[str]:
    """Run what was written to *path*, with this *batch* if it was fixed, beside *net* on random inputs; a line for each
    output.

    Raises CaffeError where an output differs by more than 1e-4 of its largest value.
    """
    module, names = load(path), _input_names(net)

    def run(inputs: dict[str, Tensor]) -> dict[str, NDArray[np.float32]]:
        with torch.no_grad():
            made = module(**{name: inputs[blob] for blob, name in names.items()})
        return {top: x.numpy() for top, x in made.items()}

    return compare(net, run, path, lay_out(net, batch, False).inputs if batch else {}, {})


def load(path: Path_) -> nn.Module:
    """The module that was written to *path*, with its weights. A .py file runs as the program that it is."""
    if Path(path).suffix == ".pt2":
        with _quiet():  # torch 2.9 warns of its own buffers
            return torch.export.load(path).module()
    module: nn.Module = runpy.run_path(os.fspath(path))["load"]()
    return module


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    about, out = "Write a net and its weights as plain PyTorch.", "OUT.py|OUT.pt2"
    meaning = "source, with its weights in OUT.pt beside it; or a program for torch.export.load"
    return flags.parser("converters.pytorch", about, out, meaning, "run what was written beside the net")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    args = console.parse(parser(), argv)
    net = load_for_inference(args.model, args.weights, args)
    sources = (args.model, *args.weights.split(",")[:1])
    batch = flags.batch(args.batch)
    export_pytorch(net, args.out, batch, dynamic_spatial=args.dynamic_spatial, sources=sources)
    if args.check:
        for line in check(net, args.out, batch):
            print(line)
    return 0


if __name__ == "__main__":
    console.run(main)
