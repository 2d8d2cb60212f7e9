import codecs
import io
import logging
import pickle
import sys
import tarfile
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from data import convert, datum, images, mnist, open_store, otto
from data.build import Arrays
from data.cifar10 import load_pickle
from data.command import run, size
from data.sources import open_source
from data.stores import create_store
from data.transform import read_mean
from protos.errors import DataError
from tests.backends import BACKENDS

RNG = np.random.default_rng(0)


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Runs ``python -m data.convert`` in an empty folder; gives the exit status and what stderr says."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
        try:
            run(convert.main)
        except SystemExit as end:
            return end.code, capsys.readouterr().err
        finally:
            logging.getLogger().handlers.clear()
        return 0, capsys.readouterr().err

    return call


def content(path):
    with open_store(path) as store:
        records = [datum.parse(value) for value in store.values()]
        return list(store), [datum.values(record) for record in records], [record.label for record in records]


def write_mnist(folder, gz=True):
    folder.mkdir(exist_ok=True)
    images = RNG.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    labels = np.arange(30, dtype=np.uint8) % 10
    for stem in ("train", "t10k"):
        mnist.write_idx(folder / f"{stem}-images-idx3-ubyte.gz", images)
        mnist.write_idx(folder / f"{stem}-labels-idx1-ubyte.gz", labels)
    if not gz:
        import gzip  # noqa: PLC0415

        for file in folder.glob("*.gz"):
            file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
            file.unlink()
    return images, labels


@pytest.mark.parametrize("gz", [True, False])
@BACKENDS
def test_mnist(command, tmp_path, gz, backend):
    images, labels = write_mnist(tmp_path / "in", gz)
    assert command("mnist", "in", "--out", "out", "--backend", backend)[0] == 0
    keys, values, found = content(tmp_path / f"out/mnist_train_{backend}")
    assert keys == [b"%08d" % k for k in range(30)]
    np.testing.assert_array_equal(np.array(values)[:, 0], images)
    assert found == labels.tolist()
    status, error = command("mnist", "in", "--out", "out", "--backend", backend)
    assert status == 2
    assert "exists already; --overwrite replaces it" in error
    assert command("mnist", "in", "--out", "out", "--backend", backend, "--overwrite", "--limit", 5)[0] == 0
    assert content(tmp_path / f"out/mnist_train_{backend}")[2] == [0, 1, 2, 3, 4]


def test_shuffling_is_by_the_seed(command, tmp_path):
    write_mnist(tmp_path / "in")
    orders = []
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        command("mnist", "in", "--out", out, "--shuffle", "--seed", seed)
        orders.append(content(tmp_path / out / "mnist_test_lmdb")[2])
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_held_out_images_are_drawn_by_the_seed(command, tmp_path):
    values, _ = write_mnist(tmp_path / "in")
    drawn = []
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert command("mnist", "in", "--out", out, "--holdout", 10, "--seed", seed)[0] == 0
        train, held = (np.array(content(tmp_path / out / f"mnist_{part}_lmdb")[1])[:, 0] for part in ("train", "val"))
        assert (len(train), len(held), len(content(tmp_path / out / "mnist_test_lmdb")[0])) == (20, 10, 30)
        assert {x.tobytes() for x in (*train, *held)} == {x.tobytes() for x in values}
        drawn.append({x.tobytes() for x in held})
    assert drawn[0] == drawn[1] != drawn[2]
    assert (
        "--holdout 30 leaves nothing of the 30 training images"
        in command("mnist", "in", "--out", "d", "--holdout", 30)[1]
    )


def test_images_are_resized_and_labels_written_as_vectors(command, tmp_path):
    values, labels = write_mnist(tmp_path / "in")
    options = ("--resize", 32, "--one-hot", "--shuffle", "--seed", 3, "--holdout", 5)
    assert command("mnist", "in", "--out", "out", *options)[0] == 0
    for part in ("train", "val", "test"):
        _, found, labels = content(tmp_path / f"out/mnist_{part}_lmdb")
        _, vectors, same = content(tmp_path / f"out/mnist_{part}_onehot_lmdb")
        assert np.array(found).shape[1:] == (1, 32, 32)
        wanted = {images.resize(value[None], 32, 32).tobytes() for value in values}
        assert {np.array(value).tobytes() for value in found} <= wanted
        assert labels == same
        np.testing.assert_array_equal(np.array(vectors)[:, :, 0, 0], np.eye(10)[labels])


