"""Imports of Python 2 within packages: a module beside the importing one is found by its bare name."""

import ast
import importlib.util
from pathlib import Path


class Siblings(ast.NodeTransformer):
    """``import part`` and ``from part import f`` as ``from . import part``, ``from .part import f``, where *part* is
    beside; *first*: also where another module of that name is installed, as Python 2 did. Where it is not first, an
    import within a ``try`` stays.
    """

    def __init__(self, directory: Path, first: bool) -> None:
        self.directory = directory
        self.first = first

    def _beside(self, name: str) -> bool:
        there = (self.directory / f"{name}.py").exists() or (self.directory / name / "__init__.py").exists()
        return there and (self.first or importlib.util.find_spec(name) is None)

    def visit_Try(self, node: ast.Try) -> ast.AST:
        """What may fail on purpose."""
        return self.generic_visit(node) if self.first else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """Names from a module."""
        if not node.level and node.module and self._beside(node.module.split(".")[0]):
            node.level = 1
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        """Modules, each in a statement of its own."""
        found: list[ast.stmt] = []
        for alias in node.names:
            above, _, last = alias.name.rpartition(".")
            top = alias.name.split(".")[0]
            if not self._beside(top):
                found.append(ast.Import([alias]))
                continue
            if above:
                found.append(ast.ImportFrom(above, [ast.alias(last, alias.asname or "_")], 1))
            if not above or not alias.asname:
                found.append(ast.ImportFrom(None, [ast.alias(top, None if above else alias.asname)], 1))
        return [ast.copy_location(one, node) for one in found]
