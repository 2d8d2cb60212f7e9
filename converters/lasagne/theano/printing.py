"""``theano.printing``."""

import sys
from typing import Any

from torch import Tensor

from converters.lasagne.theano.variable import ancestors, apply, as_tensor, to_numpy


class Print:
    """The identity, which prints the value, or its *attrs*, whenever it is worked out."""

    def __init__(self, message: str = "", attrs: Any = ("__str__",), **ignored: Any) -> None:
        self.message = message
        self.attrs = attrs

    def __call__(self, x: Any) -> Any:
        return apply(self._show, x)

    def _show(self, x: Any) -> Tensor:
        value = to_numpy(as_tensor(x))
        for name in self.attrs:
            found = getattr(value, name)
            print(self.message, name, "=", found() if callable(found) else found)
        return as_tensor(x)


def pprint(variable: Any) -> str:
    """A short text for a variable."""
    return str(variable)


def debugprint(obj: Any, file: Any = None, **ignored: Any) -> None:
    """The variables that *obj* needs, a line each."""
    for node in ancestors(obj if isinstance(obj, list | tuple) else [obj]):
        print(type(node).__name__, node, file=file or sys.stdout)


def pydotprint(*arguments: Any, **options: Any) -> None:
    """Not supported."""
    raise NotImplementedError("theano.printing.pydotprint is not supported here: draw the net with python -m nets.draw")
