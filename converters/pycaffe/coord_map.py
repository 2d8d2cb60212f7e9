"""``caffe.coord_map``: where the pixels of one top lie in another, and the Crop layer that brings two into line."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from protos.errors import NetError
from protos.schema import LayerParameter
from protos.spec import L, Top

# Pixel p of a top is pixel scale * p + shift of another blob, for each axis behind the channels.
Line = tuple[Fraction, Fraction]
Map = list[Line]

_SAME: Line = (Fraction(1), Fraction(0))
_WINDOWS = {"Convolution": "convolution_param", "Deconvolution": "convolution_param", "Im2col": "convolution_param",
            "Pooling": "pooling_param"}  # fmt: skip
# What works on each pixel by itself, or on neighbours of the same place.
_PIXELWISE = frozenset({
    "AbsVal", "BNLL", "BatchNorm", "Bias", "Clip", "Concat", "Dropout", "ELU", "Eltwise", "Exp", "LRN", "Log", "MVN",
    "PReLU", "Power", "ReLU", "Scale", "Sigmoid", "Softmax", "SoftmaxWithLoss", "SigmoidCrossEntropyLoss", "Split",
    "Swish", "TanH", "Threshold",
})  # fmt: skip


def crop(top_from: Top, top_to: Top) -> Top:
    """A Crop layer that cuts *top_from* to the pixels of *top_to*, the offset worked out from the layers between.

    Raises NetError where no blob is above both, where their pixels are of different sizes, or where they do not lie on
    each other.
    """
    lines = _lines(top_from, top_to)
    if any(scale != 1 for scale, _ in lines):
        raise NetError(f"crop: a pixel of the one is {_listed(scale for scale, _ in lines)} of the other's")
    offsets = [shift for _, shift in lines]
    if any(offset < 0 or offset.denominator != 1 for offset in offsets):
        raise NetError(f"crop: offsets of {_listed(offsets)} pixels are not possible")
    made: Top = L.Crop(top_from, top_to, axis=2, offset=[int(offset) for offset in offsets])
    return made


def coord_map_from_to(top_from: Top, top_to: Top) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """``(1, scale, shift)``: pixel p of *top_from* is pixel scale * p + shift of *top_to*, on the axes behind axis 1.

    Both are of one value for all axes, or of one for each. Raises NetError where no blob is above both.
    """
    lines = _lines(top_from, top_to) or [_SAME]
    return 1, np.array([float(1 / scale) for scale, _ in lines]), np.array([float(-t / scale) for scale, t in lines])


def _lines(top_from: Top, top_to: Top) -> Map:
    """Pixel p of *top_to* is pixel scale * p + shift of *top_from*."""
    above = dict(_above(top_from))
    for blob, line in _above(top_to):
        if blob in above:
            axes = max(len(line), len(above[blob]))
            pairs = zip(_padded(line, axes), _padded(above[blob], axes), strict=True)
            return [(s / own_s, (t - own_t) / own_s) for (s, t), (own_s, own_t) in pairs]
    raise NetError("crop: no blob is above both tops, by layers that keep pixels in their places")


def _above(top: Top) -> Iterator[tuple[Top, Map]]:
    """The blobs that *top* was made of, the nearest first, each with the place of top's pixels in it."""
    seen: set[Top] = set()
    waiting: list[tuple[Top, Map]] = [(top, [])]
    while waiting:
        blob, line = waiting.pop(0)
        if blob in seen:
            continue
        seen.add(blob)
        yield blob, line
        step = _of_layer(blob.fn.message())
        if step is not None:
            bottoms = blob.fn.inputs[:1] if blob.fn.type_name == "Crop" else blob.fn.inputs
            waiting += [(bottom, _through(line, step)) for bottom in bottoms]


def _through(line: Map, step: Map) -> Map:
    """*line*, and then *step*."""
    axes = max(len(line), len(step))
    pairs = zip(_padded(line, axes), _padded(step, axes), strict=True)
    return [(s * step_s, step_s * t + step_t) for (s, t), (step_s, step_t) in pairs]


def _padded(lines: Map, axes: int) -> Map:
    """*lines* for so many axes; the only one is for all of them."""
    if len(lines) == axes:
        return lines
    return (lines or [_SAME]) * axes


def _of_layer(layer: LayerParameter) -> Map | None:
    """Where the pixels of a layer's top lie in its bottom; None where that cannot be said."""
    if layer.type in _PIXELWISE:
        return []
    if layer.type == "Crop":
        if layer.crop_param.axis != 2:
            return None
        return [(Fraction(1), Fraction(offset)) for offset in layer.crop_param.offset or [0]]
    if layer.type not in _WINDOWS or layer.pooling_param.global_pooling:
        return None
    windows = _windows(getattr(layer, _WINDOWS[layer.type]))
    if layer.type == "Deconvolution":
        return [(1 / scale, -shift / scale) for scale, shift in windows]
    return windows


def _windows(p: Message) -> Map:
    """Where the centres of windows lie: stride * p + (extent - 1) / 2 - pad."""
    kernel, stride = _sides(p, "kernel", "kernel_size", 1), _sides(p, "stride", "stride", 1)
    pad = _sides(p, "pad", "pad", 0)
    dilation = list(getattr(p, "dilation", ())) or [1]
    axes = max(map(len, (kernel, stride, pad, dilation)))
    sides = zip(*(side * (axes if len(side) == 1 else 1) for side in (kernel, stride, pad, dilation)), strict=True)
    return [(Fraction(s), Fraction(d * (k - 1), 2) - b) for k, s, b, d in sides]


def _sides(p: Message, name: str, field: str, default: int) -> list[int]:
    """An option that is given once, for each axis, or as NAME_h and NAME_w."""
    by_side = [f"{name}_h", f"{name}_w"]
    if any(p.HasField(side) for side in by_side):
        return [getattr(p, side) for side in by_side]
    value = getattr(p, field)
    return ([value] if isinstance(value, int) else list(value)) or [default]


def _listed(numbers: Iterator[Fraction] | list[Fraction]) -> str:
    return ", ".join(map(str, numbers))
