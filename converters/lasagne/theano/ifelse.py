"""``theano.ifelse``."""

from typing import Any

from converters.lasagne.theano.variable import apply, as_tensor


def ifelse(condition: Any, then_branch: Any, else_branch: Any, name: str | None = None) -> Any:
    """*then_branch* if the one value *condition* holds, else *else_branch*; lists of them item by item."""
    if isinstance(then_branch, list | tuple):
        pairs = zip(then_branch, else_branch, strict=True)
        return [ifelse(condition, a, b) for a, b in pairs]
    return apply(lambda c, a, b: as_tensor(a) if bool(c) else as_tensor(b), condition, then_branch, else_branch)
