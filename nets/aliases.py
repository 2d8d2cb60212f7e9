"""Blobs that share their memory in the original: what a layer writes to one of them is written to all."""

from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from nets.graph import Node
from nets.layer import Layer

SHARING = ("Flatten", "Reshape", "Split")
ONE_DIFF = ("Reshape", "Parameter", "LSTM", "RNN")  # whose top's gradient has its place before the backward pass


def read_elsewhere(plan: Sequence[tuple[Node, Layer]]) -> list[str]:
    """Where the original finds other values in a bottom than are found here, a line for each.

    Here a blob changes only where its own name is a top. *plan*: the layers in the order in which they run.
    """
    numbers = count()
    memory: dict[str, tuple[int, int]] = {}  # of a blob: its number, and the layer that made the blob
    writers: dict[int, tuple[int, str]] = {}  # the last layer that worked in place there, and on which blob
    found = []
    for i, (node, layer) in enumerate(plan):
        for name in node.bottoms:
            number, made = memory.setdefault(name, (next(numbers), -1))
            writer, blob = writers.get(number, (-1, name))
            if blob != name and writer > made and node.type != "Silence":
                found.append(
                    f"{plan[writer][0]} works in place on '{blob}', which shares its memory with '{name}' in the "
                    f"original: there {node} reads from '{name}' what that wrote, here what was there before"
                )
        for top in node.tops:
            if top not in node.bottoms:
                memory[top] = memory[node.bottoms[0]][0] if _shares(node) else next(numbers), i
            elif node.type != "Dropout" or layer.training:
                writers[memory[top][0]] = i, top
    return found


def overwritten(plan: Sequence[tuple[Node, Layer]]) -> dict[int, str]:
    """The layers whose backward pass, in the original, finds other values in their blobs than their forward pass did.

    By their places, the blob that holds these values: a later layer in place left them in the top, or in what shares
    its memory, or the layer itself in its bottom. Dropout leaves the signs of what it passes, and what it drops gets no
    gradient. *plan*: the layers in the order in which they run.
    """
    numbers = count()
    memory: dict[str, int] = {}
    writers: dict[int, tuple[int, str]] = {}  # the last layer that wrote there, and to which blob
    signs: dict[int, int] = {}  # the last one that may have written other signs
    for i, (node, _) in enumerate(plan):
        for name in node.bottoms:
            memory.setdefault(name, next(numbers))
        for top in node.tops:
            if _shares(node):
                memory[top] = memory[node.bottoms[0]]
            else:
                memory[top] = memory[top] if top in node.bottoms else next(numbers)
                writers[memory[top]] = i, top
                if node.type != "Dropout":
                    signs[memory[top]] = i
    found = {}
    for i, (node, layer) in enumerate(plan):
        if layer.rereads and len(node.tops) == 1:
            number = memory[node.tops[0]]
            writer, blob = writers[number]
            last = signs[number] if layer.reads_signs else writer
            if last > i or (layer.rereads_itself and node.tops == node.bottoms):
                found[i] = blob
    return found


class Lost(NamedTuple):
    """Layers, by their places, between which the original loses a gradient: that of *blob*, which *reader* takes first.

    *maker* made it, and looks for its gradient where *flatten*, behind *reader* or this itself, does not put it.
    """

    maker: int
    reader: int
    flatten: int
    blob: str


def lost_gradients(plan: Sequence[tuple[Node, Layer]]) -> list[Lost]:
    """Where a layer in front of a Flatten layer does not learn in the original.

    Flatten's backward pass gives its bottom other memory for the gradient. Where that was the memory in which the layer
    that made the bottom looks for it, this finds zeros. *plan*: the layers in the order in which they run.
    """
    before, readers = _versions(plan)
    learning: set[int] = set()  # layers that learn, or that learning ones lead to
    found = []
    for i, (node, layer) in enumerate(plan):
        if any(True for _ in layer.parameters()) or not learning.isdisjoint(before[i].values()):
            learning.add(i)
        if node.type != "Flatten":
            continue
        blob, reader, maker = node.bottoms[0], i, before[i][node.bottoms[0]]
        while maker >= 0 and blob in plan[maker][0].bottoms and readers[blob, maker] == 1:  # it worked in place
            reader, maker = maker, before[maker][blob]
        if maker not in learning or readers[blob, maker] > 1:  # with more of them there is a copy, in a Split
            continue
        if plan[maker][0].type in ONE_DIFF or _is_one(plan[maker][0]):
            found.append(Lost(maker, reader, i, blob))
    return found


def _versions(plan: Sequence[tuple[Node, Layer]]) -> tuple[list[dict[str, int]], Counter[tuple[str, int]]]:
    """Which layer last made or changed each bottom of a layer (-1: none), and how many read what it left."""
    now: dict[str, int] = {}
    before: list[dict[str, int]] = []
    readers: Counter[tuple[str, int]] = Counter()  # a loss reads, too
    for i, (node, _) in enumerate(plan):
        before.append({name: now.get(name, -1) for name in node.bottoms})
        readers.update((name, now.get(name, -1)) for name in node.bottoms)
        now |= dict.fromkeys(node.tops, i)
        readers.update((top, i) for top, weight in zip(node.tops, node.loss_weights, strict=True) if weight)
    return before, readers


def _shares(node: Node) -> bool:
    return node.type in SHARING or _is_one(node)


def _is_one(node: Node) -> bool:
    return node.type in ("Slice", "Concat") and len(node.bottoms) == len(node.tops) == 1
