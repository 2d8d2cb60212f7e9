"""CIFAR-10 as its publishers lay it out: python pickles or binary files, in a folder or a .tar.gz."""

import io
import pickle
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protos.errors import DataError

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_STEMS = {"train": [f"data_batch_{k}" for k in range(1, 6)], "test": ["test_batch"]}
_GREY = (4899, 9617, 1868)  # red, green, blue, in 1/16384

Batch = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def read_set(source: Path, part: str) -> Batch:
    """Images N x 3 x 32 x 32 (red, green, blue, as published) and labels (N,) of *part*, "train" or "test".

    *source* is a folder with the files, one above ``cifar-10-batches-py`` or ``-bin``, or the ``.tar.gz``.
    """
    batches = [_parse(source, stem, *_content(source, stem)) for stem in _STEMS[part]]
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def to_gray(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """N x 3 x H x W of red, green, blue -> N x 1 x H x W: 0.299 red + 0.587 green + 0.114 blue, rounded."""
    weighted = np.tensordot(images.astype(np.int32), np.array(_GREY, np.int32), (1, 0))
    return ((weighted + (1 << 13)) >> 14).astype(np.uint8)[:, None]


def _content(source: Path, stem: str) -> tuple[bytes, bool]:
    """The bytes of a batch file, and whether it is of the binary layout."""
    names = {stem: False, f"{stem}.bin": True}
    try:
        if source.is_file():
            return _from_archive(source, names)
        for folder in (source, source / "cifar-10-batches-py", source / "cifar-10-batches-bin"):
            for name, binary in names.items():
                if (folder / name).is_file():
                    return (folder / name).read_bytes(), binary
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{source}: cannot be read ({error})") from None
    raise DataError(f"{source}: no {stem} or {stem}.bin of CIFAR-10 in it; --download fetches the set")


def _from_archive(source: Path, names: Mapping[str, bool]) -> tuple[bytes, bool]:
    with tarfile.open(source) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts:
                raise DataError(f"{source}: member {member.name!r} climbs out of the folder; the archive is not used")
            file = archive.extractfile(member) if member.isfile() and path.name in names else None
            if file is not None:
                return file.read(), names[path.name]
    raise DataError(f"{source}: no {' or '.join(names)} of CIFAR-10 in the archive")


def _parse(source: Path, stem: str, content: bytes, binary: bool) -> Batch:
    where = f"{source}: {stem}"
    images, labels = _parse_binary(where, content) if binary else _parse_pickle(where, content)
    if len(labels) != len(images) or not len(labels) or labels.max() > 9:
        raise DataError(f"{where}: labels are not one of 0 to 9 for each of its {len(images)} images")
    return images.reshape(-1, *_SHAPE), labels


def _parse_binary(where: str, content: bytes) -> Batch:
    if len(content) % _RECORD:
        raise DataError(f"{where}: {len(content)} bytes are not whole records of {_RECORD}; it is cut short")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    return records[:, 1:], records[:, 0]


def _parse_pickle(where: str, content: bytes) -> Batch:
    batch = load_pickle(content, where)
    if not isinstance(batch, dict):
        raise DataError(f"{where}: not a batch of CIFAR-10")
    found = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    images, labels = found.get("data"), found.get("labels")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (_RECORD - 1,):
        raise DataError(f"{where}: no `data` of N x 3072 bytes in it")
    if not isinstance(labels, list) or not all(isinstance(x, int) and 0 <= x < 256 for x in labels):
        raise DataError(f"{where}: no `labels`, a list of integers, in it")
    return images, np.array(labels, np.uint8)


def load_pickle(content: bytes, where: str) -> Any:
    """What is pickled in *content*: NumPy arrays and plain containers alone, Python 2's texts as bytes.

    Raises DataError for a pickle that calls anything else, or is damaged.
    """
    try:
        return _Unpickler(io.BytesIO(content), where).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{where}: not a readable pickle ({' '.join(str(error).split())})") from None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, where: str) -> None:
        super().__init__(file, encoding="bytes")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        package = module.replace("numpy._core", "numpy.core")
        if (package, name) in _ADMITTED:
            return _ADMITTED[package, name]
        raise DataError(f"{self._where}: the pickle calls {module}.{name}; only arrays and plain containers are read")

    def persistent_load(self, pid: Any) -> Any:
        raise DataError(f"{self._where}: the pickle refers to something outside of it")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """What protocol 2 writes for bytes; other encodings have no place here."""
    if encoding not in ("latin1", b"latin1"):
        raise ValueError(f"encoding {encoding!r}")
    return text.encode("latin1")


def _frombuffer(
    content: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any, axes: tuple[int, ...] | None = None
) -> NDArray[Any]:
    """How protocol 5 builds an array."""
    flat = np.frombuffer(content, dtype)
    return flat.reshape(shape, order=order) if axes is None else flat.reshape(shape).transpose(axes)


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}
