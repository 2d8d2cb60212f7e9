"""The figures of a run, from the files that its stages wrote."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data import datum
from data.stores import open_store
from nets.plot import Curves, read_log
from nets.report import Figure
from nets.report.outcome import Outcome, read_outcome
from protos import files
from protos.errors import listing


@dataclass(frozen=True)
class Results:
    """What is in the work folder *work* of a run that took ``seconds`` by stage; a *quick* one reaches for nothing."""

    work: Path
    seconds: dict[str, float]
    quick: bool = False

    def accuracy(self, variant: str = "") -> float:
        """The share of the tested records whose class is predicted."""
        outcome = self._outcome(variant)
        return float((outcome.predicted == outcome.labels).mean())

    def log_loss(self, variant: str = "") -> float:
        """The mean of -log of the label's probability, as Kaggle reckons it."""
        return float(self._outcome(variant).log_losses.mean())

    def curves(self, variant: str = "") -> Curves:
        """What the training log says."""
        return read_log(self.work / f"logs/train{variant}.log")

    def last_test(self, output: str, variant: str = "") -> float:
        """The last value of an *output* of the test net during training."""
        return self.curves(variant).tests[output][-1][1]

    def minutes(self, stage: str = "train") -> str:
        """How long a stage took, in words."""
        seconds = self.seconds.get(stage, 0.0)
        return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} minutes"

    def figure(self, name: str, value: float, goal: float, tutorial: str, percent: bool = True) -> Figure:
        """A figure that is to be at least *goal* as a share (*percent*), or below it as a loss."""
        ours = f"{100 * value:.2f}%" if percent else f"{value:.4f}"
        if self.quick:
            return Figure(name, ours, tutorial, None, "a trial: too few records and iterations to compare")
        reached = value >= goal if percent else value < goal
        wanted = f"at least {100 * goal:g}%" if percent else f"below {goal:g}"
        return Figure(name, ours, tutorial, reached, "" if reached else f"missed: {wanted} was to be reached")

    def _outcome(self, variant: str) -> Outcome:
        return read_outcome(self.work / f"predictions{variant}.npz")

    # ---- for the page

    def with_images(self, store: str) -> Path:
        """A copy of the predictions with the ``images`` of *store*, where these are images; its path."""
        out = self.work / "report.npz"
        with np.load(self.work / "predictions.npz") as arrays:
            known = dict(arrays)
        values = self._values(store)
        if values.dtype == np.uint8 and values.shape[1] in (1, 3):
            known["images"] = values[:, 0] if values.shape[1] == 1 else values.transpose(0, 2, 3, 1)
        with files.replacing(out) as file:
            np.savez(file, **known)
        return out

    def _values(self, store: str) -> NDArray[np.generic]:
        path = self.work / store
        with open_store(path) as opened:
            return np.stack([datum.values(datum.parse(value, str(path)), None, str(path)) for value in opened.values()])


def missed(figures: list[Figure]) -> str:
    """What was not reached, in a line."""
    return listing([f"{one.name} {one.ours}" for one in figures if one.reached is False])
