import numpy as np
import pytest
import torch

from data.fillers import FILLERS, fill
from protos.errors import CaffeError
from protos.schema import FillerParameter

SHAPE = (50, 40, 5, 5)


def drawn(shape=SHAPE, **options):
    return fill(shape, FillerParameter(**options), torch.Generator().manual_seed(1)).double()


def test_there_are_the_originals_seven_types_and_sparse():
    assert list(FILLERS) == ["bilinear", "constant", "gaussian", "msra", "positive_unitball", "uniform", "xavier"]


def test_constant():
    assert (drawn(type="constant", value=0.25) == 0.25).all()
    assert (drawn() == 0).all()


def test_uniform_covers_its_range_evenly():
    x = drawn(type="uniform", min=-2, max=4)
    assert x.min() >= -2
    assert x.max() <= 4
    assert x.mean().item() == pytest.approx(1, abs=0.05)
    assert x.var().item() == pytest.approx(36 / 12, rel=0.02)


def test_gaussian():
    x = drawn(type="gaussian", mean=3, std=0.5)
    assert x.mean().item() == pytest.approx(3, abs=0.01)
    assert x.std().item() == pytest.approx(0.5, rel=0.02)


def test_sparse_keeps_that_many_of_the_outputs_on_average():
    x = drawn(type="gaussian", std=1, sparse=10)
    assert (x != 0).double().mean().item() == pytest.approx(10 / SHAPE[0], rel=0.05)
    assert x[x != 0].std().item() == pytest.approx(1, rel=0.02)


def test_rows_of_positive_unitball_sum_to_one():
    x = drawn(type="positive_unitball")
    assert (x >= 0).all()
    torch.testing.assert_close(x.flatten(1).sum(1), torch.ones(50, dtype=torch.float64), rtol=1e-5, atol=1e-5)


FANS = [("FAN_IN", 40 * 25), ("FAN_OUT", 50 * 25), ("AVERAGE", 45 * 25)]


@pytest.mark.parametrize(("norm", "fan"), FANS)
def test_xavier_has_the_variance_of_one_over_its_fan(norm, fan):
    x = drawn(type="xavier", variance_norm=norm)
    assert x.abs().max().item() <= np.sqrt(3 / fan)
    assert x.var().item() == pytest.approx(1 / fan, rel=0.02)


@pytest.mark.parametrize(("norm", "fan"), FANS)
def test_msra_has_the_variance_of_two_over_its_fan(norm, fan):
    assert drawn(type="msra", variance_norm=norm).var().item() == pytest.approx(2 / fan, rel=0.02)


def test_bilinear_is_the_kernel_of_an_upsampling_by_two():
    row = np.array([0.25, 0.75, 0.75, 0.25])
    x = drawn((2, 1, 4, 4), type="bilinear")
    np.testing.assert_allclose(x[1, 0], np.outer(row, row))


def test_one_seed_gives_one_draw():
    assert torch.equal(drawn(type="gaussian"), drawn(type="gaussian"))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3,), {"type": "xaviar"}, "unknown filler 'xaviar', did you mean xavier"),
        ((3,), {"type": "uniform", "sparse": 1}, "only 'gaussian' takes `sparse`"),
        ((3, 4), {"type": "gaussian", "sparse": 4}, "more than the outputs"),
        ((1, 1, 2, 3), {"type": "bilinear"}, "square kernels"),
        ((), {"type": "msra"}, "at least one axis"),
        ((), {"type": "positive_unitball"}, "at least one axis"),
        ((0, 3), {"type": "xavier"}, "without zeros"),
    ],
)
def test_what_cannot_be_filled_says_why(shape, options, message):
    with pytest.raises(CaffeError, match=message):
        fill(shape, FillerParameter(**options))
