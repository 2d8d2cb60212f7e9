"""The file that HDF5Output writes."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import nets
from protos import text
from protos.errors import DataError

GOLDEN = Path(__file__).parents[1] / "golden" / "formats" / "hdf5"


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return nets.load(
        text.parse_net("""layer { name: "in" type: "Input" top: "data" top: "label"
        input_param { shape { dim: 3 dim: 3 dim: 2 } shape { dim: 3 dim: 1 } } }
        layer { name: "out" type: "HDF5Output" bottom: "data" bottom: "label"
        hdf5_output_param { file_name: "out.h5" } }""")
    )


def batch() -> dict[str, torch.Tensor]:
    """The first batch of the original's run."""
    with h5py.File(GOLDEN / "part0.h5") as file:
        return {name: torch.from_numpy(file[name][:3]) for name in ("data", "label")}


def test_the_file_is_the_originals(net):
    net(**batch())
    assert not Path("out.h5").exists()
    net.layer("out").close()
    with h5py.File("out.h5") as found, h5py.File(GOLDEN / "out.h5") as wanted:
        assert sorted(found) == sorted(wanted)
        for name in wanted:
            assert found[name].dtype == wanted[name].dtype
            np.testing.assert_array_equal(found[name], wanted[name])


def test_batches_follow_each_other(net):
    first = batch()
    net(**first)
    net(**{name: -x[:2] for name, x in first.items()})
    net.layer("out").close()
    with h5py.File("out.h5") as file:
        assert file["label"].shape == (5, 1, 1, 1)
        np.testing.assert_array_equal(file["data"][3:, :, :, 0], -first["data"][:2])


def test_after_a_batch_that_does_not_fit_the_file_begins_anew(net):
    first = batch()
    net(**first)
    with pytest.raises(DataError, match=r"out.h5: rows of data change from \(3, 2, 1\) to \(3, 3, 1\)"):
        net(data=torch.zeros(3, 3, 3), label=torch.zeros(3, 1))
    assert not Path("out.h5").exists()
    net(**first)
    net.layer("out").close()
    with h5py.File("out.h5") as file:
        assert file["label"].shape == (3, 1, 1, 1)
