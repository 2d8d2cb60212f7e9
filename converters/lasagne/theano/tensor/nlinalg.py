"""``theano.tensor.nlinalg``."""

from typing import Any

import torch

from converters.lasagne.theano.tensor.ops import diag, lazy, trace
from converters.lasagne.theano.variable import as_tensor


@lazy
def matrix_inverse(x: Any) -> Any:
    """The inverse of a square matrix."""
    return torch.linalg.inv(as_tensor(x))


@lazy
def det(x: Any) -> Any:
    """The determinant of a square matrix."""
    return torch.linalg.det(as_tensor(x))


__all__ = ["det", "diag", "matrix_inverse", "trace"]
