"""Scripts of Python 2, brought up to date: by fissix, the successor of lib2to3, where it is installed."""

import re
import sys
from types import ModuleType

from protos.errors import CaffeError

FIXERS = ("basestring", "dict", "except", "exec", "has_key", "imports", "itertools", "itertools_imports", "long", "map",
          "ne", "next", "numliterals", "print", "raise", "raw_input", "reduce", "repr", "tuple_params", "unicode",
          "urllib", "xrange", "zip")  # fmt: skip
OLD_DIVISION = re.compile(r"^\s*from\s+__future__\s+import\s+.*\bdivision\b", re.M)


def is_old(source: str) -> bool:
    """Whether Python 3 cannot read *source*, or it uses names that only Python 2 had."""
    try:
        compile(source, "script", "exec", dont_inherit=True)
    except SyntaxError:
        return True
    return re.search(r"\b(xrange|cPickle|raw_input|unicode|basestring|iteritems|urllib2)\b", source) is not None


def modernise(source: str, name: str) -> str:
    """*source* for Python 3, divisions of whole numbers as Python 2 had them.

    A text that Python 3 reads as it is stays as it is. Raises CaffeError where the translation is needed and fissix is
    missing, or it cannot read the script either.
    """
    if not is_old(source):
        return source
    try:
        from fissix import refactor  # noqa: PLC0415  # optional, for old scripts alone
    except ImportError:
        raise CaffeError(f"{name}: it is written for Python 2: pip install fissix, which translates it") from None
    tool = refactor.RefactoringTool([f"fissix.fixes.fix_{fixer}" for fixer in FIXERS])
    try:
        translated = str(tool.refactor_string(source.rstrip() + "\n", name))
    except Exception as error:  # its parser raises errors of its own for what it cannot read
        raise CaffeError(f"{name}: neither Python 2 nor Python 3 ({' '.join(str(error).split())})") from None
    return translated if OLD_DIVISION.search(source) else _divided(translated, name)


def _divided(source: str, name: str) -> str:
    """``a / b`` as a call that divides whole numbers as Python 2 did."""
    import ast  # noqa: PLC0415  # needed here alone

    tree = ast.parse(source, name)

    class Divisions(ast.NodeTransformer):
        def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
            """A division becomes a call."""
            self.generic_visit(node)
            if not isinstance(node.op, ast.Div):
                return node
            function = ast.Name("__old_division__", ast.Load())
            return ast.copy_location(ast.Call(function, [node.left, node.right], []), node)

    return ast.unparse(ast.fix_missing_locations(Divisions().visit(tree)))


def old_division(a: object, b: object) -> object:
    """a / b of Python 2: whole numbers are divided to the floor."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    return a / b  # type: ignore[operator]  # whatever the script divides


def old_modules() -> None:
    """Let the modules that Python 3 renamed be found by their old names, too."""
    import configparser  # noqa: PLC0415  # for old scripts alone, as the others
    import io  # noqa: PLC0415
    import pickle  # noqa: PLC0415
    import queue  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    text = ModuleType("StringIO")
    text.StringIO = io.StringIO  # type: ignore[attr-defined]  # a module made on the spot
    old: dict[str, ModuleType] = {"cPickle": pickle, "urllib2": urllib.request, "StringIO": text, "cStringIO": text,
                                  "ConfigParser": configparser, "Queue": queue}  # fmt: skip
    for name, module in old.items():
        sys.modules.setdefault(name, module)
