"""Reading ahead: batches in order from background threads, however many there are."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Raw = TypeVar("Raw")
Batch = TypeVar("Batch")


class Loader(Generic[Raw, Batch]):
    """Gives ``work(read(n))`` for batch numbers n, with up to *depth* batches under way.

    One thread runs *read*, batch after batch, so that a store is read in one direction; *workers* threads run
    *work* (decode, cut), several batches at a time. The order of the results is that of the asking. An
    exception of either appears where its batch is taken. Memory is bounded by *depth* + 1 batches.
    """

    def __init__(self, read: Callable[[int], Raw], work: Callable[[int, Raw], Batch], workers: int, depth: int) -> None:
        self._read = read
        self._work = work
        self._depth = depth
        self._reader = ThreadPoolExecutor(1, "data-read")
        self._workers = ThreadPoolExecutor(workers, "data-work")
        self._ahead: deque[tuple[int, Future[Batch]]] = deque()

    def __getitem__(self, number: int) -> Batch:
        """Batch *number*; fast where it follows the one asked for before."""
        if self._ahead and self._ahead[0][0] != number:
            self._drop()
        following = self._ahead[-1][0] + 1 if self._ahead else number
        while len(self._ahead) <= self._depth:
            self._ahead.append((following, self._submit(following)))
            following += 1
        future = self._ahead[0][1]
        batch = future.result()
        self._ahead.popleft()
        return batch

    def _submit(self, number: int) -> "Future[Batch]":
        raw = self._reader.submit(self._read, number)
        return self._workers.submit(lambda: self._work(number, raw.result()))

    def _drop(self) -> None:
        for _, future in self._ahead:
            future.cancel()
        self._ahead.clear()

    def close(self) -> None:
        """Stop reading ahead and end the threads."""
        self._drop()
        self._reader.shutdown(cancel_futures=True)
        self._workers.shutdown(cancel_futures=True)