def test_hdf5_is_ready_for_hdf5_data(command, tmp_path, layer):
    images, _ = write_mnist(tmp_path / "in")
    assert command("mnist", "in", "--out", "out", "--backend", "hdf5")[0] == 0
    h5_layer = layer("type: 'HDF5Data' hdf5_data_param { source: 'out/mnist_train.txt' batch_size: 30 }")
    with open_source(h5_layer, "TRAIN") as source:
        np.testing.assert_array_equal(source.next()["data"][:, 0].numpy(), images)


def test_damaged_mnist_says_so(command, tmp_path):
    write_mnist(tmp_path / "in", gz=False)
    file = tmp_path / "in/train-images-idx3-ubyte"
    whole = file.read_bytes()
    for damaged, message in [(whole[:-1], "cut short or damaged"), (b"text" * 9, "not an IDX file")]:
        file.write_bytes(damaged)
        assert message in command("mnist", "in", "--out", "out")[1]
    file.unlink()
    assert "no train-images-idx3-ubyte" in command("mnist", "in", "--out", "out")[1]
    assert not (tmp_path / "out").exists()


def test_a_torchvision_that_does_not_fit_torch_says_so(command, monkeypatch):
    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("operator does not exist")

    monkeypatch.setitem(sys.modules, "torchvision", Broken())
    assert "cannot be imported (operator does not exist)" in command("mnist", "in", "--out", "out", "--download")[1]


@pytest.mark.parametrize("part", ["mnist", "cifar10"])
def test_a_download_without_torchvision_says_so(command, monkeypatch, part):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    status, error = command(part, "in", "--out", "out", "--download")
    assert status == 2
    assert "needs torchvision, which cannot be imported" in error


def cifar_batches():
    data = RNG.integers(0, 256, (6, 4, 3072), dtype=np.uint8)
    labels = RNG.integers(0, 10, (6, 4))
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    return data, labels, names


def write_cifar(folder, kind):
    data, labels, names = cifar_batches()
    folder.mkdir()
    files = {}
    for name, x, y in zip(names, data, labels, strict=True):
        if kind == "binary":
            files[f"{name}.bin"] = np.concatenate([y[:, None].astype(np.uint8), x], 1).tobytes()
        else:
            files[name] = pickle.dumps({b"data": x, b"labels": y.tolist()}, protocol=2)
    for name, blob in files.items():
        (folder / name).write_bytes(blob)
    if kind == "archive":
        with tarfile.open(folder.with_suffix(".tar.gz"), "w:gz") as archive:
            archive.add(folder, "cifar-10-batches-py")
    return data[:5].reshape(-1, 3, 32, 32), labels[:5].ravel()


@pytest.mark.parametrize("kind", ["python", "binary", "archive"])
def test_cifar10(command, tmp_path, kind):
    values, labels = write_cifar(tmp_path / "in", kind)
    source = "in.tar.gz" if kind == "archive" else "in"
    assert command("cifar10", source, "--out", "out", "--mean")[0] == 0
    _, found, found_labels = content(tmp_path / "out/cifar10_train_lmdb")
    np.testing.assert_array_equal(found, values)
    assert found_labels == labels.tolist()
    np.testing.assert_allclose(read_mean(tmp_path / "out/cifar10_mean.binaryproto"), values.mean(0), rtol=1e-6)
    command("cifar10", source, "--out", "gray", "--gray")
    _, grey, _ = content(tmp_path / "gray/cifar10_train_lmdb")
    wanted = np.tensordot(values, [0.299, 0.587, 0.114], (1, 0))
    assert np.abs(np.array(grey)[:, 0] - wanted).max() <= 0.51


def test_an_archive_that_climbs_is_not_used(command, tmp_path):
    write_cifar(tmp_path / "in", "archive")
    with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../data_batch_1"), io.BytesIO())
    assert "climbs out of the folder" in command("cifar10", "bad.tar.gz", "--out", "out")[1]


class Caller:
    def __reduce__(self):
        return print, ("called",)


def test_a_pickle_that_calls_code_is_refused(capsys):
    with pytest.raises(DataError, match=r"x: the pickle calls builtins\.print; only arrays"):
        load_pickle(pickle.dumps(Caller()), "x")
    assert capsys.readouterr().out == ""
    with pytest.raises(DataError, match="not a readable pickle"):
        load_pickle(b"garbage", "x")


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_pickle_of_arrays_is_read(protocol):
    value = {b"a": np.arange(6.0).reshape(2, 3), "b": [1, (2, b"\xff"), None]}
    found = load_pickle(pickle.dumps(value, protocol), "x")
    np.testing.assert_array_equal(found[b"a"], value[b"a"])
    assert found["b"] == value["b"]


