"""Weights in and out: ``.caffemodel`` and HDF5."""

from nets.weights import load_weights, save_weights

__all__ = ["load_weights", "save_weights"]
