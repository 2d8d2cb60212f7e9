"""``nolearn.lasagne.visualize``: pictures of losses, filters, activities and of what a prediction rests on.

matplotlib draws them, pygraphviz the nets; both are imported when a picture is asked for.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from converters.lasagne.layers import MergeLayer, get_all_layers, get_output
from converters.lasagne.theano.config import config
from converters.lasagne.theano.variable import as_tensor, to_numpy
from nets.draw import empty_graph, label_of, rendered, unheard
from protos.errors import CaffeError
from protos.files import replacing

Array = NDArray[Any]
SIZE = (6, 6)
COLOURS = {"Conv": "#4A88B3", "Pool": "#F7C98C", "Dense": "#93CBE8", "Dropout": "#B8C9D9", "Input": "#DDDDDD"}


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot  # noqa: PLC0415  # optional
    except ImportError:
        raise CaffeError("pictures need matplotlib: pip install matplotlib") from None
    return pyplot


def plot_loss(net: Any) -> Any:
    """The losses of training and validation by epoch; gives pyplot."""
    plot = _pyplot()
    for key, name in (("train_loss", "train loss"), ("valid_loss", "valid loss")):
        plot.plot([row[key] for row in net.train_history_], label=name)
    plot.xlabel("epoch")
    plot.ylabel("loss")
    plot.legend(loc="best")
    return plot


def plot_conv_weights(layer: Any, figsize: tuple[float, float] = SIZE) -> Any:
    """The filters of a convolution, a figure for each channel of its input; gives pyplot."""
    filters = layer.W.get_value()
    for channel in range(filters.shape[1]):
        _tiles(filters[:, channel], figsize)
    return _pyplot()


def plot_conv_activity(layer: Any, x: Any, figsize: tuple[float, float] = SIZE) -> Any:
    """What a convolution makes of the one image *x*, 1 x C x H x W, behind the image; gives pyplot."""
    if len(x) != 1:
        raise ValueError("Only one sample can be plotted at a time.")
    activity = _run(layer, x)
    plot = _pyplot()
    _, axes = plot.subplots(1, 1, figsize=figsize)
    axes.imshow(x[0].mean(0), interpolation="nearest", cmap="gray")
    axes.axis("off")
    _tiles(activity[0], figsize)
    return plot


def occlusion_heatmap(net: Any, x: Any, target: int, square_length: int = 7) -> Array:
    """The probability of class *target* with a square around each place of the image *x* (1 x C x H x W) set to 0."""
    if x.ndim != 4 or len(x) != 1:
        raise ValueError("This function requires the input data to be of shape 1 x C x H x W")
    if square_length % 2 == 0:
        raise ValueError(f"Square length has to be an odd number, instead got {square_length}.")
    height, width = x.shape[2:]
    reach = square_length // 2
    found = np.zeros((height, width))
    for row in range(height):
        batch = np.repeat(x, width, axis=0)
        for column in range(width):
            top, left = max(0, row - reach), max(0, column - reach)
            batch[column, :, top : row + reach + 1, left : column + reach + 1] = 0
        found[row] = net.predict_proba(batch)[:, target]
    return found


def plot_occlusion(
    net: Any, X: Any, target: Any, square_length: int = 7, figsize: tuple[float, float | None] = (9, None)
) -> Any:  # fmt: skip
    """Each image beside what its occlusion costs; gives pyplot."""
    heat = (occlusion_heatmap(net, x[None], int(y), square_length) for x, y in zip(X, target, strict=True))
    return _beside(X, (1 - one for one in heat), figsize, "critical parts")


def plot_saliency(net: Any, X: Any, figsize: tuple[float, float | None] = (9, None)) -> Any:
    """Each image beside how much each place of it changes the likeliest class; gives pyplot."""
    output = net.output_layers()
    output = output[-1] if isinstance(output, list) else output
    images = as_tensor(np.asarray(X, config.floatX)).to(config.torch_device).requires_grad_()
    with torch.enable_grad():
        best = as_tensor(get_output(output, images, deterministic=True)).amax(1).sum()
        (gradient,) = torch.autograd.grad(best, images)
    return _beside(X, iter(to_numpy(gradient.abs().amax(1))), figsize, "saliency")


def _run(layer: Any, x: Any) -> Array:
    images = as_tensor(np.asarray(x, config.floatX)).to(config.torch_device)
    found: Array = to_numpy(as_tensor(get_output(layer, images, deterministic=True)))
    return found


def _tiles(pictures: Array, figsize: tuple[float, float]) -> None:
    """*pictures*, n x H x W, in a square of axes."""
    side = int(np.ceil(np.sqrt(len(pictures))))
    _, grid = _pyplot().subplots(side, side, figsize=figsize, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    for (row, column), picture in zip(product(range(side), range(side)), pictures, strict=False):
        grid[row, column].imshow(picture, cmap="gray", interpolation="nearest")


def _beside(X: Any, maps: Iterator[Array], figsize: tuple[float, float | None], title: str) -> Any:
    plot = _pyplot()
    width, height = figsize
    _, grid = plot.subplots(len(X), 3, figsize=(width, height or width * len(X) / 3), squeeze=False)
    for axes, x, found in zip(grid, X, maps, strict=True):
        image = x.mean(0)
        axes[0].imshow(image, cmap="gray", interpolation="nearest")
        axes[1].imshow(found, cmap="Reds", interpolation="nearest")
        axes[2].imshow(image, cmap="gray", interpolation="nearest")
        axes[2].imshow(found, cmap="Reds", alpha=0.6, interpolation="nearest")
        for one, name in zip(axes, ("image", title, "super-imposed"), strict=True):
            one.axis("off")
            one.set_title(name)
    return plot


# ---- nets


def get_pydot_graph(layers: Iterable[Any], output_shape: bool = True, verbose: bool = False) -> Any:
    """The net as a graph of pygraphviz: a node a layer, with the shape of its output, and its parameters if *verbose*.

    Raises CaffeError where the package is missing.
    """
    graph = empty_graph("net")
    graph.node_attr.update(shape="box", style="filled")
    for layer in layers:
        kind = type(layer).__name__
        colour = next((c for word, c in COLOURS.items() if word in kind), "#EEEEEE")
        graph.add_node(id(layer), label=label_of(_lines(layer, output_shape, verbose)), fillcolor=colour)
        above = layer.input_layers if isinstance(layer, MergeLayer) else [getattr(layer, "input_layer", None)]
        for one in above:
            if one is not None:
                graph.add_edge(id(one), id(layer))
    return graph


def _lines(layer: Any, output_shape: bool, verbose: bool) -> list[str]:
    lines = [type(layer).__name__]
    if verbose:
        names = ("num_filters", "num_units", "filter_size", "pool_size", "stride", "pad", "p", "nonlinearity")
        figures = ((name, getattr(layer, name, None)) for name in names)
        lines += [f"{name}: {getattr(value, '__name__', value)}" for name, value in figures if value is not None]
    if output_shape:
        lines.append(f"Output shape: {layer.output_shape}")
    return lines


def _layers_of(layers: Any) -> list[Any]:
    """All layers of a NeuralNet, of a dict of them, or of a list (or what ends a net)."""
    if hasattr(layers, "initialize"):
        layers.initialize()
        return list(layers.layers_.values())
    listed = list(layers.values()) if isinstance(layers, dict) else layers
    found: list[Any] = get_all_layers(listed)
    return found


def draw_to_file(layers: Any, filename: str | os.PathLike[str], **kwargs: Any) -> None:
    """Draw the net into a file, whose ending says of what kind."""
    kind = os.path.splitext(os.fspath(filename))[1].lstrip(".") or "png"  # noqa: PTH122  # of a path of any kind
    content = rendered(get_pydot_graph(_layers_of(layers), **kwargs), kind)
    with replacing(filename) as file:
        file.write(content)


def draw_to_notebook(layers: Any, **kwargs: Any) -> Any:
    """The drawing, for a cell of a notebook."""
    graph = get_pydot_graph(_layers_of(layers), **kwargs)
    with unheard():
        graph.layout("dot")
    return graph


def get_conv_infos(net: Any, min_capacity: float = 100.0 / 6, detailed: bool = False) -> str:
    """The table of a convolutional net's capacities and coverages, as a NeuralNet prints it with verbose above 1."""
    from converters.lasagne.nolearn.coverage import conv_table  # noqa: PLC0415  # it needs layers alone

    return "\n".join(conv_table(list(net.layers_.values()), min_capacity, detailed))
