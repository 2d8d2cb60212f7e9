"""``python -m data.convert annotated``: images with boxes from lists of files."""

import json
import logging
import sys

import numpy as np
import pytest

from data import annoset, convert, images, open_store
from data.command import run
from data.sources import open_source
from protos import text
from protos.errors import DataError
from protos.schema import AnnotatedDatum

LABELS = """
item { name: "none_of_the_above" label: 0 display_name: "background" }
item { name: "dog" label: 12 display_name: "dog" } item { name: "person" label: 15 display_name: "person" }
"""
XML = """<?xml version="1.0"?>
<annotation><size><width>50</width><height>40</height><depth>3</depth></size>
<object><name>dog</name><difficult>0</difficult><bndbox><xmin>5</xmin><ymin>8</ymin><xmax>25</xmax><ymax>40</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>
<object><name>person</name><bndbox><xmax>50</xmax><xmin>10</xmin><ymax>20</ymax><ymin>4</ymin></bndbox>
<difficult>1</difficult></object>
<object><name>dog</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>12.5</xmax><ymax>10</ymax></bndbox></object>
</annotation>"""
WANTED = [
    (12, [(0, (0.1, 0.2, 0.5, 1), False), (1, (0, 0, 0.25, 0.25), False)]),
    (15, [(0, (0.2, 0.1, 1, 0.5), True)]),
]  # fmt: skip
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 40, 50), np.uint8)


