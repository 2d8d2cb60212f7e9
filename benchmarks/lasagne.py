"""An epoch of nolearn's conv net (127,906 parameters, 40,000 samples, batch 128) beside a hand-written PyTorch loop.

OMP_NUM_THREADS=2 python benchmarks/lasagne.py [--samples 40000] [--epochs 2]
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path[0] = str(Path(__file__).parents[1])  # not this folder, whose data.py and lasagne.py are no packages

from converters.lasagne import layers  # noqa: E402
from converters.lasagne.nolearn import NeuralNet, TrainSplit  # noqa: E402
from converters.lasagne.nonlinearities import softmax  # noqa: E402
from converters.lasagne.theano.config import config  # noqa: E402
from converters.lasagne.updates import nesterov_momentum  # noqa: E402


def ours(x: np.ndarray, y: np.ndarray, epochs: int) -> float:
    config.floatX = "float32"
    stack = [("input", layers.InputLayer)]
    options: dict[str, object] = {"input_shape": (None, 1, 32, 32)}
    for i, (filters, size) in enumerate(((16, 3), (32, 2), (64, 2)), 1):
        stack += [(f"conv{i}", layers.Conv2DLayer), (f"pool{i}", layers.MaxPool2DLayer)]
        options |= {f"conv{i}_num_filters": filters, f"conv{i}_filter_size": (size, size), f"pool{i}_pool_size": (2, 2)}
    stack += [("hidden4", layers.DenseLayer), ("output", layers.DenseLayer)]
    net = NeuralNet(stack, **options, hidden4_num_units=200, output_num_units=10, output_nonlinearity=softmax,
                    update=nesterov_momentum, update_learning_rate=0.01, train_split=TrainSplit(0))  # fmt: skip
    net.initialize()
    return best(lambda: net.train_loop(x, y, epochs=1), epochs)


def by_hand(x: np.ndarray, y: np.ndarray, epochs: int) -> float:
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(576, 200), nn.ReLU(),
        nn.Linear(200, 10),
    )  # fmt: skip
    sgd = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, nesterov=True)
    tensors = torch.from_numpy(x), torch.from_numpy(y).long()

    def epoch() -> None:
        for start in range(0, len(x), 128):
            xb, yb = (tensor[start : start + 128] for tensor in tensors)
            sgd.zero_grad()
            loss = F.cross_entropy(net(xb), yb)
            loss.backward()
            sgd.step()
            loss.item()

    return best(epoch, epochs)


def best(run: Callable[[], object], times: int) -> float:
    took = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        took.append(time.perf_counter() - start)
    return min(took)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=40000)
    parser.add_argument("--epochs", type=int, default=2)
    given = parser.parse_args()
    rng = np.random.RandomState(0)
    images = rng.normal(size=(given.samples, 1, 32, 32)).astype("float32")
    labels = rng.randint(0, 10, given.samples).astype("int32")
    theirs, mine = by_hand(images, labels, given.epochs), ours(images, labels, given.epochs)
    print(f"threads {torch.get_num_threads()} hand-written {theirs:.2f} s  NeuralNet {mine:.2f} s  {mine / theirs:.2f}")
