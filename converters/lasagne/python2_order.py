"""The order of Python 2, in which anything can be compared with anything."""

import numbers
import operator
from collections.abc import Callable, Iterable
from functools import cmp_to_key
from typing import Any

import numpy as np

SIGNS: dict[str, Callable[[Any, Any], Any]] = {"Lt": operator.lt, "LtE": operator.le, "Gt": operator.gt,
                                               "GtE": operator.ge}  # fmt: skip


def cmp(a: Any, b: Any) -> Any:
    """-1, 0 or 1: None comes first, then numbers, then all else by the names of the types."""
    try:
        return (a > b) - (a < b)
    except TypeError:
        pass
    if type(a) is type(b) and isinstance(a, list | tuple):
        parts = (cmp(x, y) for x, y in zip(a, b, strict=False))
        return next((found for found in parts if found), (len(a) > len(b)) - (len(a) < len(b)))
    first, second = _kind(a), _kind(b)
    if first == second:
        first, second = (0, _text(a)), (0, _text(b))
    return (first > second) - (first < second)


def _kind(value: Any) -> tuple[int, str]:
    if value is None:
        return 0, ""
    if isinstance(value, numbers.Number):
        return 1, ""
    return 2, "str" if isinstance(value, bytes) else type(value).__name__


def _text(value: Any) -> str:
    """What orders two values of a type without an order: their text, or their places in memory."""
    return value.decode("latin1") if isinstance(value, bytes) else value if isinstance(value, str) else f"{id(value):x}"


def compared(sign: str, a: Any, b: Any) -> Any:
    """``a < b`` and its like."""
    try:
        return SIGNS[sign](a, b)
    except TypeError:
        if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
            raise
        return SIGNS[sign](cmp(a, b), 0)


def sorted_by(
    found: Iterable[Any],
    cmp: Callable[[Any, Any], int] | None = cmp,
    key: Callable[[Any], Any] | None = None,
    reverse: bool = False,
) -> list[Any]:
    """``sorted``, with the argument ``cmp`` that it had."""
    order = cmp_to_key(cmp or globals()["cmp"])
    return sorted(found, key=lambda value: order(key(value) if key else value), reverse=reverse)


def sort(found: Any, *arguments: Any, **options: Any) -> Any:
    """``list.sort``, too; what else has a method of that name uses it."""
    if not isinstance(found, list):
        return found.sort(*arguments, **options)
    found[:] = sorted_by(found, *arguments, **options)
    return None
