"""The Otto products of Kaggle: 93 counts a product, nine classes, as float records of 93 x 1 x 1."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data import table
from protos.errors import DataError
from protos.files import replacing

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Scaling:
    """What is done to every feature: x -> (log(1 + x) or x), then (x - mean) / std."""

    log1p: bool
    mean: list[float]
    std: list[float]

    @classmethod
    def fit(cls, values: Floats, log1p: bool, standardize: bool) -> "Scaling":
        """The scaling that *values* N x D ask for; features that never vary keep the divisor 1."""
        if not standardize:
            return cls(log1p, [0.0] * values.shape[1], [1.0] * values.shape[1])
        scaled = np.log1p(values.astype(np.float64)) if log1p else values.astype(np.float64)
        std = scaled.std(0)
        return cls(log1p, scaled.mean(0).tolist(), np.where(std > 0, std, 1).tolist())

    def __call__(self, values: Floats) -> Floats:
        """*values* N x D, scaled."""
        if values.shape[1] != len(self.mean):
            raise DataError(f"the scaling is of {len(self.mean)} features, the table has {values.shape[1]}")
        scaled = np.log1p(values.astype(np.float64)) if self.log1p else values.astype(np.float64)
        return ((scaled - self.mean) / self.std).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        with replacing(path) as file:
            file.write(json.dumps({"log1p": self.log1p, "mean": self.mean, "std": self.std}).encode())

    @classmethod
    def load(cls, path: Path) -> "Scaling":
        """Read what :meth:`save` wrote."""
        try:
            found = json.loads(path.read_bytes())
            return cls(bool(found["log1p"]), found["mean"], found["std"])
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}; build the training set first") from None
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{path}: not a scaling file") from None


def read_train(path: Path) -> tuple[Floats, Labels]:
    """Values N x 93 and labels 0 to 8 of ``train.csv``."""
    found = table.read_csv(path, "target", ("id",))
    assert found.labels is not None
    labels = np.array([_class(path, cell) for cell in found.labels])
    return found.values, labels


def read_test(path: Path) -> Floats:
    """Values N x 93 of ``test.csv``, in the order of the file."""
    return table.read_csv(path, None, ("id",)).values


def _class(path: Path, cell: str) -> int:
    name, _, number = cell.partition("_")
    if name != "Class" or not number.isdecimal() or not 1 <= int(number) <= 9:
        raise DataError(f"{path}: target {cell!r} is not Class_1 to Class_9")
    return int(number) - 1


def hold_out(labels: Labels, share: float, seed: int) -> tuple[Labels, Labels]:
    """Indices to train on and to hold out: *share* of each class, drawn at random; both ascending."""
    chance = np.random.default_rng(seed)
    held = []
    for label in np.unique(labels):
        mine = chance.permutation(np.flatnonzero(labels == label))
        held.append(mine[: round(share * len(mine))])
    out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), out), out
