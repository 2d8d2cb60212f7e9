"""The original's tools by their own names: what they write beside what the original's wrote."""

import logging
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

import nets
from data import datum, images, open_store
from data.mean import write_mean
from data.transform import read_mean
from nets import tools
from nets.inputs import Inputs
from nets.tools.classifying import with_channels
from nets.weights import save_weights
from protos import text
from protos.errors import CaffeError, DataError
from tests.backends import needs_leveldb

ROOT = Path(__file__).parents[2]
FORMATS = ROOT / "tests" / "golden" / "formats"
IMAGES = f"{FORMATS}/images/"
LIST = str(FORMATS / "list.txt")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    logging.captureWarnings(False)
    for name in ("caffe", "py.warnings"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def records(path: str | Path) -> list[tuple[bytes, bytes]]:
    with open_store(path) as store:
        return list(store.scan())


def values(path: str | Path, color: bool | None = None) -> list[tuple[bytes, int, np.ndarray]]:
    found = [(key, datum.parse(value)) for key, value in records(path)]
    return [(key, one.label, datum.values(one, color if one.encoded else None, "")) for key, one in found]


def assert_same(found: list[tuple[bytes, int, np.ndarray]], wanted: list[tuple[bytes, int, np.ndarray]]) -> None:
    assert [one[:2] for one in found] == [one[:2] for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one[2], other[2], err_msg=str(one[0]))


# ---- convert_imageset


def test_images_are_stored_as_by_the_original():
    assert tools.convert_imageset(["--logtostderr=1", "-check_size=false", IMAGES, LIST, "made"]) == 0
    assert_same(values("made"), values(FORMATS / "raw_lmdb"))
    assert tools.convert_imageset([IMAGES, LIST, "encoded", "--encoded", "--encode_type=png"]) == 0
    assert_same(values("encoded", True), values(FORMATS / "encoded_lmdb", True))


@needs_leveldb
def test_a_leveldb_of_grey_images():
    wanted = values(FORMATS / "gray_resized_leveldb")
    height, width = wanted[0][2].shape[1:]
    flags = ["-gray", f"-resize_height={height}", "--resize_width", str(width), "--backend=leveldb"]
    assert tools.convert_imageset([*flags, "--noshuffle", IMAGES, LIST, "made"]) == 0
    assert_same(values("made"), wanted)


def test_encoded_images_keep_the_kind_of_their_files():
    assert tools.convert_imageset(["-encoded", IMAGES, LIST, "made"]) == 0
    for key, value in records("made"):
        name = key.decode().partition("_")[2]
        assert datum.parse(value).data == Path(IMAGES, name).read_bytes()
    assert tools.convert_imageset(["-encoded", "-gray", IMAGES, LIST, "gray"]) == 0
    starts = {key.decode().rpartition(".")[2]: datum.parse(value).data[:4] for key, value in records("gray")}
    assert starts == {"png": b"\x89PNG", "jpg": b"\xff\xd8\xff\xe0"}


def test_a_switch_takes_no_word_and_the_root_is_put_before_names(capsys):
    """As ``--shuffle ROOT LIST DB`` in create_imagenet.sh; ROOT need not end in a slash, nor be a folder."""
    Path("list").write_text("00.png 7\n02.png 8\nnone.png 9\n")
    assert tools.convert_imageset(["--shuffle", f"{IMAGES}a", "list", "made"]) == 0
    assert sorted(label for _, label, _ in values("made")) == [7, 8]
    first, last = capsys.readouterr().err.splitlines()
    assert first.endswith("] A total of 3 images.")
    assert last.endswith("] Processed 2 files; 1 could not be read.")


def test_a_switch_is_true_or_false(capsys):
    with pytest.raises(SystemExit) as ended:
        tools.convert_imageset(["--gray=maybe", IMAGES, LIST, "made"])
    assert ended.value.code == 2
    assert "'maybe' is neither true nor false" in capsys.readouterr().err


def test_check_size_ends_where_images_differ():
    Path("list").write_text("a00.png 0\nsub/b01.jpg 1\n")
    assert tools.convert_imageset(["-check_size", IMAGES, "list", "same"]) == 0
    from PIL import Image  # noqa: PLC0415  # for this alone

    Image.new("RGB", (3, 5)).save("small.png")
    Path("list").write_text(f"{IMAGES}a00.png 0\n{Path.cwd()}/small.png 1\n")
    with pytest.raises(CaffeError, match=r"small\.png: 45 bytes, but the first image has 2016 \(--check_size\)"):
        tools.convert_imageset(["-check_size", "", "list", "made"])
    assert not Path("made").exists()
    with pytest.raises(DataError, match=r"^same: exists already$"):
        tools.convert_imageset(["", "list", "same"])


# ---- the builders of its examples


def test_mnist_as_create_mnist_sh_builds_it(work):
    files = [str(ROOT / "tests" / "golden" / "solvers" / f"digits-{kind}.idx") for kind in ("images", "labels")]
    assert tools.dispatch(["build/convert_mnist_data.bin.exe", *files, "made", "--backend=lmdb"]) == 0
    assert_same(values("made"), values(work / "digits_lmdb"))
    with pytest.raises(DataError, match=r"^made: exists already$"):
        tools.convert_mnist_data([*files, "made"])
    with pytest.raises(DataError, match=r"images \[240\], but labels \[240, 12, 12\] in digits-images\.idx"):
        tools.convert_mnist_data([*reversed(files), "other"])


def test_cifar_as_create_cifar10_sh_builds_it():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 3, 32, 32), np.uint8)
    labels = np.arange(60, dtype=np.uint8) % 10
    rows = np.concatenate([labels[:, None], pixels.reshape(60, -1)], 1)
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        Path(f"{name}.bin").write_bytes(rows[10 * i : 10 * i + 10].tobytes())
    assert tools.convert_cifar_data([".", "out", "lmdb"]) == 0
    for part, chosen in (("train", slice(0, 50)), ("test", slice(50, 60))):
        found = values(f"out/cifar10_{part}_lmdb")
        np.testing.assert_array_equal([one[1] for one in found], labels[chosen])
        np.testing.assert_array_equal([one[2] for one in found], pixels[chosen])
    with pytest.raises(CaffeError, match="unknown db_type 'hdf5': give lmdb or leveldb"):
        tools.convert_cifar_data([".", "out", "hdf5"])


