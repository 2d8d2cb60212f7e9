import logging
import multiprocessing

import numpy as np
import pytest

import data
from data import digits, mnist
from data.sources import top_shapes
from protos.errors import DataError


@pytest.mark.parametrize(("part", "each"), [("train", 500), ("test", 100)])
def test_the_shipped_digits_are_balanced_and_mixed(part, each):
    images, labels = digits.read(part)
    assert images.shape == (10 * each, 28, 28)
    assert np.bincount(labels).tolist() == [each] * 10
    assert len(set(labels[:50].tolist())) == 10
    assert len({image.tobytes() for image in images}) == 10 * each


def test_a_data_layer_that_names_them_gets_its_store(tmp_path, monkeypatch, layer, caplog):
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO, logger="caffe"):
        prototxt = "type: 'Data' data_param { source: 'stores/mnist_test_lmdb' batch_size: 10 backend: LMDB }"
        assert top_shapes(layer(prototxt), "TEST")["data"] == (10, 1, 28, 28)
    assert "shipped sample of 1,000 test digits" in caplog.text
    assert "python -m data.convert mnist SOURCE_DIR --out stores" in caplog.text
    with data.open_store("stores/mnist_test_lmdb") as store:
        assert len(store) == 1000
    assert not digits.ensure_shipped_store("stores/mnist_test_lmdb")
    assert not digits.ensure_shipped_store("stores/other_lmdb")


def test_many_processes_may_build_it_at_once(tmp_path):
    path = tmp_path / "mnist_test_lmdb"
    with multiprocessing.get_context("fork").Pool(3) as pool:
        built = pool.map(digits.ensure_shipped_store, [path] * 3)
    assert sum(built) >= 1
    assert [file.name for file in tmp_path.iterdir()] == ["mnist_test_lmdb"]


def test_the_sample_is_drawn_the_same_each_time(tmp_path):
    labels = np.tile(np.arange(10, dtype=np.uint8), 120)
    images = np.random.default_rng(1).integers(0, 256, (1200, 28, 28), dtype=np.uint8)
    mnist.write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", images)
    mnist.write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", labels)
    one, two = digits.sample(tmp_path, "test"), digits.sample(tmp_path, "test")
    np.testing.assert_array_equal(one[0], two[0])
    assert np.bincount(one[1]).tolist() == [100] * 10


def test_the_sample_is_written_as_it_is_read(tmp_path):
    labels = np.tile(np.arange(10, dtype=np.uint8), 520)
    images = np.random.default_rng(1).integers(0, 256, (5200, 4, 4), dtype=np.uint8)
    (tmp_path / "out").mkdir()
    for stem in ("train", "t10k"):
        mnist.write_idx(tmp_path / f"{stem}-images-idx3-ubyte.gz", images)
        mnist.write_idx(tmp_path / f"{stem}-labels-idx1-ubyte.gz", labels)
    digits.write_sample(tmp_path, tmp_path / "out")
    assert sum(file.name.endswith("-ubyte.gz") for file in (tmp_path / "out").iterdir()) == 4
    for part, count in (("train", 5000), ("test", 1000)):
        found, wanted = mnist.read_set(tmp_path / "out", part), digits.sample(tmp_path, part)
        assert len(found[0]) == count
        assert all(map(np.array_equal, found, wanted))


def test_where_no_store_can_be_the_reason_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file/mnist_test_lmdb: cannot be written"):
        digits.ensure_shipped_store(tmp_path / "file/mnist_test_lmdb")
