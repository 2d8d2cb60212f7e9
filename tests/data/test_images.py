import io

import numpy as np
import pytest
from PIL import Image

from data import images
from protos.errors import DataError

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)  # height, width, RGB


def png(array, **options):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG", **options)
    return out.getvalue()


def test_colour_is_blue_green_red():
    np.testing.assert_array_equal(images.decode(png(PIXELS), True), PIXELS.transpose(2, 0, 1)[::-1])


def test_grey_becomes_three_equal_channels():
    found = images.decode(png(PIXELS[:, :, 0]), True)
    np.testing.assert_array_equal(found, np.repeat(PIXELS[None, :, :, 0], 3, 0))


def test_colour_png_becomes_grey_with_libpngs_weights():
    wanted = (PIXELS.astype(int) @ [9797, 19234, 3737]) >> 15
    np.testing.assert_array_equal(images.decode(png(PIXELS), False)[0], wanted)


@pytest.mark.parametrize("kind", ["BMP", "PPM", "TIFF"])
def test_other_colour_images_become_grey_with_opencvs_weights(kind):
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, kind)
    wanted = np.rint(PIXELS.astype(int) @ [4899, 9617, 1868] / 2**14)
    np.testing.assert_array_equal(images.decode(out.getvalue(), False)[0], wanted)


@pytest.mark.parametrize(("channels", "wanted"), [(1, 1), (3, 3), (4, 4)])
def test_nothing_forced_keeps_the_channels(channels, wanted):
    array = np.concatenate([PIXELS, PIXELS[:, :, :1]], 2)[:, :, :channels].squeeze()
    assert images.decode(png(array), None).shape == (wanted, 12, 17)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [*(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
     *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")), *(("GIF", mode) for mode in ("L", "P"))],
)  # fmt: skip
def test_the_channels_are_known_without_decoding(kind, mode):
    image = Image.new(mode, (7, 5)) if mode == "I;16" else Image.fromarray(PIXELS).convert(mode)
    out = io.BytesIO()
    image.save(out, kind)
    assert images.channels(out.getvalue()) == len(images.decode(out.getvalue(), None))


def test_channels_of_no_image():
    with pytest.raises(DataError, match="x: cannot be read as an image"):
        images.channels(b"abc", "x")


def test_transparency_is_dropped_not_blended():
    array = np.concatenate([PIXELS, np.zeros((12, 17, 1), np.uint8)], 2)
    np.testing.assert_array_equal(images.decode(png(array), True), images.decode(png(PIXELS), True))


def test_sixteen_bits_keep_the_high_byte():
    wide = RNG.integers(0, 65536, (5, 6), dtype=np.uint16)
    np.testing.assert_array_equal(images.decode(png(wide), False)[0], wide >> 8)


def test_the_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x112] = 6  # turned by 90 degrees
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "JPEG", exif=exif)
    assert images.decode(out.getvalue(), True).shape == (3, 17, 12)
    assert images.decode(out.getvalue(), False).shape == (1, 17, 12)


@pytest.mark.parametrize("kind", ["png", ".PNG", "jpg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_encoding_and_decoding_is_close_to_nothing(kind, channels):
    smooth = np.linspace(0, 255, channels * 30 * 40).reshape(channels, 30, 40).astype(np.uint8)
    found = images.decode(images.encode(smooth, kind), None)
    assert np.abs(found.astype(int) - smooth).max() <= (0 if "png" in kind.lower() else 8)


def bilinear(plane, height, width):
    """Plain floating-point bilinear sampling at pixel centres, clamped at the border."""
    axes = []
    for size, wanted in zip(plane.shape, (height, width), strict=True):
        at = np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, size - 1)
        low = np.minimum(at.astype(int), size - 2)
        axes.append((low, at - low))
    (y, fy), (x, fx) = axes
    rows = plane[y] * (1 - fy)[:, None] + plane[y + 1] * fy[:, None]
    return rows[:, x] * (1 - fx) + rows[:, x + 1] * fx


@pytest.mark.parametrize("size", [(7, 9), (30, 25), (5, 40), (12, 8)])
def test_resize_is_bilinear_to_a_grey_level(size):
    found = images.resize(PIXELS.transpose(2, 0, 1), *size)
    wanted = [bilinear(PIXELS[:, :, c].astype(float), *size) for c in range(3)]
    assert np.abs(found - np.array(wanted)).max() < 1.01


def test_halving_averages_and_equal_sizes_stay():
    plane = PIXELS[None, :, :16, 0]
    wanted = plane.reshape(1, 6, 2, 8, 2).astype(int).sum((2, 4))
    np.testing.assert_array_equal(images.resize(plane, 6, 8), (wanted + 2) >> 2)
    assert images.resize(plane, 12, 16) is plane


def test_a_bad_image_is_named(tmp_path):
    path = tmp_path / "cut.png"
    path.write_bytes(png(PIXELS)[:200])
    with pytest.raises(DataError, match=r"cut\.png: cannot be read as an image"):
        images.decode(path, True)
    with pytest.raises(DataError, match=r"none\.png: no such image"):
        images.decode(tmp_path / "none.png", True)
    with pytest.raises(DataError, match="record 4: cannot be read as an image"):
        images.decode(b"not an image", True, "record 4")
    with pytest.raises(DataError, match="unknown image encoding 'pgn'"):
        images.encode(PIXELS.transpose(2, 0, 1), "pgn")


def test_an_image_has_one_channel_or_three():
    with pytest.raises(DataError, match="an image has 1 or 3 channels, not 2"):
        images.encode(np.zeros((2, 4, 4), np.uint8))
