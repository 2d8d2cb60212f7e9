"""Distorted colours, beside OpenCV; of images less wide than its vectors, where it rounds."""

import colorsys

import numpy as np
import pytest

from data import colors
from protos.schema import DistortionParameter

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 900, 7), np.uint8)


def in_opencv(pixels, conversion):
    cv2 = pytest.importorskip("cv2")
    hwc = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    return cv2.cvtColor(hwc, getattr(cv2, f"COLOR_{conversion}")).transpose(2, 0, 1)


def test_hue_and_saturation_are_opencvs_there_and_back():
    hsv = in_opencv(PIXELS, "BGR2HSV")
    np.testing.assert_array_equal(colors.to_hsv(PIXELS), hsv)
    np.testing.assert_array_equal(colors.from_hsv(hsv), in_opencv(hsv, "HSV2BGR"))
    np.testing.assert_array_equal(colors.from_hsv(PIXELS), in_opencv(PIXELS, "HSV2BGR"))  # hues of 180 and more


def test_hue_and_saturation_are_those_of_the_textbook():
    found = colors.to_hsv(PIXELS[:, :50]).reshape(3, -1)
    for (blue, green, red), (hue, saturation, value) in zip(PIXELS[:, :50].reshape(3, -1).T, found.T, strict=True):
        wanted = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
        apart = abs(hue - 180 * wanted[0])
        assert min(apart, 180 - apart) <= 0.53
        assert abs(saturation - 255 * wanted[1]) <= 0.51
        assert value == max(blue, green, red)


@pytest.mark.parametrize(("factor", "more"), [(1.0, 17.3), (1.0, -31.7), (0.5, 0.0), (1.37, 0.0)])
def test_values_are_scaled_rounded_and_clipped(factor, more):
    found = colors.scaled(PIXELS, factor, more)
    wanted = (PIXELS * factor + more).clip(0, 255)
    assert np.abs(found - wanted).max() <= 0.5001


@pytest.mark.parametrize(
    ("kind", "limits", "treated"),
    [
        ("brightness", (-32, 32), lambda x, by: colors.scaled(x, 1, by)),
        ("contrast", (0.5, 1.5), colors.scaled),
        ("saturation", (0.5, 1.5), lambda x, by: colors.in_hsv(x, 1, by)),
        ("hue", (-18, 18), lambda x, by: colors.in_hsv(x, 0, 1, by)),
    ],
)
def test_each_distortion_draws_its_strength_and_nothing_else(kind, limits, treated):
    low, high = limits
    bounds = {f"{kind}_delta": high} if low < 0 else {f"{kind}_lower": low, f"{kind}_upper": high}
    small = PIXELS[:, :20]
    found = colors.distort(small, DistortionParameter(**{f"{kind}_prob": 1}, **bounds), np.random.default_rng(3))
    possible = [treated(small, by) for by in np.linspace(low, high, 1000)]
    assert min(int(np.abs(one.astype(int) - found).max()) for one in possible) <= 1
    assert not np.array_equal(found, small)


def test_probabilities_are_kept_and_the_channels_change_places():
    pixels = PIXELS[:, :2]
    never, half = DistortionParameter(), DistortionParameter(brightness_prob=0.5, brightness_delta=30)
    chance = np.random.default_rng(0)
    assert all(np.array_equal(colors.distort(pixels, never, chance), pixels) for _ in range(20))
    changed = sum(not np.array_equal(colors.distort(pixels, half, chance), pixels) for _ in range(400))
    assert 150 < changed < 250
    swapped = DistortionParameter(random_order_prob=1)
    orders = {tuple(int(x) for x in colors.distort(pixels, swapped, chance)[:, 0, 0]) for _ in range(60)}
    assert len(orders) == 6
