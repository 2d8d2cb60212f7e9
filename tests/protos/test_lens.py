import io
import struct

import numpy as np
import pytest

from protos import lens
from protos.errors import ParseError
from protos.schema import BlobProto, NetParameter

VALUES = np.arange(6, dtype=np.float32) / 3


def field(number: int, payload: bytes) -> bytes:
    return lens.header(number, len(payload)) + payload


def number(number: int, value: int) -> bytes:
    return lens.varint(number << 3) + lens.varint(value)


def dims(*shape: int) -> bytes:
    return field(7, field(1, b"".join(map(lens.varint, shape))))


def read(wire: bytes) -> lens.Blob:
    return lens.blob(wire, 0, len(wire))


def packed(number: int, values, dtype: str) -> bytes:
    return field(number, np.asarray(values, dtype).tobytes())


BLOBS = {
    "one packed field": dims(2, 3) + packed(5, VALUES, "<f4"),
    "several packed fields": dims(2, 3) + packed(5, VALUES[:4], "<f4") + packed(5, VALUES[4:], "<f4"),
    "unpacked": dims(2, 3) + b"".join(b"\x2d" + struct.pack("<f", v) for v in VALUES),
    "unpacked and packed": dims(2, 3)
    + b"".join(b"\x2d" + struct.pack("<f", v) for v in VALUES[:2])
    + packed(5, VALUES[2:], "<f4"),
    "unpacked shape": field(7, number(1, 2) + number(1, 3)) + packed(5, VALUES, "<f4"),
    "values before the shape": packed(5, VALUES, "<f4") + dims(2, 3),
    "with a gradient": dims(2, 3) + packed(5, VALUES, "<f4") + packed(6, VALUES * 0, "<f4"),
    "double": dims(2, 3) + packed(8, VALUES, "<f8"),
    "unpacked double": dims(2, 3) + b"".join(b"\x41" + struct.pack("<d", v) for v in VALUES),
    "NVIDIA float": dims(2, 3) + number(10, 1) + packed(12, VALUES, "<f4") + packed(13, VALUES * 0, "<f4"),
    "NVIDIA double": dims(2, 3) + number(10, 0) + packed(12, VALUES, "<f8"),
    "naibaf7 float": dims(2, 3) + number(13, 0) + packed(11, VALUES, "<f4") + packed(12, VALUES * 0, "<f4"),
}


@pytest.mark.parametrize("wire", BLOBS.values(), ids=BLOBS.keys())
def test_blob(wire):
    blob = read(wire)
    assert (blob.shape, blob.legacy) == ((2, 3), False)
    np.testing.assert_array_equal(blob.array(), VALUES.reshape(2, 3))


@pytest.mark.parametrize("kind", [number(10, 2) + packed(12, VALUES, "<f2"), number(13, 1) + packed(11, VALUES, "<f2")])
def test_half_precision(kind):
    np.testing.assert_array_equal(read(dims(6) + kind).array(), VALUES.astype(np.float16).astype(np.float32))


def test_legacy_shape():
    blob = read(number(1, 1) + number(2, 1) + number(3, 2) + number(4, 3) + packed(5, VALUES, "<f4"))
    assert (blob.shape, blob.legacy) == ((1, 1, 2, 3), True)


def test_c3d_numbers():
    axes = b"".join(number(i + 1, n) for i, n in enumerate((1, 1, 1, 2, 3)))
    blob = read(axes + packed(6, VALUES, "<f4") + packed(7, VALUES * 0, "<f4"))
    assert blob.shape == (1, 1, 1, 2, 3)
    np.testing.assert_array_equal(blob.array().ravel(), VALUES)


def test_scalar_and_empty_blobs():
    assert read(packed(5, [7], "<f4")).array() == 7
    assert read(field(7, b"") + packed(5, [7], "<f4")).shape == ()
    assert read(dims(0, 3)).array().shape == (0, 3)


def test_runs_of_every_length():
    for count in [*range(1, 70), 1000]:
        values = np.arange(count, dtype=np.float32)
        wire = dims(count + 1) + b"".join(b"\x2d" + struct.pack("<f", v) for v in values) + packed(5, [9], "<f4")
        np.testing.assert_array_equal(read(wire).array(), [*values, 9])


def test_layers_of_every_age():
    net = NetParameter(name="n")
    new = net.layer.add(name="new", type="Convolution")
    v1 = net.layers.add(name="v1", type=4)
    v0 = net.layers.add().layer
    v0.name, v0.type = "v0", "conv"
    for i, layer in enumerate((new, v1, v0)):
        layer.blobs.add(data=[i]).shape.dim[:] = [1]
        layer.blobs.add(data=[i, i], num=1, channels=1, height=1, width=2)
    found = {layer.name: layer for layer in lens.layers(net.SerializeToString())}
    assert {name: layer.type for name, layer in found.items()} == {"new": "Convolution", "v1": "", "v0": ""}
    for i, name in enumerate(("new", "v1", "v0")):
        assert [blob.array().tolist() for blob in found[name].blobs] == [[i], [[[[i, i]]]]]


def test_write_blob_is_what_protobuf_writes():
    for shape in [(2, 3), (6,), (1, 6, 1), (300, 0), ()]:
        values = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
        for diff in (None, values + 1):
            file = io.BytesIO()
            lens.write_blob(file, 7, values, diff)
            wire = file.getvalue()
            assert len(wire) == lens.blob_size(7, shape, diff is not None)
            (inside,) = lens.fields(wire, 0, len(wire))
            message = BlobProto.FromString(wire[inside.start : inside.end])
            assert tuple(message.shape.dim) == shape
            assert list(message.data) == values.ravel().tolist()
            assert list(message.diff) == ([] if diff is None else diff.ravel().tolist())
            np.testing.assert_array_equal(lens.blob(wire, inside.start, inside.end).array(), values)


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (dims(2, 3) + packed(5, VALUES[:5], "<f4"), "at byte 0: a blob of shape [2, 3] has 5 values"),
        (dims(2) + field(5, b"1234567"), "at byte 7: 7 bytes are no whole number of values of 4 bytes"),
        (
            dims(2) + number(10, 5) + field(12, b"12"),
            "at byte 0: a blob has values of type 5, which is not supported",
        ),
        (dims(6)[:-1], "at byte 2: a field of 3 bytes does not fit: the file is truncated or damaged"),
        (b"\x2d123", "at byte 1: a number does not fit: the file is truncated or damaged"),
        (b"\x2a\x80", "at byte 2: the file is truncated or damaged"),
        (b"\x0b", "at byte 0: no field starts here: not a binary message, or damaged"),
        (b"\x08" + b"\xff" * 11, "at byte 11: no number has so many bytes: not a binary message, or damaged"),
    ],
)
def test_error(wire, message):
    with pytest.raises(ParseError) as error:
        read(wire)
    assert str(error.value) == message


def test_open_buffer(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "full").write_bytes(dims(2, 3) + packed(5, VALUES, "<f4"))
    assert lens.open_buffer(tmp_path / "empty") == b""
    buffer = lens.open_buffer(tmp_path / "full")
    np.testing.assert_array_equal(lens.blob(buffer, 0, len(buffer)).array().ravel(), VALUES)
