"""Blobs that share their memory in the original: there a layer that works in place on one of them changes them all."""

from collections.abc import Sequence
from itertools import count

from nets.graph import Node
from nets.layer import Layer

SHARING = ("Flatten", "Reshape", "Split")


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


def _shares(node: Node) -> bool:
    if node.type in ("Slice", "Concat"):
        return len(node.bottoms) == len(node.tops) == 1
    return node.type in SHARING
