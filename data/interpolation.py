"""Resizing in OpenCV's other ways, to its numbers: to the nearest pixel, by areas, by cubic and Lanczos kernels."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data.images import Pixels, blend, resize, weigh

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
    return pixels[:, rows[:, None], columns]


def _area(pixels: Pixels, height: int, width: int) -> Pixels:
    """The mean of what a pixel covers; where one axis grows, both are blended from two neighbours instead."""
    old_height, old_width = pixels.shape[1:]
    if height > old_height or width > old_width:
        columns = weigh(*_shares(old_width, width), old_width, clamp=True)
        return blend(pixels, columns, weigh(*_shares(old_height, height), old_height, clamp=False))
    if (2 * height, 2 * width) == (old_height, old_width):
        return resize(pixels, height, width)
    wide = pixels.astype(np.float32)
    for axis, size in ((2, width), (1, height)):
        wide = _averaged(wide, axis, size)
    return np.rint(wide).astype(np.uint8)


def _shares(size: int, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The first of two neighbours for each of *wanted* pixels, and the share of the second."""
    scale = 1.0 / (wanted / size)
    at = np.arange(wanted)
    first = np.floor(at * scale).astype(np.int64)
    share = ((at + 1) - (first + 1) * (wanted / size)).astype(np.float32)
    return first, np.where(share <= 0, np.float32(0), share - np.floor(share))


def _averaged(values: NDArray[np.float32], axis: int, wanted: int) -> NDArray[np.float32]:
    """*values* with *wanted* means along an *axis*, each of what it covers; summed one after the other, as OpenCV."""
    size = values.shape[axis]
    scale = 1.0 / (wanted / size)
    start = np.arange(wanted) * scale
    out = np.zeros(1, np.float32)
    for k in range(int(np.ceil(scale)) + 1):
        pixel = start.astype(np.int64) + k
        part = np.minimum(start + scale, pixel + 1) - np.maximum(start, pixel)
        share = np.where((part > _NEGLIGIBLE) & (pixel < size), part, 0) / np.minimum(scale, size - start)
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        out = out + values.take(pixel.clip(max=size - 1), axis) * share.astype(np.float32).reshape(shape)
    return out


def _by_kernel(kernel: Kernel, taps: int) -> Callable[[Pixels, int, int], Pixels]:
    def resized(pixels: Pixels, height: int, width: int) -> Pixels:
        rows, columns = _weights(kernel, taps, pixels.shape[1], height), _weights(kernel, taps, pixels.shape[2], width)
        total = rows @ pixels.astype(np.float64) @ columns.T
        return np.rint(total / _UNIT**2).clip(0, 255).astype(np.uint8)

    return resized


def _weights(kernel: Kernel, taps: int, size: int, wanted: int) -> NDArray[np.float64]:
    """*wanted* x *size* weights in 1/2048 of a kernel of *taps* pixels; beyond the border stands the last pixel."""
    scale = 1.0 / (wanted / size)
    at = ((np.arange(wanted) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(at).astype(np.int64)
    weights = np.rint(kernel((at - first.astype(np.float32)).astype(np.float64)).astype(np.float32) * _UNIT)
    out = np.zeros((wanted, size))
    places = (first[:, None] + np.arange(taps) - (taps // 2 - 1)).clip(0, size - 1)
    np.add.at(out, (np.arange(wanted)[:, None], places), weights)
    return out


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
