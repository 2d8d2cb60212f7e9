"""Blobs of large binary messages, read and written in place.

protobuf copies every float of a message several times and stops at 2 GB. Weights are a handful of huge
packed fields in a shallow tree, so this module walks the wire format of just that tree by itself and leaves
everything else unread: it finds a layer's name, its type and its blobs, whose values stay where they are in
the file until they are wanted.

``layers`` reads the nets of every age (``layer``, V1 ``layers``, V0 ``layers { layer``), ``blob`` a BlobProto
of BVLC and of the forks that number it differently:

===========  ==============================================================================================
BVLC         ``data`` or ``double_data``, packed in one or several pieces or not packed at all; the shape in
             ``shape``, or in ``num``, ``channels``, ``height``, ``width``
NVIDIA       ``raw_data`` of ``raw_data_type``: half, float, double or integers
naibaf7      ``packed_data`` of ``data_type``: half, float or double
C3D          ``data`` is field 6, and ``length`` stands between ``channels`` and ``height``
===========  ==============================================================================================

Whatever is not such a message raises ParseError, which says at which byte; who knows the file's name adds it.
"""

import mmap
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protos import files
from protos.errors import ParseError

Buffer = bytes | mmap.mmap
Array = NDArray[Any]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIDTH = {FIXED64: 8, FIXED32: 4}

NET_NAME, NET_LAYERS, NET_LAYER = 1, 2, 100
LAYER_NAME, LAYER_TYPE, LAYER_BLOBS = 1, 2, 7
V1_LAYER, V1_NAME, V1_BLOBS = 1, 4, 6
V0_NAME, V0_BLOBS = 1, 50
SHAPE, DATA, DIFF, DOUBLE_DATA = 7, 5, 6, 8

NVIDIA_TYPES = {0: "<f8", 1: "<f4", 2: "<f2", 3: "<i4", 4: "<u4"}
NAIBAF7_TYPES = {0: "<f4", 1: "<f2", 2: "<f8"}

STEP = 1 << 22  # values that are copied between two releases of mapped pages


class Field(NamedTuple):
    """One field of a message: a varint's value in ``start``, else the bytes from ``start`` to ``end``.

    A run of fixed-width values of the same number is one Field, tags of ``tag`` bytes included.
    """

    number: int
    wire: int
    start: int
    end: int
    tag: int


@dataclass(frozen=True)
class Blob:
    """The values of a blob, still in the file. ``legacy``: the shape was num, channels, height, width."""

    shape: tuple[int, ...]
    legacy: bool
    buffer: Buffer
    parts: tuple[Array, ...]

    def read(self, out: Array) -> None:
        """Copy the values, in C order, to *out*: flat, as long as the blob, of any floating type."""
        at = 0
        for part in self.parts:
            for start in range(0, len(part), STEP):
                piece = part[start : start + STEP]
                out[at : at + len(piece)] = piece
                at += len(piece)
                _release(self.buffer)

    def array(self) -> NDArray[np.float32]:
        """The values as a new float32 array of the blob's shape."""
        out = np.empty(prod(self.shape), np.float32)
        self.read(out)
        return out.reshape(self.shape)


@dataclass(frozen=True)
class Layer:
    """A layer of a weights file. ``type`` is empty in files older than the current format."""

    name: str
    type: str
    blobs: tuple[Blob, ...]


def open_buffer(path: str | os.PathLike[str]) -> Buffer:
    """The file at *path*, mapped rather than read. Raises OSError."""
    with Path(path).open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def layers(buffer: Buffer) -> Iterator[Layer]:
    """The layers of the NetParameter in *buffer*, in its order."""
    for field in fields(buffer, 0, len(buffer)):
        if field.wire == BYTES and field.number == NET_LAYER:
            yield _layer(buffer, field, LAYER_NAME, LAYER_TYPE, LAYER_BLOBS)
        elif field.wire == BYTES and field.number == NET_LAYERS:
            yield _old_layer(buffer, field)


