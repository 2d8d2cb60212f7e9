"""What a net is asked about: images, stores and tables, read and treated as its data layer would."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data import datum, images, table
from data.annotations import Objects
from data.augmentation import Augmentation
from data.otto import Scaling
from data.stores import open_store
from data.transform import Transform, read_mean
from nets.layer import Shape, shape_text
from nets.net import Net
from nets.predictions import plan
from protos.errors import DataError, NetError
from protos.schema import TransformationParameter

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".webp"}

Values = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True)
class Item:
    """One thing to predict: its *name*, C x H x W *values*, its *label* where it is known; an image may be resized."""

    name: str
    values: Values
    label: int | None = None
    is_image: bool = False


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """*items* in lists of *size*."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


# ---- reading


def is_table(path: Path) -> bool:
    """Whether *path* is read as a table."""
    return path.suffix.lower() == ".csv"


def is_store(path: Path) -> bool:
    """Whether *path* is an LMDB or LevelDB."""
    return path.suffix == ".mdb" or (path.is_dir() and any((path / name).exists() for name in ("data.mdb", "CURRENT")))


def read_items(paths: Iterable[Path], channels: int, scaling: Path | None) -> Iterator[Item]:
    """The items of stores, tables and images, and of folders the images in them. Raises DataError."""
    for path in paths:
        if is_table(path):
            yield from _rows(path, scaling)
        elif is_store(path):
            yield from _records(path, channels)
        elif path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
            if not found:
                raise DataError(f"{path}: there are neither images nor a store in this folder")
            yield from (Item(str(file), images.decode(file, channels != 1), is_image=True) for file in found)
        else:
            yield Item(str(path), images.decode(path, channels != 1), is_image=True)


def _records(path: Path, channels: int) -> Iterator[Item]:
    with open_store(path) as store:
        for key, value in store.scan():
            name = key.decode(errors="replace")
            record = datum.parse_either(value, f"{path}, record {name}")
            values = datum.values(record, channels != 1 if record.encoded else None, f"{path}, record {name}")
            label = record.label if record.HasField("label") else None
            yield Item(name, values, label, is_image=datum.is_annotated(value))


