"""Forward and backward of each layer against the fastest plain-torch expression of the same operation.

``python benchmarks/layers.py [--only NAME ...] [--device cuda] [--repeat 7] [--channels-last]`` prints a line a layer:
milliseconds of both, and their ratio. The two run in turn, and the best of all repeats counts, so that a busy machine
disturbs both alike. With --channels-last blobs of four axes lie so, as behind a convolution on a CPU, and the time
includes that of a ReLU in front, which shows how the gradient lies that reaches it.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path[0] = str(Path(__file__).parents[1])  # a neighbour of this file is called as a package

import nets  # noqa: E402
from data.allocation import keep_freed_memory  # noqa: E402
from nets.layer import Layer  # noqa: E402
from protos import text  # noqa: E402

Plain = Callable[..., Tensor]


@dataclass(frozen=True)
class Case:
    """A layer by its type and options, what it takes, and the plain expression, made from the layer's own blobs."""

    name: str
    options: str
    bottoms: tuple[Tensor, ...]
    plain: Callable[[Layer], Plain]
    phase: str = "TRAIN"


def image(*shape: int) -> Tensor:
    return torch.randn(shape or (16, 64, 28, 28))


def labels(classes: int, *shape: int) -> Tensor:
    return torch.randint(classes, shape).float()


def elementwise(name: str, run: Plain, options: str = "") -> Case:
    return Case(name, options, (image(),), lambda _: run)


def conv(layer: Layer) -> Plain:
    return lambda x: F.conv2d(x, layer.weight, layer.bias, padding=1)


def batch_norm(layer: Layer) -> Plain:
    mean, variance = torch.zeros_like(layer.mean), torch.zeros_like(layer.variance)
    return lambda x: F.batch_norm(x, mean, variance, training=True)


def mvn(x: Tensor) -> Tensor:
    return (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), correction=0, keepdim=True) + 1e-9)


def lstm(layer: Layer) -> Plain:
    module = torch.nn.LSTM(layer.weight_x.shape[1], layer.weight_h.shape[1]).to(layer.weight_x.device)
    return lambda x, cont: module(x)[0]


def rnn(layer: Layer) -> Plain:
    module = torch.nn.RNN(layer.weight_x.shape[1], layer.weight_h.shape[1]).to(layer.weight_x.device)
    return lambda x, cont: torch.tanh(F.linear(module(x)[0], layer.weight_o, layer.bias_o))


def begins() -> Tensor:
    cont = torch.ones(40, 16)
    cont[0] = 0
    return cont


def cuts() -> Tensor:
    """Sequences of 2 to 20 steps behind each other, each item's its own."""
    cont = begins()
    for item in range(cont.shape[1]):
        cont[torch.randint(2, 20, (20,)).cumsum(0).clamp(max=len(cont) - 1), item] = 0
    return cont


def cut_lstm(layer: Layer) -> Plain:
    cell = torch.nn.LSTMCell(layer.weight_x.shape[1], layer.weight_h.shape[1]).to(layer.weight_x.device)

    def run(x: Tensor, cont: Tensor) -> Tensor:
        h = c = x.new_zeros(x.shape[1], layer.weight_h.shape[1])
        outputs = []
        for now, keep in zip(x, cont[..., None], strict=True):
            h, c = cell(now, (keep * h, keep * c))
            outputs.append(h)
        return torch.stack(outputs)

    return run


def cut_rnn(layer: Layer) -> Plain:
    cell = torch.nn.RNNCell(layer.weight_x.shape[1], layer.weight_h.shape[1]).to(layer.weight_x.device)

    def run(x: Tensor, cont: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], layer.weight_h.shape[1])
        outputs = []
        for now, keep in zip(x, cont[..., None], strict=True):
            h = cell(now, keep * h)
            outputs.append(h)
        return torch.tanh(F.linear(torch.stack(outputs), layer.weight_o, layer.bias_o))

    return run


def hinge(x: Tensor, label: Tensor) -> Tensor:
    sign = 1 - 2 * F.one_hot(label.long(), x.shape[1])
    return F.relu(1 + sign * x).sum() / len(x)


