"""The packages of this project, found where it is: a script's own ``data.py`` comes first on Python's path."""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

for _name in ("protos", "data", "nets"):
    _spec = PathFinder.find_spec(_name, [str(Path(__file__).parents[1])])
    if _name not in sys.modules and _spec is not None and _spec.loader is not None:
        sys.modules[_name] = importlib.util.module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules[_name])
