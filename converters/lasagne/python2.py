"""What Python 2 did otherwise, as scripts meet it while they run: divisions, lists for ``map``, pickles."""

import importlib
import numbers
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import numpy as np

from converters.lasagne.python2_arrays import NAMES as OF_ARRAYS
from converters.lasagne.python2_syntax import NAMES as OF_SYNTAX
from converters.lasagne.theano.tensor import ops
from converters.lasagne.theano.variable import Variable, apply


class Whole(float):
    """The quotient of two whole numbers that is whole: a float, as in Python 3, that is also a size, as in Python 2.

    What sums and products make of it and other whole numbers is of its kind.
    """

    def __index__(self) -> int:
        return int(self)


def _whole(name: str) -> Callable[[Whole, Any], Any]:
    own: Callable[[float, Any], Any] = getattr(float, name)

    def method(self: Whole, other: Any) -> Any:
        found = own(self, other)
        exact = isinstance(other, int | Whole) and not isinstance(other, bool)
        return Whole(found) if exact and isinstance(found, float) and found.is_integer() else found

    return method


for _name in ("add", "sub", "mul", "floordiv", "mod"):
    for _side in ("", "r"):
        setattr(Whole, f"__{_side}{_name}__", _whole(f"__{_side}{_name}__"))
numbers.Integral.register(Whole)


def exact_division(a: Any, b: Any) -> Any:
    """a / b of a script that both Pythons can read: what is whole in either of them serves as a size, too."""
    found = a / b
    whole = type(a) in (int, Whole) and type(b) in (int, Whole) and found.is_integer()
    return Whole(found) if whole else found


def old_division(a: Any, b: Any) -> Any:
    """a / b of Python 2: whole numbers, also in arrays and in Theano's variables, are divided to the floor."""
    if isinstance(a, Variable) or isinstance(b, Variable):
        return apply(_divided, a, b)
    return a // b if _is_whole(a) and _is_whole(b) else a / b


def old_division_in_place(a: Any, b: Any) -> Any:
    """a /= b of Python 2; arrays are changed where they are."""
    if isinstance(a, Variable) or isinstance(b, Variable):
        return old_division(a, b)
    if _is_whole(a) and _is_whole(b):
        a //= b
    else:
        a /= b
    return a


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) or (isinstance(value, np.ndarray) and value.dtype.kind in "iu")


def _divided(a: Any, b: Any) -> Any:
    x, y = ops.both(a, b)
    return ops.true_div(a, b) if x.is_floating_point() or y.is_floating_point() else ops.int_div(a, b)


class Items:
    """What ``map``, ``filter`` and ``zip`` give: an iterator, as in Python 3, until it is asked for as a list."""

    def __init__(self, found: Iterator[Any]) -> None:
        self._found = found
        self._listed: list[Any] | None = None

    def _list(self) -> list[Any]:
        if self._listed is None:
            self._listed = list(self._found)
            self._found = iter(self._listed)
        return self._listed

    def __iter__(self) -> Iterator[Any]:
        return self if self._listed is None else iter(self._listed)

    def __next__(self) -> Any:
        return next(self._found)

    def __len__(self) -> int:
        return len(self._list())

    def __getitem__(self, place: Any) -> Any:
        return self._list()[place]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._list(), name)


def listing(function: Callable[..., Iterator[Any]]) -> Callable[..., Items]:
    """*function*, whose result can be asked for as a list."""

    def call(*arguments: Any, **options: Any) -> Items:
        return Items(function(*arguments, **options))

    return call


MOST = 10_000_000  # a longer range stays one: no script of Python 2 had the memory for its list


def listed(found: Any) -> Any:
    """What ``range`` and a dictionary's views give, as a list; all else as it is."""
    if isinstance(found, range):
        return list(found) if found.stop - found.start < MOST else found
    return list(found) if type(found) in VIEWS else found


def load(file: Any, **options: Any) -> Any:
    """``pickle.load``, also of a file opened as text, and of pickles of Python 2 whose bytes are no ASCII."""
    raw = getattr(file, "buffer", file)
    start = raw.tell()
    try:
        return pickle.load(raw, **options)  # what the script asks for
    except UnicodeDecodeError:
        raw.seek(start)
        return pickle.load(raw, **{**options, "encoding": "latin1"})


def loads(content: Any, **options: Any) -> Any:
    """``pickle.loads``, also of pickles of Python 2 whose bytes are no ASCII."""
    try:
        return pickle.loads(content, **options)
    except UnicodeDecodeError:
        return pickle.loads(content, **{**options, "encoding": "latin1"})


VIEWS = tuple(type(getattr(kind(), name)()) for kind in (dict, OrderedDict) for name in ("items", "keys", "values"))
# What every script and the modules beside it find besides the builtins.
NAMES: dict[str, Any] = {
    "map": listing(map), "filter": listing(filter), "zip": listing(zip), "__old_division__": old_division,
    "__old_division_in_place__": old_division_in_place, "__exact_division__": exact_division,
    "__listed__": listed, "apply": lambda function, arguments=(), options=None: function(*arguments, **(options or {})),
    "cmp": lambda a, b: (a > b) - (a < b), "file": open, "reduce": reduce, "reload": importlib.reload,
    **OF_ARRAYS, **OF_SYNTAX,
}  # fmt: skip
