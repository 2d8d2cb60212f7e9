"""The boxes that a detection net finds in images: shown, and written as a table or as arrays."""

import csv
import io
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nets.layers.detection import DetectionOutput
from nets.layers.yolo import YoloDetectionOutput, Yolov3DetectionOutput
from nets.net import Net
from protos import files

Floats = NDArray[np.float32]
COLUMNS = ("class", "confidence", "x1", "y1", "x2", "y2")


def finds_boxes(net: Net, top: str) -> bool:
    """Whether *top* of *net* are boxes found."""
    kinds = DetectionOutput, YoloDetectionOutput, Yolov3DetectionOutput
    return any(isinstance(layer, kinds) and top in node.tops for node, layer in net.nodes)


def by_item(rows: Floats, count: int) -> list[Floats]:
    """The boxes (K x 6: class, confidence, corners) of each of *count* items, those of greatest confidence first."""
    rows = rows.reshape(-1, 7)
    rows = rows[np.argsort(-rows[:, 2], kind="stable")]
    return [rows[(rows[:, 0] == item) & (rows[:, 1] >= 0), 1:] for item in range(count)]


def class_name(label: float, names: Sequence[str] | None) -> str:
    """The name of a class: its line in *names*, which counts the background too, or its number."""
    return names[int(label)] if names is not None and 0 <= label < len(names) else f"{label:g}"


def lines(item: str, boxes: Floats, names: Sequence[str] | None, top: int) -> str:
    """The *top* boxes of an item, with their corners in parts of the net's input."""
    shown = [
        f'{confidence:.4f} - "{class_name(label, names)}" at {", ".join(f"{corner:.4f}" for corner in corners)}'
        for label, confidence, *corners in boxes[:top].tolist()
    ]
    return "\n".join([f"---------- Boxes found in {item} ----------", *(shown or ["none"])])


def write(path: str, found: Sequence[tuple[str, Floats]], names: Sequence[str] | None) -> None:
    """Write all boxes as a table, a row each, or as ``.npz``: ``id`` (N,), and ``item``, ``class`` and so on (M,)."""
    if path.endswith(".npz"):
        places = np.concatenate([np.full(len(boxes), i, np.int64) for i, (_, boxes) in enumerate(found)])
        values = np.concatenate([boxes for _, boxes in found]).T
        with files.replacing(path) as file:
            columns = dict(zip(COLUMNS, values, strict=True))
            np.savez(file, id=np.array([item for item, _ in found]), item=places, **columns)
        return
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", *COLUMNS])
    for item, boxes in found:
        for label, *figures in boxes.tolist():
            writer.writerow([item, class_name(label, names), *(f"{figure:.6g}" for figure in figures)])
    with files.replacing(path) as file:
        file.write(os.fsencode(out.getvalue()))
