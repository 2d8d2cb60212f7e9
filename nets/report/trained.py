"""The sections on a trained net: its layers, its first filters, how its weights are spread."""

import numpy as np

from nets import summary
from nets.inference import shaped_net
from nets.net import Net
from nets.plot import LAYERS_SHOWN, filter_tiles, first_filters
from nets.report.chart import bars, number
from nets.report.contents import Weights
from nets.report.html import Markup, element, markup, table
from nets.report.image import picture
from nets.weights import load_weights
from protos import text
from protos.errors import WeightsError

HISTOGRAM = 50  # bars


def read_net(weights: Weights) -> Net:
    """The net with its weights. Raises CaffeError where they do not fit."""
    net = shaped_net(text.read_net(weights.model), {})
    missing = load_weights(net, weights.weights).missing
    if missing:
        raise WeightsError(f"{weights.weights}: there are no weights for {', '.join(missing)}")
    return net


def show_layers(net: Net) -> Markup:
    """The table of ``nets.summary``."""
    cells = summary.cells(net)
    note = element("p", cells.note[:1].upper() + cells.note[1:] + ".", class_="note")
    return markup([table(cells.header, [*cells.lines, cells.total], class_="layers"), note])


def show_weights(net: Net, weights: Weights) -> Markup:
    """The first filters as pictures, and a histogram of each layer's weights."""
    parts = []
    first = first_filters(net, weights.layer)
    if first is not None:
        tiles, said = filter_tiles(first[1], weights.channels)
        pixels = (tiles * 255).round().astype(np.uint8)
        shown = [picture(tile[..., 0] if tile.shape[2] == 1 else tile, f"filter {i}") for i, tile in enumerate(pixels)]
        parts += [
            element("h3", f"Filters of {first[0]}"),
            element("p", f"{said}."),
            element("div", shown, class_="filters"),
        ]
    elif weights.layer:
        raise WeightsError(f"{weights.model}: layer '{weights.layer}' has no filters that could be shown as pictures")
    spread = [(node.name, layer.blobs[0].detach().float().cpu().numpy()) for node, layer in net.nodes if layer.blobs]
    charts = [_histogram(name, blob) for name, blob in spread[:LAYERS_SHOWN]]
    more = f", of the first {LAYERS_SHOWN} of {len(spread)} layers" if len(spread) > LAYERS_SHOWN else ""
    parts += [element("h3", f"Values of the weights{more}"), element("div", charts, class_="charts")]
    return markup(parts)


def _histogram(name: str, blob: np.ndarray) -> Markup:
    values = blob.ravel()
    values = values[np.isfinite(values)]
    if not values.size:
        return element("p", f"{name}: no weight is a number")
    counts, edges = np.histogram(values, HISTOGRAM)
    lost = f", {blob.size - values.size} are no numbers" if blob.size > values.size else ""
    note = f"{blob.size:,} values, mean {number(values.mean())}, deviation {number(values.std())}{lost}"
    return bars(edges.tolist(), counts.tolist(), name, "weight", note=note)
