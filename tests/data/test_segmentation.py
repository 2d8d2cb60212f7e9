"""ImageSegData, beside OpenCV's own arithmetic."""

import itertools

import numpy as np
import pytest
import torch

from data import images
from data.sources import open_source, top_shapes
from protos.errors import DataError

MEAN = np.array([104.008, 116.669, 122.675], np.float32).reshape(3, 1, 1)
LEVEL = "mean_value: [104.008, 116.669, 122.675] scale: 0.5"
SIZES = [(9, 12), (9, 12), (5, 14), (12, 7)]


@pytest.fixture
def pictures(tmp_path):
    """Four images in colour and their labels, listed in ``list``; the first two of one size."""
    chance = np.random.default_rng(0)
    pixels = [chance.integers(0, 256, (3, *size), np.uint8) for size in SIZES]
    labels = [chance.integers(0, 21, (1, *size), np.uint8) for size in SIZES]
    for k in range(4):
        (tmp_path / f"{k}.png").write_bytes(images.encode(pixels[k]))
        (tmp_path / f"labels{k}.png").write_bytes(images.encode(labels[k]))
    (tmp_path / "list").write_text("".join(f"{k}.png\tlabels{k}.png \n\n" for k in range(4)))
    return pixels, labels


@pytest.fixture
def segmented(layer, tmp_path):
    def build(options="batch_size: 4", transform="", label_type="PIXEL", tops=3):
        where = f"source: '{tmp_path}/list' root_folder: '{tmp_path}/' label_type: {label_type}"
        made = layer(
            f"type: 'ImageSegData' transform_param {{ {LEVEL} {transform} }} image_data_param {{ {where} {options} }}"
        )
        if tops == 3:
            made.top.append("data_dim")
        return made

    return build


def padded(pixels, labels, height, width, ignored=255):
    """What DeepLab's transformer makes of an image that is smaller than the crop, by OpenCV, in double precision."""
    cv2 = pytest.importorskip("cv2")
    rows, columns = max(0, height - pixels.shape[1]), max(0, width - pixels.shape[2])
    image = np.ascontiguousarray(pixels.transpose(1, 2, 0)).astype(np.float64)
    mean = tuple(float(value) for value in MEAN.ravel())
    image = cv2.copyMakeBorder(image, 0, rows, 0, columns, cv2.BORDER_CONSTANT, value=mean)
    labels = cv2.copyMakeBorder(labels[0], 0, rows, 0, columns, cv2.BORDER_CONSTANT, value=(ignored,))
    return (image.transpose(2, 0, 1).astype(np.float32) - MEAN) * np.float32(0.5), labels


def test_a_test_net_sees_the_middle_and_ignores_the_border(segmented, pictures):
    pixels, labels = pictures
    wanted = {"data": (4, 3, 8, 10), "label": (4, 1, 8, 10), "data_dim": (4, 1, 1, 2)}
    made = segmented(transform="crop_height: 8 crop_width: 10")
    assert top_shapes(made, "TEST") == wanted
    with open_source(made, "TEST") as source:
        batch = source.next()
    assert {name: tuple(x.shape) for name, x in batch.items()} == wanted
    assert {x.dtype for x in batch.values()} == {torch.float32}
    for k in range(4):
        data, label = padded(pixels[k], labels[k], 8, 10)
        top, left = (label.shape[0] - 8) // 2, (label.shape[1] - 10) // 2
        np.testing.assert_array_equal(batch["data"][k].numpy(), data[:, top : top + 8, left : left + 10])
        np.testing.assert_array_equal(batch["label"][k, 0].numpy(), label[top : top + 8, left : left + 10])
    assert batch["data_dim"][:, 0, 0].tolist() == [[8, 10], [8, 10], [5, 10], [8, 7]]


def test_a_training_net_sees_any_part_of_any_size_from_both_sides(segmented, pictures):
    cv2 = pytest.importorskip("cv2")
    pixels, labels = pictures
    factors = (0.5, 0.75, 1, 1.25, 1.5)
    made = segmented(transform=f"crop_size: 9 mirror: true scale_factors: {list(factors)}")
    seen = set()
    with open_source(made, "TRAIN", seed=3) as source:
        for _ in range(12):
            batch = {name: x.numpy() for name, x in source.next().items()}
            for k in range(4):
                seen.add(where_from(cv2, pixels[k], labels[k], batch["data"][k], batch["label"][k, 0], factors))
            assert batch["data_dim"][:, 0, 0].tolist() == [[9, 9], [9, 9], [5, 9], [9, 7]]
    assert {factor for factor, *_ in seen} == set(factors)
    assert len({(top, left) for _, top, left, _ in seen}) > 8
    assert {mirrored for *_, mirrored in seen} == {False, True}


def where_from(cv2, pixels, labels, data, label, factors):
    """The factor, the place and the side that a crop of 9 x 9 shows: exactly one of all."""
    found = []
    for factor in factors:
        size = [int(np.float32(n) * np.float32(factor)) for n in pixels.shape[1:]]
        image = cv2.resize(np.ascontiguousarray(pixels.transpose(1, 2, 0)), size[::-1]) if factor != 1 else None
        image = pixels if image is None else image.transpose(2, 0, 1)
        near = cv2.resize(labels[0], size[::-1], interpolation=cv2.INTER_NEAREST)[None]
        whole, marks = padded(image, near, 9, 9)
        for top, left, mirrored in itertools.product(
            range(marks.shape[0] - 8), range(marks.shape[1] - 8), (False, True)
        ):
            step = -1 if mirrored else 1
            one = whole[:, top : top + 9, left : left + 9][:, :, ::step]
            if np.array_equal(data, one) and np.array_equal(label, marks[top : top + 9, left : left + 9][:, ::step]):
                found.append((factor, top, left, mirrored))
    assert len(found) == 1
    return found[0]


