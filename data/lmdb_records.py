"""The records of an LMDB, read from its pages without its library, which opens a file only once in a process.

For the format see ``data.lmdb_pages``. A node begins with 8 bytes: in a leaf the size of its value, a flag and the
size of its key; in a branch the number of the page below it, in all but the last two.
"""

import mmap
import struct
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

_BRANCH, _LARGE = 1, 1
_HEADER = 16  # bytes of a page before the places of its nodes
_HEADS = struct.Struct("<16xI20xI76xQQ8xQ")  # magic, page size, entries, root, transaction
_MAGIC = 0xBEEFC0DE
_EMPTY = 2**64 - 1

Record = tuple[bytes, int, int]  # its key, and from where to where its value lies in the file


class Records:
    """The records of *file*, as they are when it is made. Raises OSError where it is no LMDB."""

    def __init__(self, file: Path) -> None:
        with file.open("rb") as opened:
            if len(head := opened.read(_HEADS.size)) < _HEADS.size or _HEADS.unpack(head)[0] != _MAGIC:
                raise OSError("it is no LMDB")
            self._bytes = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        _, self._page, *first = _HEADS.unpack_from(self._bytes)
        if len(self._bytes) < self._page + _HEADS.size:
            raise OSError("it is cut short")
        _, _, *second = _HEADS.unpack_from(self._bytes, self._page)
        self.count, self._root, _ = max(first, second, key=lambda head: head[2])

    def scan(self) -> Iterator[Record]:
        """All of them, in the order of the keys."""
        return iter(()) if self._root == _EMPTY else self._below(self._root)

    def _nodes(self, number: int) -> tuple[bool, list[int]]:
        """Whether page *number* is a branch, and where its nodes are."""
        start = number * self._page
        flags, end = struct.unpack_from("<HH", self._bytes, start + 10)
        places = struct.unpack_from(f"<{(end - _HEADER) // 2}H", self._bytes, start + _HEADER)
        return bool(flags & _BRANCH), [start + place for place in places]

    def _below(self, number: int) -> Iterator[Record]:
        is_branch, nodes = self._nodes(number)
        for node in nodes:
            if is_branch:
                yield from self._below(self._child(node))
            else:
                yield self._record(node)

    def _child(self, node: int) -> int:
        low, high = struct.unpack_from("<IH", self._bytes, node)
        return int(low | high << 32)

    def _key(self, node: int) -> bytes:
        (size,) = struct.unpack_from("<H", self._bytes, node + 6)
        return self._bytes[node + 8 : node + 8 + size]

    def _record(self, node: int) -> Record:
        key = self._key(node)
        size, flags = struct.unpack_from("<IH", self._bytes, node)
        start = node + 8 + len(key)
        if flags & _LARGE:
            (page,) = struct.unpack_from("<Q", self._bytes, start)
            start = page * self._page + _HEADER
        return key, start, start + size

    def value(self, record: Record) -> bytes:
        """The value of a record."""
        return self._bytes[record[1] : record[2]]

    def find(self, key: bytes) -> Record | None:
        """The record of that key."""
        number = self._root
        while number != _EMPTY:
            is_branch, nodes = self._nodes(number)
            keys = [self._key(node) for node in nodes]
            place = bisect_right(keys, key, lo=int(is_branch)) - 1  # the first key of a branch counts as the least
            if not is_branch:
                return self._record(nodes[place]) if place >= 0 and keys[place] == key else None
            number = self._child(nodes[place])
        return None

    def close(self) -> None:
        """Let the file go."""
        self._bytes.close()
