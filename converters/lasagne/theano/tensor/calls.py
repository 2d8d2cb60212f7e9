"""Functions of tensors that serve variables and data alike, through ``apply``."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import Tensor

from converters.lasagne.theano.config import config
from converters.lasagne.theano.variable import Constant, Variable, apply, as_tensor

Function = Callable[..., Any]


def lazy(function: Function) -> Function:
    """*function* of tensors, as one that also takes variables; of arrays and numbers alone it makes a variable."""

    @wraps(function)
    def either(*arguments: Any, **options: Any) -> Any:
        found = apply(function, *arguments, **options)
        if isinstance(found, Tensor) and not _has_tensor([arguments, options]):
            return Constant(found)
        return found

    function.public = either  # type: ignore[attr-defined]  # what a pickle names in its place
    return either


def _has_tensor(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_has_tensor(item) for item in value)
    return isinstance(value, Tensor) or (isinstance(value, dict) and _has_tensor(list(value.values())))


def made(function: Function) -> Function:
    """*function* that makes a value from numbers, as one that gives a variable, which has a variable's methods."""
    either = lazy(function)

    @wraps(function)
    def variable(*arguments: Any, **options: Any) -> Any:
        found = either(*arguments, **options)
        return found if isinstance(found, Variable) else Constant(found)

    function.public = variable  # type: ignore[attr-defined]  # as above
    return variable


def floating(x: Any) -> Tensor:
    """*x* as a tensor of floats: whole numbers become floatX."""
    tensor = as_tensor(x)
    return tensor if tensor.is_floating_point() else tensor.to(config.torch_dtype)
