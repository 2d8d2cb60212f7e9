"""What a net predicts: its outputs with predictions in the place of losses, and without what judges them.

A train_val net says how good its predictions are; this module finds the predictions themselves, for those who run the
net (``nets.predict``) and for those who export it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nets.layers.loss import Loss
from nets.layers.metrics import Accuracy
from nets.net import Net
from protos.errors import NetError


@dataclass(frozen=True)
class Prediction:
    """A prediction by its *name*: the blob of that name, or what the loss layer *loss* makes of its first bottom."""

    name: str
    loss: str = ""


@dataclass(frozen=True)
class Plan:
    """``predictions`` in Caffe's order of tops; ``judges``: the layers that only judge, losses and Accuracy and what
    follows from them."""

    predictions: tuple[Prediction, ...]
    judges: frozenset[str]


def plan(net: Net) -> Plan:
    """What *net* predicts. Raises NetError where nothing is left."""
    gone: set[str] = set()
    judges: dict[str, None] = {}
    found: dict[str, list[Prediction]] = {}
    judged: dict[str, list[str]] = {}
    used: set[str] = set()
    for node, layer in net.nodes:
        if isinstance(layer, Loss) and not gone & {*node.bottoms}:
            judges[node.name] = None
            gone |= {*node.tops[:1]}
            found[node.tops[0]] = _of_loss(net, node.name, node.bottoms, node.tops, layer)
        elif isinstance(layer, Accuracy) or gone & {*node.bottoms}:
            judges[node.name] = None
            gone |= {*node.tops}
            for top in node.tops[:1] if isinstance(layer, Accuracy) else ():
                judged[top] = [node.bottoms[0]]
        else:
            used |= {*node.bottoms} - {*node.tops}
            gone -= {*node.tops}
    chosen: dict[str, Prediction] = {}
    for top in (*net.graph.outputs, *(top for top in found if top not in net.graph.outputs)):
        if top in found:
            chosen |= {one.name: one for one in found[top]}
        elif top not in gone and top not in net.graph.inputs:
            chosen.setdefault(top, Prediction(top))
    taken = used | {node.bottoms[0] for node, layer in net.nodes if isinstance(layer, Loss)}
    for names in judged.values():
        chosen |= {name: Prediction(name) for name in names if name not in taken and name not in chosen}
    chosen = {name: one for name, one in chosen.items() if one.loss or name not in net.graph.inputs}
    if not chosen:
        raise NetError(f"net '{net.graph.name}' ({net.graph.phase}) has no outputs besides losses and its own inputs")
    return Plan(tuple(chosen.values()), frozenset(judges))


def _of_loss(net: Net, name: str, bottoms: tuple[str, ...], tops: tuple[str, ...], layer: Loss) -> list[Prediction]:
    if layer.activates:
        return [Prediction(tops[1] if len(tops) == 2 else tops[0], name)]
    made = [blob for blob in bottoms if blob not in net.graph.inputs] or list(bottoms)
    return [Prediction(blob) for blob in made[: layer.predicted]]


@torch.no_grad()
def predict(net: Net, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """{name: prediction} of *net* on *inputs*; inputs that only judges take may be left out."""
    planned = plan(net)
    missing = dict.fromkeys(name for name in net.graph.inputs if name not in inputs)  # and what follows from them
    made: dict[str, Tensor] = {}
    blobs = dict(inputs)
    for node, layer in net.nodes:
        wanted = [one for one in planned.predictions if one.loss == node.name]
        if wanted and isinstance(layer, Loss):
            made[wanted[0].name] = layer.predict(blobs[node.bottoms[0]])
        elif missing.keys() & {*node.bottoms}:
            missing |= dict.fromkeys(node.tops)
        elif node.name not in planned.judges:
            tops = layer(*[blobs[name] for name in node.bottoms])
            blobs.update(zip(node.tops, tops if isinstance(tops, tuple) else (tops,), strict=True))
    for one in planned.predictions:
        if not one.loss:
            if one.name not in blobs:
                needed = [name for name in net.graph.inputs if name in missing]
                raise NetError(f"'{one.name}' cannot be had without the inputs {', '.join(needed)}")
            made[one.name] = blobs[one.name]
    return {one.name: made[one.name] for one in planned.predictions}
