"""AnnotatedData: images with the boxes of their objects, as SSD trains on them."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data import datum
from data.ahead import AheadSource, Pick
from data.annotations import Objects
from data.augmentation import Augmentation
from data.images import Pixels
from data.raw import RawReader
from data.records import Example, StoreRecords
from data.source import SOURCES, Place, Shape, Shapes, check_batch_size, check_options, check_tops
from data.transform import Transform
from protos.errors import DataError
from protos.schema import AnnotatedDatum, LayerParameter, ResizeParameter, TransformationParameter

Rows = NDArray[np.float32]

_OPTIONS = ("source", "batch_size", "rand_skip", "shuffle", "backend", "force_encoded_color", "prefetch")
_HINTS = ("cache", "threads", "parser_threads", "precache")  # how fast, not what
_ANNOTATED = ("batch_sampler", "label_map_file", "anno_type")
_COLUMNS = 8  # item, class, instance, x1, y1, x2, y2, difficult


class Annotated(NamedTuple):
    """A record: its image, its objects, and the label of the image itself if it has one."""

    pixels: Pixels
    objects: Objects
    label: float | None


@SOURCES("AnnotatedData")
class AnnotatedSource(AheadSource):
    """AnnotatedData: the AnnotatedDatums of an LMDB or LevelDB, in the order of the keys. Tops data (B x C x H x W) and
    label (1 x 1 x boxes x 8: item, class, instance, x1, y1, x2, y2, difficult; one row of -1 where there is no box; or
    B x 1 x 1 x 1, the images' labels, where neither the first record nor anno_type has a type).

    An image is distorted, widened, cut out by one of the batch_samplers' frames, resized, cropped and mirrored, and its
    boxes with it, all by chance, and as in the original in both phases where the layer asks for it; in TEST the crop is
    in the middle. Then ``(x - mean) * scale``. Under several ranks the records are dealt out in TRAIN.
    ``label_map_file`` is not looked at, as in the original. Source: SSD.
    """

    _records: "AnnotatedRecords"

    def __init__(self, layer: LayerParameter, phase: str, place: Place) -> None:
        _check(layer)
        param, random = layer.data_param, phase == "TRAIN"
        pick = Pick(param.batch_size, param.rand_skip if random else 0, random and param.shuffle)
        super().__init__(layer, phase, place, pick)
        self._augmentation = Augmentation(layer)
        records = _open(layer)
        try:
            self._level, self.shapes = _treat(layer, phase, self._augmentation, records)
        except DataError:
            records.close()
            raise
        self._begin(records)

    @classmethod
    def peek(cls, layer: LayerParameter, phase: str) -> Shapes:
        """See :meth:`Source.peek`."""
        _check(layer)
        augmentation, records = Augmentation(layer), _open(layer)
        records.close()
        return _treat(layer, phase, augmentation, records)[1]

    def _work(self, number: int, raws: list[tuple[int, bytes]], draws: np.random.Generator) -> tuple[Tensor, Tensor]:
        images: list[Pixels] = []
        rows, labels = [], []
        for item, raw in enumerate(raws):
            record = self._records.examine(raw)
            try:
                pixels, objects = self._augmentation(record.pixels, record.objects, draws, central=not self._random)
            except DataError as error:
                raise DataError(f"{self._records}, record {raw[0]}: {error}") from None
            if images and images[0].shape != pixels.shape:
                first, other = ("x".join(map(str, x.shape)) for x in (images[0], pixels))
                raise DataError(
                    f"{self._records}: batch {number} mixes images of {first} and {other} (record {raw[0]});"
                    " resize them (resize_param), or use batch_size 1"
                )
            images.append(pixels)
            rows.append(_rows(item, objects))
            labels.append(record.label)
        return torch.from_numpy(np.stack(images)), self._labels(rows, labels)

    def _labels(self, rows: list[Rows], labels: list[float | None]) -> Tensor:
        if not self._records.typed:
            if len(self.tops) > 1 and None in labels:
                raise DataError(f"{self._records}: a record has neither a type, and so boxes, nor a label")
            return torch.tensor([label or 0.0 for label in labels]).reshape(-1, 1, 1, 1)
        together = np.concatenate(rows)
        return torch.from_numpy(together if len(together) else np.full((1, _COLUMNS), -1, np.float32))[None, None]

    def _batch(self, number: int) -> dict[str, Tensor]:
        images, labels = self._loader[number]
        self._level.shape(tuple(images.shape[1:]))
        cuts = self._level.cuts(images.shape[2], images.shape[3], np.zeros((3, len(images))))
        data = self._level.level(images.to(self._place.device, non_blocking=True), cuts)
        return dict(zip(self.tops, (data, labels.to(self._place.device)), strict=False))


def _rows(item: int, objects: Objects) -> Rows:
    out = np.empty((len(objects.boxes), _COLUMNS), np.float32)
    out[:, 0] = item
    out[:, [1, 2, 7]] = objects.facts
    out[:, 3:7] = objects.boxes
    return out


def _check(layer: LayerParameter) -> None:
    param = layer.data_param
    check_tops(layer, 1, 2)
    check_options(layer, param, (*_OPTIONS, *_HINTS))
    check_options(layer, layer.annotated_data_param, _ANNOTATED)
    check_batch_size(layer, param.batch_size)
    modes = {resize.resize_mode for resize in layer.transform_param.resize_param}
    if ResizeParameter.FIT_SMALL_SIZE in modes and param.batch_size > 1:
        raise DataError(f"layer {layer.name!r} (AnnotatedData): FIT_SMALL_SIZE needs batch_size 1: sizes differ")


def _open(layer: LayerParameter) -> "AnnotatedRecords":
    transform, param = layer.transform_param, layer.annotated_data_param
    color = transform.force_color or layer.data_param.force_encoded_color
    kind = param.anno_type if param.HasField("anno_type") else None
    return AnnotatedRecords(layer.data_param.source, True if color else False if transform.force_gray else None, kind)


def _treat(
    layer: LayerParameter, phase: str, augmentation: Augmentation, records: "AnnotatedRecords"
) -> tuple[Transform, Shapes]:
    """The arithmetic that comes last, and the shapes of the tops; DataError where the first record does not fit."""
    channels, *size = records.first[0].shape
    param = layer.transform_param
    distorts = param.distort_param
    if channels != 3 and (distorts.saturation_prob or distorts.hue_prob or distorts.random_order_prob):
        raise DataError(f"layer {layer.name!r}: distort_param of colours needs 3 channels, not {channels}")
    for resize in param.resize_param:
        if len(resize.pad_value) not in (0, 1, channels):
            raise DataError(f"layer {layer.name!r}: {len(resize.pad_value)} pad_value for {channels} channels")
    last = TransformationParameter(scale=param.scale, mean_value=param.mean_value)
    if param.mean_file:
        last.mean_file = param.mean_file
    level = Transform(last, phase, channels)
    shape: Shape = (channels, *augmentation.size(size[0], size[1]))
    tops: list[Shape] = [(layer.data_param.batch_size, *level.shape(shape))]
    tops.append((1, 1, max(1, records.boxes), _COLUMNS) if records.typed else (layer.data_param.batch_size, 1, 1, 1))
    return level, dict(zip(layer.top, tops, strict=False))


class AnnotatedRecords(StoreRecords):
    """The AnnotatedDatums of a store; *kind* stands for the type of all of them, where it is given.

    ``typed`` says whether they have objects, ``boxes`` how many the first has.
    """

    def __init__(self, path: str, color: bool | None, kind: int | None) -> None:
        self._kind = kind
        self.typed = kind is not None
        self.boxes = 0
        super().__init__(path, color)

    def _raw_reader(self) -> RawReader:
        """One that finds nothing: Datums within other messages are read one by one."""
        raw = self.read(np.zeros(1, np.int64))[0]
        self.typed = self.typed or datum.parse_annotated(raw[1], str(self)).HasField("type")
        self.boxes = len(self.examine(raw).objects.boxes)
        return RawReader(b"", b"")

    def decode(self, raw: tuple[int, bytes]) -> Example:
        """See :meth:`Records.decode`."""
        found = self.examine(raw)
        return found.pixels, found.label or 0.0

    def examine(self, raw: tuple[int, bytes]) -> Annotated:
        """All that is in a record. Raises DataError that names it where it is not what it has to be."""
        where = f"{self}, record {raw[0]}"
        message = datum.parse_annotated(raw[1], where)
        pixels = datum.values(message.datum, self._color, where)
        if pixels.dtype != np.uint8:
            raise DataError(f"{where}: AnnotatedData needs images of bytes, not `float_data`")
        kind = self._kind if self._kind is not None else message.type if message.HasField("type") else None
        if self.typed and kind is None:
            raise DataError(f"{where}: has no type, as others have; set anno_type: BBOX if it has boxes")
        if kind not in (None, AnnotatedDatum.BBOX):
            name = AnnotatedDatum.AnnotationType.Name(kind)
            raise DataError(f"{where}: annotations of type {name} are not supported, BBOX alone")
        label = float(message.datum.label) if message.datum.HasField("label") else None
        return Annotated(pixels, _objects(message), label)  # type: ignore[arg-type]


def _objects(message: AnnotatedDatum) -> Objects:
    found = [(group.group_label, one) for group in message.annotation_group for one in group.annotation]
    boxes = [(one.bbox.xmin, one.bbox.ymin, one.bbox.xmax, one.bbox.ymax) for _, one in found]
    facts = [(label, one.instance_id, one.bbox.difficult) for label, one in found]
    return Objects(np.array(boxes, np.float64).reshape(-1, 4), np.array(facts, np.int64).reshape(-1, 3))
