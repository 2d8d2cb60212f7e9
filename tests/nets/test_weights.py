"""Weights files of every kind, against protobuf and h5py themselves and against files of the original."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import converters
import nets
from nets import weights
from nets.weights import load_weights, save_weights
from protos import text
from protos.errors import WeightsError
from protos.schema import NetParameter

GOLDEN = Path(__file__).parents[1] / "golden" / "solvers"

MODEL = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
        inner_product_param { num_output: 5 weight_filler { type: "gaussian" } } }
"""
SHARED = """
name: "shared"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 6 } } }
layer { name: "one" type: "InnerProduct" bottom: "data" top: "one" param { name: "w" } param { name: "b1" }
        inner_product_param { num_output: 6 weight_filler { type: "gaussian" } } }
layer { name: "two" type: "InnerProduct" bottom: "one" top: "two" param { name: "w" } param { name: "b2" }
        inner_product_param { num_output: 6 weight_filler { type: "gaussian" } } }
"""
KINDS = ["x.caffemodel", "x.caffemodel.h5"]


def make(model: str = MODEL, seed: int = 0) -> nets.Net:
    torch.manual_seed(seed)
    return nets.Net(nets.graph.build(text.parse_net(model)))


def values(net: nets.Net) -> dict[str, torch.Tensor]:
    return {blob.key: blob.tensor.detach().clone() for blob in net.learnable}


def assert_same(a: nets.Net, b: nets.Net) -> None:
    for (key, x), y in zip(values(a).items(), values(b).values(), strict=True):
        assert torch.equal(x, y), key


def message(net: nets.Net) -> NetParameter:
    """The net with its blobs, made by protobuf alone."""
    param = NetParameter(name="m")
    for node, layer in net.nodes:
        added = param.layer.add(name=node.name, type=node.type)
        for blob in layer.blobs:
            new = added.blobs.add(data=blob.detach().flatten().tolist())
            new.shape.dim[:] = blob.shape
    return param


def error(net: nets.Net, path, content: bytes | None = None) -> str:
    if content is not None:
        Path(path).write_bytes(content)
    before = values(net)
    with pytest.raises(WeightsError) as caught:
        load_weights(net, path)
    assert all(torch.equal(before[key], value) for key, value in values(net).items()), "some blob was changed"
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


