"""The syntax tree of a text for Python 2, once Python 3 can read it: calls of what the operators and builtins were."""

import ast
import re
import sys
from typing import Any

from converters.lasagne.python2_order import SIGNS, cmp, compared, sort, sorted_by
from converters.lasagne.python2_signs import Own
from converters.lasagne.python2_text import as_str, bytes_of, decode, encode, given, open_file


def _next(found: Any) -> Any:
    """``found.next()``."""
    own = getattr(found, "next", None)
    return next(found) if own is None else own()


def _set_data(content: Any, owner: Any) -> None:
    """``owner.data = content``, also of a message whose data are bytes."""
    try:
        owner.data = content
    except TypeError:
        owner.data = bytes_of(content)


FUNCTIONS = {"bytes_of": bytes_of, "cmp": cmp, "compared": compared, "decode": decode, "encode": encode,
             "given": given, "next": _next, "open": open_file, "set_data": _set_data, "sort": sort, "sorted": sorted_by,
             "str": as_str}  # fmt: skip
NAMES: dict[str, Any] = {f"__old_{name}__": function for name, function in FUNCTIONS.items()}
NAMES |= {"intern": sys.intern, "raw_input": input, "unichr": chr}
BUILTINS = {"cmp": "cmp", "file": "open", "open": "open", "sorted": "sorted"}
METHODS = ("decode", "encode", "sort")
GIVING_BYTES = ("check_output", "getvalue", "read", "readline", "readlines", "recv", "tostring")
STRINGS = re.compile(r"[|<>=]?S\d*")  # NumPy's names of arrays of them
TAKING_BYTES = ("FromString", "MergeFromString", "ParseFromString")  # of messages


class Old(ast.NodeTransformer):
    """Calls of these functions in the place of what Python 3 does otherwise."""

    def __init__(self, tree: ast.AST) -> None:
        self.builtins = {name: new for name, new in BUILTINS.items() if name not in Own(tree).names}

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """``open``, ``sorted`` and their like, unless they are the text's own."""
        return ast.copy_location(_name(self.builtins[node.id]), node) if node.id in self.builtins else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """``str(x)``, ``x.sort(...)`` and their like."""
        self.generic_visit(node)
        called, arguments = node.func, node.args
        if isinstance(called, ast.Name) and called.id == "str":
            node.func = ast.copy_location(_name("str"), node)
        elif isinstance(called, ast.Attribute):
            if called.attr in METHODS or (called.attr == "next" and not arguments):
                node.func, node.args = ast.copy_location(_name(called.attr), node), [called.value, *arguments]
            elif called.attr in TAKING_BYTES:
                node.args = [ast.copy_location(ast.Call(_name("bytes_of"), arguments, []), node)]
            elif called.attr in GIVING_BYTES:
                return ast.copy_location(ast.Call(_name("given"), [node], []), node)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """``datum.data = text``."""
        self.generic_visit(node)
        target = node.targets[0]
        if len(node.targets) > 1 or not isinstance(target, ast.Attribute) or target.attr != "data":
            return node
        call = ast.Call(_name("set_data"), [node.value, target.value], [])
        return ast.copy_location(ast.Expr(ast.copy_location(call, node)), node)

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        """``dtype="S50"``: an array of text."""
        self.generic_visit(node)
        if node.arg == "dtype" and isinstance(node.value, ast.Constant) and STRINGS.fullmatch(str(node.value.value)):
            node.value = ast.copy_location(ast.Constant(str(node.value.value).replace("S", "U")), node.value)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """``a < b``."""
        self.generic_visit(node)
        sign = type(node.ops[0]).__name__
        if len(node.ops) > 1 or sign not in SIGNS:
            return node
        return ast.copy_location(
            ast.Call(_name("compared"), [ast.Constant(sign), node.left, *node.comparators], []), node
        )


def _name(name: str) -> ast.Name:
    return ast.Name(f"__old_{name}__", ast.Load())
