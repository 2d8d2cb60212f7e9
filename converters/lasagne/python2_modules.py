"""The modules of Python 2 by their names: those that were renamed, and those whose strings were bytes."""

import ast
import io
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from converters.lasagne.python2 import load, loads
from converters.lasagne.python2_images import misc
from converters.lasagne.python2_text import BYTEWISE, StringIO, proxy

RENAMED = {
    "BaseHTTPServer": "http.server", "ConfigParser": "configparser", "Cookie": "http.cookies",
    "HTMLParser": "html.parser", "Image": "PIL.Image", "ImageDraw": "PIL.ImageDraw", "ImageFont": "PIL.ImageFont",
    "Queue": "queue", "SimpleHTTPServer": "http.server", "SocketServer": "socketserver", "Tkinter": "tkinter",
    "__builtin__": "builtins", "commands": "subprocess", "cookielib": "http.cookiejar", "copy_reg": "copyreg",
    "htmlentitydefs": "html.entities", "httplib": "http.client", "pickle": "cPickle", "scipy.misc": "python2_misc",
    "thread": "_thread",
    "tkMessageBox": "tkinter.messagebox", "urllib2": "urllib.request", "urlparse": "urllib.parse",
    "xmlrpclib": "xmlrpc.client",
}  # fmt: skip
OLD = {name: f"python2_{name}" for name in (*BYTEWISE, "io")}  # in texts for Python 2 alone


class Imports(ast.NodeTransformer):
    """Imports of modules by their names of today, save where a module of the old name is in *directory*.

    And ``yaml.load(text)``, which asks for a Loader today: the safe one.
    """

    def __init__(self, directory: Path, old: bool) -> None:
        names = RENAMED | (OLD if old else {})
        self.names = {name: new for name, new in names.items() if not _is_in(directory, name)}

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """``yaml.load(text)``."""
        self.generic_visit(node)
        if ast.unparse(node.func) == "yaml.load" and len(node.args) + len(node.keywords) == 1:
            loader = ast.Attribute(ast.Name("yaml", ast.Load()), "SafeLoader", ast.Load())
            node.keywords.append(ast.keyword("Loader", loader))
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.stmt]:
        """Names from a module."""
        if node.level:
            return node
        within = [alias for alias in node.names if f"{node.module}.{alias.name}" in self.names]
        node.names = [alias for alias in node.names if alias not in within]
        found = [ast.Import([ast.alias(f"{node.module}.{alias.name}", alias.asname or alias.name)]) for alias in within]
        node.module = self.names.get(str(node.module), node.module)
        made = [self.visit_Import(ast.copy_location(one, node)) for one in found]
        return [*made, node] if node.names else made

    def visit_Import(self, node: ast.Import) -> ast.stmt:
        """Modules."""
        for alias in node.names:
            if alias.name in self.names and "." in alias.name and not alias.asname:
                alias.name = alias.name.partition(".")[0]
            elif alias.name in self.names:
                alias.asname, alias.name = alias.asname or alias.name, self.names[alias.name]
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """``scipy.misc``, where no import gave it another name."""
        self.generic_visit(node)
        name = f"{getattr(node.value, 'id', '')}.{node.attr}"
        if name not in self.names or not isinstance(node.ctx, ast.Load):
            return node
        found = ast.Call(ast.Name("__import__", ast.Load()), [ast.Constant(self.names[name])], [])
        return ast.copy_location(found, node)


def _is_in(directory: Path, name: str) -> bool:
    return (directory / f"{name}.py").exists() or (directory / name).is_dir()


def old_modules() -> None:
    """Let modules that are no more, or did otherwise, be found."""
    texts: dict[str, Any] = {"StringIO": StringIO}
    made = {
        "cPickle": _module("cPickle", {**vars(pickle), "load": load, "loads": loads}),
        "StringIO": _module("StringIO", texts),
        "cStringIO": _module("cStringIO", texts),
        "python2_misc": misc(),
        "python2_io": _module("io", {**vars(io), **texts}),
        **{OLD[name]: proxy(name) for name in BYTEWISE},
    }
    for name, module in made.items():
        sys.modules.setdefault(name, module)


def _module(name: str, content: dict[str, Any]) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update({**content, "__name__": name})
    return made
