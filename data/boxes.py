"""The windows of WindowData: the file that lists them, and where each lies in its image and in the crop."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path

from protos.errors import DataError
from protos.schema import WindowDataParameter


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
class Pools:
    """What batches are drawn from: windows of images of so many *channels*."""

    channels: int
    background: list[Window]
    foreground: list[Window]


def read_pools(param: WindowDataParameter) -> Pools:
    """The windows of a window file by overlap: foreground from fg_threshold, background below bg_threshold.

    Raises DataError for a damaged file, a foreground window without a class, or an empty pool that is needed.
    """
    pools = Pools(0, [], [])
    for channels, windows in _images(param.source, param.root_folder):
        pools = replace(pools, channels=channels)
        for overlap, window in windows:
            if overlap >= param.fg_threshold:
                pools.foreground.append(window)
            elif overlap < param.bg_threshold:
                pools.background.append(replace(window, label=0))
    unnamed = next((window for window in pools.foreground if window.label < 1), None)
    if unnamed is not None:
        raise DataError(f"{param.source}: a foreground window of {unnamed.path} has the label {unnamed.label}")
    wanted = int(param.batch_size * param.fg_fraction)
    if (wanted and not pools.foreground) or (wanted < param.batch_size and not pools.background):
        found = f"{len(pools.foreground)} foreground and {len(pools.background)} background windows"
        raise DataError(f"{param.source}: {found}; a batch needs both")
    return pools


def _images(path: str, root: str) -> Iterator[tuple[int, list[tuple[float, Window]]]]:
    """Each image of a window file: its channels, and its windows with their overlaps.

    An image is ``# index``, path, channels, height, width, number of windows, then a line for each window:
    class, overlap, and the corners left, top, right, bottom.
    """
    try:
        lines = Path(path).read_text("utf-8-sig", "surrogateescape").splitlines()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        try:
            channels, count = _header(lines, at)
            windows = [_window(lines[at + 6 + k], root + lines[at + 1].strip()) for k in range(count)]
        except (IndexError, ValueError):
            raise DataError(f"{path}: the image at line {at + 1} is not complete or damaged") from None
        yield channels, windows
        at += 6 + count


def _header(lines: list[str], at: int) -> tuple[int, int]:
    """Channels and number of windows of the image that begins in line *at*; ValueError where none does."""
    if not lines[at].startswith("#"):
        raise ValueError(lines[at])
    return int(lines[at + 2]), int(lines[at + 5])


def _window(line: str, path: str) -> tuple[float, Window]:
    label, overlap, *corners = line.split()
    left, top, right, bottom = (int(corner) for corner in corners)
    return float(overlap), Window(path, int(label), left, top, right, bottom)


@dataclass(frozen=True)
class Placement:
    """Where the clipped box lies in the image, and its warp in the crop: (left, top, width, height)."""

    source: tuple[int, int, int, int]
    target: tuple[int, int, int, int]


def place(window: Window, mirrored: bool, image: tuple[int, int], param: WindowDataParameter, crop: int) -> Placement:
    """Which part of an *image* (height, width) fills which part of a *crop* x *crop* square."""
    left, top, right, bottom = window.left, window.top, window.right, window.bottom
    square = param.crop_mode == "square"
    if not (param.context_pad or square):
        return Placement((left, top, right - left + 1, bottom - top + 1), (0, 0, crop, crop))
    half_x, half_y = (right - left + 1) / 2, (bottom - top + 1) / 2
    x, y = left + half_x, top + half_y
    if square:
        half_x = half_y = max(half_x, half_y)
    widening = crop / (crop - 2 * param.context_pad)
    source_x, target_x = _axis((x, half_x * widening), image[1], crop, mirrored)
    source_y, target_y = _axis((y, half_y * widening), image[0], crop, False)
    return Placement(
        (source_x[0], source_y[0], source_x[1], source_y[1]),
        (target_x[0], target_y[0], target_x[1], target_y[1]),
    )


_Span = tuple[int, int]  # start, extent


def _axis(box: tuple[float, float], size: int, crop: int, mirrored: bool) -> tuple[_Span, _Span]:
    """Along one axis: a box of (centre, half its extent), clipped at the image, and its warp in the crop."""
    centre, half = box
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
