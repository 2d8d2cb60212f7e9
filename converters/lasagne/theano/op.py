"""``theano.Op``: operations that a script writes itself. They have no counterpart here, and say so when one is made."""

from collections.abc import Callable
from typing import Any, NoReturn

REMEDY = "an Op of your own is not supported here: write it with the functions of theano.tensor"


class Op:
    """The base of such operations. Classes can be made of it; making one raises NotImplementedError."""

    def __new__(cls, *arguments: Any, **options: Any) -> "Op":
        """Refuse."""
        raise NotImplementedError(f"{cls.__name__}: {REMEDY}")


def as_op(itypes: Any, otypes: Any, infer_shape: Any = None) -> Callable[[Callable[..., Any]], Callable[..., NoReturn]]:
    """A decorator for a function of arrays; calling what it gives raises NotImplementedError."""

    def decorate(function: Callable[..., Any]) -> Callable[..., NoReturn]:
        def refuse(*inputs: Any) -> NoReturn:
            raise NotImplementedError(f"{function.__name__}: {REMEDY}")

        return refuse

    return decorate


def grad_not_implemented(op: Any, x_pos: int, x: Any, comment: str = "") -> NoReturn:
    """What an Op says of an input without a gradient."""
    raise NotImplementedError(f"{op}: it has no gradient for its input {x_pos} {comment}".rstrip())


grad_undefined = grad_not_implemented