# ---- compute_image_mean


def test_the_mean_is_the_originals(capsys):
    assert tools.compute_image_mean(["-backend=lmdb", str(FORMATS / "raw_lmdb"), "mean.binaryproto"]) == 0
    wanted = read_mean(FORMATS / "mean.binaryproto")
    np.testing.assert_allclose(read_mean(Path("mean.binaryproto")), wanted, rtol=1e-6)
    said = [line.split("] ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert said[:2] == ["Write to mean.binaryproto", "Number of channels: 3"]
    assert said[2:] == [f"mean_value channel [{i}]: {plane.mean():g}" for i, plane in enumerate(wanted)]
    assert tools.compute_image_mean([str(FORMATS / "raw_lmdb")]) == 0
    assert [path.name for path in Path().iterdir()] == ["mean.binaryproto"]


# ---- extract_features


@pytest.fixture
def job(work) -> list[str]:
    """A net with data, and its weights."""
    net = (work / "adam" / "net.prototxt").read_text()
    Path("net.prototxt").write_text(net)
    return ["adam/init.caffemodel", "net.prototxt"]


def test_features_are_what_the_net_makes_of_its_data(job, capsys):
    assert tools.extract_features([*job, "ip1,pool1", "a_lmdb,b_lmdb", "3", "lmdb", "CPU", "0"]) == 0
    net = nets.load("net.prototxt", "adam/init.caffemodel")
    inputs = Inputs(net.graph, torch.device("cpu"), None)
    with torch.no_grad():
        batches = [net.activations(**inputs.next()) for _ in range(3)]
    inputs.close()
    for blob, store in (("ip1", "a_lmdb"), ("pool1", "b_lmdb")):
        wanted = torch.cat([batch[blob] for batch in batches])
        found = records(store)
        assert [key for key, _ in found] == [b"%010d" % i for i in range(len(wanted))]
        for (_, value), item in zip(found, wanted, strict=True):
            one = datum.parse(value)
            assert (one.channels, one.height, one.width) == tuple((*item.shape, 1, 1)[:3])
            np.testing.assert_array_equal(one.float_data, item.flatten().numpy())
            assert not one.HasField("label")
    assert f"Extracted features of {len(wanted)} query images for feature blob ip1\n" in capsys.readouterr().err


def test_axes_behind_the_fourth_are_joined_to_it(job):
    text_of = Path("net.prototxt").read_text()
    shape = "reshape_param { shape { dim: [0, 2, 2, 5, 5] } }"
    Path("net.prototxt").write_text(f'{text_of} layer {{ name: "r" type: "Reshape" bottom: "pool1" top: "r" {shape} }}')
    assert tools.extract_features([*job, "pool1,r", "a,b", "1", "lmdb"]) == 0
    for (_, whole), (_, parted) in zip(records("a"), records("b"), strict=True):
        wanted, found = datum.parse(whole), datum.parse(parted)
        assert (wanted.channels, wanted.height, wanted.width) == (4, 5, 5)
        assert (found.channels, found.height, found.width) == (2, 2, 25)
        assert found.float_data == wanted.float_data


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ip1", "a,b", "3", "lmdb"], "1 names of blobs, but 2 of stores"),
        (["ip1", "a", "0", "lmdb"], "num_mini_batches 0: give a positive number"),
        (["ip1", "a", "3", "mdb"], "unknown db_type 'mdb': give lmdb or leveldb"),
        (["ip0,q", "a,b", "3", "lmdb"], "the net has no blob 'ip0', 'q'$"),
        (["ip1", "adam", "3", "lmdb"], "^adam: exists already$"),
        (["ip1", "a", "3", "lmdb", "TPU"], "'TPU': give CPU or GPU"),
        (["ip1", "a", "3", "lmdb", "GPU", "99"], "--gpu 99: there are"),
    ],
)
def test_bad_words_are_one_line_and_write_nothing(job, words, message):
    before = sorted(Path().iterdir())
    with pytest.raises(CaffeError, match=message):
        tools.extract_features([*job, *words])
    assert sorted(Path().iterdir()) == before


