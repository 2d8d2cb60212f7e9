"""Blobs that lie channels last: the layers give the same numbers, and gradients that lie so too."""

import pytest
import torch

import nets
from nets.layers.layout import led_back, pixels
from protos import text

CHANNELS = 24  # so many go along the channels at once
SHAPE = (3, CHANNELS, 5, 4)
LABELS = torch.randint(CHANNELS, (3, 1, 5, 4), generator=torch.Generator().manual_seed(0)).float()
SKIPPED = LABELS.masked_fill(LABELS < 6, 255)
MASK = torch.randint(80, SHAPE, generator=torch.Generator().manual_seed(3)).float()

# Layers by type, options and what they take besides; those that leave the layout as it is come last.
CASES = [
    ("InnerProduct", 'inner_product_param { num_output: 7 weight_filler { type: "xavier" } }', ()),
    ("InnerProduct", 'inner_product_param { num_output: 7 axis: 2 weight_filler { type: "xavier" } }', ()),
    ("Flatten", "", ()),
    ("Flatten", "flatten_param { axis: 2 }", ()),
    ("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }", ()),
    ("Tile", "tile_param { tiles: 2 }", ()),
    ("Crop", "crop_param { offset: 1 }", (torch.zeros(3, CHANNELS, 3, 2),)),
    *[
        ("Reduction", f"reduction_param {{ operation: {kind} axis: {axis} }}", ())
        for kind in ("SUM", "ASUM", "SUMSQ", "MEAN")
        for axis in (0, 1, 3)
    ],
    ("BatchReindex", "", (torch.tensor([2.0, 0.0, 0.0]),)),
    ("Filter", "", (torch.tensor([1.0, 0.0, 1.0]),)),
    ("EuclideanLoss", "", (torch.ones(SHAPE),)),
    ("SmoothL1Loss", "", (torch.ones(SHAPE),)),
    ("SmoothL1LossOHEM", "", (torch.ones(SHAPE),)),
    ("Upsample", "upsample_param { scale: 3 }", ()),
    ("Upsample", "upsample_param { scale_h: 2 scale_w: 3 }", (MASK,)),
    ("Upsample", "upsample_param { scale: 2 }", (MASK.contiguous(memory_format=torch.channels_last),)),
    ("UpsampleDarknet", "upsample_darknet_param { stride: 2 }", ()),
    ("Upscale", "upscale_param { scale: 2 scale: 5 }", ()),
    ("Upscale", "upscale_param { scale: 2 scale: 1 dilate: true }", ()),
    ("Reorg", "reorg_param { stride: 2 reverse: true }", ()),
    ("ResizeBilinear", 'resize_bilinear_param { output_height: 7 output_width: 9 data_format: "NCHW" }', ()),
    ("MVN", "", ()),
    ("ShuffleChannel", "shuffle_channel_param { group: 4 }", ()),
    ("Pooling", "pooling_param { pool: AVE global_pooling: true }", ()),
    ("Softmax", "", ()),
    ("Softmax", "softmax_param { axis: 2 }", ()),
    ("SoftmaxWithLoss", "", (LABELS,)),
    ("SoftmaxWithLoss", "loss_param { ignore_label: 255 }", (SKIPPED,)),
    *[
        ("SoftmaxWithLoss", f"loss_param {{ normalization: {kind} ignore_label: 255 }}", (SKIPPED,))
        for kind in ("FULL", "BATCH_SIZE", "NONE")
    ],
    ("SoftmaxWithLoss", "loss_param { weight_by_label_freqs: true ignore_label: 255 }", (SKIPPED,)),
]


def lies_last(x: torch.Tensor) -> bool:
    return x.stride(1) == 1


@pytest.mark.parametrize(("kind", "options", "others"), CASES)
def test_gradients_lie_as_what_they_belong_to(kind, options, others):
    ends = "".join(
        f'layer {{ name: "in{i}" type: "Input" top: "x{i}" input_param {{ shape {{ '
        + " ".join(f"dim: {size}" for size in shape)
        + " } } }\n"
        for i, shape in enumerate([SHAPE, *(tuple(x.shape) for x in others)])
    )
    bottoms = " ".join(f'bottom: "x{i}"' for i in range(1 + len(others)))
    tops = 'top: "y" top: "p"' if kind == "SoftmaxWithLoss" else 'top: "y"'
    net = nets.load(text.parse_net(f'{ends} layer {{ name: "l" type: "{kind}" {bottoms} {tops} {options} }}'))
    layer = net.layer("l")
    values = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))

    def passes(layout):
        x = values.clone(memory_format=layout).requires_grad_()
        middle, seen = x * 1, []
        middle.register_hook(lambda gradient: seen.append(lies_last(gradient)))
        top = layer(middle, *others)
        tops = top if isinstance(top, tuple) else (top,)
        upstream = torch.randn(tops[0].shape, generator=torch.Generator().manual_seed(2))
        (gradient,) = torch.autograd.grad(tops[0], x, torch.empty_like(tops[0]).copy_(upstream))
        return [*(top.detach() for top in tops), gradient], seen

    wanted, usual = passes(torch.contiguous_format)
    found, last = passes(torch.channels_last)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert usual == [False]
    assert last == [True]


def test_what_only_passes_by_keeps_its_hooks_to_itself():
    x = torch.randn(SHAPE).contiguous(memory_format=torch.channels_last).requires_grad_() * 1
    y = led_back(x)
    assert y is not x
    assert not x._backward_hooks
    fixed = x.detach()
    assert led_back(fixed) is fixed
    with torch.no_grad():
        assert led_back(x) is x
    usual = x.contiguous()
    assert led_back(usual) is usual


def test_second_gradients_go_through():
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(2, 60, dtype=torch.float64)
    torch.autograd.gradgradcheck(lambda x: (led_back(x * 1).flatten(1) * weight).square().sum(), x)


def test_softmax_leaves_channels_where_they_are():
    net = nets.load(
        text.parse_net(
            'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 3 dim: 24 dim: 5 dim: 4 } } }'
            'layer { name: "l" type: "Softmax" bottom: "x" top: "y" }'
        )
    )
    x = torch.randn(SHAPE)
    last = x.contiguous(memory_format=torch.channels_last)
    assert net.layer("l")(last).stride() == last.stride()
    assert net.layer("l")(x).is_contiguous()
    torch.testing.assert_close(net.layer("l")(last), torch.softmax(x, 1))


@pytest.mark.parametrize(
    ("x", "so"),
    [
        (torch.randn(SHAPE), False),
        (torch.randn(SHAPE).contiguous(memory_format=torch.channels_last), True),
        (torch.randn(SHAPE).contiguous(memory_format=torch.channels_last)[:, :, 1:, 1:], True),  # cropped
        (torch.randn(SHAPE).contiguous(memory_format=torch.channels_last)[:, :8], False),  # few channels
        (torch.randn(SHAPE).contiguous(memory_format=torch.channels_last).double(), False),
        (torch.randn(5, CHANNELS, 1, 1), False),
        (torch.randn(5, CHANNELS), False),
    ],
)
def test_rows_of_pixels(x, so):
    rows = pixels(x)
    assert (rows is not None) == so
    if rows is not None:
        assert torch.equal(
            rows, torch.stack([item[:, i, j] for item in x for i in range(x.shape[2]) for j in range(x.shape[3])])
        )
