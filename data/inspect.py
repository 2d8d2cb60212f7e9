"""A look into a store: ``python -m data.inspect STORE [--images OUT.png]``."""

import argparse
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from math import ceil, sqrt
from pathlib import Path

import numpy as np
from PIL import Image

from data import datum, images
from data.command import natural, run
from data.datum import Values
from data.stores import Store, open_store
from protos.errors import DataError
from protos.files import replacing
from protos.schema import Datum

_TILE = 64  # the longest side of an image on a contact sheet, in pixels, before enlargement


def describe(store: Store, first: int = 5) -> Iterator[str]:
    """Lines: what the store is, its shapes and labels with how often they occur, and its first records."""
    shapes: Counter[str] = Counter()
    labels: Counter[int] = Counter()
    heads = []
    for at, (key, value) in enumerate(store.scan()):
        where = f"{store.path}, record {at}"
        record, boxes = datum.parse_either(value, where), _boxes(value, where)
        kind = _kind(record, where)
        shapes[kind] += 1
        labels.update([record.label if record.HasField("label") else -1] if boxes is None else boxes)
        if at < first:
            said = f"label {record.label}" if boxes is None else f"labels of boxes {boxes}"
            heads.append(f"  {key.decode(errors='backslashreplace')}: {kind}, {said}")
    yield f"{store.path}: {type(store).__name__.removesuffix('Store').upper()}, {len(store):,} records"
    yield "shapes: " + ", ".join(f"{shape} ({count:,})" for shape, count in shapes.most_common())
    yield "labels: " + ", ".join(f"{_label(label)}: {count:,}" for label, count in sorted(labels.items()))
    yield "first records:"
    yield from heads


def contact_sheet(store: Store, count: int, rgb: bool = False) -> Image.Image:
    """The first *count* records side by side; floats show their first channel, stretched to grey.

    Caffe keeps colours blue first; *rgb* says that this store has them red first, as CIFAR-10's.
    """
    pixels = [_pixels(store, at, value) for at, (_, value) in enumerate(islice(store.scan(), count))]
    if not pixels:
        raise DataError(f"{store.path}: there are no records in it")
    side = max(max(each.shape[1:]) for each in pixels) + 2
    columns = ceil(sqrt(len(pixels)))
    sheet = Image.new("RGB", (columns * side, ceil(len(pixels) / columns) * side), (32, 32, 32))
    for at, each in enumerate(pixels):
        sheet.paste(images.to_image(each[::-1] if rgb else each), (at % columns * side + 1, at // columns * side + 1))
    return sheet


def _pixels(store: Store, at: int, value: bytes) -> images.Pixels:
    where = f"{store.path}, record {at}"
    values = _bytes(datum.values(datum.parse_either(value, where), None, where))
    shrink = max(values.shape[1:]) / _TILE
    if shrink <= 1:
        return values
    return images.resize(values, *(max(1, round(size / shrink)) for size in values.shape[1:]))


def _bytes(values: Values) -> images.Pixels:
    if values.dtype == np.uint8:
        return values[: 3 if len(values) >= 3 else 1]  # type: ignore[return-value]  # bytes, as just seen
    low, high = float(values.min()), float(values.max())
    return ((values[:1] - low) * (255 / ((high - low) or 1))).astype(np.uint8)


def _boxes(value: bytes, where: str) -> list[int] | None:
    """The labels of the boxes in an AnnotatedDatum; None where the record has none to have."""
    if not datum.is_annotated(value):
        return None
    message = datum.parse_annotated(value, where)
    if not message.HasField("type"):
        return None
    return [group.group_label for group in message.annotation_group for _ in group.annotation]


def _kind(record: Datum, where: str) -> str:
    if record.encoded:
        return f"encoded {images.channels(record.data, where)}-channel image"
    kind = "floats" if len(record.float_data) else "bytes"
    return f"{record.channels}x{record.height}x{record.width} {kind}"


def _label(label: int) -> str:
    return "none" if label == -1 else str(label)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m data.inspect", description="Describe a store.")
    parser.add_argument("store", type=Path)
    parser.add_argument("--images", type=Path, metavar="OUT.png", help="write a contact sheet of the first records")
    parser.add_argument("--count", type=natural, default=100, help="how many images it shows; default: 100")
    parser.add_argument("--rgb", action="store_true", help="colours are stored red first, as CIFAR-10's are")
    args = parser.parse_args()
    with open_store(args.store) as store:
        print("\n".join(describe(store)))
        if args.images:
            with replacing(args.images) as file:
                contact_sheet(store, args.count, args.rgb).save(file, "PNG")


if __name__ == "__main__":
    run(main)
