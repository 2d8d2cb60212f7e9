"""Predicting images, stores and tables, with the preprocessing of the prototxt; scores and submissions."""

import csv
import gc
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import converters
import nets
from data import datum, images
from data.mean import write_mean
from data.stores import create_store
from nets.feeding import Item
from nets.predict import main
from nets.predictions import plan, predict
from nets.scores import Scores
from nets.weights import save_weights
from protos import text
from protos.errors import CaffeError, NetError
from tests.folders import no_text

TRAINED = """
layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ {transform} }}
  data_param {{ source: "store" batch_size: 4 }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param {{ num_output: 3
  weight_filler {{ type: "gaussian" std: 0.01 }} }} }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }}
"""
DEPLOY = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3
  weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
OTTO = DEPLOY.replace("dim: 3 dim: 8 dim: 8", "dim: 93 dim: 1 dim: 1").replace("num_output: 3", "num_output: 9")


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with four pictures of 10 x 12 pixels, alone and in a store, labelled 0, 1, 2, 0."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    chance = np.random.default_rng(0)
    with create_store("store") as store:
        for i, label in enumerate((0, 1, 2, 0)):
            pixels = chance.integers(0, 256, (3, 10, 12), np.uint8)
            (tmp_path / f"{i}.png").write_bytes(images.encode(pixels))
            store.put(f"{i:04}".encode(), datum.pack(pixels, label))
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    return tmp_path


def prepare(work, prototxt: str) -> nets.Net:
    (work / "net.prototxt").write_text(prototxt)
    net = nets.load("net.prototxt", input_shapes={"data": (4, 3, 8, 8), "label": (4,)} if "Data" in prototxt else {})
    save_weights(net, "net.caffemodel")
    return net


def scores(path) -> tuple[list[str], list[str], np.ndarray]:
    header, *rows = list(csv.reader(path.read_text().splitlines()))
    return header, [row[0] for row in rows], np.array([row[1:] for row in rows], float)


def run(*argv: str) -> None:
    assert main(["net.prototxt", "net.caffemodel", *argv]) == 0


def softmaxed(net: nets.Net, x: torch.Tensor) -> np.ndarray:
    return torch.softmax(net.layer("fc")(x), 1).detach().numpy()


def pixels(work, count: int = 4) -> torch.Tensor:
    return torch.stack([torch.from_numpy(images.decode(work / f"{i}.png", True).copy()) for i in range(count)]).float()


def test_a_store_is_cut_and_levelled_as_its_data_layer_says(work, capsys):
    net = prepare(
        work, TRAINED.format(transform="crop_size: 8 scale: 0.01 mean_value: 10 mean_value: 20 mean_value: 30")
    )
    run("store", "--labels", "names.txt", "--out", "out.csv")
    header, names, found = scores(work / "out.csv")
    assert header == ["id", "ant", "bee", "cat"]
    assert names == ["0000", "0001", "0002", "0003"]
    mean = torch.tensor([10.0, 20.0, 30.0]).view(3, 1, 1)
    wanted = softmaxed(net, (pixels(work)[:, :, 1:9, 2:10] - mean) * 0.01)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    right = int((wanted.argmax(1) == [0, 1, 2, 0]).sum())
    assert f"accuracy {right / 4:.4f} ({right} of 4)" in capsys.readouterr().out


def test_predictions_and_labels_as_arrays(work):
    prepare(work, TRAINED.format(transform="mean_value: 100 scale: 0.01 crop_size: 8"))
    run("store", "--labels", "names.txt", "--out", "out.csv")
    run("store", "--labels", "names.txt", "--out", "out.npz")
    run("1.png", "--out", "one.npz")
    _, names, found = scores(work / "out.csv")
    with np.load("out.npz") as arrays:
        assert arrays["id"].tolist() == names
        assert arrays["class_names"].tolist() == ["ant", "bee", "cat"]
        assert arrays["labels"].tolist() == [0, 1, 2, 0]
        np.testing.assert_allclose(arrays["probabilities"], found, atol=1e-6)
    with np.load("one.npz") as arrays:
        assert arrays["labels"].tolist() == [-1]


def test_the_values_of_what_was_predicted_are_let_go(work, monkeypatch):
    """A store may hold more than the memory does."""
    prepare(work, DEPLOY)
    alive = []

    def write(*_):
        gc.collect()
        alive.append(sum(type(one) is Item for one in gc.get_objects()))

    monkeypatch.setattr("nets.predict.write_table", write)
    run("store", "--batch", "1", "--out", "out.csv")
    assert alive[0] <= 1


