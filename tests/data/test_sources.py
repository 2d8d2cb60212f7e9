import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from data import datum, images
from data.mean import write_mean
from data.records import StoreRecords
from data.sources import SOURCES, open_source, top_shapes
from data.stores import create_store
from protos.errors import CaffeError, DataError

BUDGETS = pytest.mark.parametrize("budget", [None, 600, 0], ids=["ready", "bytes", "stream"])
RANDOM = "mirror: true crop_size: 3 scale: 0.5 mean_value: 3"
MEAN_IMAGE = "mirror: true crop_size: 3 mean_file: '{folder}/mean'"


@pytest.fixture
def data_layer(layer, numbered):
    def build(batch_size=4, transform="", options=""):
        return layer(
            f"type: 'Data' transform_param {{ {transform} }}"
            f" data_param {{ source: '{numbered}' batch_size: {batch_size} {options} }}"
        )

    return build


def labels(source, batches):
    return [source.next()["label"].tolist() for _ in range(batches)]


def test_every_data_layer_has_a_source():
    kinds = {
        "AnnotatedData", "Data", "DenseImageData", "DummyData", "HDF5Data", "ImageData", "ImageSegData",
        "MemoryData", "WindowData",
    }  # fmt: skip
    assert set(SOURCES) == kinds
    with pytest.raises(CaffeError, match="unknown data layer 'HDF5Date', did you mean HDF5Data"):
        SOURCES["HDF5Date"]


@BUDGETS
def test_records_come_in_order_and_wrap_in_the_middle_of_a_batch(data_layer, values, budget):
    with open_source(data_layer(), "TRAIN", budget=budget) as source:
        assert source.records == 10
        batches = [source.next() for _ in range(5)]
    for number, batch in enumerate(batches):
        wanted = [(4 * number + k) % 10 for k in range(4)]
        assert batch["label"].tolist() == wanted
        assert batch["data"].dtype == batch["label"].dtype == torch.float32
        np.testing.assert_array_equal(batch["data"].numpy(), values[wanted])


@BUDGETS
def test_a_batch_may_be_larger_than_the_store(data_layer, budget):
    with open_source(data_layer(batch_size=23), "TRAIN", budget=budget) as source:
        assert labels(source, 2) == [[k % 10 for k in range(23)], [k % 10 for k in range(23, 46)]]


@BUDGETS
@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_share_the_records_without_overlap(data_layer, budget, world_size):
    dealt = []
    for rank in range(world_size):
        with open_source(data_layer(3), "TRAIN", rank=rank, world_size=world_size, budget=budget) as source:
            dealt.append([label for batch in labels(source, 6) for label in batch])
    together = np.array(dealt).T.ravel()
    assert together.tolist() == [k % 10 for k in range(len(together))]


def test_in_test_every_rank_reads_all(data_layer):
    with open_source(data_layer(), "TEST", rank=1, world_size=2) as source:
        assert labels(source, 1) == [[0, 1, 2, 3]]


@BUDGETS
@pytest.mark.parametrize("transform", ["", RANDOM])
def test_a_cursor_is_exact(data_layer, budget, transform):
    layer = data_layer(transform=transform)
    with open_source(layer, "TRAIN", seed=3, budget=budget) as source:
        source.skip(2)
        source.next()
        state = json.loads(json.dumps(source.state()))
        following = [source.next() for _ in range(4)]
        source.restore(state)
        again = [source.next() for _ in range(4)]
    with open_source(layer, "TRAIN", seed=4, budget=budget) as other:
        other.next()
        other.restore(state)
        resumed = [other.next() for _ in range(4)]
    for a, b, c in zip(following, again, resumed, strict=True):
        assert torch.equal(a["data"], b["data"])
        assert torch.equal(a["data"], c["data"])
        assert torch.equal(a["label"], c["label"])


