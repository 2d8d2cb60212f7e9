"""The one random generator of all initialisers, ``lasagne.random``."""

import numpy as np

_rng: list[np.random.RandomState] = [np.random.mtrand._rand]  # numpy.random's own generator


def get_rng() -> np.random.RandomState:
    """The generator in use: NumPy's global one unless ``set_rng`` named another."""
    return _rng[0]


def set_rng(new_rng: np.random.RandomState) -> None:
    """Let all that is drawn from now on come from *new_rng*."""
    _rng[0] = new_rng