def write_otto(path, rows, target=True):
    names = ["id", *(f"feat_{k}" for k in range(1, 94)), *(["target"] if target else [])]
    counts = RNG.integers(0, 9, (rows, 93))
    lines = [",".join(names)]
    for k, row in enumerate(counts):
        lines.append(",".join([str(k + 1), *map(str, row), *([f"Class_{k % 9 + 1}"] if target else [])]))
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return counts


def test_otto_holds_out_by_class_and_scales_the_test_set_alike(command, tmp_path):
    counts = write_otto(tmp_path / "in/train.csv", 180)
    test = write_otto(tmp_path / "in/test.csv", 20, target=False)
    assert command("otto", "in", "--out", "out", "--holdout", "0.1", "--log1p", "--standardize")[0] == 0
    _, train, labels = content(tmp_path / "out/otto_train_lmdb")
    _, _, held = content(tmp_path / "out/otto_val_lmdb")
    assert np.bincount(held).tolist() == [2] * 9
    assert np.bincount(labels).tolist() == [18] * 9
    assert np.array(train).shape == (162, 93, 1, 1)
    np.testing.assert_allclose(np.array(train).mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.array(train).std(0), 1, rtol=1e-5)
    scaling = otto.Scaling.load(tmp_path / "out/otto_scaling.json")
    _, found, _ = content(tmp_path / "out/otto_test_lmdb")
    wanted = (np.log1p(test) - scaling.mean) / scaling.std
    np.testing.assert_allclose(np.array(found)[:, :, 0, 0], wanted, rtol=1e-5, atol=1e-6)
    command("otto", "in", "--out", "plain")
    np.testing.assert_array_equal(np.array(content(tmp_path / "plain/otto_train_lmdb")[1])[:, :, 0, 0], counts)


def test_imageset_by_list_and_by_folders(command, tmp_path):
    pixels = RNG.integers(0, 256, (4, 3, 9, 8), dtype=np.uint8)
    for k, name in enumerate(["cat/x 1.png", "cat/y.png", "ant/z.png", "ant/w.png"]):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(images.encode(pixels[k]))
    (tmp_path / "list").write_text("cat/x 1.png 5\nant/z.png 3\n")
    assert command("imageset", "in", "a", "--list", "list")[0] == 0
    keys, values, labels = content("a")
    assert keys == [b"00000000_cat/x 1.png", b"00000001_ant/z.png"]
    np.testing.assert_array_equal(values, pixels[[0, 2]])
    assert labels == [5, 3]
    assert command("imageset", "in", "b", "--encode-type", "png", "--resize", "4x6", "--gray")[0] == 0
    _, values, labels = content("b")
    assert labels == [0, 0, 1, 1]
    assert (tmp_path / "b_classes.txt").read_text() == "ant\ncat\n"
    assert np.array(values).shape == (4, 1, 4, 6)


def test_a_bad_image_is_named_or_left_out_and_counted(command, tmp_path, capsys):
    (tmp_path / "good.png").write_bytes(images.encode(np.zeros((3, 2, 2), np.uint8)))
    (tmp_path / "bad.png").write_bytes(b"bad")
    (tmp_path / "list").write_text("good.png 0\nbad.png 1\nnone.png 2\n")
    status, error = command("imageset", ".", "s", "--list", "list")
    assert status == 2
    assert "bad.png: cannot be read as an image" in error
    assert not (tmp_path / "s").exists()
    status, error = command("imageset", ".", "s", "--list", "list", "--skip-bad")
    assert status == 0
    assert "s: 1 records, 2 left out" in error
    assert content("s")[2] == [0]


CSV = "name,a,b,kind\nx,1,2.5,dog\ny,3,-4e2,cat\n"


