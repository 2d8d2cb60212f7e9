"""What NumPy's arrays did otherwise in the days of old scripts: arrays of one value as numbers, ``tostring``."""

import ast
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def tostring(value: Any, *arguments: Any, **options: Any) -> Any:
    """``value.tostring()``: the bytes of an array, an image, or what else has ``tobytes`` today."""
    own = getattr(value, "tobytes", None)
    return (own if callable(own) else value.tostring)(*arguments, **options)


def ptp(value: Any, *arguments: Any, **options: Any) -> Any:
    """``value.ptp()``: the greatest value less the least."""
    return (np.ptp if isinstance(value, np.ndarray) else type(value).ptp)(value, *arguments, **options)


def itemset(value: Any, *arguments: Any) -> None:
    """``array.itemset(place, item)``."""
    if isinstance(value, np.ndarray):
        value[arguments[0] if len(arguments) > 1 else ...] = arguments[-1]
    else:
        value.itemset(*arguments)


def number(value: Any) -> Any:
    """The number in an array of one value; all else as it is."""
    return value.item() if isinstance(value, np.ndarray) and value.size == 1 else value


@contextmanager
def _unwarned() -> Iterator[None]:
    """Without what NumPy 1.25 to 2.3 say of arrays of one value that stand for a number; later ones refuse them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Conversion of an array", DeprecationWarning)
        yield


def formatted(text: Any, values: Any) -> Any:
    """``text % values``, also where an array of one value stands for a number."""
    if not any(isinstance(part, np.ndarray) for part in (values if isinstance(values, tuple) else (values,))):
        return text % values
    try:
        with _unwarned():
            return text % values
    except TypeError:
        numbers = tuple(map(number, values)) if isinstance(values, tuple) else number(values)
        return text % numbers


def put(value: Any, container: Any, place: Any) -> None:
    """``container[place] = value``, also where the value is an array of one and the place that of a number."""
    if not (isinstance(container, np.ndarray) and isinstance(value, np.ndarray) and value.size == 1):
        container[place] = value
        return
    try:
        with _unwarned():
            container[place] = value
    except (TypeError, ValueError):
        container[place] = value.item()


def ragged(make: Any, *arguments: Any, **options: Any) -> Any:
    """``np.array(lists)``: an array of objects where the lists are of several lengths."""
    try:
        return make(*arguments, **options)
    except ValueError as error:
        if "inhomogeneous" not in str(error) or len(arguments) > 1 or "dtype" in options:
            raise
    return make(*arguments, dtype=object, **options)


FUNCTIONS = {
    "ragged": ragged,
    "tostring": tostring,
    "ptp": ptp,
    "itemset": itemset,
    "number": number,
    "formatted": formatted,
    "put": put,
}
METHODS = ("ptp", "itemset", "tostring")
MAKERS = ("np.array", "np.asarray", "numpy.array", "numpy.asarray")
NUMBERS = ("float", "int", "long")
WHERE_NEEDED = None if int(np.__version__.split(".")[0]) > 1 else False  # what copy=False meant


class Arrays(ast.NodeTransformer):
    """Calls of these functions in the place of what NumPy has no more."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """``float(x)``, ``x.tostring()``, ``np.array(x, copy=False)`` and their like."""
        self.generic_visit(node)
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr in METHODS:
            return _call(node, called.attr, called.value, *node.args, keywords=node.keywords)
        if isinstance(called, ast.Name) and called.id in NUMBERS and len(node.args) == 1:
            if not isinstance(node.args[0], ast.Constant | ast.Starred):
                node.args = [_call(node, "number", node.args[0])]
        elif ast.unparse(called) in MAKERS:
            for keyword in node.keywords:
                if keyword.arg == "copy" and isinstance(keyword.value, ast.Constant) and keyword.value.value is False:
                    keyword.value = ast.copy_location(ast.Constant(WHERE_NEEDED), node)
            return _call(node, "ragged", called, *node.args, keywords=node.keywords)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """``"%f" % x``."""
        self.generic_visit(node)
        text = isinstance(node.left, ast.Constant) and isinstance(node.left.value, str | bytes)
        return _call(node, "formatted", node.left, node.right) if text and isinstance(node.op, ast.Mod) else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """``a[i] = x``."""
        self.generic_visit(node)
        target = node.targets[0]
        if len(node.targets) > 1 or not isinstance(target, ast.Subscript) or _slices(target.slice):
            return node
        return ast.copy_location(ast.Expr(_call(node, "put", node.value, target.value, target.slice)), node)


def _slices(place: ast.expr) -> bool:
    return any(isinstance(part, ast.Slice | ast.Starred) for part in (place, *getattr(place, "elts", ())))


def _call(node: ast.AST, name: str, *arguments: ast.expr, keywords: list[ast.keyword] | None = None) -> ast.expr:
    made = ast.Call(ast.Name(f"__{name}__", ast.Load()), list(arguments), keywords or [])
    return ast.copy_location(made, node)


NAMES: dict[str, Any] = {f"__{name}__": function for name, function in FUNCTIONS.items()}
