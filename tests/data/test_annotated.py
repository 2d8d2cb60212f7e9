"""AnnotatedData: what is done to images is done to their boxes; resume is exact."""

import json

import numpy as np
import pytest
import torch

from data import datum, images
from data.sources import open_source, top_shapes
from data.stores import create_store
from protos.errors import DataError
from protos.schema import AnnotatedDatum, BlobProto

COUNT = 7
SAMPLERS = (
    "batch_sampler { max_sample: 1 max_trials: 1 }"
    " batch_sampler { sampler { min_scale: 0.3 max_scale: 1 min_aspect_ratio: 0.5 max_aspect_ratio: 2 }"
    " sample_constraint { min_jaccard_overlap: 0.3 } max_sample: 1 max_trials: 50 }"
)
EVERYTHING = (
    "mirror: true scale: 0.5 mean_value: [10, 20, 30] resize_param { height: 24 width: 24 interp_mode: LINEAR"
    " interp_mode: AREA interp_mode: NEAREST interp_mode: CUBIC interp_mode: LANCZOS4 }"
    " distort_param { brightness_prob: 0.5 brightness_delta: 32 contrast_prob: 0.5 contrast_lower: 0.5"
    " contrast_upper: 1.5 hue_prob: 0.5 hue_delta: 18 saturation_prob: 0.5 saturation_lower: 0.5"
    " saturation_upper: 1.5 random_order_prob: 0.2 } expand_param { prob: 0.5 max_expand_ratio: 3 }"
    " emit_constraint { emit_type: CENTER }"
)


def boxes_of(k):
    """Up to two boxes of a record, as pixels left, top, right, bottom of a picture 32 high and 40 wide."""
    return [(4 + k, 6, 20, 18), (22, 10 + k, 36, 30)][: k % 3]


def picture(k):
    """Black, but each box is of its own even colour."""
    pixels = np.zeros((3, 32, 40), np.uint8)
    for i, (left, top, right, bottom) in enumerate(boxes_of(k)):
        pixels[i, top:bottom, left:right] = 255
    return pixels


def record(k, typed=True, encoded=True, label=None, times=1):
    pixels = picture(k).repeat(times, 1).repeat(times, 2)
    packed = datum.pack_encoded(images.encode(pixels), label) if encoded else datum.pack(pixels, label)
    message = AnnotatedDatum()
    message.datum.ParseFromString(packed)
    if typed:
        message.type = AnnotatedDatum.BBOX
    for i, (left, top, right, bottom) in enumerate(boxes_of(k)):
        group = message.annotation_group.add(group_label=i + 1)
        one = group.annotation.add(instance_id=k)
        one.bbox.xmin, one.bbox.xmax, one.bbox.ymin, one.bbox.ymax = left / 40, right / 40, top / 32, bottom / 32
        one.bbox.difficult = k == 5
    return message.SerializeToString()


@pytest.fixture
def annotated(tmp_path):
    with create_store(tmp_path / "store") as store:
        for k in range(COUNT):
            store.put(b"%08d" % k, record(k, encoded=k % 2 == 0))
    return tmp_path / "store"


@pytest.fixture
def build(layer, annotated):
    def of(transform="", options="", batch_size=3, source=annotated, data=""):
        return layer(
            f"type: 'AnnotatedData' transform_param {{ {transform} }} annotated_data_param {{ {options} }}"
            f" data_param {{ source: '{source}' batch_size: {batch_size} {data} }}"
        )

    return of


def rows_of(k, item, order=(0, 1, 2, 3)):
    shares = [[left / 40, top / 32, right / 40, bottom / 32] for left, top, right, bottom in boxes_of(k)]
    return [[item, i + 1, k, *(box[j] for j in order), k == 5] for i, box in enumerate(shares)]