def test_resident_and_streamed_batches_are_equal_also_where_chance_rules(data_layer):
    found = []
    for budget in (None, 600, 0):
        with open_source(data_layer(transform=RANDOM), "TRAIN", seed=7, budget=budget) as source:
            found.append(torch.stack([source.next()["data"] for _ in range(10)]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@BUDGETS
@pytest.mark.parametrize("options", ["", "shuffle: true"])
@pytest.mark.parametrize("transform", ["", "scale: 0.5 mean_value: 3", RANDOM, MEAN_IMAGE])
def test_batches_on_a_gpu_are_those_on_a_cpu(data_layer, tmp_path, values, transform, options, budget):
    write_mean(tmp_path / "mean", values[0])
    layer = data_layer(transform=transform.format(folder=tmp_path), options=options)
    with (
        open_source(layer, "TRAIN", device=torch.device("cuda"), seed=7, budget=budget) as ours,
        open_source(layer, "TRAIN", seed=7, budget=budget) as wanted,
    ):
        for _ in range(6):
            found, batch = ours.next(), wanted.next()
            assert {value.device.type for value in found.values()} == {"cuda"}
            torch.testing.assert_close({top: value.cpu() for top, value in found.items()}, batch)


def test_every_crop_and_mirror_occurs_and_each_is_a_cut_of_the_record(data_layer, values):
    seen = set()
    with open_source(data_layer(10, "mirror: true crop_size: 3"), "TRAIN", seed=1) as source:
        for _ in range(40):
            for record, cut in zip(values, source.next()["data"].numpy(), strict=True):
                places = [
                    (top, left, mirrored)
                    for top in range(2)
                    for left in range(3)
                    for mirrored in (1, -1)
                    if np.array_equal(record[:, top : top + 3, left : left + 3][:, :, ::mirrored], cut)
                ]
                assert places
                if len(places) == 1:
                    seen.add(places[0])
    assert len(seen) == 12


@BUDGETS
def test_mean_then_scale_in_the_middle_in_test(data_layer, values, budget):
    layer = data_layer(10, "crop_size: 2 mean_value: 5 mean_value: 7 scale: 0.25")
    with open_source(layer, "TEST", budget=budget) as source:
        wanted = (values[:, :, 1:3, 1:3] - np.array([5.0, 7.0])[:, None, None]) * 0.25
        np.testing.assert_array_equal(source.next()["data"].numpy(), wanted)


@BUDGETS
def test_rand_skip_leaves_out_records_at_the_start(data_layer, budget):
    firsts = set()
    for seed in range(20):
        with open_source(data_layer(options="rand_skip: 5"), "TRAIN", seed=seed, budget=budget) as source:
            batch = source.next()["label"].tolist()
            assert all((b - a) % 10 == 1 for a, b in pairwise(batch))
            firsts.add(batch[0])
    assert firsts == {0, 1, 2, 3, 4}


def test_shapes_are_known_without_opening_and_one_top_is_enough(data_layer):
    layer = data_layer(transform="crop_size: 3")
    assert top_shapes(layer, "TRAIN") == {"data": (4, 2, 3, 3), "label": (4,)}
    del layer.top[1]
    assert top_shapes(layer, "TRAIN") == {"data": (4, 2, 3, 3)}
    with open_source(layer, "TRAIN") as source:
        assert list(source.next()) == ["data"]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ("crop_size: 5", "crop_size 5 exceeds the records of 2x4x5"),
        ("mean_value: [1, 2, 3]", "3 mean_value for 2 channels; give 1 or 2"),
        ("mean_file: 'none'", "mean_file none: No such file"),
        ("mean_file: 'none' mean_value: 1", "both mean_file and mean_value"),
        ("force_color: true force_gray: true", "exclude each other"),
        ("bgr2rgb: true", "TransformationParameter options not supported: bgr2rgb"),
    ],
)
def test_a_transform_that_does_not_fit_says_why(data_layer, transform, message):
    for ask in (top_shapes, open_source):
        with pytest.raises(DataError, match=message):
            ask(data_layer(transform=transform), "TRAIN")


def test_bad_options_and_stores_say_so(layer, tmp_path):
    def ask(options):
        return top_shapes(layer(f"type: 'Data' data_param {{ {options} }}"), "TRAIN")

    with pytest.raises(DataError, match="batch_size must be at least 1"):
        ask("source: 'x'")
    with pytest.raises(DataError, match="x: no such store"):
        ask("source: 'x' batch_size: 1")
    with pytest.raises(DataError, match="DataParameter options not supported: range_start"):
        ask("source: 'x' batch_size: 1 range_start: 3")
    with create_store(tmp_path / "empty"):
        pass
    with pytest.raises(DataError, match="there are no records"):
        ask(f"source: '{tmp_path / 'empty'}' batch_size: 1")


@pytest.fixture
def mixed(tmp_path):
    """Encoded images of two sizes."""
    with create_store(tmp_path / "mixed") as store:
        for k in range(6):
            pixels = np.full((3, 6 + k % 2, 8), k, np.uint8)
            store.put(b"%08d" % k, datum.pack_encoded(images.encode(pixels), k))
    return tmp_path / "mixed"


