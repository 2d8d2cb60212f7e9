"""What ``caffe test`` and ``caffe time`` share: their flags, the device they run on, and their net."""

import argparse
from collections.abc import Sequence

import torch

from nets import console
from nets.console import log
from nets.inference import Shapes, shaped_net
from nets.model import read, with_shapes
from nets.net import Net
from nets.placement import place
from nets.weights import load_weights
from protos import files
from protos.errors import CaffeError


def parser(module: str, description: str, iterations: str, needs_weights: bool) -> argparse.ArgumentParser:
    """A parser with the flags of both; *iterations* says what that number counts."""
    made = console.parser(module, description)
    console.flag(made, "model", "the net prototxt", required=True, metavar="MODEL")
    console.flag(made, "weights", "its weights, files separated by commas", required=needs_weights, metavar="W[,W2]")
    console.flag(made, "iterations", iterations, type=int, default=50, metavar="N")
    console.net_flags(made)
    return made


def parse(made: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags in *argv*, with the log started."""
    args = console.parse_original(made, argv)
    if args.iterations < 1:
        raise CaffeError("--iterations must be at least 1")
    return args


def open_net(args: argparse.Namespace, phase: str, shapes: Shapes | None = None) -> tuple[Net, torch.device]:
    """The net that the flags name, on the device that they name.

    *shapes* spare asking data layers' stores; None: there have to be stores.
    """
    gpus = console.devices(args.gpu)
    device = gpus[0] if gpus else torch.device("cpu")
    log.info("Use %s.", "CPU" if device.type == "cpu" else f"GPU with device ID {device.index}")
    param = read(files.find(args.model), args.allow_unknown)
    state = (args.level, console.stages(args.stage))
    if shapes is None:
        net = Net(with_shapes(param, phase, *state, {}, args.allow_python))
    else:
        net = shaped_net(param, shapes, *state, phase, args.allow_python)
    if args.weights:
        load_weights(net, args.weights)
    return place(net, device), device
