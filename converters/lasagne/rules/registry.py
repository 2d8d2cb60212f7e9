"""Which function writes which class of ``lasagne.layers``; what has no meaning in a net is refused by name."""

from collections.abc import Callable
from typing import Any

from converters.lasagne.writer import Writer
from protos.errors import NetError

Rule = Callable[[Writer, Any, list[str]], str]
RULES: dict[type, Rule] = {}


def rule(*kinds: type) -> Callable[[Rule], Rule]:
    """Register a function for these classes."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


def rule_of(layer: Any) -> Rule:
    """The rule for a layer's class, or for the one it inherits all computation from. Raises NetError for none."""
    for kind in type(layer).__mro__:
        if kind in RULES:
            return RULES[kind]
        if {"forward", "get_output_for", "convolve"} & set(vars(kind)):
            break
    raise NetError(f"{layer}: {type(layer).__name__} has no meaning in a net: keep it in Python, or build the part "
                   "behind it as a net of its own")  # fmt: skip
