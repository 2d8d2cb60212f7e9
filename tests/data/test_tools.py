import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import datum, inspect, mean, open_store, verify
from data.records import StoreRecords
from data.stores import create_store
from data.transform import read_mean
from protos.errors import DataError
from protos.schema import AnnotatedDatum, BlobProto

FORMATS = Path(__file__).parents[1] / "golden" / "formats"


def call(monkeypatch, tool, *arguments):
    monkeypatch.setattr(sys, "argv", ["tool", *map(str, arguments)])
    tool.main()


@pytest.mark.parametrize("store", ["raw_lmdb", "encoded_lmdb"])
def test_the_mean_is_the_originals(tmp_path, monkeypatch, store):
    call(monkeypatch, mean, FORMATS / store, tmp_path / "mean")
    wanted = read_mean(FORMATS / "mean.binaryproto")
    np.testing.assert_allclose(read_mean(tmp_path / "mean"), wanted, rtol=1e-6 if store == "raw_lmdb" else 1)
    if store == "raw_lmdb":
        assert (tmp_path / "mean").read_bytes() == (FORMATS / "mean.binaryproto").read_bytes()


def test_a_bad_mean_file_says_so(tmp_path):
    (tmp_path / "mean").write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match="not a BlobProto"):
        read_mean(tmp_path / "mean")
    (tmp_path / "mean").write_bytes(b"")
    with pytest.raises(DataError, match="not one image's mean"):
        read_mean(tmp_path / "mean")


@pytest.fixture
def odd(tmp_path):
    with create_store(tmp_path / "odd") as store:
        good = datum.pack(np.zeros((1, 2, 3), np.uint8), 2)
        other = datum.pack(np.zeros((1, 3, 3), np.uint8), -4)
        for k, value in enumerate([good, b"\xff", good, other]):
            store.put(b"%08d" % k, value)
    return tmp_path / "odd"


def test_verify_lists_what_is_wrong(monkeypatch, odd, numbered):
    with pytest.raises(DataError) as error:
        call(monkeypatch, verify, odd, "--classes", 2)
    for part in (
        "record 0 (00000000): label 2 is not in 0 to 1",
        "record 1 (00000001): not a Datum",
        "record 3 (00000003): shape [1, 3, 3], but the first has [1, 2, 3]",
        "record 3 (00000003): label -4 is not in 0 to 1",
    ):
        assert part in str(error.value)
    call(monkeypatch, verify, numbered, "--classes", 10)


def test_the_mean_of_mixed_shapes_is_refused(tmp_path):
    with create_store(tmp_path / "s") as store:
        for k in range(2):
            store.put(b"%d" % k, datum.pack(np.zeros((1, 2, 2 + k), np.uint8), 0))
    with open_store(tmp_path / "s") as store, pytest.raises(DataError, match="record 1: shape"):
        mean.mean_of(store)
    with create_store(tmp_path / "e"):
        pass
    with open_store(tmp_path / "e") as store, pytest.raises(DataError, match="no records"):
        mean.mean_of(store)


def test_inspect_turns_colours_round(monkeypatch, capsys, tmp_path):
    sheets = []
    for flags in ([], ["--rgb"]):
        call(monkeypatch, inspect, FORMATS / "raw_lmdb", "--images", tmp_path / "sheet.png", *flags)
        sheets.append(np.asarray(Image.open(tmp_path / "sheet.png")))
    np.testing.assert_array_equal(sheets[0], sheets[1][..., ::-1])


def test_inspect_tells_and_shows(monkeypatch, capsys, tmp_path):
    call(monkeypatch, inspect, FORMATS / "raw_lmdb", "--images", tmp_path / "sheet.png")
    told = capsys.readouterr().out
    for part in (
        "LMDB, 12 records",
        "3x24x28 bytes (12)",
        "0: 3, 1: 3, 2: 2",
        "00000000_a00.png: 3x24x28 bytes, label 0",
    ):
        assert part in told
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * 30, 3 * 30)
    call(monkeypatch, inspect, FORMATS / "features_lmdb", "--images", tmp_path / "sheet.png", "--count", 2)
    assert "3x3x4 floats (12)" in capsys.readouterr().out
    call(monkeypatch, inspect, FORMATS / "encoded_lmdb")
    assert "encoded 3-channel image (12)" in capsys.readouterr().out