def im2col(x: Tensor) -> Tensor:
    return F.unfold(x, 3, padding=1).reshape(x.shape[0], -1, *x.shape[2:])


def accuracy(x: Tensor, label: Tensor) -> Tensor:
    return (x.argmax(1) == label.long()).float().mean()


def spp(x: Tensor) -> Tensor:
    return torch.cat([F.max_pool2d(x, 28 // n, 28 // n).flatten(1) for n in (1, 2, 4)], 1)


def infogain(x: Tensor, label: Tensor, matrix: Tensor) -> Tensor:
    return -(matrix[label.long()] * F.log_softmax(x, 1)).sum() / len(x)


def contrastive(a: Tensor, b: Tensor, similar: Tensor) -> Tensor:
    squared = (a - b).square().sum(1)
    apart = F.relu(1 - (squared + 1e-12).sqrt()).square()
    return torch.where(similar != 0, squared, apart).sum() / (2 * len(a))


def lstm_unit(c_prev: Tensor, gates: Tensor, cont: Tensor) -> Tensor:
    i, f, o, g = gates.chunk(4, 2)
    c = cont[..., None] * f.sigmoid() * c_prev + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh() + c


CASES = (
    elementwise("ReLU", F.relu),
    elementwise("ReLU", lambda x: F.leaky_relu(x, 0.1), "relu_param { negative_slope: 0.1 }"),
    elementwise("ELU", F.elu),
    elementwise("Sigmoid", torch.sigmoid),
    elementwise("TanH", torch.tanh),
    elementwise("AbsVal", torch.abs),
    elementwise("BNLL", F.softplus),
    elementwise("Swish", F.silu),
    elementwise("Clip", lambda x: x.clamp(-1, 1), "clip_param { min: -1 max: 1 }"),
    elementwise("Power", lambda x: (x * 0.5 + 1).square(), "power_param { power: 2 scale: 0.5 shift: 1 }"),
    elementwise("Exp", torch.exp),
    elementwise("Log", lambda x: torch.log(x + 9), "log_param { shift: 9 }"),
    elementwise("Dropout", lambda x: F.dropout(x, 0.5)),
    elementwise("Softmax", lambda x: F.softmax(x, 1)),
    Case("PReLU", "", (image(),), lambda m: lambda x: F.prelu(x, m.weight)),
    Case("Threshold", "", (image(),), lambda _: lambda x: (x > 0).float()),
    Case("Convolution", "convolution_param { num_output: 64 kernel_size: 3 pad: 1 }", (image(),), conv),
    Case("Deconvolution", "convolution_param { num_output: 32 kernel_size: 4 stride: 2 pad: 1 }", (image(),),
         lambda m: lambda x: F.conv_transpose2d(x, m.weight, m.bias, 2, 1)),
    Case("Im2col", "convolution_param { kernel_size: 3 pad: 1 }", (image(4, 64, 28, 28),), lambda _: im2col),
    Case("InnerProduct", "inner_product_param { num_output: 512 }", (image(64, 1024),),
         lambda m: lambda x: F.linear(x, m.weight, m.bias)),
    Case("Embed", "embed_param { input_dim: 5000 num_output: 256 }", (labels(5000, 64, 20),),
         lambda m: lambda x: F.embedding(x.long(), m.weight) + m.bias),
    Case("Parameter", "parameter_param { shape { dim: 512 dim: 512 } }", (), lambda m: lambda: m.weight),
    Case("Pooling", "pooling_param { kernel_size: 3 stride: 2 }", (image(),),
         lambda _: lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True)),
    Case("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }", (image(),),
         lambda _: lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True)),
    Case("Pooling", "pooling_param { pool: AVE global_pooling: true }", (image(),),
         lambda _: lambda x: F.adaptive_avg_pool2d(x, 1)),
    Case("SPP", "spp_param { pyramid_height: 3 }", (image(),), lambda _: spp),
    Case("BatchNorm", "", (image(),), batch_norm),
    Case("LRN", "lrn_param { alpha: 1e-4 }", (image(),), lambda _: lambda x: F.local_response_norm(x, 5)),
    Case("LRN", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }", (image(),),
         lambda _: lambda x: x * (1 + F.avg_pool2d(x * x, 3, 1, 1)) ** -0.75),
    Case("MVN", "", (image(),), lambda _: mvn),
    Case("Scale", "scale_param { bias_term: true }", (image(),),
         lambda m: lambda x: torch.addcmul(m.bias[:, None, None], x, m.weight[:, None, None])),
    Case("Bias", "", (image(),), lambda m: lambda x: x + m.bias[:, None, None]),
    Case("Eltwise", "", (image(), image()), lambda _: torch.add),
    Case("Eltwise", "eltwise_param { operation: PROD }", (image(), image()), lambda _: torch.mul),
    Case("Eltwise", "eltwise_param { operation: MAX }", (image(), image()), lambda _: torch.maximum),
    Case("Concat", "", (image(), image()), lambda _: lambda a, b: torch.cat((a, b), 1)),
    Case("Slice", "", (image(),), lambda _: lambda x: torch.split(x, 64, 1)[0]),
    Case("Split", "", (image(),), lambda _: lambda x: x),
    Case("Silence", "", (image(),), lambda _: lambda x: x),
    Case("Flatten", "", (image(),), lambda _: lambda x: x.flatten(1)),
    Case("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }", (image(),), lambda _: lambda x: x.reshape(16, -1)),
    Case("Tile", "tile_param { tiles: 2 }", (image(),), lambda _: lambda x: x.repeat(1, 2, 1, 1)),
    Case("Crop", "crop_param { offset: 2 }", (image(), torch.zeros(16, 64, 24, 24)),
         lambda _: lambda x, like: x[:, :, 2:26, 2:26]),
    Case("Reduction", "reduction_param { operation: ASUM axis: 1 }", (image(),),
         lambda _: lambda x: x.abs().sum((1, 2, 3))),
    Case("Reduction", "reduction_param { operation: SUMSQ }", (image(),), lambda _: lambda x: x.square().sum()),
    Case("BatchReindex", "", (image(), labels(16, 16)), lambda _: lambda x, i: x[i.long()]),
    Case("Filter", "", (image(), labels(2, 16)), lambda _: lambda x, s: x[s != 0]),
    Case("Accuracy", "", (image(128, 1000), labels(1000, 128)), lambda _: accuracy, "TEST"),
    Case("ArgMax", "argmax_param { axis: 1 }", (image(128, 1000),),
         lambda _: lambda x: x.argmax(1, keepdim=True).float()),
    Case("SoftmaxWithLoss", "", (image(128, 1000), labels(1000, 128)),
         lambda _: lambda x, label: F.cross_entropy(x, label.long())),
    Case("SoftmaxWithLoss", "", (image(8, 21, 64, 64), labels(21, 8, 64, 64)),
         lambda _: lambda x, label: F.cross_entropy(x, label.long())),
    Case("InfogainLoss", "", (image(128, 1000), labels(1000, 128), torch.eye(1000)), lambda _: infogain),
    Case("MultinomialLogisticLoss", "", (torch.rand(128, 1000) + 0.1, labels(1000, 128)),
         lambda _: lambda x, label: F.nll_loss(x.log(), label.long())),
    Case("HingeLoss", "", (image(128, 1000), labels(1000, 128)), lambda _: hinge),
    Case("EuclideanLoss", "", (image(128, 1000), image(128, 1000)),
         lambda _: lambda a, b: F.mse_loss(a, b, reduction="sum") / (2 * len(a))),
    Case("ContrastiveLoss", "", (image(256, 512), image(256, 512), labels(2, 256)), lambda _: contrastive),
    Case("SigmoidCrossEntropyLoss", "", (image(128, 1000), labels(2, 128, 1000)),
         lambda _: lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="sum") / len(x)),
    Case("LSTM", "recurrent_param { num_output: 128 }", (image(40, 16, 64), begins()), lstm),
    Case("RNN", "recurrent_param { num_output: 128 }", (image(40, 16, 64), begins()), rnn),
    Case("LSTM", "recurrent_param { num_output: 128 }", (image(40, 16, 64), cuts()), cut_lstm),
    Case("RNN", "recurrent_param { num_output: 128 }", (image(40, 16, 64), cuts()), cut_rnn),
    Case("LSTMUnit", "", (image(1, 64, 256), image(1, 64, 1024), torch.ones(1, 64)), lambda _: lstm_unit),
)  # fmt: skip

