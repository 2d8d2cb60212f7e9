"""The door to all sources: by the type of a data layer."""

import torch

from data import (  # noqa: F401  # they enter themselves into SOURCES
    annotated,
    dense,
    dummy,
    hdf5,
    labelled,
    memory,
    segmentation,
    window,
)
from data.allocation import keep_freed_memory
from data.source import SOURCES, Place, Shapes, Source
from protos.schema import LayerParameter

__all__ = ["SOURCES", "Source", "open_source", "top_shapes"]


def open_source(
    layer: LayerParameter,
    phase: str,
    *,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world_size: int = 1,
    seed: int | None = None,
    budget: int | None = None,
) -> Source:
    """The source of a data layer.

    *phase* is ``"TRAIN"`` or ``"TEST"``. *rank* of *world_size* says which records are this process's. *seed*
    None takes one from the system. *budget* is how many bytes of the device records may occupy: None is a
    quarter of its free memory, 0 streams. Raises DataError where the store or the options are not good.
    """
    keep_freed_memory()
    return SOURCES[layer.type](layer, phase, Place(torch.device(device), rank, world_size, seed, budget))


def top_shapes(layer: LayerParameter, phase: str) -> Shapes:
    """The shape of a batch by top, from the options and, where they do not say it, the first record."""
    return SOURCES[layer.type].peek(layer, phase)
