"""What the tests of this package share: small stores, and layers from text."""

from pathlib import Path

import numpy as np
import pytest

from data import datum
from data.stores import create_store
from protos import text
from protos.schema import LayerParameter


@pytest.fixture
def layer():
    """A function from prototxt to the layer in it."""

    def parse(prototxt: str) -> LayerParameter:
        found: LayerParameter = text.parse_net(f"layer {{ name: 'd' top: 'data' top: 'label' {prototxt} }}").layer[0]
        return found

    return parse


@pytest.fixture
def numbered(tmp_path) -> Path:
    """An LMDB of 10 records 2 x 4 x 5; record k holds values around 10 k, and the label k."""
    path = tmp_path / "numbered_lmdb"
    with create_store(path) as store:
        for k, values in enumerate(numbered_values()):
            store.put(b"%08d" % k, datum.pack(values, k))
    return path


def numbered_values() -> np.ndarray:
    return (np.arange(10)[:, None, None, None] * 10 + np.arange(40).reshape(2, 4, 5) // 4).astype(np.uint8)


@pytest.fixture
def values() -> np.ndarray:
    """The values in the store ``numbered``: 10 x 2 x 4 x 5."""
    return numbered_values()
