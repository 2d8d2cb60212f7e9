"""Modules of a script that are called as packages of this project are, such as a ``data.py`` beside it."""

import ast
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

OWN = ("converters", "data", "nets", "protos")
PREFIX = "script_"


def namesakes(directory: Path) -> frozenset[str]:
    """Which of the project's names are also modules in *directory*, unless that is where the project is."""
    if directory.resolve() == Path(__file__).resolve().parents[2]:
        return frozenset()
    return frozenset(
        name for name in OWN if (directory / f"{name}.py").exists() or (directory / name / "__init__.py").exists()
    )


def find(name: str, directory: Path) -> ModuleSpec | None:
    """The spec of ``script_data`` and its like: the module *directory* holds, under that name."""
    spec = PathFinder.find_spec(name.removeprefix(PREFIX), [str(directory)])
    if spec is not None:
        spec.name = name
    return spec


class Renamed(ast.NodeTransformer):
    """``import data`` as ``import script_data as data`` where *names* has it: the script means its own."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """Names from a module."""
        if not node.level and str(node.module).split(".")[0] in self.names:
            node.module = PREFIX + str(node.module)
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST | list[ast.stmt]:
        """Modules; with one inside a package, the package is what is bound."""
        found: list[ast.alias] = []
        for alias in node.names:
            top, _, inside = alias.name.partition(".")
            if top not in self.names:
                found.append(alias)
                continue
            if inside:
                found.append(ast.alias(PREFIX + alias.name, alias.asname or f"{PREFIX}_inside"))
            if not inside or not alias.asname:
                found.append(ast.alias(PREFIX + top, alias.asname or top))
        return ast.copy_location(ast.Import(found), node)
