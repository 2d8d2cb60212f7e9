"""WindowData: foreground and background windows of images, as R-CNN trains on them."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data import chance, images
from data.loader import Loader
from data.records import WORKERS
from data.source import SOURCES, Place, Shapes, Source, check_batch_size, check_options, check_tops
from data.transform import HONOURED, read_mean
from protos.errors import DataError
from protos.schema import LayerParameter, TransformationParameter, WindowDataParameter

_OPTIONS = (
    "source",
    "batch_size",
    "fg_threshold",
    "bg_threshold",
    "fg_fraction",
    "context_pad",
    "crop_mode",
    "cache_images",
    "root_folder",
)


@dataclass(frozen=True)
class Window:
    """A box of the image at *path*: corner columns and rows (inclusive), and its label (0: background)."""

    path: str
    label: int
    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Choice:
    """A window and whether it is mirrored."""

    window: Window
    mirrored: bool


@dataclass(frozen=True)
class Placement:
    """Where the clipped box lies in the image, and its warp in the crop: (left, top, width, height)."""

    source: tuple[int, int, int, int]
    target: tuple[int, int, int, int]


@SOURCES("WindowData")
class WindowSource(Source):
    """WindowData: tops data (B x C x crop x crop) and label (B,).

    The first ``B - int(B * fg_fraction)`` of a batch are background windows, the rest foreground, both drawn
    at random. A window is widened by ``context_pad`` (in pixels of the crop), to a square in the mode
    "square", clipped at the image, and warped to the crop; what lies outside of the image is zero.
    """

    def __init__(self, layer: LayerParameter, phase: str, place: Place) -> None:
        super().__init__(layer, phase, place)
        self._param = layer.window_data_param
        self._transform = layer.transform_param
        self._place = place
        channels, self._windows = _read(layer)
        self.shapes = _shapes(layer, channels)
        self.records = len(self._windows[0]) + len(self._windows[1])
        self._mean = _mean(self._transform, channels)
        self._cache: dict[str, images.Pixels] = {}
        self._color = channels == 3
        self._loader = Loader(self._choose, self._work, WORKERS, 4)

    @classmethod
    def peek(cls, layer: LayerParameter, phase: str) -> Shapes:
        """See :meth:`Source.peek`."""
        return _shapes(layer, _read(layer)[0])

    def _reseed(self) -> None:
        self._loader.close()
        self._loader = Loader(self._choose, self._work, WORKERS, 4)

    def _choose(self, number: int) -> list[Choice]:
        draws = chance.generator(self.seed, chance.WINDOW, number, self._place.rank)
        size = self._param.batch_size
        foreground = int(size * self._param.fg_fraction)
        choices = []
        for at in range(size):
            pool = self._windows[at >= size - foreground]
            window = pool[int(draws.integers(len(pool)))]
            choices.append(Choice(window, bool(draws.integers(2)) and self._transform.mirror))
        return choices

    def _work(self, number: int, choices: list[Choice]) -> tuple[Tensor, Tensor]:
        shape = self.shapes[self.tops[0]]
        out = np.zeros(shape, np.float32)
        for target, choice in zip(out, choices, strict=True):
            self._warp(choice, target)
        return torch.from_numpy(out), torch.tensor([float(choice.window.label) for choice in choices])

    def _warp(self, choice: Choice, out: NDArray[np.float32]) -> None:
        pixels = self._image(choice.window.path)
        placed = place(choice, pixels.shape[1:], self._param, out.shape[1])
        left, top, width, height = placed.source
        warped_left, warped_top, warped_width, warped_height = placed.target
        box = images.resize(pixels[:, top : top + height, left : left + width], warped_height, warped_width)
        rows = slice(warped_top, warped_top + warped_height)
        columns = slice(warped_left, warped_left + warped_width)
        values = box[:, :, ::-1] if choice.mirrored else box
        out[:, rows, columns] = (values - self._mean_at(rows, columns)) * np.float32(self._transform.scale)

    def _mean_at(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        return self._mean if self._mean.shape[1:] == (1, 1) else self._mean[:, rows, columns]

    def _image(self, path: str) -> images.Pixels:
        if path in self._cache:
            return self._cache[path]
        pixels = images.decode(Path(path), self._color)
        if self._param.cache_images:
            self._cache[path] = pixels
        return pixels

    def _batch(self, number: int) -> dict[str, Tensor]:
        tensors = [x.to(self._place.device, non_blocking=True) for x in self._loader[number]]
        return dict(zip(self.tops, tensors, strict=True))

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._loader.close()


def place(choice: Choice, image: tuple[int, ...], param: WindowDataParameter, crop: int) -> Placement:
    """The part of an *image* (height, width) that fills which part of a *crop* x *crop* square."""
    window = choice.window
    left, top, right, bottom = window.left, window.top, window.right, window.bottom
    square = param.crop_mode == "square"
    if not (param.context_pad or square):
        return Placement((left, top, right - left + 1, bottom - top + 1), (0, 0, crop, crop))
    scale = crop / (crop - 2 * param.context_pad)
    half_width, half_height = (right - left + 1) / 2, (bottom - top + 1) / 2
    centre_x, centre_y = left + half_width, top + half_height
    if square:
        half_width = half_height = max(half_width, half_height)
    source_x, target_x = _axis(centre_x, half_width * scale, image[1], crop, choice.mirrored)
    source_y, target_y = _axis(centre_y, half_height * scale, image[0], crop, False)
    return Placement(
        (source_x[0], source_y[0], source_x[1], source_y[1]),
        (target_x[0], target_y[0], target_x[1], target_y[1]),
    )


def _axis(
    centre: float, half: float, size: int, crop: int, mirrored: bool
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Along one axis: (start, extent) in the image, and (start, extent) in the crop."""
    first, last = _round(centre - half), _round(centre + half)
    scale = crop / (last - first + 1)
    before, behind = max(0, -first), max(0, last - size + 1)
    first, last = first + before, last - behind
    extent = _round((last - first + 1) * scale)
    start = _round((behind if mirrored else before) * scale)
    return (first, last - first + 1), (start, min(extent, crop - start))


