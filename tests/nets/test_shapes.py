"""The shapes that a net knows before it runs, beside those of a run."""

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import nets
from protos import text
from protos.errors import NetError

SMALL, SIZES = st.integers(1, 3), st.integers(1, 9)


def loaded(kind: str, shape: tuple[int, ...], options: str) -> nets.Net:
    """The layer alone; a net that is refused is no example."""
    dims = " ".join(f"dim: {size}" for size in shape)
    try:
        return nets.load(text.parse_net(
            f'layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}'
            f'layer {{ name: "l" type: "{kind}" bottom: "x" top: "y" {options} }}'
        ))  # fmt: skip
    except NetError:
        assume(False)
        raise


def agrees(net: nets.Net) -> None:
    found = net(torch.rand(net.shapes["x"]))["y"]
    assert tuple(found.shape) == net.shapes["y"]


@given(
    st.sampled_from(["Convolution", "Deconvolution", "Im2col"]), st.lists(SIZES, min_size=1, max_size=4),
    st.integers(0, 2), SMALL, SMALL, st.integers(0, 3), SMALL,
)  # fmt: skip
def test_windows_of_filters(kind, spatial, lead, size, stride, pad, dilation):
    options = f"num_output: 4 kernel_size: {size} stride: {stride} pad: {pad} dilation: {dilation} axis: {lead}"
    agrees(loaded(kind, (*[2] * lead, 3, *spatial), f"convolution_param {{ {options} }}"))


@given(
    st.sampled_from(["MAX", "AVE", "STOCHASTIC"]), SIZES, SIZES, st.tuples(*[SMALL] * 4),
    st.tuples(*[st.integers(0, 2)] * 2), st.sampled_from(["CEIL", "FLOOR"]),
)  # fmt: skip
def test_windows_of_pooling(method, height, width, window, pad, rounding):
    names = ("kernel_h", "kernel_w", "stride_h", "stride_w", "pad_h", "pad_w")
    figures = " ".join(f"{name}: {figure}" for name, figure in zip(names, (*window, *pad), strict=True))
    options = f"pooling_param {{ pool: {method} round_mode: {rounding} {figures} }}"
    agrees(loaded("Pooling", (2, 3, height, width), options))


@given(st.sampled_from(["MAX", "AVE", "STOCHASTIC"]), SIZES, SIZES, SMALL)
def test_bins_of_pyramids(method, height, width, levels):
    agrees(loaded("SPP", (2, 3, height, width), f"spp_param {{ pool: {method} pyramid_height: {levels} }}"))


def test_arg_max_of_one_axis():
    """Each item is its own greatest value, as in the original."""
    for options, wanted in (("", np.zeros((3, 1, 1))), ("out_max_val: true", [[[0], [5]], [[0], [7]], [[0], [6]]])):
        net = loaded("ArgMax", (3,), f"argmax_param {{ {options} }}")
        y = net(torch.tensor([5.0, 7.0, 6.0]))["y"]
        assert y.shape == net.shapes["y"]
        np.testing.assert_array_equal(y, wanted)
