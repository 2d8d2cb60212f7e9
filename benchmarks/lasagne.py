"""An epoch of nolearn's conv net (127,906 parameters, 40,000 samples, batch 128) beside a hand-written PyTorch loop.

    python benchmarks/lasagne.py [--seconds 20] [--device cpu] [--layers]

The two take turns of about a second, each in its own process; an epoch is reckoned from the median speed. With --layers
single layers instead, forward and backward, beside PyTorch's operators; they run in turn, the best of all counts.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path[0] = str(Path(__file__).parents[1])  # not this folder, whose data.py and lasagne.py are no packages

from benchmarks.turns import Steps, add_flags, measure, place, settle, wait  # noqa: E402
from converters.lasagne import init, layers, nonlinearities  # noqa: E402
from converters.lasagne.nolearn import NeuralNet, TrainSplit  # noqa: E402
from converters.lasagne.nonlinearities import softmax  # noqa: E402
from converters.lasagne.theano.config import config  # noqa: E402
from converters.lasagne.updates import nesterov_momentum  # noqa: E402
from data.allocation import keep_freed_memory  # noqa: E402

SAMPLES, BATCH = 40000, 128


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(0)
    images = rng.normal(size=(SAMPLES, 1, 32, 32)).astype("float32")
    return images, rng.randint(0, 10, SAMPLES).astype("int32")


def ours(device: torch.device) -> Steps:
    config.floatX, config.device = "float32", device.type
    x, y = data()
    stack = [("input", layers.InputLayer)]
    options: dict[str, object] = {"input_shape": (None, 1, 32, 32)}
    for i, (filters, size) in enumerate(((16, 3), (32, 2), (64, 2)), 1):
        stack += [(f"conv{i}", layers.Conv2DLayer), (f"pool{i}", layers.MaxPool2DLayer)]
        options |= {f"conv{i}_num_filters": filters, f"conv{i}_filter_size": (size, size), f"pool{i}_pool_size": (2, 2)}
    stack += [("hidden4", layers.DenseLayer), ("output", layers.DenseLayer)]
    net = NeuralNet(stack, **options, hidden4_num_units=200, output_num_units=10, output_nonlinearity=softmax,
                    update=nesterov_momentum, update_learning_rate=0.01, train_split=TrainSplit(0))  # fmt: skip
    net.initialize()

    def steps(count: int) -> None:
        while count:
            part = min(count, SAMPLES // BATCH)
            net.train_loop(x[: part * BATCH], y[: part * BATCH], epochs=1)
            count -= part

    return steps


def by_hand(device: torch.device) -> Steps:
    settle("fp32", device)
    x, y = data()
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(576, 200), nn.ReLU(),
        nn.Linear(200, 10),
    ).to(device)  # fmt: skip
    sgd = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, nesterov=True)
    tensors = torch.from_numpy(x).to(device), torch.from_numpy(y).long().to(device)

    def steps(count: int) -> None:
        for i in range(count):
            start = i % (SAMPLES // BATCH) * BATCH
            xb, yb = (tensor[start : start + BATCH] for tensor in tensors)
            sgd.zero_grad()
            loss = F.cross_entropy(net(xb), yb)
            loss.backward()
            sgd.step()
            loss.item()
        wait(device)

    return steps


Make = Callable[[layers.InputLayer], layers.Layer]
Plain = Callable[[torch.Tensor], torch.Tensor]


def bent(function: Callable[[object], object]) -> Make:
    return lambda into: layers.NonlinearityLayer(into, function)


def recurrent(kind: type[nn.RNNBase], *sizes: int, **options: str) -> Plain:
    module = kind(*sizes, batch_first=True, **options)
    return lambda x: module.to(x.device)(x)[0]


# The shape of the input, the layer, and PyTorch's nearest: its LSTM has no peepholes.
IMAGES = (64, 32, 28, 28)
LAYERS: dict[str, tuple[tuple[int, ...], Make, Plain]] = {
    "MaxPool2D 2": (IMAGES, lambda i: layers.MaxPool2DLayer(i, 2), lambda x: F.max_pool2d(x, 2)),
    "MaxPool2D 3, stride 2": (
        (64, 96, 54, 54), lambda i: layers.MaxPool2DLayer(i, 3, 2), lambda x: F.max_pool2d(x, 3, 2)),
    "MaxPool1D 2": ((64, 128, 1000), lambda i: layers.MaxPool1DLayer(i, 2), lambda x: F.max_pool1d(x, 2)),
    "MaxPool3D 2": ((8, 16, 32, 32, 32), lambda i: layers.MaxPool3DLayer(i, 2), lambda x: F.max_pool3d(x, 2)),
    "Pool2D 3, stride 2, average": (
        IMAGES, lambda i: layers.Pool2DLayer(i, 3, 2, mode="average_inc_pad"), lambda x: F.avg_pool2d(x, 3, 2)),
    "BatchNorm": (IMAGES, layers.BatchNormLayer, lambda x: F.batch_norm(x, None, None, training=True)),
    "LocalResponseNormalization2D": (
        (32, 96, 27, 27), layers.LocalResponseNormalization2DLayer,
        lambda x: F.local_response_norm(x, 5, 5e-4, 0.75, 2.0)),
    "rectify": (IMAGES, bent(nonlinearities.rectify), F.relu),
    "leaky_rectify": (IMAGES, bent(nonlinearities.leaky_rectify), F.leaky_relu),
    "elu": (IMAGES, bent(nonlinearities.elu), F.elu),
    "LSTM, peepholes": ((64, 100, 64), lambda i: layers.LSTMLayer(i, 256), recurrent(nn.LSTM, 64, 256)),
    "GRU": ((64, 100, 64), lambda i: layers.GRULayer(i, 256), recurrent(nn.GRU, 64, 256)),
    "Recurrent": ((64, 100, 64), lambda i: layers.RecurrentLayer(i, 256, W_hid_to_hid=init.Orthogonal()),
                  recurrent(nn.RNN, 64, 256, nonlinearity="relu")),
}  # fmt: skip


def passed(run: Plain, x: torch.Tensor) -> float:
    """Milliseconds of a pass, forward and backward."""
    x.grad = None
    start = time.perf_counter()
    top = run(x)
    top.backward(torch.ones_like(top))
    wait(x.device)
    return 1e3 * (time.perf_counter() - start)


def compare_layers(device: torch.device, repeat: int = 9) -> None:
    config.floatX, config.device = "float32", device.type
    print(f"{'layer':30} {'ours ms':>9} {'torch ms':>9} {'ratio':>6}")
    for name, (shape, make, plain) in LAYERS.items():
        into = layers.InputLayer(shape)
        layer, x = make(into), torch.randn(shape, device=device, requires_grad=True)
        ways = (lambda x, into=into, layer=layer: layers.get_output(layer, {into: x})), plain
        ours, theirs = map(min, zip(*([passed(run, x) for run in ways] for _ in range(repeat)), strict=True))
        print(f"{name:30} {ours:9.2f} {theirs:9.2f} {ours / theirs:6.2f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser)
    parser.add_argument("--layers", action="store_true", help="single layers instead")
    given = parser.parse_args()
    device = torch.device(given.device)
    print(place(device))
    if given.layers:
        keep_freed_memory()  # for both
        compare_layers(device)
        sys.exit()
    speeds = measure({"hand-written": partial(by_hand, device), "NeuralNet": partial(ours, device)}, given.seconds, 100)
    epochs = {name: SAMPLES / BATCH / speed for name, speed in speeds.items()}
    took = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in epochs.items())
    print(f"an epoch: {took}; {epochs['NeuralNet'] / epochs['hand-written']:.2f} of its time")
