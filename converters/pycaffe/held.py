"""The inputs of a net that are what a script writes to them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from converters.pycaffe.blob import Blob
from data.dummy import DummyData
from data.sources import open_source
from nets.graph import Graph


class Held:
    """The inputs of *graph* that no data layer feeds, and DummyData's constants, which are filled only once.

    ``constants`` are these at first; what all of them are later is in ``blobs``, by name.
    """

    def __init__(self, graph: Graph, device: torch.device) -> None:
        fed = {top for source in graph.sources for top in source.top}
        self.constants: dict[str, Tensor] = {}
        for layer in graph.sources:
            if layer.type == "DummyData":
                source = open_source(layer, graph.phase, device=device)
                self.constants |= source.constants if isinstance(source, DummyData) else {}
        self._names = [name for name in graph.inputs if name not in fed or name in self.constants]
        self.blobs: Mapping[str, Blob] = {}

    def __call__(self) -> dict[str, Tensor]:
        """Their values, each by itself."""
        return {name: self.blobs[name].values.values().clone() for name in self._names}
