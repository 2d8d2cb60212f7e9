"""nets.load: from the files of a model to a net."""

from pathlib import Path

import pytest
import torch

import nets
from nets.weights import save_weights
from protos import text
from protos.errors import CaffeError, DataError, NetError

FORMATS = Path(__file__).parents[1] / "golden" / "formats"

DEPLOY = """name: "n"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
        inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "ip" top: "ip" include { phase: TRAIN } }
layer { name: "more" type: "Power" bottom: "ip" top: "more" include { stage: "deploy" min_level: 2 } }
"""


@pytest.fixture
def deploy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("deploy.prototxt").write_text(DEPLOY)
    return "deploy.prototxt"


def test_a_file_in_a_phase(deploy):
    assert [node.name for node, _ in nets.load(deploy).nodes] == ["ip"]
    assert [node.name for node, _ in nets.load(Path(deploy), phase="TRAIN").nodes] == ["ip", "drop"]
    assert [node.name for node, _ in nets.load(deploy, level=2, stages=["deploy"]).nodes] == ["ip", "more"]
    assert nets.load(deploy, phase="TRAIN").training
    assert not nets.load(deploy).training


def test_weights_come_with_it(deploy):
    first = nets.load(deploy)
    save_weights(first, "n.caffemodel")
    second = nets.load(deploy, weights="n.caffemodel")
    x = torch.ones(2, 3)
    assert torch.equal(first(data=x)["ip"], second(data=x)["ip"])


def test_other_shapes(deploy):
    assert nets.load(deploy, input_shapes={"data": (5, 7)}).shapes == {"data": (5, 7), "ip": (5, 4)}


def test_a_store_is_asked_for_the_shape(monkeypatch):
    monkeypatch.chdir(FORMATS)
    net = nets.load("data_plain.prototxt")
    assert net.shapes["label"] == net.shapes["data"][:1]
    assert len(net.shapes["data"]) == 4


def test_a_store_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = 'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "nowhere" batch_size: 2 } }'
    Path("net.prototxt").write_text(data)
    with pytest.raises(DataError) as caught:
        nets.load("net.prototxt")
    assert str(caught.value).startswith("layer 'd' (Data): ")
    assert "nowhere" in str(caught.value)
    assert str(caught.value).endswith("; or name the shape of 'data', 'label' in input_shapes")
    assert nets.load("net.prototxt", input_shapes={"data": (2, 1), "label": (2,)}).shapes["data"] == (2, 1)


def test_a_data_layer_without_its_options_is_named_once():
    with pytest.raises(DataError) as caught:
        nets.load(text.parse_net('layer { name: "d" type: "Data" top: "data" }'))
    wanted = "layer 'd' (Data): batch_size must be at least 1; or name the shape of 'data' in input_shapes"
    assert str(caught.value) == wanted


def test_unknown_fields_stop_it_unless_allowed(deploy):
    Path(deploy).write_text(DEPLOY + "colour: 3\n")
    with pytest.raises(CaffeError, match="colour"):
        nets.load(deploy)
    with pytest.warns(UserWarning, match="colour"):
        assert nets.load(deploy, allow_unknown=True).layer("ip").blobs


def test_unknown_fields_and_unknown_layers_are_reported_in_one_go(deploy):
    layer = 'layer { name: "%s" type: "Warp" bottom: "ip" top: "%s" warp_param { bend: 1 } include { phase: %s } }\n'
    Path(deploy).write_text(DEPLOY + layer % ("a", "a", "TRAIN") + layer % ("b", "b", "TEST"))
    with pytest.raises(CaffeError) as caught:
        nets.load(deploy)
    assert "unknown field 'warp_param' in LayerParameter" in str(caught.value)
    assert str(caught.value).endswith("; layers 'a', 'b' (Warp): no layer of this type is known")


def test_an_unknown_value_of_a_type_names_its_layers_alone(deploy):
    """Without the value the layer has no type: there is no more to say of it."""
    layer = 'layers { name: "%s" type: %s bottom: "d" top: "%s" }\n'
    Path(deploy).write_text('input: "d"\n' + layer % ("a", "LABEL_SHRINK", "a") + layer % ("b", "RELU", "b"))
    with pytest.raises(CaffeError) as caught:
        nets.load(deploy)
    wanted = "deploy.prototxt:2:20: unknown value LABEL_SHRINK of type in V1LayerParameter; "
    assert str(caught.value) == wanted + text.REMEDY


def test_python_layers_run_only_where_they_may(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        DEPLOY + 'layer { name: "user" type: "Python" bottom: "ip" top: "user" '
        'python_param { module: "tests.nets.user_layers" layer: "Scaled" param_str: \'{"factor": 2}\' } }'
    )
    with pytest.raises(NetError, match=r"Python layers 'user' run their own code: allow it with allow_python=True"):
        nets.load(path)
    net = nets.load(path, allow_python=True)
    blobs = net.activations(torch.ones(2, 3))
    torch.testing.assert_close(blobs["user"], 2 * blobs["ip"])


LONELY = """
import caffe


class Silent(caffe.Layer):
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)


class Forwards(Silent):
    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data
"""


def test_a_python_layer_without_a_method_is_told_when_it_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "lonely.py").write_text(LONELY)
    monkeypatch.syspath_prepend(tmp_path)
    user = 'layer { name: "user" type: "Python" bottom: "data" top: "user" python_param { module: "lonely" layer:'
    silent, forwards = (
        nets.load(text.parse_net(f'{DEPLOY} {user} "{name}" }} }}'), phase="TRAIN", allow_python=True)
        for name in ("Silent", "Forwards")
    )
    x = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(NetError, match=r"layer 'user' .*Silent.forward raised NotImplementedError: it has no forward"):
        silent(x)
    top = forwards(x)["user"]
    assert torch.equal(top, x)
    with pytest.raises(NetError, match=r"Forwards.backward raised NotImplementedError: it has no backward"):
        top.sum().backward()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CaffeError, match=r"nothing\.prototxt"):
        nets.load(tmp_path / "nothing.prototxt")
