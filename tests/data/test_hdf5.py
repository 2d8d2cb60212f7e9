import io
import os
from itertools import pairwise

import h5py
import numpy as np
import pytest
import torch

from data.hdf5 import Hdf5Files
from data.hdf5_writer import Hdf5Writer
from data.sources import open_source, top_shapes
from protos.errors import DataError
from tests.folders import no_text

BUDGETS = pytest.mark.parametrize("budget", [None, 0], ids=["resident", "stream"])


@pytest.fixture
def files(tmp_path):
    """Three files with 3, 4 and 5 rows; row k of all holds k."""
    start = 0
    for number, rows in enumerate((3, 4, 5)):
        with Hdf5Writer(tmp_path / f"{number}.h5") as file:
            for row in range(start, start + rows):  # a row at a time, so that datasets grow
                file.append({"data": np.full((1, 2), row), "label": np.full(1, row)})
        start += rows
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path}/{number}.h5\n" for number in range(3)))
    return tmp_path


@pytest.fixture
def hdf5_layer(layer, files):
    def build(options=""):
        return layer(f"type: 'HDF5Data' hdf5_data_param {{ source: '{files}/list.txt' batch_size: 4 {options} }}")

    return build


@BUDGETS
def test_rows_come_in_order_over_the_ends_of_files(hdf5_layer, budget):
    layer = hdf5_layer()
    assert top_shapes(layer, "TRAIN") == {"data": (4, 2), "label": (4,)}
    with open_source(layer, "TRAIN", budget=budget) as source:
        rows = torch.cat([source.next()["label"] for _ in range(6)])
        assert rows.tolist() == [*range(12), *range(12)]
        source.restore({"batches": 2, "seed": source.seed})
        assert source.next()["data"][:, 1].tolist() == [8, 9, 10, 11]


@BUDGETS
def test_shuffling_permutes_files_and_the_rows_of_each(hdf5_layer, budget):
    with open_source(hdf5_layer("shuffle: true"), "TRAIN", seed=2, budget=budget) as source:
        passes = [torch.cat([source.next()["label"] for _ in range(3)]).int().tolist() for _ in range(3)]
    file_of = [0] * 3 + [1] * 4 + [2] * 5
    for rows in passes:
        assert sorted(rows) == list(range(12))
        changes = sum(file_of[a] != file_of[b] for a, b in pairwise(rows))
        assert changes == 2
    assert len({tuple(rows) for rows in passes}) == 3


@BUDGETS
def test_ranks_share_the_rows(hdf5_layer, budget):
    found = []
    for rank in range(2):
        with open_source(hdf5_layer(), "TRAIN", rank=rank, world_size=2, budget=budget) as source:
            found.append(torch.cat([source.next()["label"] for _ in range(3)]))
    assert torch.stack(found).T.flatten().tolist() == [k % 12 for k in range(24)]


def test_a_list_of_paths_that_are_no_text(hdf5_layer, files):
    folder = no_text(files)
    (files / "0.h5").rename(folder / "0.h5")
    (files / "list.txt").write_bytes(os.fsencode(folder / "0.h5") + b"\n")
    assert top_shapes(hdf5_layer(), "TRAIN")["data"][1:] == (2,)


def test_bad_files_say_so(hdf5_layer, files, layer):
    def refused(message):
        with pytest.raises(DataError, match=message):
            top_shapes(hdf5_layer(), "TRAIN")

    (files / "1.h5").write_bytes(b"text")
    refused(r"1\.h5: cannot be read as HDF5")
    (files / "1.h5").unlink()
    refused(r"1\.h5: no such HDF5 file")
    for arrays, message in [
        ({"data": np.zeros((2, 2))}, r"no dataset label; it has data"),
        ({"data": np.zeros((2, 3)), "label": np.zeros(2)}, "other shapes than those of"),
        ({"data": np.zeros((2, 2)), "label": np.zeros(3)}, "differ in rows"),
        ({"data": np.zeros((0, 2)), "label": np.zeros(0)}, "no rows"),
    ]:
        with Hdf5Writer(files / "1.h5") as file:
            file.append(arrays)
        refused(message)
    (files / "list.txt").write_text("\n")
    refused("names no HDF5 files")
    (files / "list.txt").write_bytes(b"\x89HDF\r\n\x1a\n\0\0")
    refused("not a list of files")
    (files / "list.txt").unlink()
    refused("no such file")
    with pytest.raises(DataError, match="does not transform its data"):
        top_shapes(layer("type: 'HDF5Data' transform_param { scale: 2 } hdf5_data_param { batch_size: 1 }"), "TRAIN")