def fields(buffer: Buffer, start: int, end: int) -> Iterator[Field]:
    """The fields of the message between *start* and *end*, one level deep."""
    at = start
    while at < end:
        first = at
        key, at = _varint(buffer, at, end)
        number, wire, tag = key >> 3, key & 7, at - first
        if wire == VARINT:
            value, at = _varint(buffer, at, end)
            yield Field(number, wire, value, at, tag)
        elif wire == BYTES:
            size, at = _varint(buffer, at, end)
            _need(
                at + size <= end,
                at,
                f"a field of {size} bytes does not fit: the file is truncated or damaged",
            )
            yield Field(number, wire, at, at + size, tag)
            at += size
        else:
            _need(wire in WIDTH and number > 0, first, "no field starts here: not a binary message, or damaged")
            _need(at + WIDTH[wire] <= end, at, "a number does not fit: the file is truncated or damaged")
            at = first + _run(buffer, first, end, tag, tag + WIDTH[wire])
            yield Field(number, wire, first, at, tag)


def blob(buffer: Buffer, start: int, end: int) -> Blob:
    """The BlobProto between *start* and *end*."""
    found: defaultdict[tuple[int, int], list[Field]] = defaultdict(list)
    for field in fields(buffer, start, end):
        found[field.number, field.wire].append(field)
    c3d = (DATA, VARINT) in found
    axes = [found[number, VARINT][-1].start if found[number, VARINT] else 0 for number in range(1, 5 + c3d)]
    legacy = c3d or any(found[number, VARINT] for number in range(1, 5))
    shape = tuple(axes) if legacy else _shape(buffer, found[SHAPE, BYTES])
    parts = _parts(buffer, found, DIFF if c3d else DATA, start)
    count = sum(len(part) for part in parts)
    _need(count == prod(shape), start, f"a blob of shape {list(shape)} has {count} values")
    return Blob(shape, legacy, buffer, parts)


def text(buffer: Buffer, field: Field) -> str:
    """The string in *field*."""
    return files.decoded(bytes(buffer[field.start : field.end]))


def _layer(buffer: Buffer, message: Field, name: int, kind: int | None, blobs: int) -> Layer:
    inside = [field for field in fields(buffer, message.start, message.end) if field.wire == BYTES]
    strings = {field.number: text(buffer, field) for field in inside if field.number in (name, kind)}
    found = tuple(blob(buffer, field.start, field.end) for field in inside if field.number == blobs)
    return Layer(strings.get(name, ""), strings.get(kind or 0, ""), found)


def _old_layer(buffer: Buffer, message: Field) -> Layer:
    for field in fields(buffer, message.start, message.end):
        if field.number == V1_LAYER and field.wire == BYTES:
            return _layer(buffer, field, V0_NAME, None, V0_BLOBS)
    return _layer(buffer, message, V1_NAME, None, V1_BLOBS)


def _shape(buffer: Buffer, messages: Sequence[Field]) -> tuple[int, ...]:
    dims = []
    for message in messages:
        for field in fields(buffer, message.start, message.end):
            if field.wire == VARINT:
                dims.append(field.start)
            at = field.start
            while field.wire == BYTES and at < field.end:
                dim, at = _varint(buffer, at, field.end)
                dims.append(dim)
    return tuple(dims)


def _parts(
    buffer: Buffer, found: defaultdict[tuple[int, int], list[Field]], data: int, start: int
) -> tuple[Array, ...]:
    for number, type_number, types in ((12, 10, NVIDIA_TYPES), (11, 13, NAIBAF7_TYPES)):
        raw, kind = found[number, BYTES], found[type_number, VARINT]
        if raw and (number == 11 or not found[11, BYTES]):
            code = kind[-1].start if kind else 0
            _need(code in types, start, f"a blob has values of type {code}, which is not supported")
            return (_packed(buffer, raw[-1], types[code]),)
    doubles = [*found[DOUBLE_DATA, BYTES], *found[DOUBLE_DATA, FIXED64]]
    values = doubles or [*found[data, BYTES], *found[data, FIXED32]]
    dtype = "<f8" if doubles else "<f4"
    return tuple(
        _packed(buffer, field, dtype) if field.wire == BYTES else _unpacked(buffer, field, dtype)
        for field in sorted(values, key=lambda field: field.start)
    )


