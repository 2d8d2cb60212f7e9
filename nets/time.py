"""``python -m nets.time --model M``: how long each layer takes, forward and backward."""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nets import command, console
from nets.console import log
from nets.graph import Node
from nets.inference import parse_shapes, shape_flag
from nets.layer import Layer
from nets.net import Net

WARM_UP = 2  # passes before the clock runs


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    made = command.parser("nets.time", "Time the layers of a net.", "how many passes to average", needs_weights=False)
    console.flag(made, "phase", "TRAIN or TEST", default="TRAIN", choices=("TRAIN", "TEST"))
    shape_flag(made)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status. The inputs are random numbers, and zeros where they are labels."""
    args = command.parse(parser(), argv)
    net, device = command.open_net(args, args.phase, parse_shapes(args.shape))
    _report(net, args.iterations, *_times(net, example_inputs(net, device), args.iterations, device))
    return 0


def example_inputs(net: Net, device: torch.device) -> dict[str, Tensor]:
    """Inputs of the net's shapes: random numbers, and zeros for those that a layer takes as labels."""
    labels = {node.bottoms[i] for node, layer in net.nodes for i in layer.labels if i < len(node.bottoms)}
    return {
        name: torch.zeros(net.shapes[name], device=device)
        if name in labels
        else torch.rand(net.shapes[name], device=device)
        for name in net.graph.inputs
    }


Times = dict[str, tuple[float, float]]
Mark = Any  # a moment: seconds, or an event of a GPU


def _times(net: Net, inputs: dict[str, Tensor], iterations: int, device: torch.device) -> tuple[Times, float, float]:
    """Milliseconds, forward and backward, of each layer by itself and of the whole net."""
    mark = _marks(device)
    with torch.no_grad():
        blobs = dict(inputs)
        layers: Times = {}
        for node, layer in net.nodes:
            bottoms = [blobs[name] for name in node.bottoms]
            layers[node.name] = _layer_times(node, layer, bottoms, iterations, mark)
            tops = layer(*bottoms)
            blobs.update(zip(node.tops, tops if isinstance(tops, tuple) else (tops,), strict=True))
    forward = backward = 0.0
    for i in range(-WARM_UP, iterations):
        begin = mark()
        _, loss = net.forward_with_loss(inputs)
        middle = mark()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        end = mark()
        if i >= 0:
            forward, backward = forward + _between(begin, middle), backward + _between(middle, end)
    return layers, forward / iterations, backward / iterations


def _layer_times(
    node: Node, layer: Layer, bottoms: list[Tensor], iterations: int, mark: Callable[[], Mark]
) -> tuple[float, float]:
    forward = backward = 0.0
    for i in range(-WARM_UP, iterations):
        with torch.enable_grad():
            given = [x.detach().requires_grad_(j not in layer.labels) for j, x in enumerate(bottoms)]
            begin = mark()
            tops = layer(*given)
            middle = mark()
            live = [top for top in (tops if isinstance(tops, tuple) else (tops,)) if top.requires_grad]
            if live:
                torch.autograd.backward(live, [torch.ones_like(top) for top in live])
            end = mark()
        if i >= 0:
            forward, backward = forward + _between(begin, middle), backward + _between(middle, end)
    return forward / iterations, backward / iterations


def _marks(device: torch.device) -> Callable[[], Mark]:
    """What makes marks in time: on a GPU events among its own work, which wait for nothing."""

    def event() -> Mark:
        made = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        made.record(torch.cuda.current_stream(device))
        return made

    return event if device.type == "cuda" else time.perf_counter


def _between(begin: Mark, end: Mark) -> float:
    """Milliseconds from one mark to the other."""
    if isinstance(begin, float):
        return float(end - begin) * 1000
    end.synchronize()
    return float(begin.elapsed_time(end))


def _report(net: Net, iterations: int, layers: Times, forward: float, backward: float) -> None:
    log.info("Average time per layer: ")
    for name, (ahead, back) in layers.items():
        log.info("%10s\tforward: %g ms.", name, ahead)
        log.info("%10s\tbackward: %g ms.", name, back)
    log.info("Average Forward pass: %g ms.", forward)
    log.info("Average Backward pass: %g ms.", backward)
    log.info("Average Forward-Backward: %g ms.", forward + backward)
    log.info("Total Time: %g ms.", (forward + backward) * iterations)


if __name__ == "__main__":
    console.run(main)
