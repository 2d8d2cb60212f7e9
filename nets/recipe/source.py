"""The files that publishers offer, and where."""

from dataclasses import dataclass
from pathlib import Path

from protos.errors import DataError


@dataclass(frozen=True)
class Published:
    """A data set: its ``name``, the ``page`` that offers it, and its files, each by the patterns of all its names.

    They lie in the source folder, or in one of its ``folders``; or the source is itself an archive of them.
    """

    name: str
    page: str
    parts: tuple[tuple[str, ...], ...]
    folders: tuple[str, ...] = ()
    archive: str = ""

    def check(self, source: Path) -> None:
        """Raise DataError where files are missing in *source*: which, and where they are published."""
        if self.archive and source.is_file():
            return
        missing = [names[0] for names in self.parts if not _files(self._places(source), names)]
        if not missing:
            return
        what = "no such folder; expected in it" if not source.is_dir() else "missing in it"
        or_archive = f", or as {self.archive} in the place of the folder" if self.archive else ""
        raise DataError(f"{source}: {what}: {', '.join(missing)}; {self.name} is published at {self.page}{or_archive}")

    def found(self, source: Path) -> list[Path]:
        """The files in *source*, those that a command will read first."""
        if source.is_file():
            return [source]
        return [file for names in self.parts for file in _files(self._places(source), names)]

    def _places(self, source: Path) -> list[Path]:
        return [source, *(source / folder for folder in self.folders)]


def _files(places: list[Path], names: tuple[str, ...]) -> list[Path]:
    return [place / name for place in places for name in names if (place / name).is_file()]


def _idx(stem: str, axes: int) -> tuple[str, ...]:
    return tuple(f"{stem}{dot}idx{axes}-ubyte{end}" for dot in "-." for end in (".gz", ""))


def _batch(stem: str) -> tuple[str, ...]:
    return stem, f"{stem}.bin"


MNIST = Published(
    "MNIST",
    "yann.lecun.com/exdb/mnist",
    tuple(_idx(f"{part}-{what}", axes) for part in ("train", "t10k") for what, axes in (("images", 3), ("labels", 1))),
    ("MNIST/raw",),
)
CIFAR10 = Published(
    "CIFAR-10",
    "www.cs.toronto.edu/~kriz/cifar.html",
    (*(_batch(f"data_batch_{k}") for k in range(1, 6)), _batch("test_batch")),
    ("cifar-10-batches-py", "cifar-10-batches-bin"),
    "cifar-10-python.tar.gz or cifar-10-binary.tar.gz",
)
OTTO = Published(
    "the Otto Group Product Classification Challenge",
    "www.kaggle.com/c/otto-group-product-classification-challenge (test.csv too, for a submission)",
    (("train.csv",),),
)
