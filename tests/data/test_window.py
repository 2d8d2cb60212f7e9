import shutil
from pathlib import Path

import numpy as np
import pytest

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
