"""What a net predicted for a test set, beside the truth."""

import io
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nets.scores import Scores
from protos import files
from protos.errors import DataError

LEAST = 1e-15  # a probability counts at least as much in the log loss, as at Kaggle


@dataclass(frozen=True)
class Outcome:
    """``probabilities`` N x K, ``labels`` (N,), ``names`` (K,), ``images`` N x H x W (x 3) or None."""

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]
    names: list[str]
    images: NDArray[np.uint8] | None

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The class of the greatest probability (N,)."""
        found: NDArray[np.int64] = self.probabilities.argmax(1)
        return found

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """The greatest probability (N,)."""
        found: NDArray[np.float64] = self.probabilities.max(1)
        return found

    @cached_property
    def scores(self) -> Scores:
        """Labels and predictions, counted."""
        found = Scores(len(self.names))
        for label, predicted in zip(self.labels.tolist(), self.predicted.tolist(), strict=True):
            found.add(label, predicted)
        return found

    @cached_property
    def are_probabilities(self) -> bool:
        """Whether the values of each item are probabilities, not outputs of another kind."""
        return bool(np.allclose(self.probabilities.sum(1), 1, atol=1e-3) and (self.probabilities > -1e-6).all())

    @cached_property
    def log_losses(self) -> NDArray[np.float64]:
        """-log of the probability of the label (N,)."""
        of_label = self.probabilities[np.arange(len(self.labels)), self.labels]
        return -np.log(np.clip(of_label, LEAST, 1))


def read_outcome(path: Path) -> Outcome:
    """The outcome in the ``.npz`` file *path*. Raises CaffeError where arrays are missing or do not fit together."""
    content = files.read(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (ValueError, zipfile.BadZipFile, OSError, AttributeError) as error:
        raise DataError(f"{path}: no .npz file of predictions") from error
    missing = [name for name in ("probabilities", "labels", "class_names") if name not in found]
    if missing:
        raise DataError(f"{path}: there is no {', '.join(missing)} in it; nets.report needs them")
    probabilities, labels, names = found["probabilities"], found["labels"], found["class_names"]
    images = found.get("images")
    counts = [len(labels), len(probabilities), *([] if images is None else [len(images)])]
    if probabilities.ndim != 2 or probabilities.shape[1] != len(names) or len({*counts}) > 1 or not counts[0]:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in found.items())
        raise DataError(f"{path}: the shapes do not fit together: {shapes}")
    if images is not None and (images.dtype != np.uint8 or images.shape[3:] not in ((), (3,)) or images.ndim < 3):
        raise DataError(f"{path}: images are N x H x W or N x H x W x 3 of uint8, not {images.shape} of {images.dtype}")
    return Outcome(probabilities.astype(np.float64), labels.astype(np.int64), [str(name) for name in names], images)
