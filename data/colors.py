"""Distorted colours, as SSD distorts them: brightness, contrast, saturation, hue, the order of the channels.

Bytes are computed to OpenCV's numbers; pixels are C x H x W, colour as blue, green, red.
"""

import numpy as np
from numpy.typing import NDArray

from data.images import Pixels
from protos.schema import DistortionParameter

_HUES = 180  # a byte holds half the degrees
_SHIFT = 12  # divisions are products with tables in 1/4096


def distort(pixels: Pixels, param: DistortionParameter, chance: np.random.Generator) -> Pixels:
    """Each distortion with its own probability; contrast comes second or last but one, as *chance* has it."""

    def drawn(probability: float, low: float, high: float) -> float | None:
        return float(chance.uniform(low, high)) if chance.random() < probability else None

    early = chance.random() > 0.5
    brightness = drawn(param.brightness_prob, -param.brightness_delta, param.brightness_delta)
    contrast = drawn(param.contrast_prob, param.contrast_lower, param.contrast_upper)
    saturation = drawn(param.saturation_prob, param.saturation_lower, param.saturation_upper)
    hue = drawn(param.hue_prob, -param.hue_delta, param.hue_delta)
    if brightness is not None:
        pixels = scaled(pixels, 1, brightness)
    if contrast is not None and early:
        pixels = scaled(pixels, contrast)
    if saturation is not None:
        pixels = in_hsv(pixels, 1, saturation)
    if hue is not None:
        pixels = in_hsv(pixels, 0, 1, hue)
    if contrast is not None and not early:
        pixels = scaled(pixels, contrast)
    return pixels[chance.permutation(len(pixels))] if chance.random() < param.random_order_prob else pixels


def scaled(pixels: Pixels, factor: float, more: float = 0.0) -> Pixels:
    """factor * x + more, rounded (ties to even) and clipped."""
    table = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(more)
    out: Pixels = np.rint(table).clip(0, 255).astype(np.uint8).take(pixels)
    return out


def in_hsv(pixels: Pixels, channel: int, factor: float, more: float = 0.0) -> Pixels:
    """Three channels whose hue (*channel* 0) or saturation (1) is :func:`scaled`."""
    hsv = to_hsv(pixels)
    hsv[channel] = scaled(hsv[channel], factor, more)
    return from_hsv(hsv)


def to_hsv(pixels: Pixels) -> Pixels:
    """Blue, green, red to hue (0 to 179), saturation, value."""
    blue, green, red = pixels.astype(np.int32)
    value = np.maximum(np.maximum(blue, green), red)
    spread = value - np.minimum(np.minimum(blue, green), red)
    turn = red - green + 4 * spread
    np.copyto(turn, blue - red + 2 * spread, where=value == green)
    np.copyto(turn, green - blue, where=value == red)
    hue = _by_table(turn, spread, _HUES / 6)
    hue += _HUES * (hue < 0)
    return np.stack((hue, _by_table(spread, value, 255), value)).astype(np.uint8)


def _by_table(number: NDArray[np.int32], divisor: NDArray[np.int32], unit: float) -> NDArray[np.int32]:
    """*unit* * number / divisor, 0 where that is 0, through reciprocals in fixed point."""
    reciprocals = np.zeros(256, np.int32)
    reciprocals[1:] = np.rint(unit * (1 << _SHIFT) / np.arange(1, 256))
    out: NDArray[np.int32] = (number * reciprocals.take(divisor) + (1 << (_SHIFT - 1))) >> _SHIFT
    return out


def from_hsv(hsv: Pixels) -> Pixels:
    """Hue (which goes round at 180), saturation, value to blue, green, red.

    Rounded, as OpenCV does where it works pixel by pixel; its vector code of today rounds down.
    """
    saturation, value = hsv[1:].astype(np.float32) * np.float32(1 / 255)
    levels = _LOSS.take(hsv[0], 1)
    levels *= saturation
    np.subtract(1, levels, out=levels)
    levels *= value
    levels *= np.float32(255)
    out: Pixels = np.rint(levels, out=levels).astype(np.uint8)
    return out


def _loss() -> NDArray[np.float32]:
    """3 x 256: how much blue, green and red lose of the value where a hue is saturated."""
    turn = np.arange(256, dtype=np.float32) * np.float32(6 / _HUES)
    sixth = np.floor(turn)
    share = turn - sixth
    losses = np.stack((np.zeros_like(turn), np.ones_like(turn), share, 1 - share))
    by_sixth = np.array([[1, 1, 3, 0, 0, 2], [3, 0, 0, 2, 1, 1], [0, 2, 1, 1, 3, 0]])
    out: NDArray[np.float32] = losses[by_sixth[:, sixth.astype(int) % 6], np.arange(256)]
    return out


_LOSS = _loss()
