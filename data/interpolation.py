"""Resizing in OpenCV's other ways, to its numbers: to the nearest pixel, by areas, by cubic and Lanczos kernels."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data.images import Pixels, blend, resize, weigh

Floats = NDArray[np.float32]
Places = NDArray[np.int64]
Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_UNIT = 1 << 11  # kernels have weights in 1/2048
_NEGLIGIBLE = 1e-3  # a smaller part of a pixel does not count in an area


def resize_by(mode: str, pixels: Pixels, height: int, width: int) -> Pixels:
    """C x H x W -> C x *height* x *width*; *mode* is LINEAR, AREA, NEAREST, CUBIC or LANCZOS4, as in a
    ResizeParameter."""
    if pixels.shape[1:] == (height, width):
        return pixels
    return _MODES[mode](pixels, height, width)


def nearest(pixels: Pixels, height: int, width: int) -> Pixels:
    """C x H x W -> C x *height* x *width*, of the nearest pixel above and to the left."""
    rows, columns = (
        np.minimum((np.arange(new) * (1 / (new / old))).astype(np.int64), old - 1)
        for new, old in zip((height, width), pixels.shape[1:], strict=True)
    )
    out: Pixels = pixels.take(rows, 1).take(columns, 2)
    return out


def _area(pixels: Pixels, height: int, width: int) -> Pixels:
    """The mean of what a pixel covers; where one axis grows, both are blended from two neighbours instead."""
    old_height, old_width = pixels.shape[1:]
    if height > old_height or width > old_width:
        columns = weigh(*_shares(old_width, width), old_width, clamp=True)
        return blend(pixels, columns, weigh(*_shares(old_height, height), old_height, clamp=False))
    if (2 * height, 2 * width) == (old_height, old_width):
        return resize(pixels, height, width)
    mixed = _mixed(pixels, 2, *_cover(old_width, width))  # in OpenCV's order, on which the last bit depends
    return np.rint(_mixed(mixed, 1, *_cover(old_height, height))).astype(np.uint8)


def _shares(size: int, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The first of two neighbours for each of *wanted* pixels, and the share of the second."""
    scale = 1.0 / (wanted / size)
    at = np.arange(wanted)
    first = np.floor(at * scale).astype(np.int64)
    share = ((at + 1) - (first + 1) * (wanted / size)).astype(np.float32)
    return first, np.where(share <= 0, np.float32(0), share - np.floor(share))


def _cover(size: int, wanted: int) -> tuple[Places, Floats]:
    """Which pixels each of *wanted* ones covers, and their shares of it, *wanted* x as many as it may touch each."""
    scale = 1.0 / (wanted / size)
    start = np.arange(wanted)[:, None] * scale
    places = start.astype(np.int64) + np.arange(int(np.ceil(scale)) + 1)
    part = np.minimum(start + scale, places + 1) - np.maximum(start, places)
    shares = np.where((part > _NEGLIGIBLE) & (places < size), part, 0) / np.minimum(scale, size - start)
    return places.clip(max=size - 1), shares.astype(np.float32)


def _by_kernel(kernel: Kernel, taps: int) -> Callable[[Pixels, int, int], Pixels]:
    def resized(pixels: Pixels, height: int, width: int) -> Pixels:
        mixed = _mixed(pixels, 1, *_weights(kernel, taps, pixels.shape[1], height))
        mixed = _mixed(mixed, 2, *_weights(kernel, taps, pixels.shape[2], width))
        out: Pixels = np.rint(mixed * np.float32(1 / _UNIT**2)).clip(0, 255).astype(np.uint8)
        return out

    return resized


def _mixed(values: NDArray[np.generic], axis: int, places: Places, weights: Floats) -> Floats:
    """The sums of the *values* in some *places* along an *axis*, by *weights* (wanted x taps each)."""
    shape = [-1 if i == axis else 1 for i in range(3)]
    parts = (values.take(at, axis) * w.reshape(shape) for at, w in zip(places.T, weights.T, strict=True))
    out: Floats = next(parts)
    for part in parts:
        out += part
    return out


def _weights(kernel: Kernel, taps: int, size: int, wanted: int) -> tuple[Places, Floats]:
    """Places and weights in 1/2048 of a kernel, *wanted* x *taps* each; beyond the border stands the last pixel."""
    scale = 1.0 / (wanted / size)
    at = ((np.arange(wanted) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(at).astype(np.int64)
    weights = kernel((at - first.astype(np.float32)).astype(np.float64)).astype(np.float32)
    places = first[:, None] + np.arange(taps) - (taps // 2 - 1)
    return places.clip(0, size - 1), np.rint(weights * _UNIT)


def _cubic(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """The four weights of a cubic convolution with slope -0.75, for samples this far behind the second pixel."""
    a = -0.75

    def near(t: NDArray[np.float64]) -> NDArray[np.float64]:
        return ((a + 2) * t - (a + 3)) * t * t + 1

    outer = a * (((share + 1) - 5) * (share + 1) + 8) * (share + 1) - 4 * a
    inner, behind = near(share), near(1 - share)
    return np.stack((outer, inner, behind, 1 - outer - inner - behind), 1)


def _lanczos(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """The eight weights of sinc(t) sinc(t / 4), scaled to the sum 1."""
    t = np.arange(8) - 3 - share[:, None]
    out = np.sinc(t) * np.sinc(t / 4)
    out /= out.sum(1, keepdims=True)
    return out


_MODES: dict[str, Callable[[Pixels, int, int], Pixels]] = {
    "LINEAR": resize,
    "AREA": _area,
    "NEAREST": nearest,
    "CUBIC": _by_kernel(_cubic, 4),
    "LANCZOS4": _by_kernel(_lanczos, 8),
}
