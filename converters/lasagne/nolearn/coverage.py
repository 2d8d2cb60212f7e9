"""How much of the image the convolutions of a net see, and how much of that with whole filters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.lasagne.layers import Conv2DLayer
from converters.lasagne.layers.pool import Pool2DLayer
from converters.lasagne.nolearn.tables import CYAN, END, MAGENTA, RED, table

Array = NDArray[Any]
LEGEND = f"""
Explanation
    X, Y:    image dimensions
    cap.:    learning capacity
    cov.:    coverage of image
    {MAGENTA}magenta{END}: capacity too low (<1/6)
    {CYAN}cyan{END}:    image coverage too high (>100%)
    {RED}red{END}:     capacity too low and coverage too high
"""


def is_conv2d(layer: Any) -> bool:
    """Whether a layer convolves images."""
    return isinstance(layer, Conv2DLayer) or type(layer).__name__ in ("Conv2DDNNLayer", "Conv2DMMLayer")


def fields(layers: Sequence[Any]) -> tuple[Array, Array]:
    """For each layer the size of its filter and of its receptive field, both in the pixels of the image.

    Behind the last convolution or pooling in a row both are the image's.
    """
    image = np.array(layers[0].output_shape[2:], float)
    filters, seen = [image], [image]
    scale, inside, first = np.ones(2), True, True
    for layer in layers[1:]:
        if inside and is_conv2d(layer):
            size = np.array(layer.filter_size, float)
            filters.append(size * scale)
            seen.append(size if first else seen[-1] + scale * (size - 1))
            first = False
        elif inside and isinstance(layer, Pool2DLayer):
            filters.append(filters[-1])
            seen.append(seen[-1])
            scale = scale * np.array(layer.pool_size)
        else:
            inside = False
            filters.append(image)
            seen.append(image)
    return np.stack(filters), np.stack(seen)


def conv_table(layers: Sequence[Any], least: float = 100.0 / 6, detailed: bool = False) -> list[str]:
    """The lines of the table; names of layers whose capacity is below *least* percent, or that see too much, in colour."""  # noqa: E501
    filters, seen = fields(layers)
    capacity, coverage = 100 * filters / seen, 100 * seen / np.array(layers[0].output_shape[2:], float)
    headers = ["name", "size", "total", "cap.Y", "cap.X", "cov.Y", "cov.X"]
    headers += ["filter Y", "filter X", "field Y", "field X"] if detailed else []
    rows = []
    for i, layer in enumerate(layers):
        shape = layer.output_shape[1:]
        row = [_coloured(layer.name, (capacity[i] < least).any(), (coverage[i] > 100).any())]
        row += ["x".join(map(str, shape)), str(int(np.prod(shape)))]
        row += [f"{figure:.2f}" for figure in (*capacity[i], *coverage[i])]
        row += [f"{figure:g}" for figure in (*filters[i], *seen[i])] if detailed else []
        rows.append(row)
    return table(headers, rows)


def _coloured(name: str, low: bool, wide: bool) -> str:
    colour = RED if low and wide else MAGENTA if low else CYAN if wide else ""
    return f"{colour}{name}{END}" if colour else name