def write(path, *rows):
    with Hdf5Writer(path) as file:
        for values in rows:
            file.append({"data": values})


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "out.h5"
    with pytest.raises(DataError, match=r"rows of data change from \(2,\) to \(3,\)"):
        write(path, np.zeros((1, 2)), np.zeros((1, 3)))
    assert list(tmp_path.iterdir()) == []
    write(path, np.arange(6).reshape(3, 2))
    with h5py.File(path) as file:
        assert file["data"].dtype == np.float32
        np.testing.assert_array_equal(file["data"], np.arange(6).reshape(3, 2))
    with pytest.raises(DataError, match="exists already"):
        Hdf5Writer(path, overwrite=False)


class SmallDisk(io.FileIO):
    def write(self, values):
        if self.tell() + len(values) > 1 << 20:
            raise OSError(28, "No space left on device")
        return super().write(values)


def test_a_disk_that_takes_no_more_ends_in_one_error(tmp_path, monkeypatch):
    monkeypatch.setattr("io.FileIO", SmallDisk)
    with pytest.raises(DataError, match=r"out\.h5: cannot be written: no space left on device"):
        write(tmp_path / "out.h5", np.zeros((1000, 1000)))
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_rows_do_not_fit_the_disk_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("io.FileIO", SmallDisk)
    writer = Hdf5Writer(tmp_path / "out.h5")
    with pytest.raises(DataError, match="no space left on device"):
        writer.append({"data": np.zeros((1000, 1000))})
    assert list(tmp_path.iterdir()) == []
    writer.__exit__(None, None, None)  # as at the end of the program: there is nothing left to fail


@BUDGETS
@pytest.mark.parametrize("shape", [(2, 2), (3, 1)])
def test_a_file_that_changes_after_it_was_looked_at_is_named(hdf5_layer, files, budget, shape):
    with open_source(hdf5_layer(), "TRAIN", budget=budget) as source:
        with h5py.File(files / "0.h5", "w") as file:
            file["data"], file["label"] = np.zeros(shape), np.zeros(shape[0])
        with pytest.raises(DataError, match=r"0\.h5: .*/data was \(3, 2\) and now is"):
            source.next()


@pytest.mark.parametrize("kind", ["f4", "f8", "i8", "u1"])
@pytest.mark.parametrize(
    "rows", [range(12), [*range(12), 0, 1, 2], [*range(3, 9), *range(2, 8)], range(0, 12, 2), [11, 0, 5]]
)
def test_stretches_are_read_as_rows_are(tmp_path, kind, rows):
    values = (np.random.default_rng(0).random((12, 3)) * 100).astype(kind)
    for name, part in (("a", values[:5]), ("b", values[5:6]), ("c", values[6:])):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["data"] = part
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path}/{name}.h5\n" for name in "abc"))
    files = Hdf5Files(str(tmp_path / "list.txt"), ("data",))
    (found,) = files.read_stretches(np.array(rows))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values[list(rows)].astype(np.float32))
    np.testing.assert_array_equal(found, files.read(np.array(rows))[0])


def test_names_in_a_list_may_hold_blanks_or_share_a_line(tmp_path):
    for name in ("a b.h5", "c.h5", "d.h5"):
        write(tmp_path / name, np.zeros((2, 3)))
    (tmp_path / "list.txt").write_text(f"\ufeff{tmp_path}/a b.h5\r\n{tmp_path}/c.h5 {tmp_path}/d.h5\n\n", "utf-8")
    assert Hdf5Files(str(tmp_path / "list.txt"), ("data",)).sizes == [2, 2, 2]


def test_ranks_shuffle_by_a_common_seed(hdf5_layer):
    with pytest.raises(DataError, match=r"layer 'd': shuffling for several ranks needs a common seed \(random_seed\)"):
        open_source(hdf5_layer("shuffle: true"), "TRAIN", rank=1, world_size=2)
    rows = []
    for rank in range(2):
        with open_source(hdf5_layer("shuffle: true"), "TRAIN", seed=1, rank=rank, world_size=2) as source:
            rows += [row for _ in range(3) for row in source.next()["label"].tolist()]
    assert sorted(rows) == sorted([*range(12)] * 2)


def test_a_file_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/folder/out.h5: cannot be written: not a directory"):
        Hdf5Writer(tmp_path / "file/folder/out.h5")
