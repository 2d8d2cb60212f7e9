"""Image folders: the images that a list file names, or a folder for each class."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data import images
from data.build import Dataset, Item
from data.images import Pixels
from data.records import WORKERS, read_list
from protos.errors import DataError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".webp"}
_AHEAD = 4 * WORKERS


@dataclass(frozen=True)
class Treatment:
    """What becomes of an image: grey or colour, of *size* = (height, width), encoded as *encoding* ("": as its file).

    *limits* are the least that its shorter side is to have and the most that its longer one may have (0: any); they
    keep its proportions, and take the place of *size*. Where no size and no grey is asked for, an encoded image whose
    file is of that encoding keeps the bytes of its file.
    """

    gray: bool = False
    size: tuple[int, int] | None = None
    encoding: str | None = None
    limits: tuple[int, int] = (0, 0)

    def __call__(self, pixels: Pixels, path: Path, label: int | None, name: str) -> Item:
        """The example of the decoded *pixels* of the file at *path*."""
        as_it_is = not (self.size or self.gray or any(self.limits))
        encoding = path.suffix if self.encoding == "" else self.encoding
        if encoding and as_it_is and _same_encoding(path.suffix, encoding):
            return Item(None, label, path.read_bytes(), name)
        size = self._size_of(*pixels.shape[1:])
        resized = images.resize(pixels, *size) if size else pixels
        if encoding is None:
            return Item(resized, label, name=name)
        return Item(None, label, images.encode(resized, encoding), name)

    def _size_of(self, height: int, width: int) -> tuple[int, int] | None:
        least, most = self.limits
        if not (least or most):
            return self.size
        scale = max(1.0, least / min(height, width))
        if most and int(scale * max(height, width)) > most:
            scale = most / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))


class ImageSet(Dataset):
    """The images below *root*, by (name, label) pairs; several are decoded at a time."""

    def __init__(self, root: Path, entries: Sequence[tuple[str, int]], treatment: Treatment) -> None:
        self._root = root
        self._entries = entries
        self._treatment = treatment

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Item:
        name, label = self._entries[index]
        path = self.path_of(name)
        return self._treatment(images.decode(path, not self._treatment.gray), path, label, name)

    def path_of(self, name: str) -> Path:
        """The file of the image that is called *name*."""
        return self._root / name

    def items(self, indices: Iterable[int]) -> Iterator[Item | DataError]:
        """See :meth:`Dataset.items`."""
        ahead: deque[Future[Item | DataError]] = deque()
        with ThreadPoolExecutor(WORKERS, "imageset") as pool:
            try:
                for index in indices:
                    ahead.append(pool.submit(self._try, index))
                    if len(ahead) > _AHEAD:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _try(self, index: int) -> Item | DataError:
        try:
            return self[index]
        except DataError as error:
            return error


def from_list(list_file: Path) -> list[tuple[str, int]]:
    """(name, label) pairs of a list file; DataError where it names no image."""
    entries = read_list(list_file)
    if not entries:
        raise DataError(f"{list_file}: it names no image")
    return entries


def from_folders(root: Path) -> tuple[list[tuple[str, int]], list[str]]:
    """(name, label) pairs of a folder for each class, and the class names, numbered in their order."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    classes = sorted(path.name for path in root.iterdir() if path.is_dir())
    entries = [
        (str(path.relative_to(root)), label)
        for label, name in enumerate(classes)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in _SUFFIXES
    ]
    if not entries:
        raise DataError(f"{root}: no folder of a class with images in it; other layouts need --list")
    return entries, classes


def _same_encoding(suffix: str, encoding: str) -> bool:
    alike = {"jpeg": "jpg"}
    found, wanted = (text.lower().lstrip(".") for text in (suffix, encoding))
    return alike.get(found, found) == alike.get(wanted, wanted)
