"""caffe.io and caffe.draw: images in, pictures out. The messages are in script.py."""

import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from protos import text
from protos.errors import CaffeError, DataError


def by_pixels(image, height, width):
    """Bilinear, pixel by pixel: squares about their centres, the image's least value around it."""
    rows, columns, channels = image.shape
    padded = np.full((rows + 2, columns + 2, channels), image.min(), np.float64)
    padded[1:-1, 1:-1] = image
    made = np.zeros((height, width, channels))
    for y, x in itertools.product(range(height), range(width)):
        v, u = (y + 0.5) * rows / height + 0.5, (x + 0.5) * columns / width + 0.5
        for dy, dx in itertools.product((0, 1), (0, 1)):
            share = abs(1 - dy - v % 1) * abs(1 - dx - u % 1)
            made[y, x] += share * padded[min(int(v) + dy, rows + 1), min(int(u) + dx, columns + 1)]
    return made


@pytest.mark.parametrize("size", [(5, 7), (13, 21), (3, 30), (8, 10)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_resized_about_their_pixels_centres(caffe, size, channels):
    image = np.random.default_rng(0).random((8, 10, channels))
    np.testing.assert_allclose(caffe.io.resize_image(image, size), by_pixels(image, *size), rtol=1e-5, atol=1e-6)


def test_other_resizing(caffe):
    ramp = np.arange(5.0)[:, None, None] * np.ones((1, 5, 2))
    np.testing.assert_allclose(caffe.io.resize_image(ramp, (9, 2))[:, 0, 0], np.arange(9) / 2)
    ramp = np.arange(4.0)[:, None, None] * np.ones((1, 4, 3))
    assert caffe.io.resize_image(ramp, (8, 4), interp_order=0)[:, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(CaffeError, match="interp_order 3 is not supported"):
        caffe.io.resize_image(ramp, (8, 4), interp_order=3)


@pytest.mark.parametrize(
    ("mode", "pixel", "color", "gray"),
    [
        ("RGB", (255, 0, 51), (1, 0, 0.2), 0.2125 + 0.2 * 0.0721),
        ("RGBA", (255, 0, 51, 7), (1, 0, 0.2), 0.2125 + 0.2 * 0.0721),
        ("L", 51, (0.2, 0.2, 0.2), 0.2),
        ("I;16", 13107, (0.2, 0.2, 0.2), 0.2),
        ("1", 1, (1, 1, 1), 1),
    ],
)
def test_images_are_loaded_from_0_to_1(caffe, tmp_path, mode, pixel, color, gray):
    Image.new(mode, (4, 3), pixel).save(tmp_path / "x.png")
    image = caffe.io.load_image(str(tmp_path / "x.png"))
    assert (image.shape, image.dtype) == ((3, 4, 3), np.float32)
    np.testing.assert_allclose(image[1, 2], color, rtol=1e-6)
    image = caffe.io.load_image(tmp_path / "x.png", color=False)
    assert image.shape == (3, 4, 1)
    np.testing.assert_allclose(image[1, 2], [gray], rtol=1e-5)


def test_a_palette_is_looked_up(caffe, tmp_path):
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 255, 0, 51])
    image.save(tmp_path / "x.png")
    np.testing.assert_allclose(caffe.io.load_image(tmp_path / "x.png")[0, 0], (1, 0, 0.2), rtol=1e-6)


def test_what_is_no_image_is_named(caffe, tmp_path):
    (tmp_path / "x.png").write_bytes(b"no")
    for name in ("x.png", "missing.png"):
        with pytest.raises(OSError, match=f"{name}: cannot be read as an image: "):
            caffe.io.load_image(str(tmp_path / name))
        with pytest.raises(DataError, match=f"{name}: cannot be read as an image: "):
            caffe.io.load_image(tmp_path / name)


def test_the_transformer_s_means_and_mistakes(caffe):
    make = caffe.io.Transformer({"data": (1, 3, 4, 6)})
    make.set_transpose("data", (2, 0, 1))
    image = np.full((8, 12, 3), 0.5)
    image[0, 0] = 0.25  # else there is nothing to resize
    make.set_mean("data", np.full((3, 8, 12), 0.5, np.float32) + np.arange(3, dtype=np.float32)[:, None, None])
    np.testing.assert_allclose(make.preprocess("data", image)[:, 2, 3], [0, -1, -2], atol=1e-6)
    make.set_mean("data", np.ones((4, 6)))
    np.testing.assert_allclose(make.preprocess("data", image)[:, 2, 3], [-0.5, -0.5, -0.5], atol=1e-6)
    for wrong, message in (
        (lambda: make.preprocess("dta", image), "dta is not one of the net's inputs: data"),
        (lambda: make.set_transpose("data", (1, 0)), "Transpose order needs to have the same number"),
        (lambda: make.set_channel_swap("data", (1, 0)), "Channel swap needs to have the same number"),
        (lambda: make.set_mean("data", np.ones(2)), "Mean channels incompatible with input"),
        (lambda: make.set_mean("data", np.ones((1, 3, 4, 6))), "Mean shape invalid"),
        (lambda: caffe.io.array_to_datum(np.ones((2, 3))), "a Datum holds C x H x W, not 2 axes"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


def test_arrays_travel_as_one_string(caffe):
    arrays = [np.arange(6.0).reshape(2, 3), np.ones((1, 1, 2, 2))]
    again = caffe.io.blobprotovector_str_to_arraylist(caffe.io.arraylist_to_blobprotovector_str(arrays))
    for found, wanted in zip(again, arrays, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_legacy_blobs_have_four_axes(caffe):
    blob = caffe.io.caffe_pb2.BlobProto(num=1, channels=2, height=1, width=3, data=range(6))
    assert caffe.io.blobproto_to_array(blob).shape == (1, 2, 1, 3)


def test_a_net_is_drawn(caffe, tmp_path):
    from caffe import draw  # noqa: PLC0415  # the fixture puts it there

    net = text.parse_net('input: "x" input_shape { dim: 1 } layer { name: "r" type: "ReLU" bottom: "x" top: "y" }')
    draw.draw_net_to_file(net, str(tmp_path / "net.dot"), "BT")
    drawn = (tmp_path / "net.dot").read_text()
    assert "ReLU" in drawn
    assert "rankdir=BT" in drawn


def test_a_net_of_2013_is_drawn_too(caffe):
    """And the message that was given stays as it is."""
    from caffe import draw  # noqa: PLC0415  # the fixture puts it there

    net = caffe.io.caffe_pb2.NetParameter(input=["x"], input_dim=[1, 1, 1, 1])
    net.layers.add(name="r", type=caffe.io.caffe_pb2.V1LayerParameter.RELU, bottom=["x"], top=["y"])
    assert b"ReLU" in draw.draw_net(net, "LR", "raw")
    assert len(net.layers) == 1
    with pytest.raises(CaffeError, match=r'Graphviz failed on a picture in foo: .*"foo" not recognized'):
        draw.draw_net(net, "LR", "foo")


def test_a_part_of_a_net_and_unknown_layers_are_drawn(caffe):
    from caffe import draw  # noqa: PLC0415  # the fixture puts it there

    net = caffe.io.caffe_pb2.NetParameter()
    net.layer.add(name="r", type="ReLU", bottom=["x"], top=["y"])
    net.layer.add(name="f", type="OfSomeFork", bottom=["y"], top=["z"])
    drawn = draw.draw_net(net, "LR", "raw")
    assert (b"OfSomeFork" in drawn, b"ReLU" in drawn, len(net.layer)) == (True, True, 2)


def test_a_graph_of_pydot(caffe, monkeypatch):
    from caffe import draw  # noqa: PLC0415  # the fixture puts it there

    net = text.parse_net('input: "x" input_shape { dim: 1 } layer { name: "r" type: "ReLU" bottom: "x" top: "y" }')
    monkeypatch.setitem(sys.modules, "pydot", None)
    with pytest.raises(
        CaffeError, match="get_pydot_graph needs the package pydot: pip install pydot, or call draw_net"
    ):
        draw.get_pydot_graph(net, "LR")
    monkeypatch.setitem(sys.modules, "pydot", SimpleNamespace(graph_from_dot_data=lambda source: [source]))
    assert "ReLU" in draw.get_pydot_graph(net, "LR")


def test_a_clock_and_a_spec_without_names(caffe):
    timer = caffe.Timer()
    timer.start()
    timer.stop()
    assert 0 <= timer.ms < 1000
    top = caffe.layers.ReLU(caffe.layers.Input(shape=[{"dim": [1]}]))
    assert [layer.name for layer in caffe.to_proto(top).layer] == ["Input1", "ReLU1"]
    assert caffe.params.Loss.VALID == 1
    assert not caffe.has_nccl()


def test_what_belongs_to_others(caffe, monkeypatch):
    """Scripts call caffe.io.resize and caffe.io.skimage, which the original had from scikit-image."""
    monkeypatch.setitem(sys.modules, "skimage", SimpleNamespace(img_as_float=abs))
    monkeypatch.setitem(sys.modules, "skimage.transform", SimpleNamespace(resize=max))
    assert caffe.io.skimage.img_as_float is abs
    assert caffe.io.resize is max
    monkeypatch.setitem(sys.modules, "skimage.transform", None)
    with pytest.raises(CaffeError, match=r"caffe\.io\.resize is not Caffe's own: .*; install it, or call resize_image"):
        _ = caffe.io.resize
    with pytest.raises(AttributeError, match=r"module 'caffe\.io' has no attribute 'resizes'"):
        _ = caffe.io.resizes
