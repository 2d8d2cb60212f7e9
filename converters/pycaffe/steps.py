"""The layers of a net in the file's order, with those that feed it, and what of them takes a gradient."""

from dataclasses import dataclass

from nets.aliases import lost_gradients
from nets.graph import Node
from nets.layer import Layer
from nets.net import Net as Module
from protos.schema import LayerParameter


@dataclass(frozen=True)
class Step:
    """A layer in its place: one that computes, or one that feeds (``node`` and ``layer`` None)."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    node: Node | None = None
    layer: Layer | None = None


@dataclass(frozen=True)
class Wanted:
    """What of a layer takes a gradient: each bottom, and anything at all."""

    bottoms: tuple[bool, ...] = ()
    any: bool = False


def steps_of(module: Module) -> list[Step]:
    """The steps of *module*."""
    computing = {node.name: (node, layer) for node, layer in module.nodes}
    return [_step(proto, *computing.get(proto.name, (None, None))) for proto in module.graph.param.layer]


def _step(proto: LayerParameter, node: Node | None, layer: Layer | None) -> Step:
    if node is None:
        return Step(proto.name, proto.type, (), tuple(proto.top))
    return Step(node.name, node.type, node.bottoms, node.tops, node, layer)


def differentiated(steps: list[Step], force: bool) -> list[Wanted]:
    """What takes a gradient: what lies between learnable blobs and a loss, or with *force* (``force_backward``) all."""
    plan = [(step.node, step.layer) for step in steps if step.node is not None and step.layer is not None]
    missing = {plan[lost.maker][0].name for lost in lost_gradients(plan)}
    needing: set[str] = set()
    found = []
    for step, counts in zip(steps, _contributing(steps), strict=True):
        if step.layer is None or step.node is None:
            needing |= {*step.tops} if force else set()
            found.append(Wanted())
            continue
        down = list(step.node.proto.propagate_down) or [True] * len(step.bottoms)
        down = [keep or force for keep in down]
        bottoms = tuple(
            keep and name in needing and step.layer.differentiable and i not in step.layer.labels
            for i, (name, keep) in enumerate(zip(step.bottoms, down, strict=True))
        )
        learns = any(blob.requires_grad for blob in step.layer.blobs)
        found.append(Wanted(bottoms, learns or any(bottoms)))
        if found[-1].any:
            needing |= {*step.tops}
        else:
            needing -= {*step.tops}
        if step.name in missing or (not counts and not force):
            found[-1] = Wanted((False,) * len(bottoms), False)
    return found


def _contributing(steps: list[Step]) -> list[bool]:
    """For each step, whether a loss is made of its tops."""
    below: set[str] = set()
    found = []
    for step in reversed(steps):
        losses = step.node.loss_weights if step.node is not None else ()
        found.append(any(losses) or not below.isdisjoint(step.tops))
        if found[-1]:
            below |= {*step.bottoms}
    return found[::-1]