def test_images_are_shown_as_by_the_original(work, capsys):
    net = prepare(work, DEPLOY)
    run("1.png", "0.png", "--labels", "names.txt", "--top", "2", "--mean", "104,117,123", "--scale", "0.02")
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "---------- Prediction for 1.png ----------"
    assert len(shown) == 6
    small = torch.from_numpy(images.resize(images.decode(work / "1.png", True), 8, 8)).float()[None]
    (wanted,) = softmaxed(net, (small - torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1)) * 0.02)
    best = int(wanted.argmax())
    assert shown[1] == f'{wanted[best]:.4f} - "{["ant", "bee", "cat"][best]}"'


def test_a_mean_file_says_the_size_before_the_cut(work):
    net = prepare(work, DEPLOY)
    mean = np.random.default_rng(1).random((3, 9, 10), np.float32) * 255
    write_mean(work / "mean.binaryproto", mean)
    run("2.png", "--mean", "mean.binaryproto", "--out", "out.csv")
    larger = images.resize(images.decode(work / "2.png", True), 9, 10).astype(np.float32)
    wanted = softmaxed(net, torch.from_numpy((larger - mean)[None, :, 0:8, 1:9]))
    np.testing.assert_allclose(scores(work / "out.csv")[2], wanted, atol=1e-5)


def test_a_folder_is_the_images_in_it(work):
    prepare(work, DEPLOY)
    run(".", "--out", "out.csv", "--resize", "9")
    assert scores(work / "out.csv")[1] == ["0.png", "1.png", "2.png", "3.png"]


def test_an_image_in_a_folder_whose_name_is_no_text(work):
    prepare(work, DEPLOY)
    image = (work / "2.png").rename(no_text(work) / "2.png")
    run(str(image), "--out", "out.csv", "--resize", "9")
    assert os.fsencode(image) in (work / "out.csv").read_bytes()


def otto(work, target: bool) -> None:
    rows = [[str(i + 1), *map(str, range(i, i + 93)), *([f"Class_{i % 9 + 1}"] if target else [])] for i in range(12)]
    header = ["id", *(f"feat_{i + 1}" for i in range(93)), *(["target"] if target else [])]
    (work / "otto.csv").write_text("\n".join(",".join(row) for row in [header, *rows]))


def test_a_table_becomes_a_submission(work):
    net = prepare(work, OTTO)
    otto(work, target=False)
    run("otto.csv", "--out", "submission.csv", "--batch", "5")
    header, names, found = scores(work / "submission.csv")
    assert header == ["id", *(f"Class_{i + 1}" for i in range(9))]
    assert names == [str(i + 1) for i in range(12)]
    features = torch.arange(93.0) + torch.arange(12.0)[:, None]
    np.testing.assert_allclose(found, softmaxed(net, features.view(12, 93, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_a_table_with_targets_is_scored(work, capsys):
    prepare(work, OTTO)
    otto(work, target=True)
    run("otto.csv")
    said = capsys.readouterr().out
    assert "of 12)" in said
    assert "confusion: a row for each label" in said


@pytest.mark.parametrize("batch", [None, 3])
def test_an_exported_model_is_compared(work, capsys, batch):
    net = prepare(work, DEPLOY)
    converters.export_onnx(net, "net.onnx", batch=batch)
    run(".", "--compare", "net.onnx")
    last = capsys.readouterr().out.splitlines()[-1]
    assert "net.onnx: 4 items, scores differ by at most" in last
    assert "0 have another best class" in last
    assert float(last.split("at most ")[1].split(",")[0]) < 1e-6


BOXES = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 8, 8] } } }
layer { name: "loc" type: "InnerProduct" bottom: "data" top: "loc" inner_product_param { num_output: 16
  weight_filler { type: "gaussian" std: 0.0001 } } }
layer { name: "conf" type: "InnerProduct" bottom: "data" top: "conf" inner_product_param { num_output: 12
  weight_filler { type: "gaussian" std: 0.002 } } }
layer { name: "rows" type: "Reshape" bottom: "conf" top: "rows" reshape_param { shape { dim: [0, 4, 3] } } }
layer { name: "soft" type: "Softmax" bottom: "rows" top: "soft" softmax_param { axis: 2 } }
layer { name: "flat" type: "Flatten" bottom: "soft" top: "flat" }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { kernel_size: 4 stride: 4 } }
layer { name: "prior" type: "PriorBox" bottom: "pool" bottom: "data" top: "prior" prior_box_param { min_size: 4 } }
layer { name: "found" type: "DetectionOutput" bottom: "loc" bottom: "flat" bottom: "prior" top: "found"
  detection_output_param { num_classes: 3 confidence_threshold: 0.34 } }
