"""Images with boxes of objects, by a list of image and annotation files, as SSD's convert_annoset reads them."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from google.protobuf import text_format

from data import images
from data.build import Item
from data.imageset import ImageSet, Treatment
from protos import files
from protos.errors import CaffeError, DataError, listing
from protos.schema import AnnotatedDatum, LabelMap

log = logging.getLogger("caffe")

Labels = Mapping[str, int]


class Box(NamedTuple):
    """An object: its class, and its left, top, right and bottom: in a file in pixels, in an item in shares."""

    label: int
    corners: tuple[float, float, float, float]
    difficult: bool = False


class Found(NamedTuple):
    """What an annotation file says: height and width of the image (0: nothing), and the objects in it."""

    size: tuple[float, float]
    boxes: list[Box]


@dataclass(frozen=True)
class AnnotatedItem(Item):
    """An image, and the boxes in it as shares of its width and height; None: it has a label instead."""

    boxes: Sequence[Box] | None = None

    def pack(self) -> bytes:
        """The bytes of its AnnotatedDatum: a group for each class, in which the objects are numbered."""
        message = AnnotatedDatum()
        message.datum.ParseFromString(super().pack())
        if self.boxes is None:
            return message.SerializeToString()
        message.type = AnnotatedDatum.BBOX
        for label in dict.fromkeys(box.label for box in self.boxes):
            group = message.annotation_group.add(group_label=label)
            for number, box in enumerate(one for one in self.boxes if one.label == label):
                bbox = group.annotation.add(instance_id=number).bbox
                bbox.xmin, bbox.ymin, bbox.xmax, bbox.ymax = box.corners
                bbox.difficult = box.difficult
        return message.SerializeToString()


class AnnotatedSet(ImageSet):
    """The images below *root* with what is said of them: pairs of an image and an annotation file, or, without
    *labels*, of an image and its label.

    *kind* is xml (Pascal VOC), json (COCO, a file an image) or txt (``class x1 y1 x2 y2`` a line); by default the
    suffix says it. *labels* give names numbers. Boxes are in pixels of the files' images.
    """

    def __init__(
        self,
        root: Path,
        entries: Sequence[tuple[str, str]] | Sequence[tuple[str, int]],
        treatment: Treatment,
        labels: Labels | None,
        kind: str | None = None,
    ) -> None:
        super().__init__(root, [(name, 0) for name, _ in entries], treatment)
        self._said = [said for _, said in entries]
        self._labels = labels
        self._kind = kind

    def __getitem__(self, index: int) -> AnnotatedItem:
        name, said = self._entries[index][0], self._said[index]
        path = self._root / name
        pixels = images.decode(path, not self._treatment.gray)
        label = said if isinstance(said, int) else None
        item = self._treatment(pixels, path, label, name)
        if self._labels is None or isinstance(said, int):
            return AnnotatedItem(item.values, label, item.encoded, name)
        where = self._root / said
        found = read_annotations(where, self._labels, self._kind)
        height, width = pixels.shape[1:]
        if all(found.size) and found.size != (height, width):
            log.warning("%s: says %gx%g of an image of %dx%d", where, *found.size, height, width)
        size = found.size if all(found.size) else (height, width)
        return AnnotatedItem(item.values, None, item.encoded, name, [_share(box, size, where) for box in found.boxes])


def read_annotations(path: Path, labels: Labels, kind: str | None = None) -> Found:
    """What the file at *path* says, see :class:`AnnotatedSet`. Raises DataError where it is damaged."""
    kind = kind or path.suffix.lstrip(".").lower()
    if kind not in READERS:
        raise DataError(f"{path}: annotations are of the kinds {', '.join(READERS)}; name one by --label-type")
    try:
        return READERS[kind](_text(path), labels)
    except KeyError as error:
        raise DataError(f"{path}: there is no {error.args[0]}") from None
    except (ElementTree.ParseError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not annotations of the kind {kind} ({error})") from None


def _text(path: Path) -> str:
    try:
        return files.read(path).decode("utf-8-sig", "replace")
    except CaffeError as error:
        raise DataError(str(error)) from None


def _share(box: Box, size: tuple[float, float], where: Path) -> Box:
    height, width = size
    x1, y1, x2, y2 = box.corners
    if min(x1, y1) < 0 or max(x1, x2) > width or max(y1, y2) > height:
        log.warning("%s: a box exceeds the image: %g %g %g %g of %gx%g", where, *box.corners, width, height)
    if x1 > x2 or y1 > y2:
        log.warning("%s: a box ends before it begins: %g %g %g %g", where, *box.corners)
    return box._replace(corners=(x1 / width, y1 / height, x2 / width, y2 / height))


def _label(name: str, labels: Labels) -> int:
    if name not in labels:
        raise KeyError(f"class {name!r} in the label map")
    return labels[name]


# ---- kinds of annotation files


def _from_xml(text: str, labels: Labels) -> Found:
    root = ElementTree.fromstring(text)
    size = (_number(root, "size/height"), _number(root, "size/width"))
    boxes = []
    for one in root.findall("object"):
        box = one.find("bndbox")
        if box is None:
            raise KeyError("bndbox in an object")
        x1, y1, x2, y2 = (_number(box, side) for side in ("xmin", "ymin", "xmax", "ymax"))
        label = _label((one.findtext("name") or "").strip(), labels)
        boxes.append(Box(label, (x1, y1, x2, y2), (one.findtext("difficult") or "").strip() == "1"))
    return Found(size, boxes)


def _number(element: ElementTree.Element, name: str) -> float:
    """The number in the element below *element*, 0 without one."""
    return float(element.findtext(name) or 0)


def _from_json(text: str, labels: Labels) -> Found:
    said = json.loads(text)
    image = said.get("image", {})
    boxes = []
    for one in said["annotation"]:
        x, y, width, height = (float(value) for value in one["bbox"])
        corners = (x, y, x + width, y + height)
        boxes.append(Box(_label(str(one["category_id"]), labels), corners, bool(one.get("iscrowd", 0))))
    return Found((float(image.get("height", 0)), float(image.get("width", 0))), boxes)


def _from_txt(text: str, _: Labels) -> Found:
    boxes = []
    for line in text.splitlines():
        if line.strip():
            label, x1, y1, x2, y2 = line.split()
            boxes.append(Box(int(label), (float(x1), float(y1), float(x2), float(y2))))
    return Found((0, 0), boxes)


READERS: dict[str, Callable[[str, Labels], Found]] = {"xml": _from_xml, "json": _from_json, "txt": _from_txt}


# ---- lists and label maps


def read_pairs(list_file: Path) -> list[tuple[str, str]]:
    """Pairs of image and annotation file, ``image annotations`` a line. DataError for a bad line or none."""
    out = []
    for number, line in enumerate(_text(list_file).splitlines(), 1):
        words = line.split()
        if words and len(words) != 2:
            raise DataError(f"{list_file}, line {number}: {line[:80]!r} is not an image and its annotation file")
        out += [(words[0], words[1])] if words else []
    if not out:
        raise DataError(f"{list_file}: it names no image")
    return out


def read_label_map(path: Path, strict: bool = False) -> dict[str, int]:
    """Numbers of classes by name, from a LabelMap prototxt. Of a name that is there twice the last one counts; *strict*
    refuses that, and numbers that are there twice."""
    try:
        found = text_format.Parse(_text(path), LabelMap())
    except text_format.ParseError as error:
        raise DataError(f"{path}: not a label map: {' '.join(str(error).split())}") from None
    if not found.item:
        raise DataError(f"{path}: a label map without any item")
    twice = list(_repeated([repr(item.name) for item in found.item]))
    twice += _repeated([f"label {item.label}" for item in found.item])
    if strict and twice:
        raise DataError(f"{path}: twice in the label map: {listing(twice)}")
    return {item.name: item.label for item in found.item}


def _repeated(words: list[str]) -> Iterator[str]:
    return (word for word in dict.fromkeys(words) if words.count(word) > 1)
