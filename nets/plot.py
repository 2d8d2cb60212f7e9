"""``python -m nets.plot LOG... OUT.png``: training curves; ``--weights MODEL WEIGHTS OUT.png``: filters and weights.

Logs are the original's or this library's own: both say the same lines.
"""

import argparse
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nets import console
from nets.inference import load_for_inference, shape_flag
from nets.net import Net
from protos import files
from protos.errors import CaffeError

FORMATS = (".png", ".svg", ".pdf")
DPI = 110
LAYERS_SHOWN = 24
FILTERS_SHOWN = 144
GAP = 3  # pixels between filters

NUMBER = r"([-+]?(?:[0-9.]+(?:e[-+]?[0-9]+)?|nan|inf))"
TRAINED = re.compile(rf"Iteration (\d+)(?: \(.*?\))?, loss = {NUMBER}")
RATE = re.compile(rf"Iteration (\d+), lr = {NUMBER}")
TESTING = re.compile(r"Iteration (\d+), Testing net \(#(\d+)\)")
TESTED = re.compile(rf"Test net output #\d+: (\S+) = {NUMBER}")

RESTORED = re.compile(r"Restoring previous solver status from .*_iter_(\d+)\.solverstate")

Points = list[tuple[int, float]]


@dataclass
class Curves:
    """What a log says by iteration: ``loss`` and ``rate`` in training, ``tests`` by the name of the output."""

    name: str
    loss: Points = field(default_factory=list)
    rate: Points = field(default_factory=list)
    tests: dict[str, Points] = field(default_factory=dict)

    def cut(self, start: int) -> None:
        """Forget what was said from iteration *start* on."""
        for points in (self.loss, self.rate, *self.tests.values()):
            points[:] = [(at, value) for at, value in points if at < start]


def read_log(path: Path) -> Curves:
    """The curves in a log. Raises CaffeError where it is no training log.

    Where a run went on from a snapshot in the same log, what it did again counts once.
    """
    found = Curves(path.stem)
    at, prefix = 0, ""
    for line in files.read(path).decode(errors="replace").splitlines():
        if match := RESTORED.search(line):
            found.cut(int(match[1]))
        elif match := TESTING.search(line):
            at, prefix = int(match[1]), "" if match[2] == "0" else f"net {match[2]}: "
        elif match := TESTED.search(line):
            found.tests.setdefault(prefix + match[1], []).append((at, float(match[2])))
        elif match := RATE.search(line):
            found.rate.append((int(match[1]), float(match[2])))
        elif match := TRAINED.search(line):
            found.loss.append((int(match[1]), float(match[2])))
    if not (found.loss or found.tests):
        raise CaffeError(f"{path}: no line of a training log in it ('Iteration 100, loss = 0.5')")
    return found


def matplotlib() -> Any:
    """``matplotlib.pyplot``, drawing to files. Raises CaffeError where it is not installed."""
    try:
        import matplotlib as library  # noqa: PLC0415  # an optional dependency

        library.use("Agg")
        import matplotlib.pyplot as plt  # noqa: PLC0415
    except ImportError:
        raise CaffeError("plotting needs the matplotlib package: pip install 'caffetorch[plot]'") from None
    return plt


