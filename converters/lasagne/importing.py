"""Modules beside a script, which are as old as the script itself, brought up to date when they are imported."""

import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from converters.lasagne.modern import code_of
from converters.lasagne.namesakes import PREFIX, find, namesakes
from converters.lasagne.python2 import NAMES

# Installed packages are for the Python that runs them, and so is this project itself.
CURRENT = tuple(
    Path(str(path)).resolve()
    for path in (*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix, Path(__file__).parents[1],
                 *(Path(__file__).parents[2] / name for name in ("data", "nets", "protos")))
)  # fmt: skip


class OldLoader(SourceFileLoader):
    """A module from its source, translated where it is written for Python 2. No bytecode is kept."""

    def __init__(self, fullname: str, path: str, names: frozenset[str]) -> None:
        super().__init__(fullname, path)
        self.names = names

    def get_code(self, fullname: str) -> CodeType:
        """What the file says, brought up to date."""
        path = self.get_filename(fullname)
        return code_of(self.get_data(path), path, "." in fullname or self.is_package(fullname), self.names)

    def exec_module(self, module: ModuleType) -> None:
        """Run it, with what Python 2 did otherwise at hand."""
        module.__dict__.update(NAMES)
        super().exec_module(module)


class _Beside:
    """Finds what Python finds, and has sources outside of its installed packages loaded as old ones."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names = namesakes(directory)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec; None where there is no source of the user's own."""
        own = path is None and name.startswith(PREFIX) and name.removeprefix(PREFIX) in self.names
        spec = find(name, self.directory) if own else PathFinder.find_spec(name, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader or not spec.origin:
            return None
        place = Path(spec.origin).resolve()
        above = place.parents[name.count(".") + (place.name == "__init__.py")]
        if any(place.is_relative_to(root) for root in CURRENT) or _holds_installed(above):
            return None
        spec.loader = OldLoader(name, spec.origin, self.names)
        return spec


@cache
def _holds_installed(directory: Path) -> bool:
    return any(directory.glob("*.dist-info"))


@contextmanager
def old_modules_beside(directory: Path) -> Iterator[None]:
    """Within it, modules of the user's own that are imported may be written for Python 2.

    Those in *directory* may be called as packages of this project are.
    """
    finder = _Beside(directory)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
