"""Nets under the transforms of torch.func: gradients, directional derivatives, batches of batches."""

import pytest
import torch

import nets
from protos import text

SEQUENCE = 'input: "x" input_shape { dim: 4 dim: 2 dim: 3 }'
CONT = 'input: "cont" input_shape { dim: 4 dim: 2 }'
FILLED = 'num_output: 3 weight_filler { type: "xavier" }'
LAYERS = {
    "GRU": (SEQUENCE, f"sequence_param {{ {FILLED} }}"),
    "PeepholeLSTM": (SEQUENCE, f"sequence_param {{ {FILLED} }}"),
    "LSTM": (SEQUENCE + CONT, f"recurrent_param {{ {FILLED} }}"),
    "RNN": (SEQUENCE + CONT, f"recurrent_param {{ {FILLED} }}"),
    "Convolution": ('input: "x" input_shape { dim: 2 dim: 3 dim: 5 dim: 4 }',
                    f"convolution_param {{ kernel_size: 3 {FILLED} }}"),
    "LRN": ('input: "x" input_shape { dim: 2 dim: 7 dim: 3 dim: 2 }', "lrn_param { alpha: 0.5 }"),
    "MVN": ('input: "x" input_shape { dim: 2 dim: 3 dim: 4 dim: 2 }', "mvn_param { eps: 0.1 }"),
}  # fmt: skip


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # by torch.func itself
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_transforms_follow_a_net(kind):
    inputs, options = LAYERS[kind]
    bottoms = 'bottom: "x" bottom: "cont"' if CONT in inputs else 'bottom: "x"'
    torch.manual_seed(0)
    net = nets.load(text.parse_net(f'{inputs} layer {{ name: "l" type: "{kind}" {bottoms} top: "y" {options} }}'))
    x, *cont = (torch.rand(shape) for shape in net.graph.inputs.values())
    cont = [part.round() for part in cont]

    def run(x: torch.Tensor, **blobs: torch.Tensor) -> torch.Tensor:
        net.forget()
        return torch.func.functional_call(net, blobs, (x, *cont))["y"]

    def loss(x: torch.Tensor, blobs: dict[str, torch.Tensor]) -> torch.Tensor:
        return run(x, **blobs).square().sum()

    blobs = dict(net.named_parameters())
    given = x.clone().requires_grad_()
    wanted = torch.autograd.grad(loss(given, blobs), (given, *blobs.values()))
    found = torch.func.grad(loss, (0, 1))(x, blobs)
    torch.testing.assert_close((found[0], *found[1].values()), wanted)
    _, slope = torch.func.jvp(lambda x: loss(x, blobs), (x,), (torch.ones_like(x),))
    torch.testing.assert_close(slope, wanted[0].sum())
    twice = torch.func.vmap(run)(torch.stack((x, 2 * x)))
    torch.testing.assert_close(twice, torch.stack((run(x), run(2 * x))))
