"""``theano.compile``: modes and errors that scripts name. Modes have no effect."""

from typing import Any

from converters.lasagne.theano.function import function
from converters.lasagne.theano.shared import SharedVariable, shared


class Mode:
    """How a function was to be compiled."""

    def __init__(self, linker: Any = None, optimizer: Any = "default", **ignored: Any) -> None:
        self.linker = linker
        self.optimizer = optimizer

    def including(self, *tags: str) -> "Mode":
        """The same."""
        return self

    excluding = including


def get_default_mode() -> Mode:
    """The mode of functions that are given none."""
    return Mode()


class NanGuardMode(Mode):
    """Was to look for values that are no numbers; here it does not."""

    def __init__(self, nan_is_error: bool = True, inf_is_error: bool = True, big_is_error: bool = True, **ignored: Any) -> None:  # fmt: skip  # noqa: E501
        super().__init__()


class MonitorMode(Mode):
    """Was to call functions around each step; here it does not."""

    def __init__(self, pre_func: Any = None, post_func: Any = None, **ignored: Any) -> None:
        super().__init__()


class DebugMode(Mode):
    """Was to check each step; here it does not."""


class UnusedInputError(Exception):
    """An input of a function that nothing needs; here that is no error."""


__all__ = [
    "DebugMode", "Mode", "MonitorMode", "NanGuardMode", "SharedVariable", "UnusedInputError", "function",
    "get_default_mode", "shared",
]  # fmt: skip
