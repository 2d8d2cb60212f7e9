import numpy as np
import pytest
import torch

from data.mean import write_mean
from data.transform import Transform, cut_each, cut_together
from protos.errors import DataError
from protos.schema import TransformationParameter

RNG = np.random.default_rng(4)
RECORDS = RNG.integers(0, 256, (16, 3, 8, 9), dtype=np.uint8)


def test_both_ways_of_cutting_agree():
    records = torch.from_numpy(RECORDS)
    cuts = np.stack([RNG.integers(0, 4, 16), RNG.integers(0, 3, 16), RNG.integers(0, 2, 16)])
    assert torch.equal(cut_each(records, cuts, 5, 7), cut_together(records, cuts, 5, 7))
    expanded = torch.rand(1, 3, 8, 9).expand(16, -1, -1, -1)
    assert torch.equal(cut_each(expanded, cuts, 5, 7), cut_together(expanded, cuts, 5, 7))


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_a_mean_image_is_subtracted_where_the_crop_was(tmp_path, mirror, phase):
    mean = RNG.random((3, 8, 9)).astype(np.float32) * 100
    write_mean(tmp_path / "mean", mean)
    param = TransformationParameter(crop_size=5, mirror=mirror, mean_file=str(tmp_path / "mean"), scale=0.5)
    transform = Transform(param, phase, 3)
    cuts = transform.cuts(8, 9, RNG.random((3, 16)))
    found = transform.level(transform.cut(torch.from_numpy(RECORDS), cuts), cuts)
    for record, out, (top, left, mirrored) in zip(RECORDS, found.numpy(), cuts.T, strict=True):
        wanted = ((record - mean) * np.float32(0.5))[:, top : top + 5, left : left + 5]
        np.testing.assert_array_equal(out, wanted[:, :, ::-1] if mirrored else wanted)
    assert (len(set(map(tuple, cuts.T))) > 1) == (mirror or phase == "TRAIN")
    with pytest.raises(DataError, match="mean_file has the shape 3x8x9, but the records have 3x8x8"):
        transform.shape((3, 8, 8))


def test_the_input_is_never_given_out_itself():
    records = torch.rand(2, 1, 3, 3)
    transform = Transform(TransformationParameter(), "TEST", 1)
    cuts = transform.cuts(3, 3, np.zeros((3, 2)))
    out = transform.level(transform.cut(records, cuts), cuts)
    assert torch.equal(out, records)
    assert out.data_ptr() != records.data_ptr()