# ---- classification.bin


DEPLOY = """name: "n"
layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 10 dim: 3 dim: 8 dim: 6 } } }
layer { name: "ip" type: "InnerProduct" bottom: "d" top: "ip"
  inner_product_param { num_output: 6 weight_filler { type: "gaussian" std: 0.001 } } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


@pytest.fixture
def deploy(tmp_path) -> list[str]:
    """A net of colour images, its weights, a mean of one value a channel at each pixel's place, and six labels."""
    Path("deploy.prototxt").write_text(DEPLOY)
    save_weights(nets.load("deploy.prototxt"), "net.caffemodel")
    mean = np.arange(3, dtype=np.float32)[:, None, None] * 10 + np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    write_mean(Path("mean.binaryproto"), mean)
    Path("labels.txt").write_text("".join(f"n0{i} kind {i}\n" for i in range(6)))
    return ["deploy.prototxt", "net.caffemodel", "mean.binaryproto", "labels.txt"]


@pytest.mark.parametrize("name", ["a00.png", "sub/b01.jpg"])
def test_an_image_is_classified_as_the_example_of_the_original_does(deploy, capsys, name):
    image = f"{IMAGES}{name}"
    assert tools.dispatch(["classification.bin", *deploy, image]) == 0
    pixels = images.resize(images.decode(Path(image), True), 8, 6).astype(np.float32)
    net = nets.load("deploy.prototxt", "net.caffemodel")
    wanted = net(d=torch.from_numpy(pixels - np.array([0, 10, 20], np.float32)[:, None, None])[None])["prob"][0]
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"---------- Prediction for {image} ----------"
    order = wanted.argsort(descending=True)[:5].tolist()
    assert lines == [f'{wanted[i]:.4f} - "n0{i} kind {i}"' for i in order]


