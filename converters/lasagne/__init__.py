"""Lasagne's names, on torch: nets written for it are built, run, and become nets of this project."""

from converters.lasagne import init, layers, nonlinearities, objectives, random, regularization, updates, utils
from converters.lasagne.installing import install
from converters.lasagne.translate import save_net, to_net

__version__ = "0.2.dev1"

__all__ = [
    "init", "install", "layers", "nonlinearities", "objectives", "random", "regularization", "save_net", "to_net",
    "updates", "utils",
]  # fmt: skip