"""


def test_a_detection_net_says_where_what_is(work, capsys):
    net = prepare(work, BOXES)
    run("0.png", "1.png", "--labels", "names.txt", "--top", "2", "--out", "found.csv", "--batch", "2", "--resize", "8")
    x = torch.from_numpy(
        np.stack([images.resize(images.decode(work / f"{i}.png", True), 8, 8) for i in (0, 1)])
    ).float()
    with torch.no_grad():
        rows = net(x)["found"][0, 0]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "---------- Boxes found in 0.png ----------"
    first = max((row.tolist() for row in rows if row[0] == 0), key=lambda row: row[2])
    corners = ", ".join(f"{corner:.4f}" for corner in first[3:])
    assert said[1] == f'{first[2]:.4f} - "{("ant", "bee", "cat")[int(first[1])]}" at {corners}'
    assert said[-1] == f"found.csv: {len(rows)} boxes in 2 items"
    with (work / "found.csv").open() as file:
        table = list(csv.reader(file))
    assert table[0] == ["id", "class", "confidence", "x1", "y1", "x2", "y2"]
    assert [row[0] for row in table[1:]].count("1.png") == sum(row[0] == 1 for row in rows.tolist())
    run("0.png", "1.png", "--out", "found.npz", "--batch", "2", "--resize", "8")
    with np.load("found.npz") as stored:
        assert stored["id"].tolist() == ["0.png", "1.png"]
        assert sorted(stored["confidence"]) == pytest.approx(sorted(rows[:, 2].tolist()))
        assert set(stored["class"]) <= {1, 2}
    with pytest.raises(CaffeError, match="--compare is for scores of classes"):
        run("0.png", "--compare", "net.onnx")


def test_nothing_found_is_said(work, capsys):
    prepare(work, BOXES.replace("0.34", "2"))
    run("0.png", "--resize", "8")
    assert capsys.readouterr().out.splitlines() == ["---------- Boxes found in 0.png ----------", "none"]


def test_scores_list_the_commonest_mistakes_of_many_classes():
    found = Scores(40)
    for label, predicted in ((0, 0), (0, 3), (0, 3), (39, 1)):
        found.add(label, predicted)
    report = found.report([f"c{i}" for i in range(40)])
    assert "accuracy 0.2500 (1 of 4)" in report
    assert "     2  c0 taken for c3\n     1  c39 taken for c1" in report
    with pytest.raises(CaffeError, match="label 40 is out of range"):
        found.add(40, 0)


def test_the_prediction_of_several_is_chosen_by_name(work):
    net = prepare(work, DEPLOY + 'layer { name: "also" type: "Sigmoid" bottom: "fc" top: "also" }')
    assert [one.name for one in plan(net).predictions] == ["also", "prob"]
    run("0.png", "--output", "also", "--out", "out.csv")
    with pytest.raises(CaffeError, match="the net predicts also, prob, not 'nothing'"):
        run("0.png", "--output", "nothing")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["missing.png"], "no such image"),
        (["0.png", "--labels", "0.png"], "the label file names"),
        (["0.png", "--mean", "1,2"], "2 mean_value for 3 channels"),
        (["0.png", "--mean", "nowhere.binaryproto"], "nowhere.binaryproto"),
        (["0.png", "--resize", "7"], "is 3x7x7, the net's input 3x8x8"),
        (["0.png", "--compare", "nowhere.onnx"], "no such model"),
        (["0.png", "--top", "0"], "at least 1"),
        (["store", "--gpu", "9"], "--gpu 9"),
        (["otto.csv"], "otto.csv"),
    ],
)
def test_bad_input_is_one_line(work, argv, message):
    prepare(work, DEPLOY)
    with pytest.raises(CaffeError, match=message) as error:
        run(*argv)
    assert "\n" not in str(error.value)


def test_the_command_ends_with_status_2(work):
    prepare(work, DEPLOY)
    (work / "other.prototxt").write_text(DEPLOY.replace('"fc"', '"fc8"'))
    command = [sys.executable, "-m", "nets.predict", "other.prototxt", "net.caffemodel", "0.png"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "no layer has weights for this net" in ended.stderr
    assert "Traceback" not in ended.stderr


PIXELS = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score" convolution_param { num_output: 3 kernel_size: 1
  weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "prob" type: "Softmax" bottom: "score" top: "prob" }
"""


