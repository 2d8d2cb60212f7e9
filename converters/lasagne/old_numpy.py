"""Names that NumPy had in Lasagne's days and has no more."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np


class _Cast:
    """``np.cast[kind](value)``: the value as an array of that kind."""

    def __getitem__(self, kind: Any) -> Any:
        return lambda value: np.asarray(value, dtype=kind)


def _fromstring(content: Any, dtype: Any = float, count: int = -1, sep: str = "", **options: Any) -> Any:
    """``np.fromstring``, also of bytes as they lie in memory."""
    if sep:
        return _NOW["fromstring"](content, dtype, count, sep=sep, **options)
    return np.frombuffer(content.encode("latin1") if isinstance(content, str) else content, dtype, count).copy()


def _set_printoptions(threshold: Any = None, **options: Any) -> None:
    """``np.set_printoptions``, also with ``threshold="nan"``, which meant all values."""
    every = isinstance(threshold, str) or (threshold is not None and np.isnan(threshold))
    _NOW["set_printoptions"](threshold=sys.maxsize if every else threshold, **options)


OLD: dict[str, Any] = {
    "Inf": np.inf, "Infinity": np.inf, "NINF": -np.inf, "NaN": np.nan, "PINF": np.inf, "alltrue": np.all,
    "asfarray": lambda a, dtype=float: np.asarray(a, dtype), "asscalar": lambda a: np.asarray(a).item(), "bool": bool,
    "cast": _Cast(), "complex": complex, "complex_": np.complex128, "cumproduct": np.cumprod, "float": float,
    "float_": np.float64, "in1d": lambda a, b, **options: np.isin(np.ravel(a), b, **options), "infty": np.inf,
    "int": int, "long": int, "mat": np.asmatrix, "msort": lambda a: np.sort(a, axis=0), "object": object,
    "product": np.prod, "rank": np.ndim, "row_stack": np.vstack, "sometrue": np.any, "str": str, "string_": np.bytes_,
    "trapz": getattr(np, "trapezoid", None), "unicode": str, "unicode_": np.str_,
}  # fmt: skip
CHANGED: dict[str, Any] = {"fromstring": _fromstring, "set_printoptions": _set_printoptions}
_NOW = {name: getattr(np, name) for name in CHANGED}


@contextmanager
def old_names() -> Iterator[None]:
    """Within it, NumPy has those of its old names that it lacks, and h5py's data sets their ``value``."""
    given = {name: value for name, value in OLD.items() if name not in vars(np)}
    for name, value in (given | CHANGED).items():
        setattr(np, name, value)
    h5py.Dataset.value = property(lambda found: found[()])
    try:
        yield
    finally:
        del h5py.Dataset.value
        for name in given:
            delattr(np, name)
        for name, value in _NOW.items():
            setattr(np, name, value)
