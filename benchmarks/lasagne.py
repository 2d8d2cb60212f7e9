"""An epoch of nolearn's conv net (127,906 parameters, 40,000 samples, batch 128) beside a hand-written PyTorch loop.

    python benchmarks/lasagne.py [--seconds 20] [--device cpu]

The two take turns of about a second, each in its own process; an epoch is reckoned from the median speed.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path[0] = str(Path(__file__).parents[1])  # not this folder, whose data.py and lasagne.py are no packages

from benchmarks.turns import Steps, add_flags, measure, place, settle, wait  # noqa: E402
from converters.lasagne import layers  # noqa: E402
from converters.lasagne.nolearn import NeuralNet, TrainSplit  # noqa: E402
from converters.lasagne.nonlinearities import softmax  # noqa: E402
from converters.lasagne.theano.config import config  # noqa: E402
from converters.lasagne.updates import nesterov_momentum  # noqa: E402

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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser)
    given = parser.parse_args()
    device = torch.device(given.device)
    print(place(device))
    speeds = measure({"hand-written": partial(by_hand, device), "NeuralNet": partial(ours, device)}, given.seconds, 100)
    epochs = {name: SAMPLES / BATCH / speed for name, speed in speeds.items()}
    took = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in epochs.items())
    print(f"an epoch: {took}; {epochs['NeuralNet'] / epochs['hand-written']:.2f} of its time")