def test_batches_are_images_and_a_row_for_each_box(build):
    assert top_shapes(build(), "TRAIN") == {"data": (3, 3, 32, 40), "label": (1, 1, 1, 8)}
    with open_source(build("mean_value: 100 scale: 2"), "TEST") as source:
        assert source.records == COUNT
        for number in range(5):
            batch = source.next()
            members = [(3 * number + item) % COUNT for item in range(3)]
            wanted = [row for item, k in enumerate(members) for row in rows_of(k, item)] or [[-1] * 8]
            torch.testing.assert_close(batch["label"], torch.tensor(wanted, dtype=torch.float32)[None, None])
            want = (np.stack([picture(k) for k in members]) - 100.0) * 2
            np.testing.assert_array_equal(batch["data"].numpy(), want)


def test_without_any_box_there_is_a_row_of_minus_one(build):
    with open_source(build(batch_size=1), "TRAIN") as source:
        assert source.next()["label"].tolist() == [[[[-1] * 8]]]
        assert source.next()["label"].shape == (1, 1, 1, 8)
        assert source.next()["label"].shape == (1, 1, 2, 8)


def test_without_a_type_the_label_is_the_images(build, tmp_path):
    with create_store(tmp_path / "plain") as store:
        for k in range(4):
            store.put(b"%d" % k, record(k, typed=False, label=k if k < 3 else None))
    layer = build(source=tmp_path / "plain")
    assert top_shapes(layer, "TRAIN")["label"] == (3, 1, 1, 1)
    with open_source(layer, "TRAIN") as source:
        assert source.next()["label"].flatten().tolist() == [0, 1, 2]
        with pytest.raises(DataError, match="a record has neither a type, and so boxes, nor a label"):
            source.next()
    with open_source(build(source=tmp_path / "plain", options="anno_type: BBOX"), "TRAIN") as source:
        assert source.next()["label"].shape == (1, 1, 3, 8)


def painted(channel, shape):
    """Left, top, right and bottom of what is bright, as shares."""
    rows, columns = np.nonzero(channel > 127)
    size = np.array([shape[1], shape[0]] * 2)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / size


@pytest.fixture
def large(tmp_path):
    """The same pictures, 192 x 240."""
    with create_store(tmp_path / "large") as store:
        for k in range(COUNT):
            store.put(b"%08d" % k, record(k, times=6))
    return tmp_path / "large"


@pytest.mark.parametrize(
    ("transform", "options"),
    [
        ("mirror: true", ""),
        ("resize_param { height: 64 width: 48 interp_mode: NEAREST } mirror: true", ""),
        ("resize_param { height: 50 width: 50 resize_mode: FIT_LARGE_SIZE_AND_PAD interp_mode: AREA }", ""),
        ("resize_param { height: 48 width: 30 resize_mode: FIT_LARGE_SIZE_AND_PAD pad_value: 3 }", ""),
        ("expand_param { max_expand_ratio: 3 } resize_param { height: 120 width: 120 }", ""),
        ("resize_param { height: 120 width: 120 } mirror: true", SAMPLERS),
        ("crop_h: 120 crop_w: 180 mirror: true", ""),
        ("resize_param { height: 80 width: 80 interp_mode: CUBIC } crop_size: 60", SAMPLERS),
    ],
    ids=["mirror", "warp", "pad_rows", "pad_columns", "expand", "sample", "crop", "sample_crop"],
)
def test_boxes_stay_on_what_they_are_of(build, large, transform, options):
    seen = set()
    with open_source(build(transform, options, source=large), "TRAIN", seed=5) as source:
        for _ in range(25):
            batch = source.next()
            data, rows = batch["data"].numpy(), batch["label"].numpy()[0, 0]
            for row in rows[rows[:, 0] >= 0]:
                channel = data[int(row[0]), int(row[1]) - 1]
                if channel.max() > 250:
                    off = np.abs(painted(channel, channel.shape) - row[3:7]).max()
                    assert off <= (0.045 if options else 0.02), (row, painted(channel, channel.shape))
                    seen.add(tuple(row[3:7]))
    assert len(seen) > (6 if "expand" in transform or options or "crop" in transform else 3)


