"""caffe.Detector beyond what script.py compares with the original."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from protos.errors import CaffeError, DataError

NET = """input: "data" input_shape { dim: 2 dim: 3 dim: 4 dim: 4 }
layer { name: "sum" type: "Reduction" bottom: "data" top: "sum" reduction_param { axis: 1 } }"""


@pytest.fixture
def detector(caffe, tmp_path):
    """One that sums the pixels of windows of 4 x 4."""
    (tmp_path / "net.prototxt").write_text(NET)
    caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).save(str(tmp_path / "w.caffemodel"))
    return caffe.Detector(str(tmp_path / "net.prototxt"), str(tmp_path / "w.caffemodel"))


@pytest.fixture
def image(tmp_path):
    """The path of an image of 6 x 8, white in its upper left quarter."""
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[:3, :4] = 255
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return str(tmp_path / "image.png")


def test_windows_of_the_input_s_size(detector, image):
    found = detector.detect_windows([(image, [(0, 0, 4, 4), (2, 2, 6, 6), (2, 4, 6, 8)])])
    assert [float(entry["prediction"]) for entry in found] == [3 * 4 * 3, 1 * 2 * 3, 0]
    assert (found[0]["filename"], found[0]["window"]) == (image, (0, 0, 4, 4))
    assert detector.detect_windows([(image, [])]) == []


def test_windows_that_selective_search_proposes(detector, image, monkeypatch):
    monkeypatch.setitem(sys.modules, "selective_search_ijcv_with_python", None)
    with pytest.raises(
        CaffeError, match=r"needs selective_search_ijcv_with_python: .*; give windows of your own to det"
    ):
        detector.detect_selective_search([image])
    asked = []

    def get_windows(names, cmd):
        asked.append((names, cmd))
        return [[(0, 0, 4, 4)]]

    monkeypatch.setitem(sys.modules, "selective_search_ijcv_with_python", SimpleNamespace(get_windows=get_windows))
    assert [float(entry["prediction"]) for entry in detector.detect_selective_search([image])] == [36]
    assert asked == [([image], "selective_search_rcnn")]


@pytest.mark.parametrize("pad", [None, 1])
def test_a_window_without_pixels_is_refused(detector, image, pad):
    detector.configure_crop(pad)
    with pytest.raises(DataError, match=r"the window \(90, 2, 95, 5\) has no pixels: it is \(y0, x0, y1, x1\), within"):
        detector.detect_windows([(image, [(90, 2, 95, 5)])])
