"""What every source of batches is: a function from a batch number to a batch, with a cursor."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from google.protobuf.message import Message
from torch import Tensor

from data import chance
from protos.errors import DataError, listing
from protos.registry import Registry
from protos.schema import LayerParameter

Shape = tuple[int, ...]
Shapes = dict[str, Shape]


@dataclass(frozen=True)
class Place:
    """Where and as whom a source works: device, rank among *world_size*, seed, bytes that it may keep."""

    device: torch.device
    rank: int
    world_size: int
    seed: int | None
    budget: int | None


class Source(ABC):
    """Batches for the tops of a data layer; a context manager.

    *tops* are the names, *shapes* the shapes of a batch by top, *records* how many there are (None: no end).
    A batch depends on nothing but the seed and its number, which makes resuming and skipping exact and free.
    """

    message: ClassVar[str] = ""  # the name of its options' message, where the type's name does not say it
    tops: tuple[str, ...]
    shapes: Shapes
    records: int | None = None

    def __init__(self, layer: LayerParameter, phase: str, place: Place) -> None:
        self.name = layer.name
        self.tops = tuple(layer.top)
        self.seed = chance.fresh_seed() if place.seed is None else place.seed
        self.batches = 0  # how many have been taken

    @classmethod
    @abstractmethod
    def peek(cls, layer: LayerParameter, phase: str) -> Shapes:
        """The shapes of the tops, reading no more than the first record, and leaving nothing open."""

    @abstractmethod
    def _batch(self, number: int) -> dict[str, Tensor]:
        """The batch of this *number*, counted from 0: float32 tensors on the device, by top."""

    def next(self) -> dict[str, Tensor]:
        """The next batch: float32 tensors on the device, by top.

        They may be views of what the source keeps: read them, or change a copy.
        Raises DataError where a record cannot be read; the cursor then stays where it was.
        """
        out = self._batch(self.batches)
        self.batches += 1
        return out

    def skip(self, n_batches: int) -> None:
        """Go on by *n_batches* without reading them."""
        self.batches += n_batches

    def state(self) -> dict[str, int]:
        """The exact cursor, fit for JSON: batches taken (not those read ahead), the seed of all chance."""
        return {"batches": self.batches, "seed": self.seed}

    def restore(self, state: Mapping[str, int]) -> None:
        """Go back, or on, to a :meth:`state` of a source of the same layer."""
        self.batches = state["batches"]
        if state["seed"] != self.seed:
            self.seed = state["seed"]
            self._reseed()

    def _reseed(self) -> None:  # noqa: B027  # most sources have nothing to do
        """Called when :attr:`seed` has changed."""

    def close(self) -> None:  # noqa: B027  # likewise
        """Let go of stores and threads; a second time does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


SOURCES: Registry[type[Source]] = Registry("data layer")


def check_options(layer: LayerParameter, param: Message, honoured: Iterable[str]) -> None:
    """Raise a DataError that lists the options set in *param* that are not *honoured*."""
    known = set(honoured)
    unknown = [field.name for field, _ in param.ListFields() if field.name not in known]
    if unknown:
        kind = type(param).DESCRIPTOR.name
        raise DataError(f"layer {layer.name!r} ({layer.type}): {kind} options not supported: {listing(unknown)}")


def check_tops(layer: LayerParameter, least: int, most: int) -> None:
    """Raise a DataError unless *layer* has between *least* and *most* tops."""
    if not least <= len(layer.top) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise DataError(f"layer {layer.name!r} ({layer.type}) has {len(layer.top)} tops; it takes {wanted}")


def check_batch_size(layer: LayerParameter, batch_size: int) -> int:
    """*batch_size*, or a DataError where it is not positive."""
    if batch_size < 1:
        raise DataError(f"layer {layer.name!r} ({layer.type}): batch_size must be at least 1")
    return batch_size
