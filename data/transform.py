"""The transform of the data layers: crop, mirror, subtract a mean, scale: ``(x - mean) * scale``.

Crops are random in TRAIN and central in TEST; mirroring is random in both, as in the original. The work is
split in two: *cut* (which pixels, any type) and *level* (the arithmetic, float32), so that bytes travel.
"""

from pathlib import Path

import numpy as np
import torch
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from torch import Tensor

from protos.errors import DataError
from protos.schema import BlobProto, TransformationParameter

Shape = tuple[int, ...]
Cuts = NDArray[np.int64]  # 3 x batch: first row, first column, mirrored (0 or 1)

HONOURED = ("scale", "mirror", "crop_size", "mean_file", "mean_value", "force_color", "force_gray")


class Transform:
    """A ``transform_param`` for records of one number of channels.

    *channels* is that of the records after decoding. Raises DataError for a mean that does
    not fit or cannot be read.
    """

    def __init__(self, param: TransformationParameter, phase: str, channels: int) -> None:
        self.crop = param.crop_size
        self.mirror = param.mirror
        self._scale = param.scale
        self.random_crop = bool(self.crop) and phase == "TRAIN"
        self._mean_by_device: dict[torch.device, Tensor] = {}
        self._mean = _mean(param, channels)
        self._mean_image = self._mean if param.mean_file else None

    @property
    def fixed(self) -> bool:
        """Whether equal records come out equal."""
        return not (self.random_crop or self.mirror)

    def shape(self, shape: Shape) -> Shape:
        """C x H x W of what comes of records of *shape*; DataError where a crop or the mean does not fit."""
        channels, height, width = shape
        if self._mean_image is not None and tuple(self._mean_image.shape) != shape:
            raise DataError(f"mean_file has the shape {_by(self._mean_image.shape)}, but the records have {_by(shape)}")
        if not self.crop:
            return shape
        if self.crop > min(height, width):
            raise DataError(f"crop_size {self.crop} exceeds the records of {_by(shape)}")
        return channels, self.crop, self.crop

    def cuts(self, height: int, width: int, draws: NDArray[np.float64]) -> Cuts:
        """Where to cut records of *height* x *width*: *draws* are 3 x batch uniform numbers."""
        size = np.array([[height], [width]]) - (self.crop or np.array([[height], [width]]))
        out = np.empty((3, draws.shape[1]), np.int64)
        out[:2] = (draws[:2] * (size + 1)).astype(np.int64) if self.random_crop else size // 2
        out[2] = (draws[2] < 0.5) if self.mirror else 0
        return out

    def cut_one(self, values: NDArray[np.generic], cut: Cuts) -> NDArray[np.generic]:
        """Cut one C x H x W record; *cut* is a column of :meth:`cuts`. A view."""
        top, left, mirrored = (int(x) for x in cut)
        height, width = (self.crop, self.crop) if self.crop else values.shape[1:]
        out = values[:, top : top + height, left : left + width]
        return out[:, :, ::-1] if mirrored else out

    def cut(self, records: Tensor, cuts: Cuts) -> Tensor:
        """Cut records B x C x H x W on their device; a view where all are cut alike."""
        height, width = (self.crop, self.crop) if self.crop else records.shape[2:]
        if self.fixed:
            top, left = int(cuts[0, 0]), int(cuts[1, 0])
            return records[:, :, top : top + height, left : left + width]
        cut = cut_each if records.device.type == "cpu" else cut_together
        return cut(records, cuts, height, width)

    def level(self, cut: Tensor, cuts: Cuts) -> Tensor:
        """The float32 batch ``(x - mean) * scale`` of cut records B x C x h x w; never the input's memory."""
        mean = self._mean_for(cut, cuts)
        if cut.device.type == "cpu":
            return self._level_on_cpu(cut, mean)
        out = cut.to(torch.float32, copy=True)
        if mean is not None:
            out.sub_(mean)
        return out if self._scale == 1 else out.mul_(self._scale)

    def _level_on_cpu(self, cut: Tensor, mean: Tensor | None) -> Tensor:
        """NumPy does this in one thread: faster than waking torch's for what takes 50 microseconds."""
        out = cut.numpy().astype(np.float32, order="C")
        if mean is not None:
            out -= mean.numpy()
        if self._scale != 1:
            out *= np.float32(self._scale)
        return torch.from_numpy(out)

    def _mean_for(self, cut: Tensor, cuts: Cuts) -> Tensor | None:
        if self._mean is None:
            return None
        if cut.device not in self._mean_by_device:
            self._mean_by_device[cut.device] = self._mean.to(cut.device)
        mean = self._mean_by_device[cut.device]
        return mean if self._mean_image is None else self.cut(mean.expand(len(cut), -1, -1, -1), cuts)