@pytest.fixture
def command(monkeypatch, tmp_path, capsys, caplog):
    """Runs ``python -m data.convert annotated`` beside a picture and its annotations; the status and stderr."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "caffe")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(images.encode(PIXELS))
    (tmp_path / "in" / "a.xml").write_text(XML)
    (tmp_path / "labels").write_text(LABELS)
    (tmp_path / "list").write_text("a.png a.xml\n")

    def call(*arguments):
        monkeypatch.setattr(
            sys, "argv", ["convert", "annotated", "list", "store", "--root", "in", *map(str, arguments)]
        )
        try:
            run(convert.main)
        except SystemExit as end:
            return end.code, caplog.text + capsys.readouterr().err
        finally:
            logging.getLogger().handlers.clear()
        return 0, caplog.text + capsys.readouterr().err

    return call


def records():
    with open_store("store") as store:
        return [AnnotatedDatum.FromString(value) for _, value in store.scan()]


def groups(message):
    return [
        (
            group.group_label,
            [
                (one.instance_id, tuple(round(getattr(one.bbox, side), 5) for side in SIDES), one.bbox.difficult)
                for one in group.annotation
            ],
        )
        for group in message.annotation_group
    ]


SIDES = ("xmin", "ymin", "xmax", "ymax")


@pytest.mark.parametrize("flags", [[], ["--encoded", "--encode-type", "png"], ["--resize", "20x30", "--gray"]])
def test_pascals_xml_becomes_groups_of_classes(command, flags):
    status, error = command("--label-map-file", "labels", "--check-label", *flags)
    assert (status, "store: 1 records" in error) == (0, True)
    (message,) = records()
    assert message.type == AnnotatedDatum.BBOX
    assert groups(message) == WANTED
    if "--encoded" in flags:
        assert message.datum.encoded
        np.testing.assert_array_equal(images.decode(message.datum.data, True), PIXELS)
    else:
        shape = (message.datum.channels, message.datum.height, message.datum.width)
        assert shape == ((1, 20, 30) if flags else (3, 40, 50))


def test_lines_of_text_and_cocos_json_say_the_same(command, tmp_path):
    (tmp_path / "in" / "a.txt").write_text("12 5 8 25 40\n15 10 4 50 20\n\n12 0 0 12.5 10\n")
    (tmp_path / "list").write_text("a.png a.txt\n")
    assert command()[0] == 0
    easy = [(label, [(number, box, False) for number, box, _ in ones]) for label, ones in WANTED]
    assert groups(records()[0]) == easy
    boxes = [(12, [5, 8, 20, 32], 0), (15, [10, 4, 40, 16], 1), (12, [0, 0, 12.5, 10], 0)]
    said = [{"category_id": label, "bbox": box, "iscrowd": crowd} for label, box, crowd in boxes]
    (tmp_path / "in" / "a.json").write_text(json.dumps({"image": {"width": 50, "height": 40}, "annotation": said}))
    (tmp_path / "list").write_text("a.png a.json\n")
    (tmp_path / "labels").write_text('item { name: "12" label: 12 } item { name: "15" label: 15 }')
    assert command("--label-map-file", "labels", "--overwrite")[0] == 0
    assert groups(records()[0]) == WANTED


def test_a_store_feeds_annotated_data(command):
    assert command("--label-map-file", "labels")[0] == 0
    prototxt = "layer { name: 'd' type: 'AnnotatedData' top: 'data' top: 'label' data_param { %s } }"
    layer = text.parse_net(prototxt % "source: 'store' batch_size: 1").layer[0]
    with open_source(layer, "TEST") as source:
        batch = source.next()
    np.testing.assert_array_equal(batch["data"][0].numpy(), PIXELS)
    rows = [[0, label, number, *box, hard] for label, ones in WANTED for number, box, hard in ones]
    np.testing.assert_allclose(batch["label"][0, 0].numpy(), rows, rtol=1e-6)


def test_a_store_may_be_of_labels_alone(command, tmp_path):
    (tmp_path / "list").write_text("a.png 7\n")
    assert command("--anno-type", "classification")[0] == 0
    (message,) = records()
    assert (message.datum.label, message.HasField("type")) == (7, False)


@pytest.mark.parametrize(
    ("flags", "shape"),
    [
        (["--min-dim", 80], (80, 100)),
        (["--max-dim", 25], (20, 25)),
        (["--min-dim", 30, "--max-dim", 60], (40, 50)),
        (["--min-dim", 80, "--max-dim", 75, "--resize", "9x9"], (60, 75)),
    ],
)
def test_sides_keep_within_limits_and_the_proportions(command, flags, shape):
    assert command("--label-map-file", "labels", *flags)[0] == 0
    (message,) = records()
    assert (message.datum.height, message.datum.width) == shape
    assert groups(message) == WANTED


def test_what_is_odd_in_a_file_is_said(command, tmp_path):
    (tmp_path / "in" / "a.xml").write_text(
        XML.replace("<width>50<", "<width>100<").replace("<xmin>10<", "<xmin>60<").replace("<ymin>8<", "<ymin>-8<")
    )
    status, error = command("--label-map-file", "labels")
    assert status == 0
    assert "in/a.xml: says 40x100 of an image of 40x50" in error
    assert "in/a.xml: a box exceeds the image: 5 -8 25 40 of 100x40" in error
    assert "in/a.xml: a box ends before it begins: 60 4 50 20" in error
    assert groups(records()[0])[0][1][0][1] == (0.05, -0.2, 0.25, 1)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("list", "a.png\n", "list, line 1: 'a.png' is not an image and its annotation file"),
        ("list", "\n", "list: it names no image"),
        ("list", "a.png b.xml\n", "in/b.xml: cannot be read: no such file"),
        ("list", "b.png a.xml\n", "in/b.png: no such image"),
        ("list", "a.png a.png\n", "in/a.png: annotations are of the kinds xml, json, txt; name one by --label-type"),
        ("in/a.xml", "<annotation>", "in/a.xml: not annotations of the kind xml (no element found"),
        ("in/a.xml", "<a><object><name>dog</name></object></a>", "in/a.xml: there is no bndbox in an object"),
        ("in/a.xml", XML.replace("dog", "cat"), "in/a.xml: there is no class 'cat' in the label map"),
        ("in/a.xml", XML.replace(">25<", ">x<"), "in/a.xml: not annotations of the kind xml (could not convert"),
        ("labels", "item { nam: 'x' }", "labels: not a label map: 1:8 : Message type"),
        ("labels", "", "labels: a label map without any item"),
        ("labels", LABELS + "item { name: 'dog' label: 15 }", "twice in the label map: 'dog'; label 15"),
    ],
)
def test_what_is_wrong_ends_in_one_line_and_no_store(command, tmp_path, file, content, message):
    (tmp_path / file).write_text(content)
    status, error = command("--label-map-file", "labels", "--check-label")
    assert status == 2
    last = error.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert not (tmp_path / "store").exists()


def test_a_bad_picture_is_left_out_where_that_is_asked_for(command, tmp_path):
    (tmp_path / "list").write_text("b.png a.xml\na.png a.xml\n")
    status, error = command("--label-map-file", "labels", "--skip-bad")
    assert (status, "1 records, 1 left out" in error) == (0, True)
    assert "boxes go into an lmdb or a leveldb" in command("--backend", "hdf5")[1]


def test_damaged_annotations_of_other_kinds_are_named(tmp_path):
    for name, content in (("a.txt", "1 2 3"), ("a.json", "{"), ("b.json", "[]"), ("c.json", '{"annotation": [1]}')):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=f"{name}: not annotations of the kind"):
            annoset.read_annotations(tmp_path / name, {})
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DataError, match=r"a\.json: there is no annotation"):
        annoset.read_annotations(tmp_path / "a.json", {})
