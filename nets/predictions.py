"""What a net predicts: its outputs with predictions in the place of losses, and without what judges them.

A train_val net says how good its predictions are; this module finds the predictions themselves, for those who run the
net (``nets.predict``) and for those who export it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nets.graph import Node
from nets.layer import Layer
from nets.layers.ctc import LabelsequenceAccuracy
from nets.layers.evaluation import DetectionEvaluate
from nets.layers.loss import Loss
from nets.layers.metrics import Accuracy, SegAccuracy
from nets.net import Net
from protos.errors import NetError

JUDGES = Accuracy | SegAccuracy | LabelsequenceAccuracy | DetectionEvaluate


@dataclass(frozen=True)
class Prediction:
    """A prediction by its *name*: the values of *blob*, or what the loss layer *loss* makes of them.

    The name is the blob's or the loss's top, but for what a layer makes of an input in place: "data#1".
    """

    name: str
    blob: str
    loss: str = ""


@dataclass(frozen=True)
class Plan:
    """``predictions`` in Caffe's order of tops; ``judges``: the layers that only judge, losses and Accuracy and what
    follows from them."""

    predictions: tuple[Prediction, ...]
    judges: frozenset[str]


def plan(net: Net) -> Plan:
    """What *net* predicts. Raises NetError where nothing is left."""
    walk = _Walk(net)
    found: dict[str, Prediction] = {}
    for top in (*net.graph.outputs, *(top for top in walk.losses if top not in net.graph.outputs)):
        for one in walk.losses.get(top, [] if top in walk.gone else [Prediction(top, top)]):
            found.setdefault(one.blob if not one.loss else one.name, one)
    for blob in walk.judged:
        if blob not in walk.used:
            found.setdefault(blob, Prediction(blob, blob))
    kept = [one for one in found.values() if one.loss or one.blob in walk.made]
    if not kept:
        raise NetError(f"net '{net.graph.name}' ({net.graph.phase}) has no outputs besides losses and its own inputs")
    named = (replace(one, name=f"{one.name}#1") if one.name in net.graph.inputs else one for one in kept)
    return Plan(tuple(named), frozenset(walk.judges))


class _Walk:
    """Sorts the layers of a net: ``losses`` by their tops; ``gone``: tops that only judge, and what follows from
    them; ``judged``: what Accuracy takes; ``used``: what all others take; ``made``: what they make."""

    def __init__(self, net: Net) -> None:
        self.losses: dict[str, list[Prediction]] = {}
        self.judges: list[str] = []
        self.gone: set[str] = set()
        self.judged: list[str] = []
        self.used: set[str] = set()
        self.made: set[str] = set()
        for node, layer in net.nodes:
            self._add(node, layer)

    def _add(self, node: Node, layer: Layer) -> None:
        follows = bool(self.gone & {*node.bottoms})
        if isinstance(layer, Loss) and not follows:
            self.judges.append(node.name)
            self.gone |= {top for i, top in enumerate(node.tops) if i != 1 or not layer.activates}
            self.used.add(node.bottoms[0])
            self.losses[node.tops[0]] = self._of_loss(node, layer)
        elif isinstance(layer, JUDGES) or follows:
            self.judges.append(node.name)
            self.gone |= {*node.tops}
            self.judged += node.bottoms[:1] if not follows else ()
        else:
            self.used |= {*node.bottoms} - {*node.tops}
            self.made |= {*node.tops}

    def _of_loss(self, node: Node, layer: Loss) -> list[Prediction]:
        if layer.activates:
            return [Prediction(node.tops[:2][-1], node.bottoms[0], node.name)]
        made = [blob for blob in node.bottoms if blob in self.made] or list(node.bottoms)
        return [Prediction(blob, blob) for blob in made[: layer.predicted]]


@torch.no_grad()
def predict(net: Net, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """{name: prediction} of *net* on *inputs*, as if it ran for the first time, without gradients.

    Inputs that only judges take may be left out.
    """
    return predictions(net, inputs)


def predictions(net: Net, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As ``predict``, and gradients can flow back."""
    net.forget()
    planned = plan(net)
    missing = dict.fromkeys(name for name in net.graph.inputs if name not in inputs)  # and what follows from them
    kept = {one.blob for one in planned.predictions}
    made: dict[str, Tensor] = {}
    blobs = dict(inputs)
    for run in net.runs():
        node, layer = run.node, run.layer
        wanted = [one for one in planned.predictions if one.loss == node.name]
        if wanted and isinstance(layer, Loss):
            made[wanted[0].name] = layer.predict(blobs[wanted[0].blob])
            blobs |= {top: made[top] for top in node.tops[1:2]}  # the probabilities, which others may take
        elif missing.keys() & {*node.bottoms}:
            missing |= dict.fromkeys(run.tops)
        elif node.name not in planned.judges:
            tops = net.run_layer(node, layer, run.bottoms(blobs))
            blobs.update(zip(run.tops, tops if isinstance(tops, tuple) else (tops,), strict=True))
        for name in {*run.done} - kept:
            blobs.pop(name, None)
    for one in planned.predictions:
        if not one.loss:
            if one.blob not in blobs:
                needed = [name for name in net.graph.inputs if name in missing]
                raise NetError(f"'{one.name}' cannot be had without the inputs {', '.join(needed)}")
            made[one.name] = blobs[one.blob]
    return {one.name: made[one.name] for one in planned.predictions}