def test_pixels_get_the_channels_of_the_net():
    """Grey to colour, colour to grey by OpenCV's weights, and transparency away."""
    grey = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    assert np.array_equal(with_channels(grey, 3), np.repeat(grey, 3, 0))
    assert np.array_equal(with_channels(grey, 1), grey)
    colour = np.array([10, 100, 200, 7], np.uint8)[:, None, None]  # blue, green, red, transparency
    assert with_channels(colour, 3).ravel().tolist() == [10, 100, 200]
    assert with_channels(colour, 1).item() == round(0.114 * 10 + 0.587 * 100 + 0.299 * 200)


def test_what_does_not_fit_a_classifier_is_named(deploy):
    net, weights, mean, labels = deploy
    image = f"{IMAGES}a00.png"
    Path("few.txt").write_text("one\n")
    with pytest.raises(CaffeError, match=r"few\.txt: 1 labels, but the net has 6 outputs"):
        tools.classification([net, weights, mean, "few.txt", image])
    write_mean(Path("grey.binaryproto"), np.zeros((1, 2, 2), np.float32))
    with pytest.raises(CaffeError, match=r"grey\.binaryproto: 1 channels where the net's input has 3"):
        tools.classification([net, weights, "grey.binaryproto", labels, image])
    Path("two.prototxt").write_text(DEPLOY + 'layer { name: "t" type: "TanH" bottom: "ip" top: "t" }')
    with pytest.raises(CaffeError, match="'n' has 1 inputs and 2 outputs where one of each is needed"):
        tools.classification(["two.prototxt", weights, mean, labels, image])
    first, last = DEPLOY.splitlines()[1], DEPLOY.splitlines()[-1].replace('"ip"', '"d"')
    Path("wide.prototxt").write_text(f'name: "n" {first.replace("dim: 3", "dim: 2")} {last}')
    with pytest.raises(CaffeError, match="'n': 'd' is no image of 1 or 3 channels"):
        tools.classification(["wide.prototxt", weights, mean, labels, image])


# ---- upgrades


@pytest.mark.parametrize("path", sorted((FORMATS / "upgrade").glob("*.in.prototxt")), ids=lambda path: path.name)
def test_upgrades_are_the_originals(path):
    is_solver = "solver" in path.name
    tool = tools.upgrade_solver_proto_text if is_solver else tools.upgrade_net_proto_text
    assert tool([str(path), "new.prototxt"]) == 0
    parse = text.parse_solver if is_solver else text.parse_net
    wanted = path.with_name(path.name.replace(".in.", ".out.")).read_text()
    assert parse(Path("new.prototxt").read_text()) == parse(wanted)
    if not is_solver:
        assert tools.upgrade_net_proto_binary([str(path), "new.caffemodel"]) == 0
        assert text.read_net(Path("new.caffemodel")) == parse(wanted)


# ---- the commands


def test_the_names_are_installed():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {name.partition(".")[0] for name, entry in scripts.items() if entry == "nets.tools:main"} == {*tools.TOOLS}


def test_a_tool_is_known_by_the_name_that_it_is_called_by():
    words = ["-m", "nets.tools", "compute_image_mean", str(FORMATS / "raw_lmdb")]
    found = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT, check=False)
    assert found.returncode == 0
    assert "Number of channels: 3" in found.stderr
    words = ["-c", "import sys; sys.argv[0] = '/usr/bin/compute_image_mean'; from nets.tools import main; main()", "no"]
    found = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (found.returncode, found.stderr) == (2, "error: no: no such store\n")
    with pytest.raises(
        CaffeError, match=r"'compute_mean', did you mean compute_image_mean.*: there are convert_imageset"
    ):
        tools.dispatch(["nets/tools.py", "compute_mean"])
    with pytest.raises(CaffeError, match="no tool: there are convert_imageset, "):
        tools.dispatch(["nets/tools.py"])