TOPS = {"Slice": 1, "Split": 1, "Silence": 0, "LSTMUnit": 2}


def layer_of(case: Case) -> nets.Net:
    inputs = "".join(
        f'layer {{ name: "in{i}" type: "Input" top: "x{i}" input_param {{ shape {{ '
        + " ".join(f"dim: {size}" for size in x.shape)
        + " } } }\n"
        for i, x in enumerate(case.bottoms)
    )
    ends = "".join(f'bottom: "x{i}" ' for i in range(len(case.bottoms)))
    ends += "".join(f'top: "y{i}" ' for i in range(TOPS.get(case.name, 1)))
    layer = f'layer {{ name: "l" type: "{case.name}" {ends} {case.options} }}'
    return nets.load(text.parse_net(inputs + layer), phase=case.phase)


def step(run: Callable[..., object], bottoms: tuple[Tensor, ...], gradients: list[Tensor]) -> float:
    start = time.perf_counter()
    found = run(*bottoms)
    tops = [top for top in (found if isinstance(found, tuple) else (found,)) if top.requires_grad]
    if not gradients:
        gradients += [torch.randn_like(top) for top in tops]
    if tops:
        torch.autograd.backward(tops, gradients[: len(tops)])
    if bottoms and bottoms[0].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def behind_relu(run: Callable[..., object]) -> Callable[..., object]:
    return lambda *bottoms: run(*(torch.relu(x) if x.requires_grad else x for x in bottoms))


