"""Scripts of Python 2, brought up to date: by fissix, the successor of lib2to3, where it is installed."""

import ast
import logging
import re
from pathlib import Path
from types import CodeType
from typing import Any

from converters.lasagne.namesakes import Renamed
from converters.lasagne.python2_arrays import Arrays
from converters.lasagne.python2_modules import Imports
from converters.lasagne.python2_signs import is_old
from converters.lasagne.python2_syntax import Old
from converters.lasagne.siblings import Siblings
from protos.errors import CaffeError

FIXERS = ("basestring", "dict", "except", "exec", "has_key", "itertools", "itertools_imports", "long", "map",
          "ne", "next", "numliterals", "print", "raise", "raw_input", "reduce", "repr", "tuple_params", "unicode",
          "urllib", "xrange", "zip")  # fmt: skip
OLD_DIVISION = re.compile(r"^\s*from\s+__future__\s+import\s+.*\bdivision\b", re.M | re.S)


def modernise(source: str, name: str) -> str:
    """*source* for Python 3.

    A text that Python 3 reads as it is stays as it is. Raises CaffeError where the translation is needed and fissix is
    missing, or it cannot read the script either.
    """
    if not is_old(source):
        return source
    try:
        from fissix import refactor  # noqa: PLC0415  # optional, for old scripts alone
    except ImportError:
        raise CaffeError(f"{name}: it is written for Python 2: pip install fissix, which translates it") from None
    logging.getLogger("RefactoringTool").setLevel(logging.WARNING)  # it tells each step at the level that scripts set
    tool = refactor.RefactoringTool([f"fissix.fixes.fix_{fixer}" for fixer in FIXERS])
    try:
        return str(tool.refactor_string(source.rstrip() + "\n", name))
    except Exception as error:  # its parser raises errors of its own for what it cannot read
        raise CaffeError(f"{name}: neither Python 2 nor Python 3 ({' '.join(str(error).split())})") from None


def code_of(content: bytes, name: str, in_package: bool = False, namesakes: frozenset[str] = frozenset()) -> CodeType:
    """What the script *content* says, brought up to date, with the names of ``python2.NAMES`` for what differs.

    Divisions of whole numbers are those of Python 2 in a text for Python 2; in one that both can read they are those
    of Python 3, but serve as sizes where they are whole.
    """
    source = content.decode("utf-8-sig", "surrogateescape").replace("\r\n", "\n").replace("\t", "        ")
    old, directory = is_old(source), Path(name).parent
    tree = ast.parse(modernise(source, name), name)
    if old:
        tree = Old(tree).visit(tree)
    tree = Arrays().visit(_Lists().visit(Imports(directory, old).visit(tree)))
    if in_package and "absolute_import" not in source:
        tree = Siblings(directory, first=old).visit(tree)
    tree = Renamed(namesakes).visit(tree)
    if not OLD_DIVISION.search(source):
        tree = _Divisions("__old_division__" if old else "__exact_division__").visit(tree)
    return compile(ast.fix_missing_locations(tree), name, "exec", dont_inherit=True)


class _Divisions(ast.NodeTransformer):
    """``a / b`` and ``a /= b`` as calls."""

    def __init__(self, name: str) -> None:
        self.name = name

    def _call(self, node: ast.AST, ending: str, *arguments: Any) -> ast.expr:
        return ast.copy_location(
            ast.Call(ast.Name(self.name.removesuffix("__") + ending, ast.Load()), list(arguments), []), node
        )

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """A division becomes a call."""
        self.generic_visit(node)
        return self._call(node, "__", node.left, node.right) if isinstance(node.op, ast.Div) else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """A division in place, too."""
        self.generic_visit(node)
        if not isinstance(node.op, ast.Div) or self.name != "__old_division__":
            return node
        before = ast.parse(ast.unparse(node.target), mode="eval").body
        value = self._call(node, "_in_place__", before, node.value)
        return ast.copy_location(ast.Assign([node.target], value), node)


class _Lists(ast.NodeTransformer):
    """``range(n)``, ``d.keys()`` and their like give lists, save where they are only gone through."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """The call within one that lists what it gives."""
        self.generic_visit(node)
        called = node.func
        ranged = isinstance(called, ast.Name) and called.id == "range"
        viewed = isinstance(called, ast.Attribute) and called.attr in ("items", "keys", "values") and not node.args
        if not (ranged or viewed):
            return node
        return ast.copy_location(ast.Call(ast.Name("__listed__", ast.Load()), [node], []), node)

    def _through(self, node: Any) -> Any:
        self.generic_visit(node)
        found = node.iter
        if isinstance(found, ast.Call) and isinstance(found.func, ast.Name) and found.func.id == "__listed__":
            inner = found.args[0]
            node.iter = inner if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) else found
        return node

    visit_For = visit_comprehension = _through
