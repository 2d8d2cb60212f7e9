"""What feeds a net: the sources of its data layers, side by side."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from data.sources import Source, open_source
from nets.graph import Graph
from protos.errors import NetError


class Inputs:
    """One batch after the other for all inputs of *graph*.

    *held* gives the values of those inputs that no data layer feeds. Raises NetError where it is None and there are
    some, and DataError where a store cannot be read.
    """

    def __init__(
        self,
        graph: Graph,
        device: torch.device,
        seed: int | None,
        rank: int = 0,
        world_size: int = 1,
        held: Callable[[], Mapping[str, Tensor]] | None = None,
    ) -> None:
        fed = {top for source in graph.sources for top in source.top}
        unfed = [f"'{name}'" for name in graph.inputs if name not in fed]
        self._held = held
        if unfed and held is None:
            raise NetError(f"net '{graph.name}' ({graph.phase}): no data layer feeds {', '.join(unfed)}")
        self.sources: list[Source] = []
        try:
            for i, layer in enumerate(graph.sources):
                own_seed = None if seed is None else seed + i
                self.sources.append(
                    open_source(layer, graph.phase, device=device, seed=own_seed, rank=rank, world_size=world_size)
                )
        except BaseException:
            self.close()
            raise

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of a batch, by blob."""
        return {top: shape for source in self.sources for top, shape in source.shapes.items()}

    def next(self) -> dict[str, Tensor]:
        """The next batch: blob -> tensor on the device."""
        if len(self.sources) == 1 and self._held is None:
            return self.sources[0].next()
        found = {top: value for source in self.sources for top, value in source.next().items()}
        return found if self._held is None else found | dict(self._held())

    def seek(self, batches: int) -> None:
        """Go to where *batches* have been taken, without reading them."""
        for source in self.sources:
            source.skip(batches - source.batches)

    def state(self) -> list[Any]:
        """The cursors of all sources, as JSON values."""
        return [source.state() for source in self.sources]

    def restore(self, state: Iterable[Any]) -> None:
        """Go to the cursors that ``state`` gave."""
        for source, cursor in zip(self.sources, state, strict=True):
            source.restore(cursor)

    def close(self) -> None:
        """Let go of stores and workers."""
        for source in self.sources:
            source.close()