def _packed(buffer: Buffer, field: Field, dtype: str) -> Array:
    size = field.end - field.start
    width = np.dtype(dtype).itemsize
    _need(size % width == 0, field.start, f"{size} bytes are no whole number of values of {width} bytes")
    return np.frombuffer(buffer, dtype, size // width, field.start)


def _unpacked(buffer: Buffer, field: Field, dtype: str) -> Array:
    width = field.tag + np.dtype(dtype).itemsize
    records = np.frombuffer(buffer, np.uint8, field.end - field.start, field.start).reshape(-1, width)
    return np.ascontiguousarray(records[:, field.tag :]).view(dtype)[:, 0]


def _run(buffer: Buffer, start: int, end: int, tag: int, width: int) -> int:
    """The size of the records of *width* bytes from *start* on whose first *tag* bytes are the same."""
    most, count, look = (end - start) // width, 1, 16
    while count < most:
        look = min(2 * look, most - count)
        raw = np.frombuffer(buffer, np.uint8, look * width, start + count * width)
        same = (raw.reshape(look, width)[:, :tag] == np.frombuffer(buffer, np.uint8, tag, start)).all(axis=1)
        if not same.all():
            return (count + int(same.argmin())) * width
        count += look
    return count * width


def _varint(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        _need(at < end, at, "the file is truncated or damaged")
        byte = buffer[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        _need(shift < 70, at, "no number has so many bytes: not a binary message, or damaged")


def _need(condition: bool, at: int, problem: str) -> None:
    if not condition:
        raise ParseError(f"at byte {at}: {problem}")


def _release(buffer: Buffer) -> None:
    """Give the pages of a mapped file back, which would otherwise count as memory of this process."""
    if isinstance(buffer, mmap.mmap) and sys.platform != "win32":
        buffer.madvise(mmap.MADV_DONTNEED)


# ---- writing


def varint(value: int) -> bytes:
    """*value* >= 0 in protobuf's variable-length code.

    >>> varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def header(number: int, size: int) -> bytes:
    """What stands before the *size* bytes of field *number*: its tag and its length."""
    return varint(number << 3 | BYTES) + varint(size)


def blob_size(number: int, shape: Sequence[int], diff: bool = False) -> int:
    """How many bytes ``write_blob`` writes."""
    _, size = _blob_head(shape, diff)
    return len(header(number, size)) + size


def write_blob(file: IO[bytes], number: int, values: Array, diff: Array | None = None) -> None:
    """Write *values*, and its gradient *diff* of the same shape, as a float32 BlobProto in field *number*."""
    head, size = _blob_head(values.shape, diff is not None)
    file.write(header(number, size) + head)
    file.write(_floats(values))
    if diff is not None:
        file.write(header(DIFF, 4 * diff.size))
        file.write(_floats(diff))


def _blob_head(shape: Sequence[int], diff: bool) -> tuple[bytes, int]:
    """What stands before the values of a blob, and the size of it all."""
    dims = b"".join(varint(dim) for dim in shape)
    inner = header(1, len(dims)) + dims if dims else b""
    count = prod(shape)
    head = header(SHAPE, len(inner)) + inner + header(DATA, 4 * count)
    return head, len(head) + 4 * count + (len(header(DIFF, 4 * count)) + 4 * count if diff else 0)


def _floats(values: Array) -> memoryview:
    return np.ascontiguousarray(values, "<f4").reshape(-1).data
