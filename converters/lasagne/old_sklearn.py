"""Modules that scikit-learn had in nolearn's days and has no more: folds that are made from the data's size."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np

MOVED = {
    "sklearn.cross_validation": ("sklearn.model_selection",),
    "sklearn.externals": (),
    "sklearn.externals.joblib": ("joblib",),
    "sklearn.grid_search": ("sklearn.model_selection",),
    "sklearn.learning_curve": ("sklearn.model_selection",),
}  # fmt: skip


class _Folds:
    """Pairs of places to train on and to test on, as the present class of the same name gives them."""

    by_labels = False

    def __init__(self, data: Any, number: int | None = None, **options: Any) -> None:
        given = [options.pop(name) for name in ("n_folds", "n_iter") if name in options]
        options.pop("indices", None)
        number = number if number is not None else (given or [10 if "ShuffleSplit" in type(self).__name__ else 3])[0]
        self.n, self.n_folds = (len(data) if self.by_labels else int(data)), number
        if "ShuffleSplit" in type(self).__name__ and not {"test_size", "train_size"} & set(options):
            options["test_size"] = 0.1
        present = getattr(importlib.import_module("sklearn.model_selection"), type(self).__name__)
        places = np.zeros((self.n, 1))
        self._pairs = list(present(number, **options).split(places, np.asarray(data) if self.by_labels else None))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


class KFold(_Folds):
    """``KFold(n, n_folds=3, shuffle=False, random_state=None)``."""


class StratifiedKFold(_Folds):
    """``StratifiedKFold(y, n_folds=3, shuffle=False, random_state=None)``."""

    by_labels = True


class ShuffleSplit(_Folds):
    """``ShuffleSplit(n, n_iter=10, test_size=0.1, random_state=None)``."""


class StratifiedShuffleSplit(_Folds):
    """``StratifiedShuffleSplit(y, n_iter=10, test_size=0.1, random_state=None)``."""

    by_labels = True


class _Moved(Loader):
    """Makes an old module of what is elsewhere today."""

    def create_module(self, spec: ModuleSpec) -> None:
        """An ordinary one."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill it."""
        for place in MOVED[module.__name__]:
            found = importlib.import_module(place)
            module.__dict__.update({name: value for name, value in vars(found).items() if not name.startswith("__")})
        if module.__name__ == "sklearn.cross_validation":
            module.__dict__.update({kind.__name__: kind for kind in _Folds.__subclasses__()})
        if module.__name__ == "sklearn.externals":
            module.__path__ = []


class _Finder:
    """Finds the old modules, last of all: where scikit-learn still has one, that is taken."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The old module's spec."""
        return ModuleSpec(name, _Moved(), is_package=name == "sklearn.externals") if name in MOVED else None


@contextmanager
def old_sklearn() -> Iterator[None]:
    """Within it, scikit-learn's old modules can be imported."""
    finder = _Finder()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