def whole(work, numbers) -> torch.Tensor:
    """The images as the net gets them, resized as a whole."""
    found = [images.resize(images.decode(work / f"{i}.png", True), 8, 8) for i in numbers]
    return torch.from_numpy(np.stack(found)).float()


def test_a_net_of_pixels_writes_pictures_as_large_as_the_images(work, capsys):
    net = prepare(work, PIXELS)
    (work / "more").mkdir()
    (work / "more" / "1.png").write_bytes((work / "1.png").read_bytes())
    run("0.png", "1.png", "more", "--labels", "names.txt", "--top", "2", "--out", "found/here")
    best = net(whole(work, (0, 1)))["prob"].argmax(1).numpy()
    rows, columns = (np.arange(new) * 8 // new for new in (10, 12))
    for name, wanted in (("0.png", best[0]), ("1.png", best[1]), ("1.2.png", best[1])):
        with Image.open(work / "found" / "here" / name) as picture:
            assert (picture.mode, picture.size) == ("P", (12, 10))
            assert picture.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
            np.testing.assert_array_equal(np.asarray(picture), wanted[rows][:, columns])
    said = capsys.readouterr().out.splitlines()
    shares = np.bincount(best[0].ravel(), minlength=3) / 64
    first = int(shares.argmax())
    assert said[:2] == [
        "---------- Pixels of 0.png ----------",
        f'{shares[first]:.4f} - "{("ant", "bee", "cat")[first]}"',
    ]
    assert said[-1] == "found/here: 3 items"


def test_classes_of_pixels_as_arrays(work):
    net = prepare(work, PIXELS)
    run("0.png", "1.png", "--out", "out.npz")
    with np.load("out.npz") as stored:
        assert stored["id"].tolist() == ["0.png", "1.png"]
        assert stored["class_names"].tolist() == ["0", "1", "2"]
        np.testing.assert_array_equal(stored["classes"], net(whole(work, (0, 1)))["prob"].argmax(1).numpy())
        assert stored["classes"].dtype == np.uint8


def test_a_part_of_an_image_has_the_size_of_the_net(work):
    prepare(work, PIXELS)
    run("0.png", "--resize", "9x9", "--out", "found")
    with Image.open("found/0.png") as picture:
        assert picture.size == (8, 8)


ONE = PIXELS.replace("num_output: 3", "num_output: 1").replace("Softmax", "Sigmoid")


def test_a_single_map_is_a_grey_picture(work, capsys):
    net = prepare(work, ONE)
    values = net(whole(work, (0,)))["prob"][0, 0].detach().numpy()
    run("0.png", "--out", "found", "--resize", "8x8")
    with Image.open("found/0.png") as picture:
        assert picture.mode == "L"
        greys = np.rint(values * 255).astype(np.uint8)[None]
        np.testing.assert_array_equal(np.asarray(picture), images.resize(greys, 10, 12)[0])
    wanted = f"from {values.min():.4f} to {values.max():.4f}, {values.mean():.4f} in the mean"
    assert capsys.readouterr().out.splitlines()[1] == wanted
    run("0.png", "--out", "out.npz")
    with np.load("out.npz") as stored:
        np.testing.assert_allclose(stored["values"][0], values, rtol=1e-6)


def test_pixels_are_not_written_as_a_table_and_not_all_values_as_greys(work):
    prepare(work, PIXELS)
    with pytest.raises(CaffeError, match=r"--out out.csv: pixels are written as pictures into a folder, or as F.npz"):
        run("0.png", "--out", "out.csv")
    prepare(work, ONE.replace('type: "Sigmoid"', 'type: "Power" power_param { scale: 100 shift: 5 }'))
    with pytest.raises(CaffeError, match=r"0.png: values from .* make no picture, .*: write them with --out F.npz"):
        run("0.png", "--out", "found")
    assert not list((work / "found").iterdir())


def test_an_exported_net_of_pixels_is_compared(work, capsys):
    net = prepare(work, PIXELS)
    converters.export_onnx(net, "net.onnx")
    run("0.png", "store", "--compare", "net.onnx")
    assert "net.onnx: 5 items, scores differ by at most" in capsys.readouterr().out


def test_more_classes_than_colours_are_numbers_of_two_bytes(work):
    net = prepare(work, PIXELS.replace("num_output: 3", "num_output: 300"))
    with torch.no_grad():
        net.layer("score").blobs[0][:280] = -1.0
    save_weights(net, "net.caffemodel")
    run("0.png", "--out", "found")
    best = net(whole(work, (0,)))["prob"].argmax(1)[0].numpy()
    assert best.min() > 255
    assert len(np.unique(best)) > 1
    with Image.open("found/0.png") as picture:
        assert picture.mode.startswith("I")
        rows, columns = (np.arange(new) * 8 // new for new in (10, 12))
        np.testing.assert_array_equal(np.asarray(picture), best[rows][:, columns])


ROWS = OTTO.replace("dim: 93 dim: 1 dim: 1", "dim: 93")


def test_a_table_fits_a_net_of_rows(work):
    net = prepare(work, ROWS)
    otto(work, target=False)
    run("otto.csv", "--out", "out.csv")
    features = torch.arange(93.0) + torch.arange(12.0)[:, None]
    np.testing.assert_allclose(scores(work / "out.csv")[2], softmaxed(net, features), atol=1e-5)


def test_empty_lines_behind_the_labels_name_no_class(work, capsys):
    prepare(work, DEPLOY)
    (work / "names.txt").write_text("ant\nbee\ncat\n\n \n")
    run("0.png", "--labels", "names.txt")
    assert {line.split(" - ")[1] for line in capsys.readouterr().out.splitlines()[1:]} == {'"ant"', '"bee"', '"cat"'}


SECOND = 'layer { name: "more" type: "Input" top: "more" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }'
JOINED = 'layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "more" top: "sum" }'
MISFITS = {
    "a folder without images": (DEPLOY, "nothing", "nothing: there are neither images nor a store in this folder"),
    "a store without records": (DEPLOY, "empty", "there is nothing in the inputs to predict"),
    "no records for a net of pixels": (PIXELS, "empty", "there is nothing in the inputs to predict"),
    "a class without a number": (OTTO, "classes.csv", "classes.csv: target 'third' is neither Class_1, Class_2"),
    "channels": (DEPLOY.replace("dim: 3", "dim: 2"), "0.png", "0.png: has 3 channels, the net's input has 2"),
    "an image for rows": (ROWS, "0.png", "0.png: has 360 values, the net's input 93"),
    "one axis": (
        DEPLOY.replace("dim: 1 dim: 3 dim: 8 dim: 8", "dim: 3").replace("num_output", "axis: 0 num_output")
        .replace("Softmax", "Sigmoid"),
        "0.png", "its input 'data' needs a batch of at least 2 axes",
    ),
    "two inputs": (SECOND + DEPLOY + JOINED, "0.png", "not several or none: data, more"),
    "scores of three axes": (
        DEPLOY.replace("num_output: 3", "num_output: 6")
        + 'layer { name: "r" type: "Reshape" bottom: "prob" top: "pairs" reshape_param { shape { dim: [0, 3, 2] } } }',
        "0.png", r"the prediction has the shape \[1, 3, 2\]: it needs scores for each of 1 items",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_the_net_is_named(work, name):
    prototxt, given, message = MISFITS[name]
    prepare(work, prototxt)
    (work / "nothing").mkdir()
    with create_store("empty"):
        pass
    (work / "classes.csv").write_text(",".join([*(f"f{i}" for i in range(93)), "target"]) + "\n" + "1," * 93 + "third")
    with pytest.raises(CaffeError, match=message):
        run(given)


EXPORTED = {
    "another prediction": (DEPLOY.replace('"prob"', '"other"'), "predicts other, the net 'prob'"),
    "another input": (DEPLOY.replace('"data"', '"image"'), "the model's inputs are image; given: data"),
    "another size": (DEPLOY.replace("dim: 8", "dim: 4"), "the model cannot be run: .*"),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_a_model_of_another_net_is_not_compared(work, name):
    prototxt, message = EXPORTED[name]
    prepare(work, DEPLOY)
    converters.export_onnx(nets.load(text.parse_net(prototxt)), "net.onnx")
    with pytest.raises(CaffeError, match=message) as error:
        run("0.png", "--compare", "net.onnx")
    assert "\n" not in str(error.value)


def test_what_is_no_model_says_so(work, monkeypatch):
    prepare(work, DEPLOY)
    with pytest.raises(CaffeError, match=r"names.txt: onnxruntime cannot load it: \S.*$"):
        run("0.png", "--compare", "names.txt")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(CaffeError, match="needs the onnxruntime package: pip install onnxruntime"):
        run("0.png", "--compare", "names.txt")


def test_a_prediction_says_which_inputs_it_cannot_do_without(work):
    net = nets.load(text.parse_net(SECOND + DEPLOY + JOINED))
    with pytest.raises(NetError, match=r"'sum' cannot be had without the inputs more$"):
        predict(net, {"data": torch.zeros(1, 3, 8, 8)})
