"""What a net runs in a pass, in order: its layers, of which one may do the work of the one behind it, too."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from nets.graph import Node
from nets.layer import Layer


class Run(NamedTuple):
    """The layer of this *number*, maybe with the one behind it, which it has *absorbed*, and the tops that it makes.

    *done*: the blobs that nobody needs behind it.
    """

    number: int
    node: Node
    layer: Layer
    tops: tuple[str, ...]
    absorbed: Layer | None = None
    done: tuple[str, ...] = ()

    def bottoms(self, blobs: Mapping[str, Tensor]) -> list[Tensor]:
        """What the layer takes, of the *blobs* so far."""
        bottoms = [blobs[name] for name in self.node.bottoms]
        return bottoms if self.absorbed is None else bottoms + self.absorbed.blobs

    @property
    def is_watched(self) -> bool:
        """Whether hooks wait for its layer to be called, or for the one that it has absorbed."""
        return _has_hooks(self.layer) or (self.absorbed is not None and _has_hooks(self.absorbed))


def _has_hooks(layer: Layer) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)


def join(runs: Sequence[Run], axes: Sequence[int], alone: Collection[int], outputs: Collection[str]) -> list[Run]:
    """*runs*, where layers that can take in the one behind them do, and no one else sees what is between them.

    *axes*: how many the first bottom of each has; *alone*: the numbers of those that keep to themselves; *outputs*: the
    blobs that the net gives.
    """
    names = [name for run in runs for name in (*run.node.bottoms, *run.tops)]
    joined: list[Run] = []
    for run in runs:
        before = joined[-1] if joined else None
        if before is None or before.absorbed is not None or {before.number, run.number} & {*alone}:
            joined.append(run)
        elif _is_between(before, run, names, outputs) and before.layer.absorbs(run.layer, axes[before.number]):
            joined[-1] = before._replace(tops=run.tops, absorbed=run.layer)
        else:
            joined.append(run)
    return joined


def release(runs: Sequence[Run], kept: Collection[str]) -> list[Run]:
    """*runs*, each with the blobs that are done with behind it, but for those *kept*."""
    last = {name: i for i, run in enumerate(runs) for name in (*run.node.bottoms, *run.tops) if name not in kept}
    done: list[list[str]] = [[] for _ in runs]
    for name, i in last.items():
        done[i].append(name)
    return [run._replace(done=tuple(names)) for run, names in zip(runs, done, strict=True)]


def _is_between(first: Run, second: Run, names: list[str], outputs: Collection[str]) -> bool:
    """Whether the one top of *first* is the one bottom of *second*, which overwrites it or alone takes it."""
    if second.node.bottoms != first.tops or not len(first.tops) == len(second.tops) == 1:
        return False
    top = first.tops[0]
    return second.tops == first.tops or (names.count(top) == 2 and top not in outputs)
