import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from data import images
from data.mean import write_mean
from data.sources import open_source, top_shapes
from protos import text
from protos.errors import DataError

WINDOWS = Path(__file__).with_name("windows")


def layer_of(name):
    return text.parse_net(Path(f"{name}.prototxt").read_text()).layer[0]


@pytest.mark.parametrize("name", "0123")
def test_windows_are_placed_warped_and_mirrored_as_in_the_original(name, monkeypatch):
    monkeypatch.chdir(WINDOWS)
    layer = layer_of(name)
    with np.load("batches.npz") as wanted, open_source(layer, "TEST", seed=1) as source:
        assert source.shapes == top_shapes(layer, "TEST") == {"data": (2, 3, 27, 27), "label": (2,)}
        batches = [source.next() for _ in range(10)]
        assert batches[0]["label"].tolist() == wanted[f"{name}/label"].tolist()
        for place in range(2):
            ours = [batch["data"][place].numpy() for batch in batches]
            for number in range(6):
                theirs = wanted[f"{name}/{number}"][place]
                assert min(np.abs(theirs - mine).max() for mine in ours) < 1e-3


def test_a_cursor_is_exact(monkeypatch):
    monkeypatch.chdir(WINDOWS)
    with open_source(layer_of("3"), "TRAIN", seed=1) as source, open_source(layer_of("3"), "TRAIN", seed=2) as other:
        state = source.state()
        wanted = [source.next()["data"] for _ in range(5)]
        other.next()
        other.restore(state)
        for batch in wanted:
            assert (other.next()["data"] == batch).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "the image at line 1 is not complete or damaged"),
        (lambda lines: ["0", *lines[1:]], "the image at line 1 is not complete or damaged"),
        (lambda lines: [*lines[:6], "0 0.8 1 1 5 5", lines[7]], "a foreground window of .* has the label 0"),
        (lambda lines: [*lines[:5], "1", lines[6]], "1 foreground and 0 background windows"),
    ],
)
def test_a_bad_window_file_says_so(tmp_path, monkeypatch, change, message):
    shutil.copytree(WINDOWS, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    Path("0.txt").write_text("\n".join(change(Path("0.txt").read_text().splitlines())))
    with pytest.raises(DataError, match=message):
        top_shapes(layer_of("0"), "TRAIN")


def test_a_window_outside_of_its_image_is_named(tmp_path, monkeypatch):
    shutil.copytree(WINDOWS, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    lines = Path("0.txt").read_text().splitlines()
    Path("0.txt").write_text("\n".join([*lines[:6], "1 0.9 0 0 9999 5", "1 0.1 0 0 9999 5"]))
    with open_source(layer_of("0"), "TRAIN") as source, pytest.raises(DataError, match="reaches out of the image"):
        source.next()


def test_kept_images_are_read_once_and_give_the_same(tmp_path, monkeypatch):
    shutil.copytree(WINDOWS, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    layer = layer_of("0")
    with open_source(layer, "TEST", seed=1) as source:
        wanted = [source.next()["data"] for _ in range(12)]
    layer.window_data_param.cache_images = True
    read = []
    decode = images.decode
    monkeypatch.setattr(images, "decode", lambda path, color: read.append(path) or decode(path, color))
    with open_source(layer, "TEST", seed=1) as source:
        for batch in wanted:
            assert torch.equal(source.next()["data"], batch)
    assert len(read) <= 8  # of two windows each in 12 batches or more; several threads may begin at once


def test_a_scale_is_warned_of_and_has_no_effect(monkeypatch, caplog):
    monkeypatch.chdir(WINDOWS)
    layer = layer_of("1")
    with open_source(layer, "TEST", seed=1) as source:
        wanted = source.next()["data"]
    layer.transform_param.scale = 0.5
    with open_source(layer, "TEST", seed=1) as source:
        assert torch.equal(source.next()["data"], wanted)
    assert caplog.messages == ["layer 'd': WindowData ignores `scale`, as the original does"]


def test_empty_lines_between_images_are_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(WINDOWS)
    spaced = layer_of("0")
    first, second = Path("0.txt").read_text(), Path("1.txt").read_text()
    (tmp_path / "windows.txt").write_text(f"\n{first}\n \n{second}\n\n")
    (tmp_path / "dense.txt").write_text(first + second)
    batches = []
    for name in ("windows.txt", "dense.txt"):
        spaced.window_data_param.source = str(tmp_path / name)
        with open_source(spaced, "TEST", seed=1) as source:
            assert source.records == 4
            batches.append(torch.stack([source.next()["data"] for _ in range(4)]))
    assert torch.equal(*batches)


@pytest.mark.parametrize(
    ("transform", "options", "message"),
    [
        ("", "", "WindowData needs a crop_size and a crop_mode of warp or square"),
        ("crop_size: 9", "crop_mode: 'wrap'", "WindowData needs a crop_size and a crop_mode of warp or square"),
        ("crop_size: 9", "context_pad: 5", "context_pad 5 leaves nothing of crop_size 9"),
        ("crop_size: 9", "source: 'none.txt'", "none.txt: No such file or directory"),
        ("crop_size: 9 mean_value: [1, 2]", "", "transform_param has 2 mean_value for 3 channels"),
        ("crop_size: 99 mean_file: 'mean.binaryproto'", "", r"shape \(3, 33, 35\) does not cover the crop"),
        ("crop_size: 9 mean_file: 'flat'", "", r"mean_file flat: shape \(1, 12, 12\) does not cover the crop"),
    ],
)
def test_bad_options_say_so(tmp_path, monkeypatch, layer, transform, options, message):
    shutil.copytree(WINDOWS, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    write_mean(Path("flat"), np.zeros((1, 12, 12), np.float32))
    where = "" if "source" in options else "source: '0.txt' root_folder: './'"
    made = layer(
        f"type: 'WindowData' transform_param {{ {transform} }}"
        f" window_data_param {{ {where} batch_size: 2 fg_fraction: 0.5 {options} }}"
    )
    with pytest.raises(DataError, match=message):
        open_source(made, "TRAIN")
