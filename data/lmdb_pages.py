"""The pages of an LMDB, looked at before its library does: damaged ones would end the process.

The format is that of LMDB 0.9 on 64-bit machines. A page begins with 16 bytes, flags and the end of its list
of nodes among them; then comes that list, of the nodes' places in the page. A branch's nodes name its
children; a leaf's hold a key and a value, or the number of the first of the pages that hold a large value.
Pages 0 and 1 are heads of the file, of which the newer one counts.
"""

import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LIMIT = 1 << 16  # leaves; of a store with more, only the branches are looked at when it is opened

_MAGIC = 0xBEEFC0DE
_BRANCH, _LEAF = 1, 2
_LARGE = 1  # the flag of a node whose value has pages of its own
_HEADER, _NODE = 16, 8  # bytes
_EMPTY = 2**64 - 1  # for a root
_META = np.dtype(
    {
        "names": ["magic", "page_size", "flags", "depth", "leaves", "entries", "root", "last_page", "transaction"],
        "formats": ["<u4", "<u4", "<u2", "<u2", "<u8", "<u8", "<u8", "<u8", "<u8"],
        "offsets": [16, 40, 92, 94, 104, 120, 128, 136, 144],
        "itemsize": 152,
    }
)

Words = NDArray[np.uint16]
Numbers = NDArray[np.int64]


class DamageError(Exception):
    """What is wrong with a file; the text says it."""


def check(file: Path, limit: int | None = LIMIT) -> None:
    """Raise DamageError where the LMDB *file* is damaged; what is no LMDB at all passes.

    Leaves are looked at where there are at most *limit* (None: always); keys and values are not. A tenth of a
    second for 100 MB of them, a millisecond without leaves.
    """
    size = file.stat().st_size
    if size < 2 * _META.itemsize:
        return
    with file.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    words: Words = np.frombuffer(mapped, "<u2", size // 2)
    meta = words[: _META.itemsize // 2].view(_META)[0]
    if meta["magic"] != _MAGIC:
        return
    page = int(meta["page_size"])
    _need(page in (1 << bits for bits in range(9, 16)) and size >= 2 * page, "its page size cannot be")
    other = words[page // 2 : (page + _META.itemsize) // 2].view(_META)[0]
    meta = other if other["transaction"] > meta["transaction"] else meta
    last = int(meta["last_page"])
    _need(size >= (last + 1) * page, f"it is cut short: {size} of {(last + 1) * page} bytes")
    _need(not meta["flags"], f"it is of a kind ({meta['flags']:#x}) that Caffe does not write")
    if int(meta["root"]) != _EMPTY:
        _check_tree(_Pages(mapped, words, page, last), meta, limit)


def _check_tree(pages: "_Pages", meta: np.void, limit: int | None) -> None:
    level = np.array([min(int(meta["root"]), 2**62)], np.int64)
    for _ in range(int(meta["depth"]) - 1):
        level = pages.children(level)
    _need(len(level) == meta["leaves"], f"it has {len(level)} leaves and counts {meta['leaves']}")
    if limit is None or len(level) <= limit:
        entries = pages.count(level)
        _need(entries == meta["entries"], f"it has {entries} records and counts {meta['entries']}")


class _Nodes(NamedTuple):
    """Nodes: their places in bytes, the bytes behind the key in their page, and the words of their headers."""

    place: Numbers
    room: Numbers
    low: Numbers
    high: Numbers
    flags: Numbers
    key: Numbers


class _Pages:
    """The *words* of a *mapped* file, in pages of *size* bytes, up to the number *last*."""

    def __init__(self, mapped: mmap.mmap, words: Words, size: int, last: int) -> None:
        self._mapped = mapped
        self._words = words
        self._size = size
        self._last = last

    def children(self, branches: Numbers) -> Numbers:
        """The pages that the *branches* name, in their order."""
        nodes = self._nodes(branches, _BRANCH, 2)
        _need(len(nodes.place) <= self._last, "pages have several parents")
        return nodes.low | nodes.high << 16 | nodes.flags << 32

    def count(self, leaves: Numbers) -> int:
        """How many records the *leaves* have; all their values lie in the file."""
        nodes = self._nodes(leaves, _LEAF, 1)
        value = nodes.low | nodes.high << 16
        large = nodes.flags == _LARGE
        _need(bool(np.all(large | (nodes.flags == 0))), "a record is of a kind that Caffe does not write")
        _need(bool(np.all(np.where(large, 8, value) <= nodes.room)), "a record does not fit its page")
        number = (nodes.place + _NODE + nodes.key)[large]
        first = self._words.view(np.uint8)[number[:, None] + np.arange(8)].view("<u8")[:, 0].astype(np.float64)
        end = first * self._size + _HEADER + value[large]
        _need(bool(np.all((first > 1) & (end <= (self._last + 1) * self._size))), "a value lies outside the file")
        return len(value)

    def _nodes(self, pages: Numbers, kind: int, least: int) -> _Nodes:
        """The nodes of *pages*, which are of this *kind* and have at *least* so many each."""
        _need(bool(np.all((pages > 1) & (pages <= self._last))), "a page lies outside the file")
        self._fetch(pages)
        start = pages * self._size
        flags, lower, upper = (self._at(start + byte) for byte in (10, 12, 14))
        count = (lower - _HEADER) // 2
        sound = (flags & 15 == kind) & (count >= least) & (lower <= upper) & (upper <= self._size)
        _need(bool(np.all(sound)), "a page is damaged")
        start, number = np.repeat(start, count), np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        inside = self._at(start + _HEADER + 2 * number)
        sound = (inside >= np.repeat(upper, count)) & (inside % 2 == 0) & (inside + _NODE <= self._size)
        _need(bool(np.all(sound)), "a page is damaged")
        low, high, flags, key = (self._at(start + inside + byte) for byte in (0, 2, 4, 6))
        room = self._size - inside - _NODE - key
        _need(bool(np.all(room >= 0)), "a key does not fit its page")
        return _Nodes(start + inside, room, low, high, flags, key)

    def _fetch(self, pages: Numbers) -> None:
        """Have the system read *pages* at once and nothing else, where it can: alone each would wait for the disk."""
        if hasattr(mmap, "MADV_WILLNEED") and self._size % mmap.PAGESIZE == 0:
            pages = np.sort(pages)
            for run in np.split(pages, np.flatnonzero(np.diff(pages) != 1) + 1):
                self._mapped.madvise(mmap.MADV_WILLNEED, int(run[0]) * self._size, len(run) * self._size)

    def _at(self, places: Numbers) -> Numbers:
        return self._words[places // 2].astype(np.int64)


def _need(condition: bool, problem: str) -> None:
    if not condition:
        raise DamageError(problem)