def test_csv(command, tmp_path):
    (tmp_path / "t.csv").write_text(CSV)
    assert command("csv", "t.csv", "s", "--label", "kind", "--drop", "name")[0] == 0
    _, values, labels = content("s")
    np.testing.assert_array_equal(np.array(values)[:, :, 0, 0], [[1, 2.5], [3, -400]])
    assert labels == [1, 0]
    assert (tmp_path / "s_classes.txt").read_text() == "cat\ndog\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("2.5", ""), "t.csv, line 2, column b: the cell is empty"),
        (("2.5", "two"), "t.csv, line 2, column b: 'two' is not a finite number"),
        (("-4e2", "nan"), "t.csv, line 3, column b: 'nan' is not a finite number"),
        (("2.5,", ""), "t.csv, line 2: 3 cells, but the header has 4"),
        (("dog", " "), "t.csv, line 2: the label is missing"),
        (("kind", "sort"), "no column kind; it has name, a, b, sort"),
        ((CSV[14:], ""), "there are no lines below the header"),
    ],
)
def test_a_bad_table_says_where(command, tmp_path, change, message):
    (tmp_path / "t.csv").write_text(CSV.replace(*change))
    status, error = command("csv", "t.csv", "s", "--label", "kind", "--drop", "name")
    assert status == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "s").exists()


def test_numpy(command, tmp_path):
    np.savez("t.npz", x=np.arange(6.0).reshape(2, 3), y=[4, 5], bad=[[1.0, np.nan]], text=["a"])
    assert command("numpy", "t.npz", "s", "--data", "x", "--label", "y")[0] == 0
    _, values, labels = content("s")
    np.testing.assert_array_equal(np.array(values), np.arange(6.0).reshape(2, 3, 1, 1))
    assert labels == [4, 5]
    assert "example 0 holds NaN" in command("numpy", "t.npz", "t", "--data", "bad")[1]
    assert "is not examples" in command("numpy", "t.npz", "t", "--data", "text")[1]
    assert "no array 'data'; it has x, y" in command("numpy", "t.npz", "t")[1]
    (tmp_path / "t.npz").write_bytes(b"text")
    assert "not a readable .npz" in command("numpy", "t.npz", "t")[1]


