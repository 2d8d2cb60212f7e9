"""How many axes the results of functions have, where that can be told from the arguments, without a run."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from converters.lasagne.theano.variable import Variable

Arguments = Mapping[str, Any]
COMPARISONS = ("eq", "neq", "lt", "le", "gt", "ge", "and_", "or_", "xor", "invert", "isnan", "isinf")

ELEMENTWISE = {
    "add", "sub", "mul", "true_div", "int_div", "mod", "power", "maximum", "minimum", "eq", "neq", "lt", "le", "gt",
    "ge", "and_", "or_", "xor", "invert", "switch", "clip", "exp", "log", "sqrt", "sqr", "abs_", "sgn", "neg", "tanh",
    "sigmoid", "relu", "softplus", "elu", "binary_crossentropy", "sigmoid_binary_crossentropy", "logaddexp", "arctan2",
    "isclose",
}  # fmt: skip


def rank(value: Any) -> int:
    """The axes of a variable, tensor, array, number, or list of them."""
    if isinstance(value, list | tuple):
        return 1 + (rank(value[0]) if value else 0)
    return int(value.ndim) if isinstance(value, Variable | Tensor) else np.ndim(value)


def _first(given: Arguments) -> int:
    return rank(next(iter(given.values())))


def _reshaped(given: Arguments) -> int | None:
    sizes = given["newshape"]
    return given["ndim"] or (len(sizes) if isinstance(sizes, list | tuple) else None)


def _shuffled(given: Arguments) -> int:
    pattern = given["pattern"]
    return len(pattern[0] if len(pattern) == 1 and isinstance(pattern[0], list | tuple) else pattern)


def _reduced(given: Arguments) -> int:
    axis = given["axis"]
    if given.get("keepdims"):
        return _first(given)
    return 0 if axis is None else _first(given) - (len(axis) if isinstance(axis, list | tuple) else 1)


def _along(given: Arguments) -> int:
    return 1 if given["axis"] is None else _first(given)


def _product(given: Arguments) -> int:
    a, b = rank(given["a"]), rank(given["b"])
    return a + b - 2 if a and b else a + b


def _contracted(given: Arguments) -> int:
    axes = given["axes"]
    pairs = axes if isinstance(axes, int) else len(np.atleast_1d(axes[0]))
    return rank(given["a"]) + rank(given["b"]) - 2 * pairs


def _joined(given: Arguments) -> int:
    return rank(given["tensor_list"][0])


def _stacked(given: Arguments) -> int:
    return 1 + rank(given["tensors"][0])


def _taken(given: Arguments) -> int:
    return rank(given["indices"]) + (0 if given["axis"] is None else rank(given["a"]) - 1)


def _indexed(given: Arguments) -> int | None:
    """Lists of places share one axis, or as many as the longest of them has; a mask takes up as many as it has."""
    x, index = given["x"], given["index"]
    if getattr(x, "made_by", None) == "_nonzero":
        return None
    taken, lists, new = 0, [0], 0
    for item in index if isinstance(index, tuple) else (index,):
        if item is None:
            new += 1
        elif getattr(item, "made_by", None) == "_nonzero":
            taken, lists = taken + rank(item.arguments[0]), [*lists, 1]
        elif _is_mask(item):
            taken, lists = taken + rank(item), [*lists, 1]
        elif item is not Ellipsis and not isinstance(item, slice):
            taken, lists = taken + 1, [*lists, rank(item)]
    return rank(x) - taken + new + max(lists)


def _is_mask(item: Any) -> bool:
    return getattr(item, "made_by", None) in COMPARISONS or str(getattr(item, "dtype", "")).endswith("bool")


def _fixed(count: int) -> Callable[[Arguments], int]:
    return lambda given: count


RULES: dict[str, Callable[[Arguments], int | None]] = {
    "reshape": _reshaped, "flatten": lambda given: given["outdim"] or given["ndim"], "dimshuffle": _shuffled,
    "subtensor": _indexed, "dot": _product, "concatenate": _joined, "_stack": _stacked, "repeat": _along,
    "batched_dot": lambda given: rank(given["a"]) + rank(given["b"]) - 3,
    "softmax": _fixed(2), "logsoftmax": _fixed(2), "conv2d": _fixed(4), "outer": _fixed(2), "shape": _fixed(1),
    "matrix_inverse": _fixed(2), "det": _fixed(0), "allclose": _fixed(0), "flatnonzero": _fixed(1),
    "nonzero_values": _fixed(1), "_nonzero_matrix": _fixed(2), "take": _taken,
    **dict.fromkeys(("cumsum", "cumprod", "sort", "argsort"), _along),
    "tensordot": _contracted,
    **dict.fromkeys(("sum_", "mean", "var", "std", "max_", "min_", "prod", "all_", "any_", "argmax", "argmin"),
                    _reduced),
    **dict.fromkeys(("transpose", "swapaxes", "cast", "zeros_like", "ones_like", "_part", "pool_2d", "_write", "round_",
                     "hard_sigmoid", "softsign", "log1p", "expm1", "sin", "cos", "isnan", "isinf", "iround"), _first),
}  # fmt: skip


def told(function: Callable[..., Any], arguments: Any, options: Any) -> int | None:
    """The number of axes of what *function* makes of these; None where no rule tells."""
    if (name := getattr(function, "__name__", "")) in ELEMENTWISE:
        return max(map(rank, arguments))
    if (rule := RULES.get(name)) is None:
        return None
    bound = inspect.signature(function).bind(*arguments, **options)
    bound.apply_defaults()
    return rule(bound.arguments)