def test_images_of_several_sizes_need_a_crop_or_batches_of_one(layer, mixed):
    prototxt = "type: 'Data' transform_param {{ {} }} data_param {{ source: '{}' batch_size: {} }}"
    with open_source(layer(prototxt.format("crop_size: 5", mixed, 4)), "TRAIN", seed=1) as source:
        batch = source.next()
        assert batch["data"].shape == (4, 3, 5, 5)
        assert batch["data"][:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    with open_source(layer(prototxt.format("", mixed, 1)), "TRAIN") as source:
        assert [source.next()["data"].shape[2] for _ in range(4)] == [6, 7, 6, 7]
    with open_source(layer(prototxt.format("", mixed, 2)), "TRAIN") as source:
        with pytest.raises(DataError, match="batch 0 mixes records of 3x6x8 and 3x7x8"):
            source.next()
        assert source.batches == 0


@BUDGETS
def test_image_lists_are_shuffled_anew_in_each_pass(layer, tmp_path, budget):
    names = [f"{k}.png" for k in range(7)]
    for k, name in enumerate(names):
        (tmp_path / name).write_bytes(images.encode(np.full((1, 2, 2), k, np.uint8)))
    (tmp_path / "list").write_text("".join(f"{name} {k}\n" for k, name in enumerate(names)))
    image_layer = layer(
        f"type: 'ImageData' image_data_param {{ source: '{tmp_path}/list' root_folder: '{tmp_path}/' batch_size: 7"
        " shuffle: true is_color: false new_height: 1 new_width: 1 }"
    )
    passes = []
    for rank in range(2):
        with open_source(image_layer, "TRAIN", rank=rank, world_size=2, seed=1, budget=budget) as source:
            passes.append(torch.stack([source.next()["label"] for _ in range(2)]).flatten())
    run = torch.stack(passes).T.flatten().view(4, 7).tolist()
    assert all(sorted(one) == list(range(7)) for one in run)
    assert len({tuple(one) for one in run}) == 4
    with pytest.raises(DataError, match="needs a common seed"):
        open_source(image_layer, "TRAIN", rank=0, world_size=2)


@BUDGETS
def test_a_store_may_be_shuffled_too(data_layer, values, budget):
    with open_source(data_layer(10, options="shuffle: true"), "TRAIN", seed=1, budget=budget) as source:
        for _ in range(3):
            batch = source.next()
            order = batch["label"].int().tolist()
            assert sorted(order) == list(range(10)) != order
            np.testing.assert_array_equal(batch["data"].numpy(), values[order])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png", "list, line 1: 'a.png' is not a name, a blank and a label"),
        ("a.png 0\nb.png x", "list, line 2: 'b.png x' is not"),
        ("", "there are no records"),
        ("a b.png 3", "a b.png: no such image"),
    ],
)
def test_a_bad_list_is_named_with_its_line(layer, tmp_path, text, message):
    (tmp_path / "list").write_text(text)
    prototxt = f"type: 'ImageData' image_data_param {{ source: '{tmp_path}/list' root_folder: '{tmp_path}/' }}"
    with pytest.raises(DataError, match=message):
        top_shapes(layer(prototxt), "TRAIN")


def test_memory_data_gives_what_was_set(layer):
    memory = layer("type: 'MemoryData' memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 }")
    assert top_shapes(memory, "TEST") == {"data": (2, 1, 2, 3), "label": (2,)}
    with open_source(memory, "TEST") as source:
        with pytest.raises(DataError, match="call set_arrays"):
            source.next()
        array = np.arange(24.0).reshape(4, 1, 2, 3)
        source.set_arrays(array, np.arange(4))
        found = [source.next() for _ in range(3)]
        np.testing.assert_array_equal(found[1]["data"].numpy(), array[2:])
        assert [batch["label"].tolist() for batch in found] == [[0, 1], [2, 3], [0, 1]]
        with pytest.raises(DataError, match="are not whole batches"):
            source.set_arrays(array[:3], np.arange(3))
        with pytest.raises(DataError, match="3 labels for 4 records"):
            source.set_arrays(array, np.arange(3))


