"""``theano.tensor.nlinalg``."""

from functools import reduce
from typing import Any

import torch

from converters.lasagne.theano.tensor.calls import lazy
from converters.lasagne.theano.tensor.ops import diag, dot, norm, trace
from converters.lasagne.theano.variable import as_tensor


@lazy
def matrix_inverse(x: Any) -> Any:
    """The inverse of a square matrix."""
    return torch.linalg.inv(as_tensor(x))


@lazy
def det(x: Any) -> Any:
    """The determinant of a square matrix."""
    return torch.linalg.det(as_tensor(x))


@lazy
def pinv(x: Any) -> Any:
    """The pseudo-inverse of a matrix."""
    return torch.linalg.pinv(as_tensor(x))


@lazy
def _eigh(x: Any, lower: bool) -> Any:
    return tuple(torch.linalg.eigh(as_tensor(x), "L" if lower else "U"))


def eigh(a: Any, UPLO: str = "L") -> Any:  # NumPy's name
    """The eigenvalues of a symmetric matrix, rising, and the matrix of the vectors."""
    found = _eigh(a, UPLO == "L")
    return [found[0], found[1]]


@lazy
def _svd(x: Any, full: bool) -> Any:
    return tuple(torch.linalg.svd(as_tensor(x), full))


def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """U, the singular values and V transposed; the values alone without *compute_uv*."""
    found = _svd(a, full_matrices)
    return [found[0], found[1], found[2]] if compute_uv else found[1]


@lazy
def matrix_power(M: Any, n: int) -> Any:
    """The product of n times the matrix M."""
    return torch.linalg.matrix_power(as_tensor(M), n)


@lazy
def cholesky(x: Any) -> Any:
    """The lower triangle whose product with its transpose is x."""
    return torch.linalg.cholesky(as_tensor(x))


@lazy
def solve(a: Any, b: Any) -> Any:
    """x with a x = b, a vector or a matrix."""
    return torch.linalg.solve(as_tensor(a), as_tensor(b))


@lazy
def expm(x: Any) -> Any:
    """The exponential of a square matrix."""
    return torch.linalg.matrix_exp(as_tensor(x))


def matrix_dot(*args: Any) -> Any:
    """The product of all matrices."""
    return reduce(dot, args)


def _op(function: Any) -> Any:
    """A class whose objects, called, are *function*: Theano's other spelling."""

    class Operation:
        __call__ = staticmethod(function)

    return Operation


alloc_diag = extract_diag = diag
AllocDiag, ExtractDiag, MatrixInverse, Det, Cholesky = map(_op, (diag, diag, matrix_inverse, det, cholesky))

__all__ = [
    "AllocDiag", "Cholesky", "Det", "ExtractDiag", "MatrixInverse", "alloc_diag", "cholesky", "det", "diag", "eigh",
    "expm", "extract_diag", "matrix_dot", "matrix_inverse", "matrix_power", "norm", "pinv", "solve", "svd", "trace",
]  # fmt: skip
