"""DenseImageData, whose labels are images."""

import numpy as np
import pytest
import torch

from data import images
from data.sources import open_source, top_shapes
from protos.errors import DataError

BUDGETS = pytest.mark.parametrize("budget", [None, 1200, 0], ids=["ready", "bytes", "stream"])
TRANSFORM = "transform_param { mean_value: [1, 2, 3] scale: 0.5 }"


@pytest.fixture
def pictures(tmp_path):
    """Five images, 3 x 4 x 6 in colour, and their labels, 4 x 6, listed in ``list``."""
    chance = np.random.default_rng(0)
    pixels, labels = chance.integers(0, 256, (5, 3, 4, 6), np.uint8), chance.integers(0, 12, (5, 1, 4, 6), np.uint8)
    for k in range(5):
        (tmp_path / f"{k}.png").write_bytes(images.encode(pixels[k]))
        (tmp_path / f"labels{k}.png").write_bytes(images.encode(labels[k]))
    (tmp_path / "list").write_text("".join(f"{k}.png\tlabels{k}.png\n" for k in range(5)))
    return pixels, labels


@pytest.fixture
def dense(layer, tmp_path):
    def build(options="batch_size: 2", transform=""):
        where = f"source: '{tmp_path}/list' root_folder: '{tmp_path}/'"
        return layer(f"type: 'DenseImageData' {transform} dense_image_data_param {{ {where} {options} }}")

    return build


@BUDGETS
def test_the_transform_is_of_the_image_alone(dense, pictures, budget):
    pixels, labels = pictures
    assert top_shapes(dense(transform=TRANSFORM), "TRAIN") == {"data": (2, 3, 4, 6), "label": (2, 1, 4, 6)}
    with open_source(dense(transform=TRANSFORM), "TRAIN", budget=budget) as source:
        for at in (0, 2, 4):
            batch, places = source.next(), [at, (at + 1) % 5]
            wanted = 0.5 * (pixels[places] - np.array([1.0, 2, 3]).reshape(3, 1, 1))
            np.testing.assert_array_equal(batch["data"].numpy(), wanted)
            np.testing.assert_array_equal(batch["label"].numpy(), labels[places])
            assert {x.dtype for x in batch.values()} == {torch.float32}


def test_labels_are_resized_to_the_nearest_pixel(dense, pictures):
    cv2 = pytest.importorskip("cv2")
    pixels, labels = pictures
    with open_source(dense("batch_size: 5 new_height: 7 new_width: 9 is_color: true"), "TEST") as source:
        batch = source.next()
    for k in range(5):
        near = cv2.resize(labels[k, 0], (9, 7), interpolation=cv2.INTER_NEAREST)
        np.testing.assert_array_equal(batch["label"][k, 0].numpy(), near)
        np.testing.assert_array_equal(batch["data"][k].numpy(), images.resize(pixels[k], 7, 9))


def test_images_keep_their_labels_when_they_are_shuffled(dense, pictures):
    pixels, labels = pictures
    with open_source(dense("batch_size: 5 shuffle: true is_color: false"), "TRAIN", seed=1) as source:
        batch = source.next()
    found = [next(k for k in range(5) if np.array_equal(labels[k], one)) for one in batch["label"].numpy()]
    assert sorted(found) == list(range(5)) != found
    greys = [images.decode(images.encode(pixels[k]), False) for k in found]
    np.testing.assert_array_equal(batch["data"].numpy(), greys)


@pytest.mark.parametrize(
    ("options", "transform", "message"),
    [
        ("", "", "batch_size must be at least 1"),
        ("batch_size: 1 mirror: true", "", "DenseImageDataParameter options not supported: mirror"),
        ("batch_size: 1 new_height: 3", "", "new_height and new_width go together; one of them is missing"),
        ("batch_size: 1", "transform_param { crop_size: 2 }", "takes no mirror and no crop_size: labels stay put"),
        ("batch_size: 1", "transform_param { mean_value: [1, 2] }", "2 mean_value for 3 channels"),
    ],
)
def test_bad_options_say_so(dense, pictures, options, transform, message):
    with pytest.raises(DataError, match=message):
        top_shapes(dense(options, transform), "TRAIN")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.png labels0.png 1.png", "list: names 3 files, where each image needs one with its labels"),
        ("", "there are no records"),
        (None, "list: no such file or directory"),
        ("0.png other.png", "other.png: no such image"),
        ("0.png small.png", "list: 0.png and its labels small.png differ in size: 4x6 and 2x2"),
    ],
)
def test_a_bad_list_says_so(dense, pictures, tmp_path, text, message):
    (tmp_path / "small.png").write_bytes(images.encode(np.zeros((1, 2, 2), np.uint8)))
    (tmp_path / "list").unlink()
    if text is not None:
        (tmp_path / "list").write_text(text)
    with pytest.raises(DataError, match=message):
        top_shapes(dense(), "TRAIN")
