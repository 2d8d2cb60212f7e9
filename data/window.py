"""WindowData: foreground and background windows of images, as R-CNN trains on them."""

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data import chance, images
from data.boxes import Pools, Window, place, read_pools
from data.loader import Loader
from data.records import WORKERS
from data.source import SOURCES, Place, Shapes, Source, check_batch_size, check_options, check_tops
from data.transform import HONOURED, read_mean
from protos.errors import DataError
from protos.schema import LayerParameter, TransformationParameter

Choice = tuple[Window, bool]  # and whether it is mirrored
_SELECTION = ("source", "batch_size", "fg_threshold", "bg_threshold", "fg_fraction", "root_folder")
_OPTIONS = (*_SELECTION, "context_pad", "crop_mode", "cache_images")

log = logging.getLogger("caffe")


@SOURCES("WindowData")
class WindowSource(Source):
    """WindowData: tops data (B x C x crop x crop) and label (B,).

    The first ``B - int(B * fg_fraction)`` of a batch are background windows, the rest foreground, both drawn
    at random. A window is widened by ``context_pad`` (in pixels of the crop), to a square in the mode
    "square", clipped at the image, and warped to the crop; what lies outside of the image is zero. As in the
    original, ``scale`` has no effect here.
    """

    def __init__(self, layer: LayerParameter, phase: str, place: Place) -> None:
        super().__init__(layer, phase, place)
        if layer.transform_param.scale != 1:
            log.warning("layer %r: WindowData ignores `scale`, as the original does", layer.name)
        self._param = layer.window_data_param
        self._mirror = layer.transform_param.mirror
        self._place = place
        self._pools = _read(layer)
        self.shapes = _shapes(layer, self._pools)
        self.records = len(self._pools.background) + len(self._pools.foreground)
        self._mean = _mean(layer.transform_param, self._pools.channels)
        self._cache: dict[str, images.Pixels] = {}
        self._loader = Loader(self._choose, self._work, WORKERS, 4)

    @classmethod
    def peek(cls, layer: LayerParameter, phase: str) -> Shapes:
        """See :meth:`Source.peek`."""
        return _shapes(layer, _read(layer))

    def _reseed(self) -> None:
        self._loader.close()
        self._loader = Loader(self._choose, self._work, WORKERS, 4)

    def _choose(self, number: int) -> list[Choice]:
        draws = chance.generator(self.seed, chance.WINDOW, number, self._place.rank)
        size = self._param.batch_size
        foreground = int(size * self._param.fg_fraction)
        choices = []
        for at in range(size):
            pool = self._pools.foreground if at >= size - foreground else self._pools.background
            window = pool[int(draws.integers(len(pool)))]
            choices.append((window, bool(draws.integers(2)) and self._mirror))
        return choices

    def _work(self, _: int, choices: list[Choice]) -> tuple[Tensor, Tensor]:
        out = np.zeros(self.shapes[self.tops[0]], np.float32)
        for target, (window, mirrored) in zip(out, choices, strict=True):
            self._warp(window, mirrored, target)
        return torch.from_numpy(out), torch.tensor([float(window.label) for window, _ in choices])

    def _warp(self, window: Window, mirrored: bool, out: NDArray[np.float32]) -> None:
        pixels = self._image(window.path)
        height, width = pixels.shape[1:]
        if min(window.left, window.top) < 0 or window.right >= width or window.bottom >= height:
            raise DataError(f"{window.path}: a window reaches out of the image of {width}x{height}: {window}")
        placed = place(window, mirrored, (height, width), self._param, out.shape[1])
        left, top, width, height = placed.source
        to_left, to_top, to_width, to_height = placed.target
        box = images.resize(pixels[:, top : top + height, left : left + width], to_height, to_width)
        where = (slice(None), slice(to_top, to_top + to_height), slice(to_left, to_left + to_width))
        values = box[:, :, ::-1] if mirrored else box
        out[where] = values - np.broadcast_to(self._mean, out.shape)[where]

    def _image(self, path: str) -> images.Pixels:
        if path in self._cache:
            return self._cache[path]
        pixels = images.decode(Path(path), self._pools.channels == 3)
        if self._param.cache_images:
            self._cache[path] = pixels
        return pixels

    def _batch(self, number: int) -> dict[str, Tensor]:
        tensors = [x.to(self._place.device, non_blocking=True) for x in self._loader[number]]
        return dict(zip(self.tops, tensors, strict=True))

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._loader.close()


def _read(layer: LayerParameter) -> Pools:
    """The windows of a layer whose options are good."""
    param, crop = layer.window_data_param, layer.transform_param.crop_size
    check_tops(layer, 2, 2)
    check_options(layer, param, _OPTIONS)
    check_options(layer, layer.transform_param, HONOURED)
    check_batch_size(layer, param.batch_size)
    if not crop or param.crop_mode not in ("warp", "square"):
        raise DataError(f"layer {layer.name!r}: WindowData needs a crop_size and a crop_mode of warp or square")
    if 2 * param.context_pad >= crop:
        raise DataError(f"layer {layer.name!r}: context_pad {param.context_pad} leaves nothing of crop_size {crop}")
    return read_pools(param)


def _shapes(layer: LayerParameter, pools: Pools) -> Shapes:
    size, crop = layer.window_data_param.batch_size, layer.transform_param.crop_size
    return {layer.top[0]: (size, pools.channels, crop, crop), layer.top[1]: (size,)}


def _mean(param: TransformationParameter, channels: int) -> NDArray[np.float32]:
    """C x crop x crop of a mean file, or C x 1 x 1; as in the original, one margin serves both axes."""
    if param.mean_file:
        mean = read_mean(param.mean_file)
        margin = (mean.shape[2] - param.crop_size) // 2
        if mean.shape[0] != channels or margin < 0 or margin + param.crop_size > mean.shape[1]:
            raise DataError(f"mean_file {param.mean_file}: shape {mean.shape} does not cover the crop")
        return mean[:, margin : margin + param.crop_size, margin : margin + param.crop_size]
    if len(param.mean_value) not in (0, 1, channels):
        raise DataError(f"transform_param has {len(param.mean_value)} mean_value for {channels} channels")
    return np.array(list(param.mean_value) or [0], np.float32).reshape(-1, 1, 1)
