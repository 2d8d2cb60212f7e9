"""What is trained on and what is held back: ``TrainSplit``, by the folds of scikit-learn before 0.20."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.lasagne.nolearn.batches import length, picked

SEED = 42


class TrainSplit:
    """The first of round(1 / eval_size) folds is for validation; of each class by itself if *stratify*.

    With *shuffle* all is put into another order first, from a generator with *seed*.
    """

    def __init__(self, eval_size: float, stratify: bool = True, shuffle: bool = False, seed: int = SEED) -> None:
        self.eval_size = eval_size
        self.stratify = stratify
        self.shuffle = shuffle
        self.seed = seed

    def __call__(self, X: Any, y: Any, net: Any) -> tuple[Any, Any, Any, Any]:
        """(X_train, X_valid, y_train, y_valid)."""
        if self.shuffle:
            order = np.random.RandomState(self.seed).permutation(len(y))
            X, y = picked(X, order), np.asarray(y)[order]
        if not self.eval_size:
            return X, picked(X, slice(length(X), None)), y, y[len(y) :]
        folds = round(1.0 / self.eval_size)
        y_ = np.asarray(y)
        held = self._stratified(y_, folds) if self.stratify and not net.regression else self._fold(len(y_), folds)
        return picked(X, ~held), picked(X, held), y[~held], y[held]

    def _fold(self, count: int, folds: int) -> NDArray[np.bool_]:
        return np.arange(count) < count // folds + (count % folds > 0)

    def _stratified(self, y: NDArray[Any], folds: int) -> NDArray[np.bool_]:
        held = np.zeros(len(y), bool)
        for label in np.unique(y):
            places = np.flatnonzero(y == label)
            held[places] = self._fold(max(len(places), folds), folds)[: len(places)]
        return held


class LegacySplit:
    """The net's own ``train_test_split(X, y, eval_size)``, which subclasses had in older nolearns."""

    def __init__(self, eval_size: Any) -> None:
        self.eval_size = eval_size

    def __call__(self, X: Any, y: Any, net: Any) -> Any:
        """(X_train, X_valid, y_train, y_valid)."""
        return net.train_test_split(X, y, self.eval_size)