@pytest.fixture
def boxes(tmp_path):
    """An LMDB of two images of different sizes with boxes, and one with a label instead."""
    with create_store(tmp_path / "boxes") as store:
        for k in range(3):
            message = AnnotatedDatum()
            message.datum.ParseFromString(
                datum.pack(np.full((3, 4 + k % 2, 5), 50 * k, np.uint8), 6 if k == 2 else None)
            )
            if k < 2:
                message.type = AnnotatedDatum.BBOX
                for label in range(1, 3):
                    one = message.annotation_group.add(group_label=label).annotation.add()
                    one.bbox.xmax, one.bbox.ymax = 0.5, 1 + k * (label - 1)
            store.put(b"%d" % k, message.SerializeToString())
    return tmp_path / "boxes"


def test_stores_of_boxes_are_told_shown_and_checked(boxes, monkeypatch, capsys, tmp_path):
    call(monkeypatch, inspect, boxes, "--images", tmp_path / "sheet.png")
    said = capsys.readouterr().out
    assert "labels: 1: 2, 2: 2, 6: 1\n" in said
    assert "  0: 3x4x5 bytes, labels of boxes [1, 2]\n" in said
    assert "  2: 3x4x5 bytes, label 6\n" in said
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (14, 14)
    with pytest.raises(DataError) as caught:
        call(monkeypatch, verify, boxes, "--classes", 2)
    assert str(caught.value).removeprefix(f"{boxes}: ").split("; ") == [
        "record 0 (0): boxes of label 2, not in 0 to 1",
        "record 1 (1): boxes of label 2, not in 0 to 1",
        "record 1 (1): a box that is empty or exceeds the image: 0 0 0.5 2",
        "record 2 (2): label 6 is not in 0 to 1",
    ]
    with open_store(boxes) as store, pytest.raises(DataError, match=r"record 1: shape \[3, 5, 5\], but the first"):
        mean.mean_of(store)


def test_the_layer_of_plain_records_names_that_of_boxes(boxes):
    with pytest.raises(DataError, match="record 0: an AnnotatedDatum, with boxes, not a Datum; its layer type is Anno"):
        StoreRecords(str(boxes), None)


def test_a_store_without_records_is_told_of(monkeypatch, tmp_path):
    with create_store(tmp_path / "empty"):
        pass
    for tool, *flags in ((verify,), (mean, tmp_path / "mean"), (inspect, "--images", tmp_path / "sheet.png")):
        with pytest.raises(DataError, match="empty: there are no records in it"):
            call(monkeypatch, tool, tmp_path / "empty", *flags)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_large_images_are_shown_small(monkeypatch, tmp_path):
    with create_store(tmp_path / "large") as store:
        for k, (height, width) in enumerate([(600, 300), (2, 900)]):
            store.put(b"%d" % k, datum.pack(np.full((1, height, width), 200, np.uint8), 0))
    call(monkeypatch, inspect, tmp_path / "large", "--images", tmp_path / "sheet.png")
    side = inspect._TILE
    with Image.open(tmp_path / "sheet.png") as sheet:
        seen = np.asarray(sheet)[..., 0] == 200
    assert seen[:, : side + 2].sum() == side * side // 2
    assert seen[:, side + 2 :].sum() == side  # one row of it is left


def test_a_mean_of_another_number_of_values_says_so(tmp_path):
    blob = BlobProto(num=1, channels=3, height=2, width=2, data=[1] * 11)
    (tmp_path / "mean").write_bytes(blob.SerializeToString())
    with pytest.raises(DataError, match=r"mean_file .*mean: 11 values do not make a blob of 1x3x2x2"):
        read_mean(tmp_path / "mean")