def cut_each(records: Tensor, cuts: Cuts, height: int, width: int) -> Tensor:
    """Cut records B x C x H x W one by one: the faster way on a CPU."""
    out = records.new_empty((*records.shape[:2], height, width))
    for target, record, (top, left, mirrored) in zip(out.numpy(), records.numpy(), cuts.T.tolist(), strict=True):
        box = record[:, top : top + height, left : left + width]
        target[...] = box[:, :, ::-1] if mirrored else box
    return out


def cut_together(records: Tensor, cuts: Cuts, height: int, width: int) -> Tensor:
    """Cut records B x C x H x W by one gather: the faster way on a GPU; the same values as :func:`cut_each`."""
    device = records.device
    top, left, mirrored = torch.from_numpy(cuts).to(device, non_blocking=True).unsqueeze(2)
    steps = torch.arange(width, device=device)
    columns = left + torch.where(mirrored > 0, width - 1 - steps, steps)
    rows = top + torch.arange(height, device=device)
    batch = torch.arange(len(records), device=device)[:, None, None, None]
    channels = torch.arange(records.shape[1], device=device)[:, None, None]
    return records[batch, channels, rows[:, None, :, None], columns[:, None, None, :]]


def read_blob(path: str | Path) -> NDArray[np.float32]:
    """The values of a ``.binaryproto`` in their shape; DataError where it is missing or not one."""
    try:
        blob = BlobProto.FromString(Path(path).read_bytes())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except DecodeError:
        raise DataError(f"{path}: not a BlobProto") from None
    shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    values = np.array(blob.data or blob.double_data, np.float32)
    if values.size != np.prod(shape):
        raise DataError(f"{path}: {values.size} values do not make a blob of {_by(shape)}")
    return values.reshape(shape)


def read_mean(path: str | Path) -> NDArray[np.float32]:
    """The C x H x W mean in a ``.binaryproto``; DataError where it is missing or not one."""
    try:
        mean = read_blob(path)
    except DataError as error:
        raise DataError(f"mean_file {error}") from None
    if mean.ndim not in (3, 4) or (mean.ndim == 4 and len(mean) != 1):
        raise DataError(f"mean_file {path}: a blob of {_by(mean.shape)} is not one image's mean")
    return mean.reshape(mean.shape[-3:])


def _mean(param: TransformationParameter, channels: int) -> Tensor | None:
    """C x H x W of a mean file, C x 1 x 1 or 1 x 1 x 1 of mean values."""
    if param.mean_file and param.mean_value:
        raise DataError("transform_param has both mean_file and mean_value; leave one")
    if param.mean_file:
        return torch.from_numpy(read_mean(param.mean_file))
    if not param.mean_value:
        return None
    if len(param.mean_value) not in (1, channels):
        given = len(param.mean_value)
        raise DataError(f"transform_param has {given} mean_value for {channels} channels; give 1 or {channels}")
    return torch.tensor(list(param.mean_value)).view(-1, 1, 1)


def _by(shape: Shape) -> str:
    return "x".join(map(str, shape))
