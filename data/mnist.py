"""MNIST as its publishers lay it out: IDX files, gzipped or not."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protos.errors import DataError

_UBYTE = 0x08
_STEMS = {"train": ("train-images", "train-labels"), "test": ("t10k-images", "t10k-labels")}


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in an IDX file of bytes, gzipped or not: magic 0, 0, 8, axes; big-endian sizes; values."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    if len(content) < 4 or content[:3] != bytes((0, 0, _UBYTE)) or len(content) < 4 + 4 * content[3]:
        raise DataError(f"{path}: not an IDX file of bytes")
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])
    if values.size != np.prod(shape):
        raise DataError(f"{path}: {values.size} values for the shape {list(shape)}; the file is cut short or damaged")
    return values.reshape(shape)


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Write *values* as a gzipped IDX file, the same bytes each time."""
    header = bytes((0, 0, _UBYTE, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes(), 9, mtime=0))


def read_set(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images N x 28 x 28 and labels (N,) of *part* ("train", "test") from the IDX files in *folder*."""
    return read_pair(*(_find(folder, stem) for stem in _STEMS[part]))


def read_pair(image_file: Path, label_file: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images N x H x W and labels (N,) from two IDX files."""
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DataError(
            f"{image_file}: images {list(images.shape)}, but labels {list(labels.shape)} in {label_file.name}"
        )
    return images, labels


def _find(folder: Path, stem: str) -> Path:
    axes = 3 if stem.endswith("images") else 1
    names = [f"{stem}{dot}idx{axes}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder}: no {names[0]} (or {names[1]}) in it; --download fetches the set")
