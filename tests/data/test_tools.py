import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import datum, inspect, mean, open_store, verify
from data.stores import create_store
from data.transform import read_mean
from protos.errors import DataError

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
