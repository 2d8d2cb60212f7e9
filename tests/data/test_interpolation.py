"""Resizing, beside OpenCV without the vendor's library that it would otherwise call."""

import numpy as np
import pytest

from data.interpolation import resize_by

SIZES = [((40, 50), (30, 30)), ((30, 30), (47, 61)), ((40, 50), (20, 25)), ((60, 45), (20, 15)), ((33, 47), (40, 20))]


@pytest.fixture
def cv2():
    """OpenCV, for this test by its own arithmetic."""
    module = pytest.importorskip("cv2")
    before = module.ipp.useIPP()
    module.ipp.setUseIPP(False)
    yield module
    module.ipp.setUseIPP(before)


@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize("mode", ["LINEAR", "AREA", "NEAREST", "CUBIC", "LANCZOS4"])
def test_all_modes_give_opencvs_bytes(cv2, mode, old, new):
    pixels = np.random.default_rng(0).integers(0, 256, (3, *old), np.uint8)
    found = resize_by(mode, pixels, *new)
    hwc = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    wanted = cv2.resize(hwc, new[::-1], interpolation=getattr(cv2, f"INTER_{mode}")).transpose(2, 0, 1)
    if mode in ("CUBIC", "LANCZOS4"):  # sums of floats: their order decides on what is half a byte
        assert np.abs(found.astype(int) - wanted).max() <= 1
        assert (found != wanted).mean() < 0.001
    else:
        np.testing.assert_array_equal(found, wanted)


def test_an_image_of_the_right_size_stays():
    pixels = np.zeros((1, 3, 4), np.uint8)
    assert resize_by("CUBIC", pixels, 3, 4) is pixels