def test_an_expanded_image_lies_in_the_mean(build):
    transform = "expand_param { max_expand_ratio: 2 } mean_value: [50, 60.4, 70]"
    with open_source(build(transform, batch_size=1), "TRAIN", seed=1) as source:
        shapes = set()
        for _ in range(7):
            data = source.next()["data"][0].numpy()
            shapes.add(data.shape)
            values = {tuple(np.round(x, 1)) for x in data.reshape(3, -1).T}
            assert (0, np.float32(-0.4), 0) in values  # 60.4 is the byte 60
            assert 1 <= data.shape[1] / 32 <= 2
    assert len(shapes) > 4


@pytest.mark.parametrize("mode", ["CONSTANT", "MIRRORED", "REPEAT_NEAREST"])
@pytest.mark.parametrize("size", [(20, 90), (90, 20)])
def test_padding_is_opencvs(build, mode, size):
    cv2 = pytest.importorskip("cv2")
    height, width = size
    transform = f"resize_param {{ height: {height} width: {width} resize_mode: FIT_LARGE_SIZE_AND_PAD pad_mode: {mode}"
    with open_source(build(f"{transform} pad_value: [7, 8, 9] }}", batch_size=COUNT), "TEST") as source:
        found = source.next()["data"][4].numpy()
    inner = (20, 25) if height == 20 else (16, 20)
    small = cv2.resize(np.ascontiguousarray(picture(4).transpose(1, 2, 0)), inner[::-1])
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    border = {"CONSTANT": cv2.BORDER_CONSTANT, "MIRRORED": cv2.BORDER_REFLECT101}.get(mode, cv2.BORDER_REPLICATE)
    around = (top, height - inner[0] - top, left, width - inner[1] - left)
    wanted = cv2.copyMakeBorder(small, *around, border, value=(7, 8, 9))
    np.testing.assert_array_equal(found, wanted.transpose(2, 0, 1))


def test_fit_small_size_keeps_the_shape_of_each_image(build):
    layer = build("resize_param { height: 64 width: 64 resize_mode: FIT_SMALL_SIZE } crop_size: 50", batch_size=1)
    assert top_shapes(layer, "TRAIN")["data"] == (1, 3, 50, 50)
    layer.transform_param.crop_size = 0
    assert top_shapes(layer, "TRAIN")["data"] == (1, 3, 64, 80)
    with open_source(layer, "TEST") as source:
        assert source.next()["data"].shape == (1, 3, 64, 80)


def test_both_phases_draw_but_for_the_crop(build):
    """As in the original; what a test net asks for mostly needs no chance: see the next test."""
    with open_source(build(EVERYTHING, SAMPLERS), "TEST", seed=1) as one, open_source(build(), "TEST") as other:
        assert not torch.equal(one.next()["data"], other.next()["data"][:, :, :24, :24])
    layer = build("crop_size: 8 mirror: true", batch_size=COUNT)
    crops = np.stack([picture(k)[:, 12:20, 16:24] for k in range(COUNT)])
    with open_source(layer, "TEST", seed=1) as source:
        found = source.next()["data"].numpy()
    turned = [not np.array_equal(image, crop) for image, crop in zip(found, crops, strict=True)]
    assert 0 < sum(turned) < COUNT
    for image, crop, mirrored in zip(found, crops, turned, strict=True):
        np.testing.assert_array_equal(image, crop[:, :, ::-1] if mirrored else crop)


def test_a_test_net_without_chance_gives_the_same_to_all(build):
    plain = "scale: 0.5 mean_value: [10, 20, 30] resize_param { height: 24 width: 24 }"
    with (
        open_source(build(plain, "batch_sampler { }"), "TEST", seed=1) as one,
        open_source(build(plain), "TEST", seed=2, rank=1, world_size=2) as other,
    ):
        for _ in range(4):
            a, b = one.next(), other.next()
            assert torch.equal(a["data"], b["data"])
            assert torch.equal(a["label"], b["label"])


