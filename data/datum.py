"""The record of a store: a ``Datum`` with pixels or floats of channels x height x width, and a label."""

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from data import images
from protos.errors import DataError
from protos.schema import AnnotatedDatum, Datum

Values = NDArray[np.uint8] | NDArray[np.float32]


def pack(values: NDArray[np.generic], label: int | None = None) -> bytes:
    """A Datum's bytes for C x H x W *values*: uint8 go to ``data``, all else to ``float_data`` as float32.

    *label* is an int32, or None for a record without one. Raises DataError for another number of axes.
    """
    datum = _datum(values.shape, label)
    if values.dtype == np.uint8:
        datum.data = values.tobytes()
    else:
        datum.float_data.extend(values.astype(np.float32).ravel().tolist())
    return datum.SerializeToString()


def pack_encoded(image: bytes, label: int | None = None) -> bytes:
    """A Datum's bytes for an encoded *image*, PNG, JPEG ...; like the original's, without a shape."""
    datum = Datum(data=image, encoded=True)
    _set_label(datum, label)
    return datum.SerializeToString()


def parse(value: bytes, where: str = "record") -> Datum:
    """The Datum in *value*. Raises DataError, with *where*, for bytes that are not one."""
    if is_annotated(value):
        raise DataError(f"{where}: an AnnotatedDatum, with boxes, not a Datum; its layer type is AnnotatedData")
    try:
        return Datum.FromString(value)
    except DecodeError:
        raise DataError(f"{where}: not a Datum (the record is damaged, or holds another message)") from None


def is_annotated(value: bytes) -> bool:
    """Whether a record begins as an AnnotatedDatum does; no Datum does."""
    return value[:1] == b"\n"


def parse_annotated(value: bytes, where: str = "record") -> AnnotatedDatum:
    """The AnnotatedDatum in *value*. Raises DataError, with *where*, for bytes that are not one with an image."""
    try:
        message = AnnotatedDatum.FromString(value)
    except DecodeError:
        raise DataError(f"{where}: not an AnnotatedDatum (the record is damaged, or holds another message)") from None
    if not message.HasField("datum"):
        raise DataError(f"{where}: not an AnnotatedDatum with an image; of plain Datums the layer type is Data")
    return message


def parse_either(value: bytes, where: str = "record") -> Datum:
    """The Datum in *value*, by itself or within an AnnotatedDatum; all else as :func:`parse`."""
    return parse_annotated(value, where).datum if is_annotated(value) else parse(value, where)


def values(datum: Datum, color: bool | None = None, where: str = "record") -> Values:
    """The values of *datum* as C x H x W: uint8 of ``data`` or the decoded image, float32 of ``float_data``.

    *color* is as for :func:`data.images.decode` and concerns encoded records only.

    Raises DataError where the number of values does not fit the shape, and explains the usual causes.
    """
    if datum.encoded:
        return images.decode(datum.data, color, f"{where} (encoded image)")
    shape = (datum.channels, datum.height, datum.width)
    count = datum.channels * datum.height * datum.width
    if count and len(datum.data) == count:
        return np.frombuffer(datum.data, np.uint8).reshape(shape)
    if count and not datum.data and len(datum.float_data) == count:
        return np.array(datum.float_data, np.float32).reshape(shape)
    raise DataError(f"{where}: {_misfit(datum, count)}")


def _misfit(datum: Datum, count: int) -> str:
    shape = f"{datum.channels}x{datum.height}x{datum.width}"
    size = len(datum.data)
    if not size and not len(datum.float_data):
        return f"a Datum of shape {shape} without any values"
    if count and size in (4 * count, 8 * count):
        return (
            f"shape {shape} needs {count} bytes in `data`, but there are {size // count} times that: floats"
            " were written into `data`, which holds one byte a value; write them into `float_data`"
        )
    if not size:
        return f"shape {shape} needs {count} values, but `float_data` holds {len(datum.float_data)}"
    encoded = datum.data[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1")
    hint = "; it looks like an encoded image, but `encoded` is not set" if encoded else ""
    return f"shape {shape} needs {count} bytes, but `data` holds {size}{hint}"


def _datum(shape: tuple[int, ...], label: int | None) -> Datum:
    if len(shape) != 3:
        raise DataError(f"a record has three axes (channels, height, width), not the shape {list(shape)}")
    datum = Datum(channels=shape[0], height=shape[1], width=shape[2])
    _set_label(datum, label)
    return datum


def _set_label(datum: Datum, label: int | None) -> None:
    if label is not None:
        if not -(2**31) <= label < 2**31:
            raise DataError(f"label {label} does not fit into 32 bits")
        datum.label = label
