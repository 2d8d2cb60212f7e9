"""Slice, Scale and Bias where nets hardly use them."""

import pytest
import torch

from nets.layers.elementwise import Bias, Scale
from protos.errors import NetError
from tests.nets.test_refusals import load


@pytest.mark.parametrize("items", [2, 6])
def test_a_batch_of_another_size_is_sliced_evenly_too(items):
    net = load("Slice", [(4, 3)], 2, "slice_param { axis: 0 }")
    x = torch.arange(items * 3.0).reshape(items, 3)
    first, second = net(x).values()
    assert torch.equal(first, x[: items // 2])
    assert torch.equal(second, x[items // 2 :])


def test_a_batch_of_another_size_is_sliced_at_the_points_or_refused():
    net = load("Slice", [(4, 3)], 2, "slice_param { axis: 0 slice_point: 2 }")
    assert [len(top) for top in net(torch.zeros(6, 3)).values()] == [2, 4]
    with pytest.raises(NetError, match=r"slice points \[2\] must rise, and stay below the 2 of axis 0"):
        net(torch.zeros(2, 3))
    with pytest.raises(NetError, match="axis 0 of size 5 does not divide into 2 equal tops"):
        load("Slice", [(4, 3)], 2, "slice_param { axis: 0 }")(torch.zeros(5, 3))


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")
def test_compiled_slices_of_other_batches_are_the_same_or_refused():
    torch._dynamo.reset()
    run = torch.compile(load("Slice", [(4, 3)], 2, "slice_param { axis: 0 }"), backend="aot_eager", dynamic=True)
    assert [len(top) for top in run(torch.zeros(6, 3)).values()] == [3, 3]
    with pytest.raises(NetError, match="axis 0 of size 5 does not divide into 2 equal tops"):
        run(torch.zeros(5, 3))


@pytest.mark.parametrize("layer", [Scale((3,), 0, learned=False), Bias((3,), 0, learned=False)])
def test_what_is_not_learned_must_be_given(layer):
    with pytest.raises(NetError, match="needs its second bottom"):
        layer(torch.zeros(2, 3))