# ---- reading


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/*.caffemodel")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_binary_file_of_the_original(path):
    model = text.read_net(path.parent / "net.prototxt")
    batch = model.layer[0].data_param.batch_size
    shapes = {"data": (batch, 1, 12, 12), "label": (batch,)}
    net = nets.load(model, weights=path, phase="TRAIN", input_shapes=shapes)
    stored = {layer.name: layer.blobs for layer in NetParameter.FromString(path.read_bytes()).layer}
    for node, layer in net.nodes:
        for blob, want in zip(layer.blobs, stored[node.name], strict=True):
            np.testing.assert_array_equal(blob.detach().numpy().ravel(), np.array(want.data, np.float32))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/*.caffemodel.h5")), ids=lambda p: p.parent.name)
def test_hdf5_file_of_the_original(path):
    shapes = {"data": (16, 1, 12, 12), "label": (16,)}
    net = nets.load(path.parent / "net.prototxt", weights=path, phase="TRAIN", input_shapes=shapes)
    with h5py.File(path) as file:
        for node, layer in net.nodes:
            for i, blob in enumerate(layer.blobs):
                np.testing.assert_array_equal(blob.detach().numpy(), file[f"data/{node.name}/{i}"])


def test_v1_and_v0_files_with_legacy_shapes(tmp_path):
    source = message(make(seed=1))
    v1, v0 = NetParameter(), NetParameter()
    for layer in source.layer:
        old, older = v1.layers.add(name=layer.name), v0.layers.add().layer
        older.name, older.type = layer.name, "x"
        for blob in layer.blobs:
            axes = [1] * (4 - len(blob.shape.dim)) + list(blob.shape.dim)
            for target in (old, older):
                new = target.blobs.add(data=blob.data)
                new.num, new.channels, new.height, new.width = axes
    for old in (v1, v0):
        (tmp_path / "old").write_bytes(old.SerializeToString())
        net = make()
        load_weights(net, tmp_path / "old")
        assert_same(net, make(seed=1))


def test_text_format(tmp_path):
    (tmp_path / "w.txt").write_text(text.to_text(message(make(seed=1))))
    net = make()
    load_weights(net, tmp_path / "w.txt")
    assert_same(net, make(seed=1))


def test_report_and_several_files(tmp_path, caplog):
    caplog.set_level("INFO", logger="caffe")
    first, second = message(make(seed=1)), message(make(seed=2))
    del first.layer[-1]
    second.layer[0].name = "other"
    (tmp_path / "1").write_bytes(first.SerializeToString())
    (tmp_path / "2").write_bytes(second.SerializeToString())
    net = make()
    report = load_weights(net, tmp_path / "1")
    assert (report.loaded, report.missing, report.unused) == (("conv",), ("ip",), ())
    for both in ([tmp_path / "1", tmp_path / "2"], f"{tmp_path}/1,{tmp_path}/2"):
        net = make()
        caplog.clear()
        report = load_weights(net, both)
        shown = f"{tmp_path}/1, {tmp_path}/2"
        said = [f"{shown}: read 2 layers", f"{shown}: ignored layers that the net does not have: other"]
        assert caplog.messages == said
        assert (report.loaded, report.missing, report.unused) == (("conv", "ip"), (), ("other",))
        assert torch.equal(net.layer("conv").blobs[0], make(seed=1).layer("conv").blobs[0])
        assert torch.equal(net.layer("ip").blobs[0], make(seed=2).layer("ip").blobs[0])


def test_what_does_not_fit_is_said_in_one_go(tmp_path):
    wrong = message(make())
    wrong.layer[0].blobs[0].shape.dim[:] = [4, 27]
    del wrong.layer[2].blobs[1]
    assert error(make(), tmp_path / "w", wrong.SerializeToString()) == (
        "layer 'conv' blob 0 is 4x27 in the file, 4x3x3x3 in the net; "
        "layer 'ip' has 1 blobs in the file, 2 in the net; a layer of another name keeps its own values"
    )


def test_only_legacy_shapes_may_have_leading_ones(tmp_path):
    wrong = message(make())
    wrong.layer[0].blobs[1].shape.dim[:] = [1, 1, 1, 4]
    assert "layer 'conv' blob 1 is 1x1x1x4 in the file, 4 in the net" in error(
        make(), tmp_path / "w", wrong.SerializeToString()
    )


def test_nothing_matches(tmp_path):
    other = message(make())
    for layer in other.layer:
        layer.name += "_old"
    assert error(make(), tmp_path / "w", other.SerializeToString()) == (
        "no layer has weights for this net: it has conv_old, ip_old; the net has conv, ip"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_at_any_place(tmp_path, kind):
    save_weights(make(), tmp_path / kind)
    whole = (tmp_path / kind).read_bytes()
    for size in [1, 5, 9, 20, len(whole) // 3, len(whole) // 2, len(whole) - 1]:
        error(make(), tmp_path / "cut", whole[:size])


def test_files_that_are_no_weights(tmp_path):
    assert error(make(), tmp_path / "w", b"") == "the file is empty"
    assert "no such file" in error(make(), tmp_path / "absent")
    assert "cannot be read" in error(make(), tmp_path)
    assert "at byte" in error(make(), tmp_path / "w", bytes(range(200)))
    assert error(make(), tmp_path / "w", b"<html>not found</html>")
    with h5py.File(tmp_path / "keras.h5", "w") as file:
        file["model_weights"] = 1
    assert error(make(), tmp_path / "keras.h5") == "no group 'data' in this HDF5 file: it holds no Caffe weights"
    with h5py.File(tmp_path / "types.h5", "w") as file:
        file.create_group("data/conv")["0"] = np.dtype("f4")
    assert "layer 'conv' has 0 blobs in the file, 2 in the net" in error(make(), tmp_path / "types.h5")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_other_types_and_layouts(tmp_path, dtype, kind):
    net = make(seed=1).to(dtype).to(memory_format=torch.channels_last)
    save_weights(net, tmp_path / kind)
    other = make().to(memory_format=torch.channels_last)
    load_weights(other, tmp_path / kind)
    for (key, x), y in zip(values(net).items(), values(other).values(), strict=True):
        assert torch.equal(x.float(), y), key
    back = make().to(dtype)
    load_weights(back, tmp_path / kind)
    assert_same(net, back)


# ---- writing


def test_caffemodel_is_what_protobuf_reads(tmp_path):
    net = make()
    converters.save_weights(net, tmp_path / "w.caffemodel")
    param = NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes())
    declared = text.parse_net(MODEL)
    assert param.name == "small"
    assert [layer.name for layer in param.layer] == ["data", "conv", "relu", "ip"]
    for layer, was in zip(param.layer, declared.layer, strict=True):
        blobs = net.layer(layer.name).blobs if layer.name != "data" else []
        for blob, stored in zip(blobs, layer.blobs, strict=True):
            assert tuple(stored.shape.dim) == tuple(blob.shape)
            np.testing.assert_array_equal(stored.data, blob.detach().numpy().ravel())
        del layer.blobs[:]
        assert layer == was


def test_what_is_too_large_for_the_original_is_said(tmp_path, monkeypatch, caplog):
    save_weights(make(), tmp_path / "a.caffemodel")
    assert not caplog.messages
    monkeypatch.setattr(weights, "LARGEST_MESSAGE", (tmp_path / "a.caffemodel").stat().st_size - 1)
    save_weights(make(), tmp_path / "b.caffemodel")
    assert caplog.messages == [
        f"{tmp_path}/b.caffemodel: the original cannot read 2 GB in one message: save as .h5 for it"
    ]


def test_hdf5_groups_are_those_of_the_original(tmp_path):
    save_weights(make(), tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as file:
        assert {name: sorted(group) for name, group in file["data"].items()} == {
            "data": [],
            "conv": ["0", "1"],
            "relu": [],
            "ip": ["0", "1"],
        }
        assert file["data/conv/0"].dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_and_equal_bytes(tmp_path, kind):
    save_weights(make(seed=1), tmp_path / kind)
    first = (tmp_path / kind).read_bytes()
    net = make()
    report = converters.load_weights(net, tmp_path / kind)
    assert (report.loaded, report.missing, report.unused) == (("conv", "ip"), (), ())
    assert_same(net, make(seed=1))
    save_weights(net, tmp_path / kind)
    assert (tmp_path / kind).read_bytes() == first


@pytest.mark.parametrize("kind", KINDS)
def test_shared_blobs(tmp_path, kind):
    net = make(SHARED, seed=1)
    save_weights(net, tmp_path / kind)
    other = make(SHARED)
    load_weights(other, tmp_path / kind)
    assert_same(net, other)
    assert torch.equal(other.layer("two").blobs[0], net.layer("one").blobs[0])
    if kind.endswith(".h5"):
        with h5py.File(tmp_path / kind) as file:
            assert {name: sorted(group) for name, group in file["data"].items()} == {
                "data": [],
                "one": ["0", "1"],
                "two": ["1"],
            }


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(tmp_path, kind):
    net = make(SHARED)
    net(data=torch.ones(2, 6))["two"].sum().backward()
    save_weights(net, tmp_path / kind, diff=True)
    weight, bias = (blob.grad.numpy() for blob in net.layer("two").blobs)
    if kind.endswith(".h5"):
        with h5py.File(tmp_path / kind) as file:
            found = {f"{name}/{i}": d[()] for name, g in file["diff"].items() for i, d in g.items()}
    else:
        param = NetParameter.FromString((tmp_path / kind).read_bytes())
        found = {
            f"{layer.name}/{i}": np.array(blob.diff, np.float32).reshape(blob.shape.dim)
            for layer in param.layer
            for i, blob in enumerate(layer.blobs)
        }
    assert sorted(found) == ["one/0", "one/1", "two/0", "two/1"]
    np.testing.assert_array_equal(found["one/0"], weight)
    np.testing.assert_array_equal(found["two/0"], weight)
    np.testing.assert_array_equal(found["two/1"], bias)
    load_weights(make(SHARED), tmp_path / kind)


@pytest.mark.parametrize("kind", KINDS)
def test_layer_names_with_slashes(tmp_path, kind):
    model = MODEL.replace('"conv" type', '"block/conv" type')
    save_weights(make(model, seed=1), tmp_path / kind)
    net = make(model)
    load_weights(net, tmp_path / kind)
    assert_same(net, make(model, seed=1))


@pytest.mark.parametrize("kind", KINDS)
def test_layer_names_in_another_encoding(tmp_path, kind):
    """A net and weights from a machine whose names were GBK: both hold the same bytes."""
    ours, name = '"12345"', "卷积1".encode("gbk")
    save_weights(make(MODEL.replace('"conv"', ours), seed=1), tmp_path / kind)
    if kind.endswith("h5"):
        with h5py.File(tmp_path / kind, "r+") as file:
            file["data"].move("12345", name)
    else:
        (tmp_path / kind).write_bytes((tmp_path / kind).read_bytes().replace(b"12345", name))
    (tmp_path / "net.prototxt").write_bytes(MODEL.replace('"conv"', ours).encode().replace(b"12345", name))
    net = nets.load(tmp_path / "net.prototxt")
    assert load_weights(net, tmp_path / kind).missing == ()
    for blob, same in zip(net.parameters(), make(seed=1).parameters(), strict=True):
        assert torch.equal(blob, same)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_byte_anywhere_is_one_error_or_none(tmp_path, kind):
    net, path = make(), tmp_path / kind
    save_weights(net, path)
    content = path.read_bytes()
    errors = []
    for at in range(0, min(len(content), 3000), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        try:
            load_weights(net, path)
        except WeightsError as error:
            errors.append(str(error))
    assert len(errors) > 10
    assert not [error for error in errors if "\n" in error or error.count(kind) > 1]
