"""The interface of 2014, before ``caffe.Net`` took a phase and ``caffe.io`` had its Transformer."""

import numpy as np
import pytest
import torch

NET = """input: "data" input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 5
layers { name: "drop" type: DROPOUT bottom: "data" top: "drop" }"""


@pytest.fixture
def net(caffe, tmp_path):
    """A net without a phase."""
    (tmp_path / "net.prototxt").write_text(NET)
    caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).save(str(tmp_path / "w.caffemodel"))
    return caffe.Net(str(tmp_path / "net.prototxt"), str(tmp_path / "w.caffemodel"))


def test_the_phase_is_set_afterwards(net):
    data = np.ones((1, 3, 4, 5))
    net.set_phase_test()
    np.testing.assert_array_equal(net.forward(data=data)["drop"], data)
    net.set_phase_train()
    assert set(np.unique(net.forward(data=data)["drop"])) <= {0, 2}


def test_the_device_is_set_afterwards(net, caffe, monkeypatch):
    seen = net.blobs["data"]
    net.set_mode_cpu()
    assert net.blobs["data"] is seen
    monkeypatch.setattr(caffe.mode, "device", lambda: torch.device("meta"))
    net.set_device(0)
    net.set_mode_gpu()
    assert net.blobs["data"].values.values().device.type == "meta"


def test_images_are_prepared_by_the_net(net, caffe, tmp_path):
    image, mean = np.random.default_rng(0).random((4, 5, 3)), np.arange(60.0).reshape(3, 4, 5)
    np.save(tmp_path / "mean.npy", mean)
    net.set_raw_scale("data", 255)
    net.set_channel_swap("data", (2, 1, 0))
    net.set_input_scale("data", 0.5)
    for given, mode, less in (
        (mean, "elementwise", mean),
        (str(tmp_path / "mean.npy"), "channel", mean.mean((1, 2))[:, None, None]),
    ):
        net.set_mean("data", given, mode)
        made = net.preprocess("data", image)
        np.testing.assert_allclose(made, (image.transpose(2, 0, 1)[::-1] * 255 - less) * 0.5, rtol=1e-4)
        np.testing.assert_allclose(net.deprocess("data", made), image, atol=1e-6)
        assert net.deprocess("data", made).dtype == np.float32


@pytest.mark.parametrize("kind", ["Classifier", "Detector"])
def test_classifiers_are_told_to_use_the_gpu(caffe, tmp_path, monkeypatch, kind):
    (tmp_path / "net.prototxt").write_text(NET)
    caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).save(str(tmp_path / "w.caffemodel"))
    told = []
    monkeypatch.setattr(caffe.mode, "set_mode_gpu", lambda: told.append(True))
    for gpu in (False, True):
        getattr(caffe, kind)(str(tmp_path / "net.prototxt"), str(tmp_path / "w.caffemodel"), gpu=gpu)
    assert told == [True]


def test_other_names(caffe, caplog):
    assert caffe.get_solver_from_file is caffe.get_solver
    with caplog.at_level("INFO", "caffe"):
        caffe.set_logging_disabled()
        caffe.log("not this")
    assert not caplog.messages