def _rows(path: Path, scaling: Path | None) -> Iterator[Item]:
    """Rows of features; a column ``id`` names them, a column ``target`` holds their classes (Class_1 is 0)."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a table: {error}") from None
    has_id, has_target = "id" in header, "target" in header
    found = table.read_csv(path, "target" if has_target else None, ("id",) if has_id else ())
    names = table.read_csv(path, "id").labels if has_id and not has_target else None
    if has_id and has_target:
        names = [line[header.index("id")] for line in _lines(path)]
    values = Scaling.load(scaling)(found.values) if scaling is not None else found.values
    labels = found.labels or [""] * len(values)
    for i, (row, label) in enumerate(zip(values, labels, strict=True)):
        yield Item(names[i] if names else str(i + 1), row[:, None, None], _class(path, label) if label else None)


def _lines(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return [line for line in csv.reader(file) if line][1:]


def _class(path: Path, cell: str) -> int:
    """The class in a cell: "Class_3" is 2, "2" is 2."""
    name, _, number = cell.rpartition("_")
    if not number.isdecimal():
        raise DataError(f"{path}: target {cell!r} is neither Class_1, Class_2 ... nor a number")
    return int(number) - 1 if name else int(number)


# ---- treating


@dataclass(frozen=True)
class Flags:
    """What flags say of preprocessing; None leaves it to the prototxt. ``mean``: numbers by channel, or a file."""

    mean: str | None = None
    scale: float | None = None
    resize: tuple[int, int] | None = None


class Treatment:
    """Items to batches: resized (images), cut to the net's input from the centre, then (value - mean) * scale.

    Images are resized as an AnnotatedData layer says, where the net has one.
    """

    def __init__(self, net: Net, flags: Flags) -> None:
        self.input = image_input(net)
        self.shape = net.shapes[self.input]
        param = TransformationParameter()
        self._augmentation: Augmentation | None = None
        for source in net.graph.sources:
            if self.input in source.top:
                param.CopyFrom(source.transform_param)
                if source.type == "AnnotatedData" and not flags.resize:
                    self._augmentation = Augmentation(source)
        self._override(param, flags)
        self.resize = flags.resize or _mean_size(param)
        param.crop_size = 0  # the net's own input says how much is cut
        self._transform = Transform(param, "TEST", self.shape[1])

    @staticmethod
    def _override(param: TransformationParameter, flags: Flags) -> None:
        if flags.scale is not None:
            param.scale = flags.scale
        if flags.mean is not None:
            param.ClearField("mean_file")
            del param.mean_value[:]
            try:
                param.mean_value[:] = [float(part) for part in flags.mean.split(",")]
            except ValueError:
                param.mean_file = flags.mean

    def __call__(self, items: list[Item]) -> Tensor:
        """The batch of *items*. Raises DataError where one does not fit the net's input."""
        return torch.cat([self._one(item) for item in items])

    def size_of(self, item: Item) -> tuple[int, int] | None:
        """Rows and columns of an image that becomes the net's input as a whole; None where a part of it does."""
        whole = item.is_image and self._augmentation is None and self.resize in (None, self.shape[2:])
        height, width = item.values.shape[1:]
        return (height, width) if whole else None

    def _one(self, item: Item) -> Tensor:
        values = item.values
        wanted = self.shape[1:]
        if len(wanted) != 3:
            return self._flat(item, wanted)
        if values.shape[0] != wanted[0]:
            raise DataError(f"{item.name}: has {values.shape[0]} channels, the net's input has {wanted[0]}")
        if item.is_image:
            values = self._resized(values.astype(np.uint8, copy=False))
        height, width = values.shape[1:]
        if height < wanted[1] or width < wanted[2]:
            raise DataError(f"{item.name}: is {shape_text(values.shape)}, the net's input {shape_text(wanted)}")
        record = torch.from_numpy(values.copy())[None]
        cuts = self._transform.cuts(height, width, np.zeros((3, 1)))
        leveled = self._transform.level(record, cuts)
        top, left = (height - wanted[1]) // 2, (width - wanted[2]) // 2
        return leveled[:, :, top : top + wanted[1], left : left + wanted[2]]

    def _resized(self, values: images.Pixels) -> images.Pixels:
        if self._augmentation is not None:
            return self._augmentation(values, Objects.none(), None)[0]
        return images.resize(values, *(self.resize or self.shape[2:]))

    def _flat(self, item: Item, wanted: Shape) -> Tensor:
        if item.values.size != int(np.prod(wanted)):
            raise DataError(f"{item.name}: has {item.values.size} values, the net's input {shape_text(wanted)}")
        return torch.from_numpy(item.values.astype(np.float32)).reshape(1, *wanted)


def _mean_size(param: TransformationParameter) -> tuple[int, int] | None:
    """The size that images have to have for their mean to be taken off; None where any will do."""
    if not param.mean_file:
        return None
    height, width = read_mean(param.mean_file).shape[1:]
    return height, width


def image_input(net: Net) -> str:
    """The one input that the predictions of *net* need. Raises NetError where there are several, or none."""
    planned = plan(net)
    wanted = {one.blob for one in planned.predictions}
    for node, _ in reversed(net.nodes):
        if {*node.tops} & wanted:
            wanted |= {*node.bottoms}
    used = wanted & net.graph.inputs.keys()
    if len(used) != 1:
        names = ", ".join(sorted(used)) or "none"
        raise NetError(f"net '{net.graph.name}' needs one input for its predictions, not several or none: {names}")
    name = used.pop()
    if len(net.shapes[name]) < 2:
        raise NetError(f"net '{net.graph.name}': its input '{name}' needs a batch of at least 2 axes")
    return name
