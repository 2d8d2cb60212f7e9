"""Modules beside a script, which are as old as the script itself, brought up to date when they are imported."""

import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from converters.lasagne.modern import code_of
from converters.lasagne.python2 import NAMES

# Installed packages are for the Python that runs them, and so is this project itself.
CURRENT = tuple(
    Path(str(path)).resolve()
    for path in (*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix, Path(__file__).parents[1],
                 *(Path(__file__).parents[2] / name for name in ("data", "nets", "protos")))
)  # fmt: skip


class OldLoader(SourceFileLoader):
    """A module from its source, translated where it is written for Python 2. No bytecode is kept."""

    def get_code(self, fullname: str) -> CodeType:
        """What the file says, brought up to date."""
        path = self.get_filename(fullname)
        return code_of(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        """Run it, with what Python 2 did otherwise at hand."""
        module.__dict__.update(NAMES)
        super().exec_module(module)


class _Beside:
    """Finds what Python finds, and has sources outside of its installed packages loaded as old ones."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's spec; None where there is no source of the user's own."""
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader or not spec.origin:
            return None
        place = Path(spec.origin).resolve()
        if any(place.is_relative_to(root) for root in CURRENT):
            return None
        spec.loader = OldLoader(name, spec.origin)
        return spec


@contextmanager
def old_modules_beside() -> Iterator[None]:
    """Within it, modules of the user's own that are imported may be written for Python 2."""
    finder = _Beside()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
