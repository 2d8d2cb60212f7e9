"""Batches of the data layers against what the original gave out."""

from pathlib import Path

import numpy as np
import pytest

from data.sources import open_source, top_shapes
from protos import text
from protos.schema import LayerParameter
from tests.backends import needs_leveldb

FORMATS = Path(__file__).parents[1] / "golden" / "formats"
CASES = sorted(path.stem for path in FORMATS.glob("data_*.prototxt"))
BUDGETS = pytest.mark.parametrize("budget", [None, 100_000, 0], ids=["ready", "bytes", "stream"])


def layer_of(path: Path) -> LayerParameter:
    layer: LayerParameter = text.parse_net(path.read_text()).layer[0]
    return layer


@BUDGETS
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[needs_leveldb] if "leveldb" in name else []) for name in CASES]
)
def test_a_data_layer_gives_the_batches_of_the_original(name, budget, monkeypatch):
    monkeypatch.chdir(FORMATS)
    layer = layer_of(Path(f"{name}.prototxt"))
    with np.load(f"{name}.npz") as wanted, open_source(layer, "TEST", seed=1, budget=budget) as source:
        assert top_shapes(layer, "TEST") == source.shapes
        for number in range(2):
            batch = source.next()
            assert tuple(batch) == ("data", "label")
            for top, values in batch.items():
                assert values.shape == source.shapes[top]
                np.testing.assert_allclose(values.numpy(), wanted[f"{top}/{number}"], rtol=1e-6, atol=1e-4)


@BUDGETS
def test_hdf5_files_come_in_the_order_of_the_original(budget, monkeypatch):
    monkeypatch.chdir(FORMATS)
    layer = layer_of(Path("hdf5/net.prototxt"))
    with np.load("hdf5/batches.npz") as wanted, open_source(layer, "TEST", budget=budget) as source:
        assert source.records == 9
        for number in range(5):
            for top, values in source.next().items():
                np.testing.assert_array_equal(values.numpy(), wanted[f"{top}/{number}"])
