"""ImageSegData: images whose pixels have labels each, as DeepLab and PSPNet train on them."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data import images
from data.ahead import AheadSource, Pick
from data.dense import DenseRecords, read_text
from data.images import Pixels
from data.interpolation import nearest
from data.source import SOURCES, Place, Shape, Shapes, check_batch_size, check_options, check_tops
from data.transform import Transform
from protos.errors import DataError
from protos.schema import ImageDataParameter, LayerParameter, TransformationParameter

_OPTIONS = (
    "source", "batch_size", "rand_skip", "shuffle", "new_height", "new_width", "is_color", "root_folder", "label_type",
    "ignore_label",
)  # fmt: skip
_TRANSFORM = ("scale", "mirror", "mean_value", "crop_size", "crop_height", "crop_width", "scale_factors")


@SOURCES("ImageSegData")
class SegmentationSource(AheadSource):
    """ImageSegData: the images that a list file names, ``image labels`` a line, below root_folder, with their pixels'
    labels. What stands behind an image is the image of its labels (label_type PIXEL), one label for all its pixels
    (IMAGE, the default), or not looked at (NONE: all labels are ignore_label, 255). Tops data (B x C x H x W), label
    (B x 1 x H x W) and data_dim (B x 1 x 1 x 2: rows and columns of the image, no more than the crop's).

    new_height and new_width resize images and, blending them likewise, labels. Then an image becomes one of
    scale_factors as large, by chance, its labels those of the nearest pixels; what it lacks to the crop (crop_size, or
    crop_height and crop_width) is added below and at the right, with ignore_label for labels and what becomes 0 for
    data; and it is cut, at random in TRAIN and in the middle in TEST, and mirrored. Source: DeepLab v2, PSPNet.
    """

    message = "image_data_param"
    _records: "SegmentationRecords"

    def __init__(self, layer: LayerParameter, phase: str, place: Place) -> None:
        param, transform = layer.image_data_param, layer.transform_param
        _check(layer)
        super().__init__(layer, phase, place, Pick(param.batch_size, param.rand_skip, param.shuffle))
        records = SegmentationRecords(param)
        self.shapes = _shapes(layer, phase, records)
        self._crop = _crop(transform)
        self._mirror = transform.mirror
        self._factors = np.array(transform.scale_factors, np.float32)
        self._ignored = _as_byte(param.ignore_label)
        self._level = _level(layer, phase, records)
        self._begin(records)

    @classmethod
    def peek(cls, layer: LayerParameter, phase: str) -> Shapes:
        """See :meth:`Source.peek`."""
        _check(layer)
        return _shapes(layer, phase, SegmentationRecords(layer.image_data_param))

    def _work(self, number: int, raws: list[int], draws: np.random.Generator) -> tuple[Tensor, ...]:
        found = [self._records.pixels(raw) for raw in raws]
        channels, *size = found[0].shape
        height, width = self._crop or size
        data = np.zeros((len(raws), channels - 1, height, width), np.float32)
        labels = np.full((len(raws), 1, height, width), self._ignored, np.float32)
        for i, (values, chances) in enumerate(zip(found, draws.random((len(raws), 4)), strict=True)):
            if not self._crop and values.shape != found[0].shape:
                first, other = ("x".join(map(str, one.shape[1:])) for one in (found[0], values))
                raise DataError(
                    f"{self._records}: batch {number} mixes images of {first} and {other} (number {i} of the batch);"
                    " resize them, set crop_size, or use batch_size 1"
                )
            box = self._cut(self._scaled(values, chances[0]), height, width, chances[1:3])
            within = (i, slice(None), slice(box.shape[1]), slice(box.shape[2]))
            data[within] = self._level.level(torch.from_numpy(box[None, :-1]), np.zeros((3, 1), np.int64)).numpy()[0]
            labels[within] = box[-1:]
            if self._mirror and chances[3] < 0.5:
                data[i], labels[i] = data[i, :, :, ::-1].copy(), labels[i, :, :, ::-1].copy()
        sizes = [[min(height, values.shape[1]), min(width, values.shape[2])] for values in found]
        dims = torch.tensor(sizes, dtype=torch.float32).reshape(-1, 1, 1, 2)
        return torch.from_numpy(data), torch.from_numpy(labels), dims

    def _scaled(self, values: Pixels, chance: float) -> Pixels:
        """An image and its labels, the last channel, by one of the factors."""
        factor = self._factors[int(chance * len(self._factors))] if len(self._factors) else 1
        if factor == 1:
            return values
        height, width = (max(1, int(np.float32(size) * factor)) for size in values.shape[1:])
        return np.concatenate((images.resize(values[:-1], height, width), nearest(values[-1:], height, width)))

    def _cut(self, values: Pixels, height: int, width: int, chances: NDArray[np.float64]) -> Pixels:
        """What of *values* the crop shows: less than its size where the image is smaller."""
        room = [max(0, have - want) for have, want in zip(values.shape[1:], (height, width), strict=True)]
        if self._random:
            top, left = (int(chance * (free + 1)) for chance, free in zip(chances, room, strict=True))
        else:
            top, left = (free // 2 for free in room)
        return values[:, top : top + height, left : left + width]

    def _batch(self, number: int) -> dict[str, Tensor]:
        tensors = [x.to(self._place.device, non_blocking=True) for x in self._loader[number]]
        return dict(zip(self.tops, tensors, strict=False))


class SegmentationRecords(DenseRecords):
    """Images with their labels as a last channel, of a list file that says them as *param*'s label_type has it."""

    def __init__(self, param: ImageDataParameter) -> None:
        self._kind = param.label_type
        self._ignored = _as_byte(param.ignore_label)
        size = (param.new_height, param.new_width) if param.new_height else None
        super().__init__(param.source, param.root_folder, param.is_color, size)

    def _listed(self, path: str) -> list[tuple[str, str]]:
        entries = []
        for number, line in enumerate(read_text(path).splitlines(), 1):
            name, *said = line.split() or [""]
            if not name:
                continue
            if self._kind == ImageDataParameter.NONE:
                said = [""]
            if not said or (self._kind == ImageDataParameter.IMAGE and not said[0].lstrip("+-").isdecimal()):
                wanted = "an image of labels" if self._kind == ImageDataParameter.PIXEL else "a label (an integer)"
                kind = ImageDataParameter.LabelType.Name(self._kind)
                raise DataError(
                    f"{path}, line {number}: {line[:80]!r} is not an image and {wanted}: label_type is {kind}"
                )
            entries.append((name, said[0]))
        return entries

    def _labels(self, said: str, size: tuple[int, ...]) -> Pixels:
        if self._kind != ImageDataParameter.PIXEL:
            return np.full((1, *size), _as_byte(int(said)) if said else self._ignored, np.uint8)
        labels = images.decode(Path(self._root + said), False)
        return images.resize(labels, *self._size) if self._size else labels


def _check(layer: LayerParameter) -> None:
    param, transform = layer.image_data_param, layer.transform_param
    check_tops(layer, 2, 3)
    check_options(layer, param, _OPTIONS)
    check_options(layer, transform, _TRANSFORM)
    check_batch_size(layer, param.batch_size)
    problem = ""
    if bool(param.new_height) != bool(param.new_width):
        problem = "new_height and new_width go together; one of them is missing"
    elif bool(transform.crop_height) != bool(transform.crop_width) or (transform.crop_size and transform.crop_height):
        problem = "it takes crop_size, or both crop_height and crop_width"
    elif transform.scale_factors and not _crop(transform):
        problem = "scale_factors need a crop: images of several sizes cannot be one batch"
    elif any(not factor > 0 for factor in transform.scale_factors):
        problem = "scale_factors must be above 0"
    if problem:
        raise DataError(f"layer {layer.name!r} (ImageSegData): {problem}")


def _crop(transform: TransformationParameter) -> tuple[int, int] | None:
    """Rows and columns of the crop, if any."""
    if transform.crop_height:
        return transform.crop_height, transform.crop_width
    return (transform.crop_size, transform.crop_size) if transform.crop_size else None


def _level(layer: LayerParameter, phase: str, records: SegmentationRecords) -> Transform:
    """``(x - mean) * scale``; DataError where the mean does not fit the images."""
    param = layer.transform_param
    last = TransformationParameter(scale=param.scale, mean_value=param.mean_value)
    return Transform(last, phase, records.first[0].shape[0] - 1)


def _shapes(layer: LayerParameter, phase: str, records: SegmentationRecords) -> Shapes:
    _level(layer, phase, records)
    channels, *size = records.first[0].shape
    height, width = _crop(layer.transform_param) or size
    count = layer.image_data_param.batch_size
    tops: list[Shape] = [(count, channels - 1, height, width), (count, 1, height, width), (count, 1, 1, 2)]
    return dict(zip(layer.top, tops, strict=False))


def _as_byte(label: int) -> int:
    """As labels are kept: what is beyond a byte becomes its nearest value."""
    return min(max(label, 0), 255)
