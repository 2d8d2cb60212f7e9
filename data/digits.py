"""The digits that ship with the package: 5,000 training and 1,000 test images of MNIST, balanced, 28 x 28.

``data/digits/ATTRIBUTION.txt`` says where they are from and under which licence.
"""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data import datum, mnist
from data.stores import create_store
from protos.errors import DataError

_SHIPPED = Path(__file__).with_name("digits")
_PARTS = {"mnist_train_lmdb": "train", "mnist_test_lmdb": "test"}
_SEED = 1998
_PER_CLASS = {"train": 500, "test": 100}

log = logging.getLogger("caffe")


def read(part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images N x 28 x 28 and labels (N,) of the shipped *part*, ``"train"`` or ``"test"``.

    >>> images, labels = read("test")
    >>> images.shape, np.bincount(labels).tolist() == [100] * 10
    ((1000, 28, 28), True)
    """
    return mnist.read_set(_SHIPPED, part)


def ensure_shipped_store(path: str | Path) -> bool:
    """Build the store at *path* from the shipped digits, where none exists and its name asks for them.

    The names are ``mnist_train_lmdb`` and ``mnist_test_lmdb``. Returns whether a store was built; safe where
    several processes do this at once: the store appears whole, and the first one stays.
    """
    path = Path(path)
    if path.exists() or path.name not in _PARTS:
        return False
    part = _PARTS[path.name]
    try:
        count = _build(path, part)
    except DataError:
        if path.exists():  # another process was faster
            return False
        raise
    log.info(
        "%s: built from the shipped sample of %s %s digits of MNIST; for the full set run"
        " `python -m data.convert mnist SOURCE_DIR --out %s --overwrite`",
        path,
        f"{count:,}",
        "training" if part == "train" else "test",
        path.parent,
    )
    return True


def _build(path: Path, part: str) -> int:
    images, labels = read(part)
    with create_store(path) as store:
        for at, (image, label) in enumerate(zip(images, labels, strict=True)):
            store.put(b"%08d" % at, datum.pack(image[None], int(label)))
    return len(images)


def sample(source: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The balanced, shuffled sample of the full set's *part* in *source*: how the digits were chosen."""
    images, labels = mnist.read_set(source, part)
    chance = np.random.default_rng(_SEED)
    chosen = [chance.choice(np.flatnonzero(labels == digit), _PER_CLASS[part], replace=False) for digit in range(10)]
    order = chance.permutation(np.concatenate(chosen))
    return images[order], labels[order]


def write_sample(source: Path, folder: Path = _SHIPPED) -> None:
    """Write the shipped files anew from the full set in *source*."""
    for part, stem in (("train", "train"), ("test", "t10k")):
        images, labels = sample(source, part)
        mnist.write_idx(folder / f"{stem}-images-idx3-ubyte.gz", images)
        mnist.write_idx(folder / f"{stem}-labels-idx1-ubyte.gz", labels)