def test_dummy_data_fills_constants_once_and_draws_the_rest_anew(layer):
    dummy = layer(
        "type: 'DummyData' dummy_data_param { shape { dim: 3 dim: 2 } shape { dim: 4 }"
        " data_filler { type: 'gaussian' std: 2 } data_filler { value: 7 } }"
    )
    assert top_shapes(dummy, "TRAIN") == {"data": (3, 2), "label": (4,)}
    with open_source(dummy, "TRAIN", seed=1) as source, open_source(dummy, "TRAIN", seed=1) as twin:
        first, second = source.next(), source.next()
        assert not torch.equal(first["data"], second["data"])
        assert (second["label"] == 7).all()
        twin.skip(1)
        assert torch.equal(twin.next()["data"], second["data"])


def test_dummy_data_takes_the_old_shape_and_one_filler_for_all(layer):
    dummy = layer("type: 'DummyData' dummy_data_param { num: 2 num: 5 channels: 1 height: 3 width: 4 }")
    assert top_shapes(dummy, "TRAIN") == {"data": (2, 1, 3, 4), "label": (5, 1, 3, 4)}
    with open_source(dummy, "TRAIN") as source:
        assert (source.next()["label"] == 0).all()
    with pytest.raises(DataError, match="needs a shape"):
        top_shapes(layer("type: 'DummyData' dummy_data_param { }"), "TRAIN")
    odd = "type: 'DummyData' dummy_data_param { shape { dim: 2 } data_filler { type: 'bilinear' } }"
    with open_source(layer(odd), "TRAIN") as source, pytest.raises(DataError, match=r"layer '[a-z]+': bilinear filler"):
        source.next()
    with pytest.raises(DataError, match="takes shape, or num, channels, height and width, not both"):
        top_shapes(layer("type: 'DummyData' dummy_data_param { shape { dim: 2 } num: 1 }"), "TRAIN")
    with pytest.raises(DataError, match="takes 1 or 2 shapes"):
        top_shapes(layer("type: 'DummyData' dummy_data_param { num: [1,1,1] channels: 1 height: 1 width: 1 }"), "TRAIN")


def test_a_damaged_key_is_found_out_when_records_are_shuffled(tmp_path):
    with create_store(tmp_path / "s") as store:
        for k in range(20):
            store.put(b"%08d" % k, datum.pack(np.full((1, 2, 2), k, np.uint8), k))
    content = (tmp_path / "s" / "data.mdb").read_bytes()
    (tmp_path / "s" / "data.mdb").write_bytes(content.replace(b"00000013", b"99999999"))
    records = StoreRecords(str(tmp_path / "s"), None)
    with pytest.raises(DataError, match="s: record 13 cannot be found by its key: the store is damaged"):
        records.read(np.array([5, 13, 2, 9, 1, 7, 3]))
    records.close()


def test_a_list_may_have_empty_lines_and_has_to_be_there(layer, tmp_path):
    for k in range(2):
        (tmp_path / f"{k}.png").write_bytes(images.encode(np.full((1, 2, 2), k, np.uint8)))
    (tmp_path / "list").write_text("\n0.png 5\n \n1.png 7\n\n")
    listed = layer(f"type: 'ImageData' image_data_param {{ source: '{tmp_path}/list' root_folder: '{tmp_path}/' }}")
    with open_source(listed, "TEST") as source:
        assert labels(source, 3) == [[5], [7], [5]]
    (tmp_path / "list").unlink()
    with pytest.raises(DataError, match="list: no such file or directory"):
        top_shapes(listed, "TEST")


@pytest.mark.parametrize(
    ("prototxt", "message"),
    [
        (
            "type: 'MemoryData' memory_data_param { batch_size: 2 channels: 1 height: 2 }",
            "layer 'd': MemoryData needs batch_size, channels, height and width",
        ),
        (
            "type: 'ImageData' image_data_param { source: 'x' new_height: 3 }",
            "layer 'd': new_height and new_width go together; one of them is missing",
        ),
        (
            "type: 'MemoryData' top: 'more' memory_data_param { batch_size: 1 }",
            r"layer 'd' \(MemoryData\) has 3 tops; it takes 2$",
        ),
        (
            "type: 'ImageData' top: 'more' image_data_param { source: 'x' }",
            r"layer 'd' \(ImageData\) has 3 tops; it takes 1 to 2$",
        ),
    ],
)
def test_what_is_missing_is_named_before_anything_is_read(layer, prototxt, message):
    with pytest.raises(DataError, match=message):
        top_shapes(layer(prototxt), "TRAIN")
