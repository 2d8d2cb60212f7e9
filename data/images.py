"""Images as the original reads them: uint8 of channels x height x width, colour as blue, green, red."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from protos.errors import DataError

Pixels = NDArray[np.uint8]
Source = Path | bytes

_PNG_GREY = (9797, 19234, 3737)  # red, green and blue weights of libpng, in 1/32768, rounded down
_GREY_WEIGHTS = (4899, 9617, 1868)  # those of OpenCV for all but PNG and JPEG, in 1/16384, rounded
_COEF_BITS = 11  # the resize works with weights in 1/2048


def decode(source: Source, color: bool | None, name: str = "") -> Pixels:
    """Decode a file or the bytes of an encoded image to C x H x W; colour is BGR.

    *color*: True gives 3 channels, False gives 1, None keeps what is encoded (1, 3, or 4 with
    transparency). The EXIF orientation is applied where a colour is forced, 16-bit greys keep the high
    byte, transparency is dropped: all as the original's decoder does. *name* is what an error calls the
    image (default: the path).

    Raises DataError where the image is missing, unreadable or truncated.
    """
    with _opened(source, name or (str(source) if isinstance(source, Path) else "encoded image")) as image:
        return _grids(image, color)


@contextmanager
def _opened(source: Source, name: str) -> Iterator[Image.Image]:
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as image:
            yield image
    except FileNotFoundError:
        raise DataError(f"{name}: no such image") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: cannot be read as an image ({_short(error, name)})") from None


def channels(content: bytes, name: str = "encoded image") -> int:
    """How many channels the image encoded in *content* has, as :func:`decode` keeps them; its pixels are not read.

    Raises DataError as :func:`decode` does, but for damage behind the image's header.
    """
    with _opened(content, name) as image:
        return {"L": 1, "RGB": 3, "RGBA": 4}[_native(image)]


def encode(pixels: Pixels, kind: str = "png") -> bytes:
    """Encode C x H x W pixels (1 channel, or 3 in BGR) as *kind*: png, jpg, or what else Pillow writes."""
    out = io.BytesIO()
    formats = Image.registered_extensions()
    extension = f".{kind.lower().lstrip('.')}"
    if extension not in formats:
        raise DataError(f"unknown image encoding {kind!r}; png and jpg are the usual ones")
    to_image(pixels).save(out, formats[extension], **({"quality": 95} if formats[extension] == "JPEG" else {}))
    return out.getvalue()


def to_image(pixels: Pixels) -> Image.Image:
    """A Pillow image of C x H x W pixels: 1 channel is grey, 3 are BGR."""
    if pixels.shape[0] not in (1, 3):
        raise DataError(f"an image has 1 or 3 channels, not {pixels.shape[0]}")
    hwc = pixels.transpose(1, 2, 0)[:, :, ::-1]
    return Image.fromarray(np.ascontiguousarray(hwc[:, :, 0] if pixels.shape[0] == 1 else hwc))


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Bilinear C x H x W -> C x *height* x *width*, to the bit the original's (OpenCV's) integer arithmetic.

    Sample positions are pixel centres; weights are multiples of 1/2048; exact halving averages 2 x 2 pixels.
    """
    if pixels.shape[1:] == (height, width):
        return pixels
    if pixels.shape[1:] == (2 * height, 2 * width):
        wide = pixels.astype(np.uint16)
        total = wide[:, ::2, ::2] + wide[:, 1::2, ::2] + wide[:, ::2, 1::2] + wide[:, 1::2, 1::2]
        return ((total + 2) >> 2).astype(np.uint8)
    (from_x, share_x), (from_y, share_y) = _places(pixels.shape[2], width), _places(pixels.shape[1], height)
    return blend(
        pixels,
        weigh(from_x, share_x, pixels.shape[2], clamp=True),
        weigh(from_y, share_y, pixels.shape[1], clamp=False),
    )


Taps = tuple[NDArray[np.int64], ...]  # two source indices and two int32 weights for each new pixel


def blend(pixels: Pixels, columns: Taps, rows: Taps) -> Pixels:
    """Each new pixel of two columns and two rows, in OpenCV's integer arithmetic."""
    left, right, weight_left, weight_right = columns
    above, below, weight_above, weight_below = rows
    used, places = np.unique(np.concatenate((above, below)), return_inverse=True)
    above, below = np.split(places, 2)
    turned = np.ascontiguousarray(pixels[:, used].transpose(0, 2, 1))  # whole rows are gathered several times as fast
    mixed = _mixed(turned.take(left, 1), weight_left)
    mixed += _mixed(turned.take(right, 1), weight_right)
    mixed >>= 4  # 15 bits are left
    wide = np.ascontiguousarray(mixed.astype(np.int16).transpose(0, 2, 1))
    upper = _mixed(wide.take(above, 1), weight_above)
    lower = _mixed(wide.take(below, 1), weight_below)
    upper >>= 16
    lower >>= 16
    upper += lower
    upper += 2
    upper >>= 2
    return upper.astype(np.uint8)


def _mixed(rows: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.int32]:
    found: NDArray[np.int32] = np.multiply(rows, weights[:, None], dtype=np.int32)
    return found


def weigh(first: NDArray[np.int64], share: NDArray[np.float32], size: int, clamp: bool) -> Taps:
    """The pixels *first* of *size* and those behind them, which have this *share*; *clamp* gives the border one tap."""
    if clamp:
        share = np.where((first < 0) | (first >= size - 1), np.float32(0), share)
    weights = [np.rint(part * np.float32(1 << _COEF_BITS)).astype(np.int32) for part in (1 - share, share)]
    return first.clip(0, size - 1), (first + 1).clip(0, size - 1), weights[0], weights[1]


def _places(size: int, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The pixel before the centre of each of *wanted* ones, and how far the centre lies behind it."""
    scale = 1.0 / (wanted / size)
    at = ((np.arange(wanted) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(at).astype(np.int64)
    return first, at - first.astype(np.float32)


def _grids(image: Image.Image, color: bool | None) -> Pixels:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if color is None:
        return _planes(image.convert(_native(image)))
    kind = image.format
    if kind == "JPEG" and not color:
        image.draft("L", image.size)
    image = ImageOps.exif_transpose(image)
    if color or kind == "JPEG" or image.mode in _GREY:
        return _planes(image.convert("RGB" if color else "L"))
    return _weighed(image.convert("RGB"), kind == "PNG")


_GREY = ("1", "L", "LA")


def _native(image: Image.Image) -> str:
    """The mode with the channels that *image* itself has."""
    if image.mode in ("1", "L") or image.mode.startswith("I;16"):
        return "L"
    transparent = image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info
    return "RGBA" if transparent else "RGB"


def _planes(image: Image.Image) -> Pixels:
    hwc = np.asarray(image)
    if hwc.ndim == 2:
        return hwc[None]
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[hwc.shape[2]]
    return hwc.transpose(2, 0, 1)[order]


def _weighed(image: Image.Image, png: bool) -> Pixels:
    weights, half, bits = (_PNG_GREY, 0, 15) if png else (_GREY_WEIGHTS, 1 << 13, 14)
    total = np.asarray(image).astype(np.int32) @ np.array(weights, np.int32)
    return ((total + half) >> bits).astype(np.uint8)[None]


def _short(error: BaseException, name: str) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text.replace(f" '{name}'", "").replace(f" {name!r}", "")
