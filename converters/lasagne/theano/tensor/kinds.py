"""The constructors of input variables: ``T.matrix("x")`` and its like."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from converters.lasagne.theano.config import config
from converters.lasagne.theano.tensor.form import stack
from converters.lasagne.theano.variable import Constant, Input, Variable, dtype_of, variables_in

RANKS = {"scalar": 0, "vector": 1, "row": 2, "col": 2, "matrix": 2, "tensor3": 3, "tensor4": 4, "tensor5": 5}
DTYPES = {"": None, "b": "int8", "w": "int16", "i": "int32", "l": "int64", "f": "float32", "d": "float64"}


class TensorType:
    """A dtype and a number of axes; calling it makes an input variable."""

    def __init__(self, dtype: Any, broadcastable: Sequence[bool], name: str | None = None) -> None:
        self.dtype = dtype_of(dtype)
        self.broadcastable = tuple(bool(flag) for flag in broadcastable)
        self.ndim = len(self.broadcastable)

    def __call__(self, name: str | None = None) -> Input:
        return Input(self.dtype, self.broadcastable, name)


def constructor(kind: str, dtype: str | None) -> Callable[..., Any]:
    """What makes variables of this kind; *dtype* None: floatX at the time of the call."""
    flags = {"row": (True, False), "col": (False, True)}.get(kind, (False,) * RANKS[kind])

    def make(name: str | None = None, dtype: Any = dtype) -> Input:
        return Input(dtype or config.floatX, flags, name)

    return make


def constructors() -> dict[str, Callable[..., Any]]:
    """All of them by name: matrix, imatrix, dtensor4, ivectors, ..."""
    found = {}
    for prefix, dtype in DTYPES.items():
        for kind in RANKS:
            make = constructor(kind, dtype)
            found[prefix + kind] = make
            found[prefix + ("matrices" if kind == "matrix" else kind + "s")] = several(make)
    return found


def several(make: Callable[..., Any]) -> Callable[..., list[Any]]:
    """What makes variables with these names, with the letters of one text, or as many as a number says."""

    def many(*names: Any) -> list[Any]:
        listed = names[0] if len(names) == 1 else names
        return [make() for _ in range(listed)] if isinstance(listed, int) else [make(name) for name in listed]

    return many


def as_tensor_variable(x: Any, name: str | None = None, ndim: int | None = None, dtype: Any = None) -> Variable:
    """*x* if it is a variable, the stack of a list with variables in it, else a constant."""
    if isinstance(x, Variable):
        return x
    if any(True for _ in variables_in(x)):
        stacked: Variable = stack(list(x))
        return stacked
    return Constant(x if dtype is None else np.asarray(x, dtype_of(dtype)), name)