def test_a_cursor_is_exact_also_in_another_process(build):
    layer = build(EVERYTHING, SAMPLERS, data="rand_skip: 4 shuffle: true")
    with open_source(layer, "TRAIN", seed=3) as source:
        source.skip(2)
        source.next()
        state = json.loads(json.dumps(source.state()))
        following = [source.next() for _ in range(6)]
        source.restore(state)
        again = [source.next() for _ in range(6)]
    with open_source(layer, "TRAIN", seed=4) as other:
        first = other.next()["data"]
        other.restore(state)
        resumed = [other.next() for _ in range(6)]
    assert not torch.equal(first, following[0]["data"])
    for a, b, c in zip(following, again, resumed, strict=True):
        for top in ("data", "label"):
            assert torch.equal(a[top], b[top])
            assert torch.equal(a[top], c[top])


@pytest.mark.parametrize("shuffle", ["", "shuffle: true"])
def test_ranks_share_the_records_without_overlap(build, shuffle):
    dealt = []
    for rank in range(2):
        with open_source(build(data=shuffle, batch_size=7), "TRAIN", rank=rank, world_size=2, seed=1) as source:
            data = source.next()["data"].numpy()
        dealt += [next(k for k in range(COUNT) if k % 3 and np.array_equal(picture(k), x)) for x in data if x.any()]
    assert sorted(dealt) == sorted(2 * [k for k in range(COUNT) if k % 3])
    with pytest.raises(DataError, match="needs a common seed"):
        open_source(build(data="shuffle: true"), "TRAIN", rank=0, world_size=2)


def test_a_mean_file_is_of_the_resized_image(build, tmp_path):
    mean = np.random.default_rng(0).random((3, 24, 24)).astype(np.float32) * 100
    blob = BlobProto(num=1, channels=3, height=24, width=24, data=mean.ravel().tolist())
    (tmp_path / "mean").write_bytes(blob.SerializeToString())
    resize = "resize_param { height: 24 width: 24 }"
    with (
        open_source(build(f"{resize} mean_file: '{tmp_path}/mean'"), "TEST") as one,
        open_source(build(resize), "TEST") as other,
    ):
        torch.testing.assert_close(one.next()["data"], other.next()["data"] - torch.from_numpy(mean))
    with pytest.raises(DataError, match="mean_file has the shape 3x24x24, but the records have 3x32x40"):
        top_shapes(build(f"mean_file: '{tmp_path}/mean'"), "TEST")


REFUSED = [
    ("", "", "range_start: 1", "DataParameter options not supported: range_start"),
    ("", "oriented: true", "", "AnnotatedDataParameter options not supported: oriented"),
    ("noise_param { prob: 1 }", "", "", "TransformationParameter options not supported: noise_param"),
    ("resize_param { height: 3 width: 3 jitter: 1 }", "", "", "ResizeParameter options not supported: jitter"),
    ("distort_param { hue: true }", "", "", "DistortionParameter options not supported: hue"),
    ("resize_param { height: 3 }", "", "", "resize_param needs a height and a width"),
    ("resize_param { height: 3 width: 3 prob: 0.5 }", "", "", "resize_param.prob must be 1, not 0.5"),
    (
        "resize_param { height: 3 width: 3 } resize_param { height: 4 width: 4 }",
        "",
        "",
        "takes one resize_param, not 2",
    ),
    ("resize_param { height: 3 width: 3 resize_mode: FIT_SMALL_SIZE }", "", "", "FIT_SMALL_SIZE needs batch_size 1"),
    ("resize_param { height: 3 width: 3 pad_value: [1, 2] }", "", "", "2 pad_value for 3 channels"),
    ("crop_h: 3", "", "", "crop_h and crop_w go together"),
    ("crop_size: 33", "", "", "the crop of 33x33 exceeds the images of 32x40"),
    ("mean_value: [1, 2]", "", "", "2 mean_value for 3 channels"),
    ("force_color: true force_gray: true", "", "", "force_color and force_gray exclude each other"),
    ("force_gray: true distort_param { hue_prob: 1 }", "", "", "distort_param of colours needs 3 channels, not 1"),
    ("expand_param { max_expand_ratio: 0.5 }", "", "", "max_expand_ratio 0.5 must be at least 1"),
    ("expand_param { max_expand_ratio: 2 } mean_file: 'x'", "", "", "expand_param fills with mean_value"),
    ("distort_param { contrast_lower: 2 contrast_upper: 1 }", "", "", "contrast_lower 2 exceeds contrast_upper 1"),
    ("distort_param { brightness_delta: -1 }", "", "", "brightness_delta -1 must not be negative"),
    ("", "batch_sampler { sampler { max_scale: 2 } }", "", "min_scale 1 and max_scale 2 must rise"),
    ("", "batch_sampler { sampler { min_aspect_ratio: 2 } }", "", "min_aspect_ratio 2 and max_aspect_ratio 1"),
    ("", "anno_type: LANE", "", "store, record 0: annotations of type LANE are not supported, BBOX alone"),
]