def plot_curves(logs: Sequence[Curves], path: Path) -> None:
    """Losses, other test outputs and learning rates over the iterations, a panel each; a colour for each log."""
    plt = matplotlib()
    is_loss = {name: "loss" in name.lower() for log in logs for name in log.tests}
    panels = ["loss"]
    panels += ["test score"] if not all(is_loss.values()) else []
    panels += ["learning rate"] if any(log.rate for log in logs) else []
    figure, axes = plt.subplots(
        len(panels), 1, sharex=True, squeeze=False, figsize=(9, 1 + 2.9 * len(panels)), layout="constrained"
    )
    by_name = dict(zip(panels, axes[:, 0], strict=True))
    for number, log in enumerate(logs):
        colour = f"C{number % 10}"
        label = f"{log.name}: " if len(logs) > 1 else ""
        _line(by_name["loss"], log.loss, f"{label}train", colour)
        styles = ("--", "-.", ":")
        for i, (name, points) in enumerate(log.tests.items()):
            panel = by_name["loss" if is_loss[name] else "test score"]
            shade = colour if len(logs) > 1 else f"C{1 + i % 9}"
            _line(panel, points, f"{label}test {name}", shade, styles[i % 3] if len(logs) > 1 else "--", "o")
        if "learning rate" in by_name:
            _line(by_name["learning rate"], log.rate, f"{label}rate", colour)
    for name, panel in by_name.items():
        drawn = [value for curve in panel.get_lines() for value in curve.get_ydata() if isfinite(value)]
        decades = name == "loss" and spans_decades(drawn)
        if decades:
            panel.set_yscale("log")
        panel.set_ylabel(f"{name} (logarithmic)" if decades else name)
        panel.grid(alpha=0.3)
        if panel.get_legend_handles_labels()[0] and (name != "learning rate" or len(logs) > 1):
            panel.legend(fontsize=8, framealpha=0.9)
    axes[-1, 0].set_xlabel("iteration")
    axes[-1, 0].xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(", ".join(log.name for log in logs) if len(logs) < 4 else f"{len(logs)} logs", fontsize=11)
    save(plt, figure, path)


