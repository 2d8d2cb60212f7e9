"""Where batches of records come from: an array that stays on the device, or a stream read ahead."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from os import sysconf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.chance import Draws
from data.datum import Values
from data.loader import Loader
from data.order import Order
from data.records import WORKERS, Example, MixedShapesError, Records
from data.transform import Cuts, Transform
from protos.errors import DataError

_CHUNK_BYTES = 1 << 22  # how much is decoded at a time
_READY_BYTES = 1 << 28  # above this, making records ready costs more at the start than it gains later


@dataclass(frozen=True)
class Recipe:
    """All that decides what a batch is: records, order, transform and its draws, size, device."""

    records: Records[Any]
    order: Order
    transform: Transform
    draws: Draws
    batch_size: int
    device: torch.device

    def cuts(self, shape: tuple[int, ...], draws: NDArray[np.float64]) -> Cuts:
        """Where to cut records of C x H x W *shape*."""
        return self.transform.cuts(shape[1], shape[2], draws)


class Feed(ABC):
    """Batches by number: float32 values B x C x H x W and labels (B,), on the device."""

    @abstractmethod
    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def close(self) -> None:
        """End what runs."""


def open_feed(recipe: Recipe, budget: int | None) -> Feed:
    """The fastest feed that fits into *budget* bytes (None: a quarter of the device's free memory)."""
    budget = free_memory(recipe.device) // 4 if budget is None else budget
    first, order = recipe.records.first[0], recipe.order
    count = (order.count if order.shuffled else order.period) + recipe.batch_size
    ready = 4 * count * prod(recipe.transform.shape(first.shape))
    ready_made = recipe.transform.fixed and ready <= min(budget, _READY_BYTES)
    if ready_made or count * first.nbytes <= budget:
        try:
            return Resident(recipe, ready_made)
        except MixedShapesError:
            pass
    return Stream(recipe)


def free_memory(device: torch.device) -> int:
    """Bytes of free memory of *device*."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return sysconf("SC_AVPHYS_PAGES") * sysconf("SC_PAGE_SIZE")


class Resident(Feed):
    """All records, decoded once, on the device.

    Where the transform is fixed and memory allows, the records are kept transformed, as float32, and a batch
    of a sequential order is a view. Otherwise they are kept as they are, mostly as bytes. A sequential order
    is laid out in the order of reading, with the first batch again at the end: every batch is one slice.
    """

    def __init__(self, recipe: Recipe, ready_made: bool) -> None:
        self._recipe = recipe
        self._order = recipe.order
        self._transform = recipe.transform
        self._ready_made = ready_made
        self._shape = recipe.records.first[0].shape
        self._cuts = recipe.cuts(self._shape, np.zeros((3, 1)))
        self._period = self._order.count if self._order.shuffled else self._order.period
        self._values, self._labels = self._load()

    def _load(self) -> tuple[Tensor, Tensor]:
        device, first = self._recipe.device, self._recipe.records.first[0]
        extra = 0 if self._order.shuffled else self._recipe.batch_size - 1
        layout = np.arange(self._period) if self._order.shuffled else self._order.indices(0, self._period)
        shape = self._transform.shape(self._shape) if self._ready_made else self._shape
        dtype = torch.uint8 if first.dtype == np.uint8 and not self._ready_made else torch.float32
        values = _empty((self._period + extra, *shape), dtype, device)
        labels = torch.empty(self._period + extra, device=device)
        in_place = device.type == "cpu" and not self._ready_made
        for at, chunk, chunk_labels in _chunks(self._recipe.records, layout, values.numpy() if in_place else None):
            stop = at + len(chunk)
            labels[at:stop] = torch.from_numpy(chunk_labels)
            if not in_place:
                part = torch.from_numpy(chunk).to(device)
                _copy(self._finish(part, self._cuts) if self._ready_made else part, values[at:stop])
        repeats = torch.arange(extra, device=device) % self._period
        values[self._period :], labels[self._period :] = values[repeats], labels[repeats]
        return values, labels

    def _finish(self, records: Tensor, cuts: Cuts) -> Tensor:
        return self._transform.level(self._transform.cut(records, cuts), cuts)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        values, labels = self._rows(number * self._recipe.batch_size)
        if self._ready_made:
            return values, labels
        if self._transform.fixed:
            return self._finish(values, self._cuts), labels
        return self._finish(values, self._recipe.cuts(self._shape, self._recipe.draws[number])), labels

    def _rows(self, first: int) -> tuple[Tensor, Tensor]:
        size = self._recipe.batch_size
        if self._order.shuffled:
            indices = torch.from_numpy(self._order.indices(first, size))
            indices = indices.to(self._recipe.device, non_blocking=True)
            return self._values[indices], self._labels[indices]
        at = first % self._period
        return self._values[at : at + size], self._labels[at : at + size]

    def close(self) -> None:
        """See :meth:`Feed.close`."""


def _empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory for all records; on a CPU NumPy's, which comes in huge pages and so is filled in half the time."""
    if device.type == "cpu":
        return torch.from_numpy(np.empty(shape, np.uint8 if dtype == torch.uint8 else np.float32))
    return torch.empty(shape, dtype=dtype, device=device)


def _copy(source: Tensor, target: Tensor) -> None:
    """Copy, on a CPU by NumPy: a thread of one's own is faster here than several of torch's."""
    if target.device.type == "cpu":
        target.numpy()[...] = source.numpy()
    else:
        target.copy_(source)


def _chunks(
    records: Records[Any], layout: NDArray[np.int64], out: Values | None
) -> Iterator[tuple[int, Values, NDArray[np.float32]]]:
    """(place, values, labels) of a chunk of records after the other, in *out* or in a buffer that is used again."""
    first = records.first[0]
    size = min(len(layout), max(64, _CHUNK_BYTES // max(1, first.nbytes)))
    buffer = np.empty((size, *first.shape), first.dtype) if out is None else None
    with ThreadPoolExecutor(WORKERS, "data-load") as pool:
        for at in range(0, len(layout), size):
            indices = layout[at : at + size]
            chunk: Values = buffer[: len(indices)] if buffer is not None else out[at : at + len(indices)]  # type: ignore[index]
            yield at, chunk, records.decode_all(records.read(indices), chunk, pool)


class Stream(Feed):
    """Batches read ahead by background threads; decoded and cut there, levelled on the device."""

    def __init__(self, recipe: Recipe, workers: int = WORKERS, depth: int = 4) -> None:
        self._recipe = recipe
        self._loader = Loader(self._read, self._work, workers, depth)

    def _read(self, number: int) -> tuple[list[Any], NDArray[np.float64]]:
        size = self._recipe.batch_size
        indices = self._recipe.order.indices(number * size, size)
        return self._recipe.records.read(indices), self._recipe.draws[number]

    def _work(self, number: int, raw: tuple[list[Any], NDArray[np.float64]]) -> tuple[Tensor, Tensor, Cuts]:
        raws, draws = raw
        records, transform = self._recipe.records, self._recipe.transform
        first = records.first[0]
        together: Values = np.empty((len(raws), *first.shape), first.dtype)
        labels = records.decode_plain(raws, together)
        if labels is not None:
            cuts = self._recipe.cuts(first.shape, draws)
            return transform.cut(torch.from_numpy(together), cuts), torch.from_numpy(labels), cuts
        examples = [records.decode(each) for each in raws]
        columns = [self._recipe.cuts(values.shape, draws[:, [at]]) for at, (values, _) in enumerate(examples)]
        cuts = np.concatenate(columns, 1)
        cut = [transform.cut_one(values, cuts[:, at]) for at, (values, _) in enumerate(examples)]
        self._check(examples, [each.shape for each in cut], number)
        return torch.from_numpy(np.stack(cut)), torch.tensor([label for _, label in examples]), cuts

    def _check(self, examples: list[Example], cut: list[tuple[int, ...]], number: int) -> None:
        for at, shape in enumerate(cut):
            self._recipe.transform.shape(examples[at][0].shape)
            if shape != cut[0]:
                raise DataError(
                    f"{self._recipe.records}: batch {number} mixes records of {_by(cut[0])} and {_by(shape)}"
                    f" (number {at} of the batch); resize them, set crop_size, or use batch_size 1"
                )

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        values, labels, cuts = self._loader[number]
        device = self._recipe.device
        values = values.to(device, non_blocking=True)
        return self._recipe.transform.level(values, cuts), labels.to(device, non_blocking=True)

    def close(self) -> None:
        """See :meth:`Feed.close`."""
        self._loader.close()


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
