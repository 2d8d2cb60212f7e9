"""What a net says of each pixel of an image: shown, and written as pictures or as arrays."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.images import resize
from data.interpolation import nearest
from protos import files
from protos.errors import CaffeError, DataError

Floats = NDArray[np.float32]
Classes = NDArray[np.uint8] | NDArray[np.uint16]
COLORS = 256  # of a picture with a palette
SLACK = 1e-3  # by which a share of the whole may be off


def is_map(shape: Sequence[int]) -> bool:
    """Whether a prediction of this *shape*, N x C x rows x columns, is of more than one place."""
    return len(shape) == 4 and math.prod(shape[2:]) > 1


def classes(scores: Floats) -> Classes:
    """The best class of each place, rows x columns, by *scores* C x rows x columns."""
    found: Classes = scores.argmax(0).astype(np.uint8 if len(scores) <= COLORS else np.uint16)
    return found


def lines(name: str, scores: Floats, names: Sequence[str], top: int) -> str:
    """The *top* classes of an image by their shares of it; of a single map its values."""
    if len(scores) == 1:
        shown = [f"from {scores.min():.4f} to {scores.max():.4f}, {scores.mean():.4f} in the mean"]
    else:
        shares = np.bincount(classes(scores).ravel(), minlength=len(scores)) / scores[0].size
        order = [i for i in np.argsort(-shares, kind="stable")[:top] if shares[i]]
        shown = [f'{shares[i]:.4f} - "{names[i]}"' for i in order]
    return "\n".join([f"---------- Pixels of {name} ----------", *shown])


class Pictures:
    """Writes maps into *folder*, a PNG an image: classes as numbers with colours, or one map's values as greys."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._taken: set[str] = set()
        self._say_where()
        self._folder.mkdir(parents=True, exist_ok=True)

    def _say_where(self) -> None:
        if self._folder.suffix or (self._folder.exists() and not self._folder.is_dir()):
            raise CaffeError(f"--out {self._folder}: pixels are written as pictures into a folder, or as F.npz")

    def write(self, name: str, scores: Floats, size: tuple[int, int] | None) -> None:
        """Write the map of the image *name*, as large as the image, rows x columns, where *size* says so."""
        image = _greys(name, scores, size) if len(scores) == 1 else _colored(classes(scores), size)
        stem, count = Path(name).stem or "item", 1
        while (file := f"{stem}.{count}.png" if count > 1 else f"{stem}.png") in self._taken:
            count += 1
        self._taken.add(file)
        out = io.BytesIO()
        image.save(out, "PNG")
        with files.replacing(self._folder / file) as target:
            target.write(out.getvalue())


def _colored(found: Classes, size: tuple[int, int] | None) -> Image.Image:
    found = found if size is None else nearest(found[None], *size)[0]  # type: ignore[arg-type]
    image = Image.fromarray(found)
    if found.dtype == np.uint8:
        image.putpalette(palette())
    return image


def _greys(name: str, scores: Floats, size: tuple[int, int] | None) -> Image.Image:
    if not (scores.min() >= -SLACK and scores.max() <= 1 + SLACK):
        reach = f"from {scores.min():g} to {scores.max():g}"
        raise DataError(f"{name}: values {reach} make no picture, as those from 0 to 1 do: write them with --out F.npz")
    found = np.rint(scores * 255).clip(0, 255).astype(np.uint8)
    return Image.fromarray((found if size is None else resize(found, *size))[0])


def palette() -> bytes:
    """Red, green and blue of 256 classes, Pascal VOC's: the bits of a number from the lowest on, the highest first.

    >>> palette()[3:6].hex(), palette()[45:48].hex()
    ('800000', 'c08080')
    """
    numbers = np.arange(COLORS)
    colors = np.zeros((COLORS, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= ((numbers >> (3 * bit + channel)) & 1).astype(np.uint8) << (7 - bit)
    return colors.tobytes()


def result(scores: Floats) -> Classes | Floats:
    """What an ``.npz`` has of an image: the best class of each place, or the values of a single map."""
    return scores[0] if len(scores) == 1 else classes(scores)


def write_arrays(path: str, found: Sequence[tuple[str, Classes | Floats]], names: Sequence[str]) -> None:
    """Write an ``.npz``: ``id`` (N,), ``class_names``, and ``classes`` or ``values`` (N x rows x columns)."""
    together = np.stack([values for _, values in found])
    columns: dict[str, NDArray[Any]] = {"values" if together.dtype == np.float32 else "classes": together}
    columns |= {"id": np.array([name for name, _ in found]), "class_names": np.array(names)}
    with files.replacing(path) as file:
        np.savez(file, **columns)  # type: ignore[arg-type]  # its stub takes the names for flags
