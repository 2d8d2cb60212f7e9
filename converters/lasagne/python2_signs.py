"""By what a text is known to be written for Python 2."""

import ast
import re
from collections.abc import Iterator

NAMES = {"basestring", "raw_input", "unicode", "xrange"}
METHODS = {"has_key", "iteritems", "iterkeys", "itervalues"}
MODULES = {"ConfigParser", "Queue", "StringIO", "__builtin__", "cPickle", "cStringIO", "httplib", "urllib2",
           "urlparse"}  # fmt: skip
BRIDGES = {"builtins", "future", "past", "six"}  # packages that give either Python the other's names
VERSION = re.compile(
    r"\b(version_info|hexversion|sys\.version|python_version(_tuple)?|_?(is_?)?(py|python)_?[23]k?)\b", re.I
)


def is_old(source: str) -> bool:
    """Whether Python 3 cannot read *source*, or it uses what only Python 2 had.

    What stands in a ``try``, depends on the version of Python, or is a name that the text gives to something itself,
    is no sign: such a text is for both.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return True
    own = Own(tree)
    return any(own.lacks(node) for node in _unguarded(tree, own.versions))


def _unguarded(tree: ast.AST, versions: set[str]) -> Iterator[ast.AST]:
    """The nodes of *tree* that run in whatever Python."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.Try):
            waiting += [*node.orelse, *node.finalbody]
        elif not (isinstance(node, ast.If | ast.IfExp | ast.While) and _asks(node.test, versions)):
            waiting += ast.iter_child_nodes(node)


def _asks(test: ast.expr, versions: set[str]) -> bool:
    """Whether *test* looks at the version of Python, or for a name that only one of them has."""
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    text = ast.unparse(test)
    return bool(names & versions) or bool(VERSION.search(text)) or any(f"'{name}'" in text for name in NAMES | METHODS)


class Own:
    """What a text gives names to: of its own, and of the packages that serve both Pythons."""

    def __init__(self, tree: ast.AST) -> None:
        self.names: set[str] = set()
        self.bridges: set[str] = set()
        self.versions: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._take_imports(node)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.names.add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.arg):
                self.names.add(node.arg if isinstance(node, ast.arg) else node.name)
            if isinstance(node, ast.Assign) and VERSION.search(ast.unparse(node.value)):
                self.versions |= {target.id for target in node.targets if isinstance(target, ast.Name)}

    def _take_imports(self, node: ast.Import | ast.ImportFrom) -> None:
        above = getattr(node, "module", None) or ""
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            self.names.add(name)
            if (above or alias.name).split(".")[0] in BRIDGES:
                self.bridges.add(name)

    def lacks(self, node: ast.AST) -> bool:
        """Whether *node* is of Python 2 alone."""
        if isinstance(node, ast.Import):
            return any(alias.name in MODULES for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            return not node.level and node.module in MODULES
        if isinstance(node, ast.Attribute):
            return node.attr in METHODS - self.names and _root(node) not in self.bridges
        return isinstance(node, ast.Name) and node.id in NAMES - self.names


def _root(node: ast.expr) -> str:
    """``a`` of ``a.b.c``."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