def test_encoded_images_do_not_go_into_hdf5(command, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.png").write_bytes(images.encode(np.zeros((3, 2, 2), np.uint8)))
    status, error = command("imageset", ".", "s.h5", "--backend", "hdf5", "--encoded")
    assert status == 2
    assert "HDF5 files hold values, not encoded images" in error
    assert command("imageset", ".", "s.h5", "--backend", "hdf5")[0] == 0
    with h5py.File("s.h5") as file:
        assert file["data"].shape == (1, 3, 2, 2)


def test_labels_of_another_number_are_refused(command):
    np.savez("t.npz", data=np.zeros((3, 2)), label=[1, 2])
    assert "labels are 2 of int64, not 3 integers" in command("numpy", "t.npz", "s")[1]


def test_a_store_cannot_be_empty(command, tmp_path):
    np.savez("t.npz", data=np.zeros((0, 2)))
    assert "not a single example" in command("numpy", "t.npz", "s")[1]
    with create_store(tmp_path / "e"):
        pass


def test_hdf5_takes_no_list_of_the_users_for_its_own(command, tmp_path):
    np.savez("a.npz", data=RNG.random((3, 4), np.float32), label=np.arange(3))
    (tmp_path / "train.txt").write_text("a/1.png 0\n")
    status, error = command("numpy", "a.npz", "train.h5", "--backend", "hdf5", "--overwrite")
    assert (status, (tmp_path / "train.txt").read_text()) == (2, "a/1.png 0\n")
    assert "train.txt: is where the list of train.h5 goes, and is another file" in error
    assert command("numpy", "a.npz", "x.txt", "--backend", "hdf5")[0] == 2
    for _ in range(2):
        assert command("numpy", "a.npz", "other.h5", "--backend", "hdf5", "--overwrite")[0] == 0
    assert (tmp_path / "other.txt").read_text() == "other.h5\n"


@pytest.mark.parametrize("content", [b"", b"PK\3\4"])
def test_an_npz_that_is_none_is_one_line(command, tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    status, error = command("numpy", "a.npz", "store")
    assert (status, error.count("\n")) == (2, 1)
    assert "a.npz: not a readable .npz of arrays" in error


@pytest.mark.parametrize(("seed", "message"), [("-1", "must be at least 0"), ("x", "'x' is not an integer")])
def test_a_seed_is_a_natural_number(command, seed, message):
    status, error = command("numpy", "a.npz", "store", "--shuffle", f"--seed={seed}")
    assert status == 2
    assert f"argument --seed: {message}" in error


@pytest.mark.parametrize("text", ["256", "256x240", "256X240", "256,240"])
def test_a_size_is_one_number_or_two(text):
    assert size(text) == (256, 256 if text == "256" else 240)


@pytest.mark.parametrize("text", ["x", "", "0", "3x0", "1x2x3", "-1", "2.5"])
def test_no_size(command, text):
    status, error = command("imageset", "a", "store", f"--resize={text}")
    assert status == 2
    assert f"argument --resize: {text!r} is not a size such as 256 or 240x320" in error


@pytest.mark.parametrize(("text", "message"), [("x", "'x' is not a number"), ("1", "must be at least 0 and below 1")])
def test_no_share(command, text, message):
    status, error = command("otto", "a", "--out", "b", "--holdout", text)
    assert status == 2
    assert f"argument --holdout: {message}" in error


def test_the_mark_that_windows_puts_before_a_text_belongs_to_no_name(command, tmp_path):
    images.to_image(np.zeros((3, 4, 4), np.uint8)).save(tmp_path / "0.png")
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf0.png 7\r\n")
    assert command("imageset", ".", "store", "--list", "list.txt")[0] == 0
    assert content("store")[2] == [7]


def batch(**changes):
    """A batch of CIFAR-10 as it is pickled, with changes."""
    found = {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 2], **changes}
    return pickle.dumps({key: value for key, value in found.items() if value is not None}, protocol=2)


class Elsewhere(pickle.Pickler):
    def persistent_id(self, thing):
        return "there" if isinstance(thing, complex) else None


class Encoded:
    def __reduce__(self):
        return codecs.encode, ("x", "utf-8")


def pointing():
    file = io.BytesIO()
    Elsewhere(file, protocol=2).dump({"data": 1j})
    return file.getvalue()


DAMAGED = {
    "no dict": (pickle.dumps([1]), "in: data_batch_1: not a batch of CIFAR-10"),
    "no data": (batch(data=None), "in: data_batch_1: no `data` of N x 3072 bytes in it"),
    "floats": (batch(data=np.zeros((2, 3072))), "no `data` of N x 3072 bytes"),
    "other images": (batch(data=np.zeros((2, 768), np.uint8)), "no `data` of N x 3072 bytes"),
    "no labels": (batch(labels=None), "no `labels`, a list of integers, in it"),
    "texts": (batch(labels=["1", "2"]), "no `labels`, a list of integers, in it"),
    "fewer labels": (batch(labels=[1]), "labels are not one of 0 to 9 for each of its 2 images"),
    "an eleventh class": (batch(labels=[1, 10]), "labels are not one of 0 to 9 for each of its 2 images"),
    "something outside": (pointing(), "the pickle refers to something outside of it"),
    "an encoding": (pickle.dumps(Encoded()), "not a readable pickle (encoding 'utf-8')"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_batch_of_cifar10_says_so(command, tmp_path, name):
    content, message = DAMAGED[name]
    write_cifar(tmp_path / "in", "python")
    (tmp_path / "in/data_batch_1").write_bytes(content)
    status, error = command("cifar10", "in", "--out", "out")
    assert (status, error.count("\n")) == (2, 1)
    assert message in error
    assert not (tmp_path / "out").exists()


def test_files_of_cifar10_that_are_missing_or_cut_short_say_so(command, tmp_path):
    write_cifar(tmp_path / "in", "binary")
    file = tmp_path / "in/data_batch_1.bin"
    file.write_bytes(file.read_bytes()[:-1])
    assert "12291 bytes are not whole records of 3073; it is cut short" in command("cifar10", "in", "--out", "out")[1]
    file.write_bytes(b"")
    assert "labels are not one of 0 to 9 for each of its 0 images" in command("cifar10", "in", "--out", "out")[1]
    file.unlink()
    assert "no data_batch_1 or data_batch_1.bin of CIFAR-10 in it" in command("cifar10", "in", "--out", "out")[1]
    with tarfile.open(tmp_path / "some.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "in")
    error = command("cifar10", "some.tar.gz", "--out", "out")[1]
    assert "no data_batch_1 or data_batch_1.bin of CIFAR-10 in the archive" in error
    (tmp_path / "some.tar.gz").write_bytes((tmp_path / "some.tar.gz").read_bytes()[:-100])
    assert "some.tar.gz: cannot be read (" in command("cifar10", "some.tar.gz", "--out", "out")[1]


def test_a_gzipped_file_that_is_cut_short_says_so(command, tmp_path):
    write_mnist(tmp_path / "in")
    file = tmp_path / "in/train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-20])
    assert "train-images-idx3-ubyte.gz: cannot be read (" in command("mnist", "in", "--out", "out")[1]


def test_a_download_asks_for_both_parts_and_says_why_it_failed(command, monkeypatch, tmp_path):
    asked = []

    def fetch(folder, train, download):
        asked.append((str(folder), train, download))
        if not train:
            raise RuntimeError("no\nnetwork")

    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=SimpleNamespace(MNIST=fetch)))
    status, error = command("mnist", "in", "--out", "out", "--download")
    assert asked == [("in", True, True), ("in", False, True)]
    assert (status, error) == (2, "error: MNIST could not be fetched to in (no network)\n")


def test_images_of_several_sizes_do_not_go_into_one_hdf5_file(command, tmp_path):
    (tmp_path / "a").mkdir()
    for k in (2, 3):
        (tmp_path / f"a/{k}.png").write_bytes(images.encode(np.zeros((3, k, 2), np.uint8)))
    error = command("imageset", ".", "s.h5", "--backend", "hdf5")[1]
    assert "s.h5: examples of several shapes do not go into one HDF5 file; --resize them" in error
    assert command("imageset", ".", "s.h5", "--backend", "hdf5", "--resize", "2")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((".", "s", "--list", "list"), "list: it names no image"),
        (("none", "s"), "none: no such folder"),
        ((".", "s"), ".: no folder of a class with images in it; other layouts need --list"),
    ],
)
def test_without_images_there_is_no_store(command, tmp_path, words, message):
    (tmp_path / "list").write_text("\n")
    (tmp_path / "class").mkdir()
    status, error = command("imageset", *words)
    assert status == 2
    assert message in error
    assert not (tmp_path / "s").exists()


