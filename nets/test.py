"""``python -m nets.test --model M --weights W``: score a net on the data of its TEST phase."""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

from nets import console
from nets.console import log
from nets.inputs import Inputs
from nets.model import with_shapes
from nets.net import Net
from nets.solver import output_lines
from nets.weights import load_weights
from protos import files, text
from protos.errors import CaffeError


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    made = console.parser("nets.test", "Score a net on its test data.")
    console.flag(made, "model", "the net prototxt", required=True, metavar="MODEL")
    console.flag(made, "weights", "its weights, files separated by commas", required=True, metavar="W[,W2]")
    console.flag(made, "iterations", "the number of batches", type=int, default=50, metavar="N")
    console.net_flags(made)
    return made


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    args = console.parse(parser(), argv)
    console.start_log()
    if args.iterations < 1:
        raise CaffeError("--iterations must be at least 1")
    gpus = console.devices(args.gpu)
    device = gpus[0] if gpus else torch.device("cpu")
    log.info("Use %s.", "CPU" if device.type == "cpu" else f"GPU with device ID {device.index}")
    param = text.read_net(files.find(args.model), allow_unknown=args.allow_unknown)
    graph = with_shapes(param, "TEST", args.level, console.stages(args.stage), {}, args.allow_python)
    net = Net(graph)
    load_weights(net, args.weights)
    log.info("Running for %d iterations.", args.iterations)
    score(net.to(device), Inputs(graph, device, None), args.iterations)
    return 0


def score(net: Net, inputs: Inputs, iterations: int) -> dict[str, Tensor]:
    """Run *iterations* batches through *net* and log each; the mean of every top."""
    sums: dict[str, Tensor] = {}
    total = 0.0
    for i in range(iterations):
        outputs, loss = net.forward_with_loss(inputs.next())
        total += float(loss)
        for top, value in outputs.items():
            sums[top] = sums[top] + value if top in sums else value.clone()
            for number in value.flatten().tolist():
                log.info("Batch %d, %s = %g", i, top, number)
    log.info("Loss: %g", total / iterations)
    means = {top: value / iterations for top, value in sums.items()}
    for line in output_lines("Test", net, means):
        log.info("%s", line.split(": ", 1)[1])
    return means


if __name__ == "__main__":
    console.run(main)