def measure(case: Case, device: str, repeat: int, last: bool = False, budget: float = 1.0) -> tuple[float, float]:
    net = layer_of(case).to(device)
    layer = net.layer("l")
    if last:
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's
    for blob in net.parameters():
        torch.nn.init.normal_(blob, std=0.05)
    fixed = {i % len(case.bottoms) for i in layer.labels} if case.bottoms else set()
    layouts = {4: torch.channels_last} if last else {}
    bottoms = tuple(
        x.to(device)
        .clone(memory_format=layouts.get(x.dim(), torch.preserve_format))
        .requires_grad_(i not in fixed and layer.differentiable)
        for i, x in enumerate(case.bottoms)
    )
    ours_runs, plain = (behind_relu(run) if last else run for run in (layer, case.plain(layer)))
    given: tuple[list[Tensor], list[Tensor]] = ([], [])
    step(ours_runs, bottoms, given[0])
    once = step(plain, bottoms, given[1])
    rounds = max(repeat, min(300, int(budget / (2 * once + 1e-6))))
    ours = theirs = float("inf")
    for _ in range(rounds):
        for x in (*bottoms, *net.parameters()):
            x.grad = None
        ours = min(ours, step(ours_runs, bottoms, given[0]))
        for x in (*bottoms, *net.parameters()):
            x.grad = None
        theirs = min(theirs, step(plain, bottoms, given[1]))
    return ours * 1e3, theirs * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="*", help="these types alone")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--channels-last", action="store_true", help="layers of images, with blobs that lie so")
    options = parser.parse_args()
    keep_freed_memory()  # for both
    print(f"{'layer':<24} {'ours ms':>9} {'torch ms':>9} {'ratio':>6}")
    for case in CASES:
        images = any(x.dim() == 4 for x in case.bottoms)
        if (not options.only or case.name in options.only) and (images or not options.channels_last):
            ours, theirs = measure(case, options.device, options.repeat, options.channels_last)
            print(f"{case.name:<24} {ours:9.3f} {theirs:9.3f} {ours / theirs:6.2f}  {case.options}")


if __name__ == "__main__":
    main()
