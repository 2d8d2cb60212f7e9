"""The kinds of store: LevelDB only where its package is, for which there are no wheels from Python 3.13 on."""

from importlib.util import find_spec

import pytest

needs_leveldb = pytest.mark.skipif(find_spec("plyvel") is None, reason="plyvel is not installed")
BACKENDS = pytest.mark.parametrize("backend", ["lmdb", pytest.param("leveldb", marks=needs_leveldb)])