@pytest.mark.parametrize(("transform", "options", "data", "message"), REFUSED)
def test_options_that_cannot_be_say_so(build, transform, options, data, message):
    for ask in (top_shapes, open_source):
        with pytest.raises(DataError, match=message):
            ask(build(transform, options, data=data), "TRAIN")


def small(kind, **values):
    message = AnnotatedDatum(type=kind, datum={"channels": 1, "height": 1, "width": 1, **values})
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (record(1)[:-3], "bad, record 1: not an AnnotatedDatum .the record is damaged"),
        (datum.pack(picture(0), 3), "bad, record 1: not an AnnotatedDatum with an image; of plain Datums .* Data"),
        (record(1, typed=False), "bad, record 1: has no type, as others have; set anno_type: BBOX if it has boxes"),
        (record(1).replace(b"IDAT", b"IDxT"), "bad, record 1 .encoded image.: cannot be read as an image"),
        (small("LANE", data=b"1"), "bad, record 1: annotations of type LANE are not supported"),
        (small("BBOX", float_data=[1]), "bad, record 1: AnnotatedData needs images of bytes"),
        (small("BBOX", data=b"1"), "batch 0 mixes images of 3x32x40 and 1x1x1 .record 1.; resize them"),
    ],
    ids=["truncated", "datum", "untyped", "image", "kind", "floats", "sizes"],
)
def test_a_bad_record_is_named_and_the_cursor_stays(build, tmp_path, value, message):
    with create_store(tmp_path / "bad") as store:
        store.put(b"0", record(0))
        store.put(b"1", value)
    with open_source(build(source=tmp_path / "bad", batch_size=2), "TRAIN") as source:
        with pytest.raises(DataError, match=message):
            source.next()
        assert source.batches == 0


def test_an_image_that_is_smaller_than_its_crop_is_named(build, tmp_path):
    with create_store(tmp_path / "sizes") as store:
        store.put(b"0", record(1, times=2))
        store.put(b"1", record(1))
    message = "sizes, record 1: the crop of 40x40 exceeds an image of 32x40"
    layer = build("crop_size: 40", source=tmp_path / "sizes", batch_size=2)
    with open_source(layer, "TEST") as source, pytest.raises(DataError, match=message):
        source.next()


def test_an_image_that_hardly_grows_stays_as_it_is(build, tmp_path):
    with create_store(tmp_path / "large") as store:
        store.put(b"0", record(1, times=20))  # 640 x 800: a hundredth of that is pixels
    seen = {}
    for ratio in (1, 1.009, 1.011):
        transform = f"expand_param {{ max_expand_ratio: {ratio} }}"
        with open_source(build(transform, batch_size=1, source=tmp_path / "large"), "TRAIN", seed=1) as source:
            seen[ratio] = {tuple(source.next()["data"].shape[2:]) for _ in range(5)}
    assert seen[1] == seen[1.009] == {(640, 800)}
    assert len(seen[1.011]) > 1
