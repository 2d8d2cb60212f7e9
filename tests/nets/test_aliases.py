"""Blobs of one memory in the original, of which a layer changes one in place: another reader is told."""

import pytest
import torch

import nets
from nets.aliases import lost_gradients, read_elsewhere
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


TAUGHT = 'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 4 } }'
RESHAPE = 'layer { name: "rs" type: "Reshape" bottom: "y" top: "z" reshape_param { shape { dim: 0 dim: 2 dim: 2 } } }'
LOSS = 'layer { name: "l" type: "Reduction" bottom: "w" top: "l" loss_weight: 1 }'


def lost(*layers: str) -> list[tuple[int, int, int, str]]:
    return [tuple(one) for one in lost_gradients(nets.load(text.parse_net("\n".join((INPUT, *layers)))).nodes)]


@pytest.mark.parametrize(
    "maker",
    [RESHAPE, layer("c", "Concat", "y", "z"), layer("s", "Slice", "y", "z")],
    ids=["Reshape", "Concat", "Slice"],
)
def test_flatten_right_behind_a_layer_whose_gradient_has_its_place_loses_it(maker):
    assert lost(TAUGHT, maker, layer("f", "Flatten", "z", "w")) == [(1, 2, 2, "z")]


def test_a_layer_in_place_between_the_two_still_learns():
    layers = TAUGHT, RESHAPE, layer("s", "Scale", "z", "z"), layer("p", "PReLU", "z", "z")
    assert lost(*layers, layer("f", "Flatten", "z", "w")) == [(1, 2, 4, "z")]


@pytest.mark.parametrize(
    "layers",
    [
        [TAUGHT, layer("f", "Flatten", "y", "w")],
        [TAUGHT, RESHAPE, layer("p", "Power", "z", "v"), layer("f", "Flatten", "v", "w")],
        [TAUGHT, RESHAPE, layer("f", "Flatten", "z", "w"), layer("o", "TanH", "z", "v")],
        [TAUGHT, RESHAPE.replace('"z"', '"z" loss_weight: 1'), layer("f", "Flatten", "z", "w")],
        [RESHAPE.replace('"y"', '"x"').replace("dim: 2 dim: 2", "dim: 3 dim: 4"), layer("f", "Flatten", "z", "w")],
    ],
    ids=["no such layer", "one between", "another reader", "a loss", "nothing learns"],
)
def test_elsewhere_gradients_go_on(layers):
    assert lost(*layers) == []


def test_in_training_nothing_in_front_learns_as_in_the_original(caplog):
    flatten = layer("f", "Flatten", "z", "w")
    net = nets.load(text.parse_net("\n".join((INPUT, TAUGHT, RESHAPE, flatten, LOSS))), phase="TRAIN")
    assert "layer 'f' (Flatten) stands behind layer 'rs' (Reshape)" in caplog.text
    out = net(x=torch.ones(2, 3, 1, 4))
    assert not net.loss(out).requires_grad
    tested = nets.load(net.to_proto(), phase="TEST")
    tested.loss(tested(x=torch.ones(2, 3, 1, 4))).backward()
    assert tested.layer("ip").weight.grad is not None
