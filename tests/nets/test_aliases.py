"""Blobs of one memory in the original, of which a layer changes one in place: another reader is told."""

import pytest

import nets
from nets.aliases import read_elsewhere
from protos import text

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 1 dim: 4 } } }'


def layer(name: str, kind: str, bottoms: str, tops: str) -> str:
    ends = "".join(f'bottom: "{blob}" ' for blob in bottoms.split()) + "".join(
        f'top: "{blob}" ' for blob in tops.split()
    )
    return f'layer {{ name: "{name}" type: "{kind}" {ends}}}'


def readers(*layers: str) -> list[str]:
    return read_elsewhere(nets.load(text.parse_net("\n".join((INPUT, *layers)))).nodes)


@pytest.mark.parametrize("kind", ["Flatten", "Split", "Concat"])
def test_a_blob_read_behind_a_layer_in_place_on_its_alias(kind):
    lines = readers(layer("a", kind, "x", "y"), layer("r", "ReLU", "y", "y"), layer("t", "TanH", "x", "z"))
    assert lines == [
        "layer 'r' (ReLU) works in place on 'y', which shares its memory with 'x' in the original: "
        "there layer 't' (TanH) reads from 'x' what that wrote, here what was there before"
    ]


@pytest.mark.parametrize(
    "layers",
    [
        [layer("t", "TanH", "x", "z"), layer("f", "Flatten", "x", "y"), layer("r", "ReLU", "y", "y")],
        [layer("f", "Flatten", "x", "y"), layer("r", "ReLU", "y", "y"), layer("t", "TanH", "y", "z")],
        [layer("f", "Flatten", "x", "y"), layer("r", "ReLU", "y", "z"), layer("t", "TanH", "x", "w")],
        [layer("a", "AbsVal", "x", "y"), layer("r", "ReLU", "y", "y"), layer("t", "TanH", "x", "z")],
        [layer("c", "Concat", "x x", "y"), layer("r", "ReLU", "y", "y"), layer("t", "TanH", "x", "z")],
        [layer("f", "Flatten", "x", "y"), layer("r", "ReLU", "y", "y"), layer("s", "Silence", "x", "")],
        [layer("f", "Flatten", "x", "y"), layer("d", "Dropout", "y", "y"), layer("t", "TanH", "x", "z")],
    ],
    ids=["read before", "read by its name", "not in place", "a copy", "joined", "silenced", "left as it is"],
)
def test_all_other_nets_are_silent(layers):
    assert readers(*layers) == []


def test_an_alias_made_behind_the_layer_in_place_has_what_that_wrote():
    layers = [layer("f", "Flatten", "x", "y"), layer("r", "ReLU", "y", "y"), layer("g", "Flatten", "y", "z")]
    assert readers(*layers, layer("t", "TanH", "z", "w")) == []


def test_dropout_in_testing_hands_on_what_it_finds():
    layers = [layer("f", "Flatten", "x", "y"), layer("r", "ReLU", "y", "y"), layer("d", "Dropout", "x", "z")]
    assert [line.partition("there ")[2] for line in readers(*layers)] == [
        "layer 'd' (Dropout) reads from 'x' what that wrote, here what was there before"
    ]


def test_the_net_warns(caplog):
    layers = layer("f", "Flatten", "x", "y"), layer("r", "ReLU", "y", "y"), layer("t", "TanH", "x", "z")
    nets.load(text.parse_net("\n".join((INPUT, *layers))))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "works in place on 'y'" in caplog.text
