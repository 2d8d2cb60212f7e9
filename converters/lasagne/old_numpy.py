"""Names that NumPy had in Lasagne's days and has no more."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


class _Cast:
    """``np.cast[kind](value)``: the value as an array of that kind."""

    def __getitem__(self, kind: Any) -> Any:
        return lambda value: np.asarray(value, dtype=kind)


OLD: dict[str, Any] = {
    "Inf": np.inf, "Infinity": np.inf, "NINF": -np.inf, "NaN": np.nan, "PINF": np.inf, "alltrue": np.all,
    "asscalar": lambda a: np.asarray(a).item(), "bool": bool, "cast": _Cast(), "complex": complex,
    "complex_": np.complex128, "cumproduct": np.cumprod, "float": float, "float_": np.float64,
    "in1d": lambda a, b, **options: np.isin(np.ravel(a), b, **options), "infty": np.inf, "int": int, "long": int,
    "object": object, "product": np.prod, "row_stack": np.vstack, "sometrue": np.any, "str": str,
    "string_": np.bytes_, "unicode": str, "unicode_": np.str_,
}  # fmt: skip


@contextmanager
def old_names() -> Iterator[None]:
    """Within it, NumPy has those of its old names that it lacks."""
    given = {name: value for name, value in OLD.items() if name not in vars(np)}
    for name, value in given.items():
        setattr(np, name, value)
    try:
        yield
    finally:
        for name in given:
            delattr(np, name)