def _round(value: float) -> int:
    """Half away from zero, as C rounds."""
    return floor(value + 0.5) if value >= 0 else -floor(0.5 - value)


def read_windows(path: str, root: str) -> Iterator[tuple[int, list[tuple[float, Window]]]]:
    """Each image of a window file: its channels, and its windows with their overlaps.

    An image is ``# index``, path, channels, height, width, number of windows, then a line for each window:
    class, overlap, and the corners left, top, right, bottom. Raises DataError where the file ends early.
    """
    try:
        lines = iter(Path(path).read_text().split("\n"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    try:
        for line in lines:
            if not line.strip():
                continue
            if not line.startswith("#"):
                raise ValueError(line)
            name = root + next(lines).strip()
            channels, _, _, count = (int(next(lines)) for _ in range(4))
            yield channels, [_window(next(lines), name) for _ in range(count)]
    except (StopIteration, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: not a window file, or cut short ({error or 'it ends too early'})") from None


def _window(line: str, path: str) -> tuple[float, Window]:
    label, overlap, *corners = line.split()
    left, top, right, bottom = (int(corner) for corner in corners)
    return float(overlap), Window(path, int(label), left, top, right, bottom)


def _read(layer: LayerParameter) -> tuple[int, tuple[list[Window], list[Window]]]:
    """Channels, and background and foreground windows, of a layer whose options are good."""
    param = layer.window_data_param
    check_tops(layer, 2, 2)
    check_options(layer, param, _OPTIONS)
    check_options(layer, layer.transform_param, HONOURED)
    check_batch_size(layer, param.batch_size)
    if not layer.transform_param.crop_size or param.crop_mode not in ("warp", "square"):
        raise DataError(
            f"layer {layer.name!r}: WindowData needs a crop_size and a crop_mode of warp or square"
        )
    if 2 * param.context_pad >= layer.transform_param.crop_size:
        raise DataError(
            f"layer {layer.name!r}: context_pad {param.context_pad} leaves nothing of the crop_size"
        )
    channels = 0
    background: list[Window] = []
    foreground: list[Window] = []
    for channels, windows in read_windows(param.source, param.root_folder):  # noqa: B007  # the last image's count
        for overlap, window in windows:
            if overlap >= param.fg_threshold:
                if window.label < 1:
                    raise DataError(
                        f"{param.source}: a foreground window of {window.path} has the label {window.label}"
                    )
                foreground.append(window)
            elif overlap < param.bg_threshold:
                background.append(
                    Window(window.path, 0, window.left, window.top, window.right, window.bottom)
                )
    wanted = int(param.batch_size * param.fg_fraction)
    if (wanted and not foreground) or (wanted < param.batch_size and not background):
        raise DataError(
            f"{param.source}: {len(foreground)} foreground and {len(background)} background windows;"
            " a batch needs both"
        )
    return channels, (background, foreground)


def _shapes(layer: LayerParameter, channels: int) -> Shapes:
    size, crop = layer.window_data_param.batch_size, layer.transform_param.crop_size
    return {layer.top[0]: (size, channels, crop, crop), layer.top[1]: (size,)}


def _mean(param: TransformationParameter, channels: int) -> NDArray[np.float32]:
    """C x crop x crop from the middle of a mean file, or C x 1 x 1."""
    if param.mean_file:
        mean = read_mean(param.mean_file)
        top, left = ((size - param.crop_size) // 2 for size in mean.shape[1:])
        if mean.shape[0] != channels or min(top, left) < 0:
            raise DataError(f"mean_file {param.mean_file}: shape {mean.shape} does not cover the crop")
        return mean[:, top : top + param.crop_size, left : left + param.crop_size]
    if len(param.mean_value) not in (0, 1, channels):
        raise DataError(f"transform_param has {len(param.mean_value)} mean_value for {channels} channels")
    return np.array(list(param.mean_value) or [0], np.float32).reshape(-1, 1, 1)
