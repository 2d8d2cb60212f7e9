import numpy as np
import pytest

from data import datum
from data.raw import RawReader
from protos.errors import DataError
from protos.schema import Datum

BYTES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("values", [BYTES, BYTES.astype(np.float32) / 7])
@pytest.mark.parametrize("label", [None, 0, 7, 300, -1])
def test_values_and_label_come_back(values, label):
    found = datum.parse(datum.pack(values, label))
    np.testing.assert_array_equal(datum.values(found), values)
    assert datum.values(found).dtype == values.dtype
    assert (found.label, found.HasField("label")) == (label or 0, label is not None)


def test_other_numbers_become_float32():
    assert datum.parse(datum.pack(np.full((1, 1, 2), 1.5))).float_data == [1.5, 1.5]


def test_floats_in_data_are_caught_with_an_explanation():
    trap = Datum(channels=2, height=3, width=4, data=BYTES.astype(np.float32).tobytes())
    with pytest.raises(DataError, match=r"4 times that: floats were written into `data`.*`float_data`"):
        datum.values(trap, where="record 3")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data": b"12345"}, "needs 24 bytes, but `data` holds 5"),
        ({"float_data": [1.0]}, "needs 24 values, but `float_data` holds 1"),
        ({}, "without any values"),
        ({"data": b"\x89PNG...."}, "looks like an encoded image, but `encoded` is not set"),
    ],
)
def test_values_that_do_not_fit_say_so(fields, message):
    with pytest.raises(DataError, match=message):
        datum.values(Datum(channels=2, height=3, width=4, **fields), where="record 3")


def test_a_damaged_record_is_named():
    with pytest.raises(DataError, match="record 9: not a Datum"):
        datum.parse(b"\xff\xff\xff", "record 9")


@pytest.mark.parametrize(("values", "label"), [(BYTES[0], 1), (BYTES, 2**31)])
def test_what_does_not_fit_into_a_datum_is_refused(values, label):
    with pytest.raises(DataError, match=r"three axes|32 bits"):
        datum.pack(values, label)


def test_labels_of_32_bits_fit():
    for label in (-(2**31), 2**31 - 1, 0, None):
        for record in (datum.pack(BYTES, label), datum.pack_encoded(b"image", label)):
            found = datum.parse(record)
            assert found.label == (label or 0)
            assert found.HasField("label") == (label is not None)
    with pytest.raises(DataError, match="label -2147483649 does not fit into 32 bits"):
        datum.pack(BYTES, -(2**31) - 1)


LABELS = [0, 3, 127, 128, 999, 70000, 3]


def test_the_fast_reader_agrees_with_protobuf():
    records = [datum.pack(BYTES + k, label) for k, label in enumerate(LABELS)]
    records.append(
        Datum(channels=2, height=3, width=4, data=BYTES.tobytes(), label=4, encoded=False).SerializeToString()
    )
    values = np.empty((len(records), 24), np.uint8)
    labels = RawReader(records[0], BYTES.tobytes()).read(records, values)
    np.testing.assert_array_equal(labels, [*LABELS, 4])
    for row, record in zip(values, records, strict=True):
        np.testing.assert_array_equal(row.reshape(BYTES.shape), datum.values(datum.parse(record)))


@pytest.mark.parametrize(
    "odd",
    [
        datum.pack(BYTES.reshape(3, 2, 4), 1),
        datum.pack(BYTES.astype(np.float32), 1),
        datum.pack_encoded(b"x" * 24, 1),
        Datum(channels=2, height=3, width=4, data=BYTES.tobytes(), float_data=[1]).SerializeToString(),
        datum.pack(BYTES, 1)[:20],
        b"",
    ],
)
def test_the_fast_reader_leaves_other_layouts_to_protobuf(odd):
    plain = datum.pack(BYTES, 1)
    assert RawReader(plain, BYTES.tobytes()).read([plain, odd], np.empty((2, 24), np.uint8)) is None
