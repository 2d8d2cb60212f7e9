"""The log lines in which Caffe describes a net and its outputs."""

import logging
from collections.abc import Mapping

from torch import Tensor

from nets.layer import shape_text
from nets.net import Net

log = logging.getLogger("caffe")


def output_lines(kind: str, net: Net, outputs: Mapping[str, Tensor]) -> list[str]:
    """The lines in which Caffe reports the tops of a net, one a number, with its loss weight if it has one."""
    weights = {top: w for node, _ in net.nodes for top, w in zip(node.tops, node.loss_weights, strict=True)}
    lines: list[str] = []
    for top, value in outputs.items():
        for number in value.detach().flatten().tolist():
            weight = weights.get(top, 0.0)
            note = f" (* {weight:g} = {weight * number:g} loss)" if weight else ""
            lines.append(f"    {kind} net output #{len(lines)}: {top} = {number:g}{note}")
    return lines


def log_net(net: Net) -> None:
    """Log the layers as they connect, and the shapes of their tops."""
    for source in net.graph.sources:
        for top in source.top:
            log.info("%s -> %s: %s", source.name, top, shape_text(net.shapes[top]))
    for node, layer in net.nodes:
        tops = ", ".join(f"{top} {shape_text(net.shapes[top])}" for top in node.tops)
        blobs = sum(blob.numel() for blob in layer.blobs)
        log.info("%s: %s -> %s%s", node, ", ".join(node.bottoms), tops, f", {blobs} learnable values" if blobs else "")
    for output in net.graph.outputs:
        log.info("This network produces output %s", output)
    log.info("Network initialization done.")