def test_empty_lines_of_a_table_are_left_out(command, tmp_path):
    (tmp_path / "t.csv").write_text(CSV.replace("\n", "\n\n"))
    assert command("csv", "t.csv", "s", "--label", "kind", "--drop", "name")[0] == 0
    assert content("s")[2] == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "t.csv: No such file"),
        (b"a,b\n\xff,1", "t.csv: not a CSV file ("),
        (b'a\n"' + b"x" * 200000, "t.csv: not"),
    ],
)
def test_what_is_no_table_says_so(command, tmp_path, text, message):
    if text is not None:
        (tmp_path / "t.csv").write_bytes(text)
    status, error = command("csv", "t.csv", "s")
    assert status == 2
    assert message in error


def test_labels_go_with_examples():
    with pytest.raises(DataError, match="2 labels for 3 examples"):
        Arrays(np.zeros((3, 1, 1, 1)), np.zeros(2, np.int64))


def test_an_interrupt_ends_a_command_with_status_130(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as left:
        run(main)
    logging.getLogger().handlers.clear()
    assert left.value.code == 130
    assert capsys.readouterr().err == "interrupted; what was not finished is gone\n"


def test_a_scaling_says_what_it_does_not_fit(tmp_path):
    values = np.array([[1.0, 2], [3, 2]], np.float32)
    scaling = otto.Scaling.fit(values, log1p=False, standardize=True)
    np.testing.assert_array_equal(scaling(values), [[-1, 0], [1, 0]])
    with pytest.raises(DataError, match="the scaling is of 2 features, the table has 3"):
        scaling(np.zeros((1, 3), np.float32))
    with pytest.raises(DataError, match=r"s.json: No such file or directory; build the training set first"):
        otto.Scaling.load(tmp_path / "s.json")
    for text in ("no JSON", "[]", '{"log1p": true}'):
        (tmp_path / "s.json").write_text(text)
        with pytest.raises(DataError, match=r"s.json: not a scaling file"):
            otto.Scaling.load(tmp_path / "s.json")
    scaling.save(tmp_path / "s.json")
    assert otto.Scaling.load(tmp_path / "s.json") == scaling


@pytest.mark.parametrize("cell", ["Class_0", "Class_10", "Class_x", "3", "class_3"])
def test_an_otto_target_is_one_of_nine_classes(tmp_path, cell):
    (tmp_path / "train.csv").write_text(f"id,feat_1,target\n1,2,Class_9\n2,3,{cell}\n")
    with pytest.raises(DataError, match=f"train.csv: target '{cell}' is not Class_1 to Class_9"):
        otto.read_train(tmp_path / "train.csv")
