"""The fillers, by the statistics of what they draw, with the formulas of the original."""

from math import sqrt

import pytest
import torch

from data.fillers import FILLERS, fill
from nets.fillers import Filler
from protos.errors import CaffeError
from protos.schema import FillerParameter

SHAPE = (64, 32, 5, 5)
FAN_IN, FAN_OUT = 32 * 25, 64 * 25
NORMS = {"FAN_IN": FAN_IN, "FAN_OUT": FAN_OUT, "AVERAGE": (FAN_IN + FAN_OUT) / 2}


def draw(shape=SHAPE, seed: int = 0, **options) -> torch.Tensor:
    return Filler(**options).draw(shape, torch.Generator().manual_seed(seed))


def test_the_list_is_whole():
    assert set(FILLERS) == {"constant", "uniform", "gaussian", "positive_unitball", "xavier", "msra", "bilinear"}


def test_defaults_are_those_of_the_message():
    assert Filler.from_proto(FillerParameter()) == Filler()


def test_constant():
    assert (draw(type="constant") == 0).all()
    assert (draw(type="constant", value=-2.5) == -2.5).all()


def test_uniform():
    values = draw(type="uniform", min=-1, max=3)
    assert -1 <= values.min() < -0.99
    assert 2.99 < values.max() <= 3
    assert values.mean() == pytest.approx(1, abs=0.02)
    assert values.std() == pytest.approx(4 / sqrt(12), rel=0.01)


def test_gaussian():
    values = draw(type="gaussian", mean=2, std=0.5)
    assert values.mean() == pytest.approx(2, abs=0.01)
    assert values.std() == pytest.approx(0.5, rel=0.01)
    assert ((values - 2).abs() < 0.5).float().mean() == pytest.approx(0.683, abs=0.01)


def test_sparse_gaussian_keeps_so_many_inputs_of_an_output():
    values = draw((50, 400), type="gaussian", sparse=5)
    assert (values != 0).float().mean() == pytest.approx(5 / 50, rel=0.05)
    assert values[values != 0].std() == pytest.approx(1, rel=0.05)
    assert not draw((50, 400), type="gaussian", sparse=0).any()


def test_positive_unitball():
    values = draw(type="positive_unitball")
    assert (values >= 0).all()
    torch.testing.assert_close(values.flatten(1).sum(1), torch.ones(64))


@pytest.mark.parametrize(("norm", "n"), NORMS.items())
def test_xavier(norm, n):
    values = draw(type="xavier", variance_norm=norm)
    bound = sqrt(3 / n)
    assert bound * 0.999 < values.abs().max() <= bound
    assert values.var() == pytest.approx(1 / n, rel=0.02)
    assert values.mean() == pytest.approx(0, abs=bound / 50)


@pytest.mark.parametrize(("norm", "n"), NORMS.items())
def test_msra(norm, n):
    values = draw(type="msra", variance_norm=norm)
    assert values.var() == pytest.approx(2 / n, rel=0.02)
    assert values.abs().max() > 3 * sqrt(2 / n)


@pytest.mark.parametrize("size", [3, 4, 5])
def test_bilinear_upsampling_keeps_a_constant_image(size):
    values = draw((2, 1, size, size), type="bilinear")
    factor = (size + 1) // 2
    image = torch.ones(1, 2, 6, 6)
    pad = (size - factor + 1) // 2
    up = torch.nn.functional.conv_transpose2d(image, values, stride=factor, padding=pad, groups=2)
    torch.testing.assert_close(
        up[:, :, factor:-factor, factor:-factor], torch.ones_like(up)[:, :, factor:-factor, factor:-factor]
    )


def test_bilinear_numbers():
    row = torch.tensor([0.25, 0.75, 0.75, 0.25])
    torch.testing.assert_close(draw((1, 1, 4, 4), type="bilinear")[0, 0], row[:, None] * row)


def test_one_axis_is_inputs_and_outputs():
    assert draw((100_000,), type="msra").var() == pytest.approx(2, rel=0.02)
    assert draw((100_000,), type="msra", variance_norm="FAN_OUT").var() == pytest.approx(2 / 100_000, rel=0.02)


@pytest.mark.parametrize("name", ["uniform", "gaussian", "positive_unitball", "xavier", "msra"])
def test_a_generator_draws_the_same_again(name):
    assert torch.equal(draw(type=name, seed=3), draw(type=name, seed=3))
    assert not torch.equal(draw(type=name, seed=3), draw(type=name, seed=4))


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({"type": "gausian"}, (2, 2), "unknown filler 'gausian', did you mean gaussian?"),
        ({"type": "xavier", "sparse": 2}, (2, 2), "filler 'xavier' cannot be sparse: only 'gaussian' takes `sparse`"),
        ({"type": "gaussian", "sparse": 3}, (2, 2), "gaussian filler: sparse 3 is more than the outputs of [2, 2]"),
        ({"type": "bilinear"}, (2, 2, 3, 4), "bilinear filler needs square kernels, N x C x k x k, not [2, 2, 3, 4]"),
        ({"type": "xavier"}, (), "filler 'xavier' needs at least one axis"),
        ({"type": "xavier"}, (0, 3), "a filler of this type needs a shape without zeros, not [0, 3]"),
    ],
)
def test_what_cannot_be_filled(options, shape, message):
    with pytest.raises(CaffeError) as caught:
        fill(shape, FillerParameter(**options))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "blob",
    [torch.empty(6, 4), torch.empty(4, 6).t(), torch.empty(6, 4, dtype=torch.double)],
    ids=["in place", "of other strides", "of another type"],
)
@pytest.mark.parametrize("kind", ["constant", "uniform", "gaussian", "positive_unitball", "xavier", "msra"])
def test_a_blob_of_any_kind_gets_what_would_be_drawn(kind, blob):
    filler = Filler(kind, value=0.5)
    filler.fill(blob, torch.Generator().manual_seed(3))
    assert torch.equal(blob.float(), filler.draw((6, 4), torch.Generator().manual_seed(3)))
