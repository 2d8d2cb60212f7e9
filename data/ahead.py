"""Batches made ahead of time, each of records in an order and of chance of its own."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from data import chance
from data.loader import Loader
from data.order import Order
from data.records import WORKERS, Records
from data.source import Place, Source
from protos.errors import DataError
from protos.schema import LayerParameter

_AHEAD = 4  # batches


@dataclass(frozen=True)
class Pick:
    """Which records a batch has: how many, up to how many are left out at first, and whether in their order."""

    batch_size: int
    skip: int
    shuffle: bool


class AheadSource(Source):
    """A source whose batches threads make ahead of time. Under several ranks the records are dealt out in TRAIN."""

    def __init__(self, layer: LayerParameter, phase: str, place: Place, pick: Pick) -> None:
        super().__init__(layer, phase, place)
        self._random = phase == "TRAIN"
        self._place = place
        self._dealt = (place.rank, place.world_size) if self._random else (0, 1)
        self._pick = pick
        if pick.shuffle and self._dealt[1] > 1 and place.seed is None:
            raise DataError(f"layer {layer.name!r}: shuffling for several ranks needs a common seed (random_seed)")

    def _begin(self, records: Records[Any]) -> None:
        """Start the threads, which read these."""
        self._records = records
        self.records = len(records)
        rank, world_size = self._dealt
        skip = self._pick.skip
        self._order = Order(
            len(records),
            start=int(chance.generator(self.seed, chance.SKIP).integers(skip)) if skip else 0,
            rank=rank,
            world_size=world_size,
            shuffle_seed=self.seed if self._pick.shuffle else None,
        )
        self._loader: Loader[list[Any], Any] = Loader(self._read, self._make, WORKERS, _AHEAD)

    def _read(self, number: int) -> list[Any]:
        size = self._pick.batch_size
        return self._records.read(self._order.indices(number * size, size))

    def _make(self, number: int, raws: list[Any]) -> Any:
        return self._work(number, raws, chance.generator(self.seed, chance.AUGMENT, number, self._dealt[0]))

    @abstractmethod
    def _work(self, number: int, raws: list[Any], draws: Any) -> Any:
        """What a batch is made of, by a thread: of the records that were read, and the chance *draws*."""

    def _reseed(self) -> None:
        self._loader.close()
        self._begin(self._records)

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._loader.close()
        self._records.close()