def spans_decades(values: Sequence[float]) -> bool:
    """Whether few values are so much greater than most that these are told apart on a logarithmic axis alone."""
    return bool(values) and min(values) > 0 and max(values) > 20 * sorted(values)[len(values) // 2]


def _line(panel: Any, points: Points, label: str, colour: str, style: str = "-", marker: str = "") -> None:
    if points:
        x, y = zip(*points, strict=True)
        panel.plot(x, [v if isfinite(v) else np.nan for v in y], style, label=label, color=colour, marker=marker,
                   markersize=3.5, linewidth=1.3)  # fmt: skip


def save(plt: Any, figure: Any, path: Path) -> None:
    """Write *figure* to *path*, whole or not at all."""
    out = io.BytesIO()
    figure.savefig(out, format=path.suffix[1:], dpi=DPI)
    plt.close(figure)
    with files.replacing(path) as file:
        file.write(out.getvalue())


# ---- weights


def plot_weights(net: Net, path: Path) -> None:
    """The first layer's filters as images, and a histogram of the weights of each layer."""
    plt = matplotlib()
    weighted = [(node.name, layer.blobs[0]) for node, layer in net.nodes if layer.blobs and layer.blobs[0].dim() > 1]
    if not weighted:
        raise CaffeError(f"net '{net.graph.name}' has no layers with weights to show")
    first = first_filters(net)
    shown = weighted[:LAYERS_SHOWN]
    columns = min(4, len(shown))
    lines = ceil(len(shown) / columns)
    height = (4.6 if first else 0) + 1.9 * lines
    figure = plt.figure(figsize=(10, height + 0.5), layout="constrained")
    parts = figure.subfigures(2, 1, height_ratios=(4.6, 1.9 * lines)) if first else (None, figure)
    if first:
        _show_filters(parts[0], *first)
    panels = parts[1].subplots(lines, columns, squeeze=False).ravel()
    for panel, (name, blob) in zip(panels, shown, strict=False):
        values = blob.detach().float().cpu().numpy().ravel()
        panel.hist(values, bins=60, color="#2f6ba8", log=True)
        panel.set_title(name if len(name) <= 28 else f"...{name[-26:]}", fontsize=8)
        panel.tick_params(labelsize=7)
        panel.xaxis.set_major_locator(plt.MaxNLocator(5, steps=[1, 2, 5, 10]))
        panel.tick_params(which="minor", labelleft=False)
        panel.set_ylim(bottom=0.7, top=2 * panel.get_ylim()[1])
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    more = f" (the first {LAYERS_SHOWN} of {len(weighted)} layers)" if len(weighted) > LAYERS_SHOWN else ""
    parts[1].supxlabel(f"weight{more}", fontsize=9)
    parts[1].supylabel("how many (logarithmic)", fontsize=9)
    save(plt, figure, path)


def first_filters(net: Net, layer: str = "") -> tuple[str, NDArray[np.float32]] | None:
    """Name and weights (filters x C x H x W) of *layer*, or of the first layer that has filters; None where none has.

    An inner product on the values of the input's images has a filter, of their shape, for each output.
    """
    items = [net.shapes[name][1:] for name in net.graph.inputs]
    images = {prod(item): item for item in items if len(item) == 3 and item[0] in (1, 3) and min(item[1:]) > 1}
    for node, module in net.nodes:
        if module.blobs and layer in ("", node.name):
            weight = module.blobs[0].detach().float().cpu().numpy()
            if weight.ndim == 4 and max(weight.shape[2:]) > 1:
                return node.name, weight
            if node.type == "InnerProduct" and weight.shape[1] in images:
                return node.name, weight.reshape(-1, *images[weight.shape[1]])
    return None


def filter_tiles(weight: NDArray[np.float32], channels: str = "BGR") -> tuple[NDArray[np.float32], str]:
    """Pictures of the first ``FILTERS_SHOWN`` filters (filters x H x W x 1, or x 3 in RGB, 0 to 1), and what they show.

    Each is between its least and greatest value; what is no number counts as 0. Three channels are a colour's, in the
    order of *channels*; of more, the mean is shown.
    """
    tiles = np.nan_to_num(weight[:FILTERS_SHOWN], nan=0, posinf=0, neginf=0).transpose(0, 2, 3, 1)
    count = tiles.shape[3]
    order = slice(None, None, 1 if channels == "RGB" else -1)
    tiles = tiles[..., order] if count == 3 else tiles.mean(3, keepdims=True)
    low, high = (f(tiles, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    kind = "in colour" if count == 3 else "in grey" if count == 1 else f"mean of {count} channels"
    of = f"the first {len(tiles)} of {len(weight)}" if len(weight) > len(tiles) else f"{len(weight)}"
    said = f"{of} filters of {weight.shape[2]} x {weight.shape[3]} pixels, {kind}"
    return (tiles - low) / np.maximum(high - low, 1e-12), f"{said}, each from its least to its greatest value"


def _show_filters(part: Any, name: str, weight: NDArray[np.float32]) -> None:
    """Filters side by side."""
    tiles, said = filter_tiles(weight)
    larger = max(1, 32 // max(tiles.shape[1:3]))  # so that the gaps are thin beside the filters
    tiles = tiles.repeat(larger, 1).repeat(larger, 2)
    columns = ceil(len(tiles) ** 0.5 * 1.5)
    rows = ceil(len(tiles) / columns)
    h, w = tiles.shape[1:3]
    sheet = np.ones((rows * (h + GAP) - GAP, columns * (w + GAP) - GAP, tiles.shape[3]), np.float32)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (h + GAP), i % columns * (w + GAP)
        sheet[top : top + h, left : left + w] = tile
    panel = part.subplots()
    grey = tiles.shape[3] == 1
    panel.imshow(sheet[..., 0] if grey else sheet, cmap="gray" if grey else None, interpolation="nearest")
    panel.set_title(f"{name}: {said}", fontsize=9)
    panel.set_axis_off()


# ---- the command


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    made = console.parser("nets.plot", "Plot training logs, or with --weights a net's filters and weights.")
    made.add_argument("files", nargs="+", metavar="LOG... OUT.png", help="with --weights: MODEL WEIGHTS OUT.png")
    console.flag(made, "weights", "plot weights instead of logs", action="store_true")
    shape_flag(made)
    console.state_flags(made)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    args = console.parse(parser(), argv)
    *given, out = args.files
    path = Path(out)
    if path.suffix not in FORMATS:
        raise CaffeError(f"{out}: the last name is the picture's, and ends in {', '.join(FORMATS)}")
    if args.weights:
        if len(given) != 2:
            raise CaffeError("--weights takes MODEL WEIGHTS OUT.png")
        plot_weights(load_for_inference(given[0], given[1], args), path)
    else:
        if not given:
            raise CaffeError("name at least one log, then the picture")
        plot_curves(_distinct(read_log(Path(log)) for log in given), path)
    return 0


def _distinct(logs: Iterable[Curves]) -> list[Curves]:
    """*logs*, those of equal names with numbers."""
    found: list[Curves] = []
    for log in logs:
        same = sum(other.name.split(" #")[0] == log.name for other in found)
        log.name = f"{log.name} #{same + 1}" if same else log.name
        found.append(log)
    return found


if __name__ == "__main__":
    console.run(main)
