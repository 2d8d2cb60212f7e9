"""DenseImageData: images whose labels are images."""

from pathlib import Path

import numpy as np
from torch import Tensor

from data import images
from data.images import Pixels
from data.interpolation import nearest
from data.labelled import LabelledSource
from data.order import Indices
from data.records import Example, Records
from data.source import SOURCES, Place, Shape, Shapes, check_batch_size, check_options, check_tops
from data.transform import HONOURED, Transform
from protos.errors import DataError
from protos.files import reason
from protos.schema import LayerParameter, TransformationParameter


@SOURCES("DenseImageData")
class DenseImageDataSource(LabelledSource):
    """DenseImageData: the images that a list file names, ``image labels`` a line, below root_folder; the labels are the
    greys of an image of the same size. Tops data (B x C x H x W) and label (B x 1 x H x W).

    new_height and new_width resize the labels to the nearest pixel. The transform is the image's alone. As in SegNet's
    fork it must neither crop nor mirror.
    """

    _OPTIONS = ("source", "batch_size", "rand_skip", "shuffle", "new_height", "new_width", "is_color", "root_folder")

    def __init__(self, layer: LayerParameter, phase: str, place: Place) -> None:
        super().__init__(layer, phase, place)
        self._of_images = Transform(layer.transform_param, phase, self.shapes[self.tops[0]][1])

    @classmethod
    def _plan(cls, layer: LayerParameter) -> tuple[int, int, bool]:
        param = layer.dense_image_data_param
        check_tops(layer, 2, 2)
        check_options(layer, param, cls._OPTIONS)
        check_options(layer, layer.transform_param, HONOURED)
        if layer.transform_param.mirror or layer.transform_param.crop_size:
            raise DataError(f"layer {layer.name!r} (DenseImageData) takes no mirror and no crop_size: labels stay put")
        if bool(param.new_height) != bool(param.new_width):
            raise DataError(f"layer {layer.name!r}: new_height and new_width go together; one of them is missing")
        return check_batch_size(layer, param.batch_size), param.rand_skip, param.shuffle

    @classmethod
    def _open_records(cls, layer: LayerParameter) -> "DenseRecords":
        param = layer.dense_image_data_param
        size = (param.new_height, param.new_width) if param.new_height else None
        return DenseRecords(param.source, param.root_folder, param.is_color, size)

    @classmethod
    def _treat(cls, layer: LayerParameter, phase: str, batch_size: int, shape: Shape) -> tuple[Transform, Shapes]:
        channels, height, width = shape[0] - 1, *shape[1:]
        Transform(layer.transform_param, phase, channels).shape((channels, height, width))
        tops = (batch_size, channels, height, width), (batch_size, 1, height, width)
        return Transform(TransformationParameter(), phase, shape[0]), dict(zip(layer.top, tops, strict=True))

    def _batch(self, number: int) -> dict[str, Tensor]:
        data, labels = self.tops
        both = super()._batch(number)[data]
        self._of_images.shape((both.shape[1] - 1, *both.shape[2:]))
        cuts = self._of_images.cuts(both.shape[2], both.shape[3], np.zeros((3, len(both))))
        return {data: self._of_images.level(both[:, :-1], cuts), labels: both[:, -1:]}


class DenseRecords(Records[int]):
    """Images with their labels as a last channel, resized to *size* = (height, width), by a list file."""

    def __init__(self, list_file: str, root: str, color: bool, size: tuple[int, int] | None) -> None:
        self._list = list_file
        self._root = root
        self._color = color
        self._size = size
        self._entries = self._listed(list_file)
        super().__init__()

    def __str__(self) -> str:
        return self._list

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, indices: Indices) -> list[int]:
        """The indices themselves: files are read where they are decoded."""
        return indices.tolist()  # type: ignore[no-any-return]

    def decode(self, raw: int) -> Example:
        """See :meth:`Records.decode`."""
        return self.pixels(raw), 0.0

    def pixels(self, number: int) -> Pixels:
        """An image, and its labels as a last channel."""
        name, said = self._entries[number]
        pixels = images.decode(Path(self._root + name), self._color)
        if self._size:
            pixels = images.resize(pixels, *self._size)
        labels = self._labels(said, pixels.shape[1:])
        if labels.shape[1:] != pixels.shape[1:]:
            sizes = " and ".join("x".join(map(str, one.shape[1:])) for one in (pixels, labels))
            raise DataError(f"{self}: {name} and its labels {said} differ in size: {sizes}")
        return np.concatenate((pixels, labels))

    def _listed(self, path: str) -> list[tuple[str, str]]:
        """The names of images, each with what the list says of its labels."""
        words = read_text(path).split()
        if len(words) % 2:
            raise DataError(f"{path}: names {len(words)} files, where each image needs one with its labels")
        return list(zip(words[::2], words[1::2], strict=True))

    def _labels(self, said: str, size: tuple[int, ...]) -> Pixels:
        """The labels, 1 x H x W, of an image of this *size*."""
        labels = images.decode(Path(self._root + said), False)
        return nearest(labels, *self._size) if self._size else labels


def read_text(path: str) -> str:
    """What is in a list file, whatever its encoding."""
    try:
        return Path(path).read_text("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from None
