"""``import caffe`` finds the stand-in in its tests alone."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from converters import pycaffe

collect_ignore = ["pycaffe/script.py"]  # it imports caffe at once


@pytest.fixture
def caffe(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The stand-in, in the original's place."""
    for name in _installed():
        monkeypatch.delitem(sys.modules, name)
    pycaffe.install()
    yield pycaffe
    pycaffe.set_mode_cpu()
    for name in _installed():
        del sys.modules[name]


def _installed() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "caffe"]
