"""What layers make of batches, and of images, with nothing in them."""

import pytest
import torch

from tests.nets.test_refusals import load

KEEPERS = [
    ("BatchNorm", ""),
    ("BatchNorm", "batch_norm_param { scale_bias: true }"),
    ("BN", "bn_param { momentum: 0.5 }"),
    ("BN", "bn_param { scale_filler { value: 1 } }"),
    ("BN", "bn_param { decay: 0.1 moving_average: true }"),
]


@pytest.mark.parametrize(("kind", "options"), KEEPERS)
def test_an_empty_batch_changes_no_statistics(kind, options):
    net = load(kind, [(4, 3, 2)], 1, options)
    net(torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0)))
    before = [blob.detach().clone() for blob in net.layer("l").blobs]
    x = torch.zeros(0, 3, 2, requires_grad=True)
    top = net(x)["y0"]
    top.sum().backward()
    assert top.shape == x.grad.shape == (0, 3, 2)
    assert all(map(torch.equal, before, net.layer("l").blobs))
    assert all(not blob.grad.any() for blob in net.parameters() if blob.grad is not None)


def test_the_statistics_of_an_empty_batch_are_0():
    net = load("BN", [(4, 3, 2)], 3, "bn_param { bn_mode: LEARN scale_filler { value: 1 } }")
    _, mean, deviation = net(torch.zeros(0, 3, 2)).values()
    assert mean.flatten().tolist() == [0, 0, 0]
    assert deviation.isfinite().all()


def test_where_there_are_no_boxes_to_find_all_that_were_found_are_wrong():
    net = load("DetectionEvaluate", [(1, 1, 2, 7), (1, 1, 1, 8)], 1, "detection_evaluate_param { num_classes: 3 }")
    found = torch.tensor([[0, 2, 0.5, 0, 0, 1, 1], [0, 1, 0.75, 0, 0, 1, 1]])
    none = torch.full((1, 1, 1, 8), -1.0)
    rows = net(found[None, None], none)["y0"][0, 0]
    assert rows.tolist() == [
        [-1, 1, 0, -1, -1],
        [-1, 2, 0, -1, -1],
        [0, 1, 0.75, 0, 1],
        [0, 2, 0.5, 0, 1],
    ]