def test_new_sizes_blend_labels_too(segmented, pictures):
    cv2 = pytest.importorskip("cv2")
    pixels, labels = pictures
    with open_source(segmented("batch_size: 4 new_height: 7 new_width: 8 is_color: true"), "TEST") as source:
        batch = source.next()
    for k in range(4):
        np.testing.assert_array_equal(batch["label"][k, 0].numpy(), cv2.resize(labels[k][0], (8, 7)))
        image = cv2.resize(np.ascontiguousarray(pixels[k].transpose(1, 2, 0)), (8, 7)).transpose(2, 0, 1)
        np.testing.assert_array_equal(batch["data"][k].numpy(), (image - MEAN) * np.float32(0.5))
    assert batch["data_dim"].unique().tolist() == [7, 8]


@pytest.mark.parametrize(
    ("label_type", "lines", "wanted"),
    [
        ("IMAGE", "0.png 7\n1.png 300\n", [7, 255]),
        ("NONE", "0.png\n1.png other.png\n", [200, 200]),
    ],
)
def test_labels_of_whole_images(segmented, pictures, tmp_path, label_type, lines, wanted):
    (tmp_path / "list").write_text(lines)
    made = segmented("batch_size: 2 ignore_label: 200", label_type=label_type, tops=2)
    with open_source(made, "TEST") as source:
        batch = source.next()
    assert [one.unique().tolist() for one in batch["label"]] == [[float(value)] for value in wanted]
    assert set(batch) == {"data", "label"}


def test_what_follows_a_cursor_is_what_would_have_come(segmented, pictures):
    made = segmented("batch_size: 3 shuffle: true rand_skip: 3", "crop_size: 9 mirror: true scale_factors: [1, 2]")
    with open_source(made, "TRAIN", seed=1) as first, open_source(made, "TRAIN", seed=2) as second:
        for _ in range(3):
            first.next()
        second.next()
        second.restore(first.state())
        ours, theirs = first.next(), second.next()
    for name, values in ours.items():
        assert torch.equal(values, theirs[name])


def test_images_of_several_sizes_need_a_crop_or_come_alone(segmented, pictures):
    with (
        open_source(segmented(), "TEST") as source,
        pytest.raises(DataError, match=r"list: batch 0 mixes images of 9x12 and 5x14 \(number 2 of the batch\)"),
    ):
        source.next()
    with open_source(segmented("batch_size: 1"), "TEST") as source:
        assert [tuple(source.next()["label"].shape[2:]) for _ in range(4)] == SIZES


@pytest.mark.parametrize(
    ("options", "transform", "message"),
    [
        ("batch_size: 0", "", "batch_size must be at least 1"),
        ("batch_size: 1 new_height: 3", "", "new_height and new_width go together; one of them is missing"),
        ("batch_size: 1", "crop_height: 3", "it takes crop_size, or both crop_height and crop_width"),
        ("batch_size: 1", "crop_size: 3 crop_height: 3 crop_width: 3", "it takes crop_size, or both"),
        ("batch_size: 1", "scale_factors: 2", "scale_factors need a crop"),
        ("batch_size: 1", "crop_size: 3 scale_factors: 0", "scale_factors must be above 0"),
        ("batch_size: 1", "mean_file: 'x'", "TransformationParameter options not supported: mean_file"),
        ("batch_size: 1", "mean_value: 1", "4 mean_value for 3 channels"),
    ],
)
def test_bad_options_say_so(segmented, pictures, options, transform, message):
    with pytest.raises(DataError, match=message):
        top_shapes(segmented(options, transform), "TRAIN")


@pytest.mark.parametrize(
    ("label_type", "text", "message"),
    [
        ("PIXEL", "0.png", "list, line 1: '0.png' is not an image and an image of labels: label_type is PIXEL"),
        ("IMAGE", "0.png 1.png", r"'0.png 1.png' is not an image and a label \(an integer\): label_type is IMAGE"),
        ("PIXEL", "", "there are no records"),
        ("PIXEL", "0.png other.png", "other.png: no such image"),
        ("PIXEL", "0.png labels2.png", "list: 0.png and its labels labels2.png differ in size: 9x12 and 5x14"),
    ],
)
def test_a_bad_list_says_so(segmented, pictures, tmp_path, label_type, text, message):
    (tmp_path / "list").write_text(text)
    with pytest.raises(DataError, match=message):
        top_shapes(segmented(label_type=label_type), "TRAIN")


def test_several_ranks_share_the_images_in_training(segmented, pictures):
    made = segmented("batch_size: 1", "crop_size: 9")
    whole = [sizes(made, "TRAIN", 0, 1, 4), sizes(made, "TRAIN", 0, 2, 2), sizes(made, "TRAIN", 1, 2, 2)]
    assert whole[0] == [(9, 9), (9, 9), (5, 9), (9, 7)]
    assert (whole[1], whole[2]) == (whole[0][::2], whole[0][1::2])
    assert sizes(made, "TEST", 1, 2, 4) == whole[0]
    with pytest.raises(DataError, match="needs a common seed"):
        open_source(segmented("batch_size: 1 shuffle: true", "crop_size: 9"), "TRAIN", rank=0, world_size=2)


def sizes(made, phase, rank, world_size, batches):
    """What data_dim says of the first batches of a rank."""
    with open_source(made, phase, rank=rank, world_size=world_size, seed=1) as source:
        return [tuple(source.next()["data_dim"].flatten().int().tolist()) for _ in range(batches)]
