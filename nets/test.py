"""``python -m nets.test --model M --weights W``: score a net on the data of its TEST phase."""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

from nets import command, console, precision
from nets.averages import Averages
from nets.console import log
from nets.inputs import Inputs
from nets.lines import output_lines
from nets.net import Net


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    made = command.parser("nets.test", "Score a net on its test data.", "the number of batches", needs_weights=True)
    said = "how the precision of DetectionEvaluate layers is averaged; default: Integral"
    made.add_argument("--ap-version", choices=precision.VERSIONS, default="Integral", help=said)
    return made


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    args = command.parse(parser(), argv)
    net, device = command.open_net(args, "TEST")
    inputs = Inputs(net.graph, device, None)
    log.info("Running for %d iterations.", args.iterations)
    try:
        score(net, inputs, args.iterations, args.ap_version)
    finally:
        inputs.close()
    return 0


def score(net: Net, inputs: Inputs, iterations: int, ap_version: str = "Integral") -> dict[str, Tensor]:
    """Run *iterations* batches through *net* and log each; the mean of every top, or its precision."""
    averages = Averages(net)
    total = 0.0
    for i in range(iterations):
        outputs, loss = net.forward_with_loss(inputs.next())
        total += float(loss)
        averages.add(outputs)
        for top, value in outputs.items():
            for number in value.flatten().tolist() if top not in averages.judged else ():
                log.info("Batch %d, %s = %g", i, top, number)
    log.info("Loss: %g", total / iterations)
    means = averages.means(ap_version)
    for line in output_lines("Test", net, means):
        log.info("%s", line.split(": ", 1)[1])
    return means


if __name__ == "__main__":
    console.run(main)
