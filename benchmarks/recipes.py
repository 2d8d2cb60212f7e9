"""The tutorials' training loops, written plainly in PyTorch, beside the recipes: seconds for an epoch, in one run.

    python benchmarks/recipes.py [--recipes cifar10_tutorial,mnist_mlp,...] [--seconds 5] [--device cpu]

tutorial: a Dataset that gives an example at a time with its transforms, a DataLoader with 2 workers and shuffling, a
hand-written module, torch.optim.SGD, and ``loss.item()`` after every step. ours: nets.Solver as the recipe's prototxts
say. Both see random records in the number and form of the real ones. The two take turns of about a second after a
warm-up, each in its own process, and the median speed counts; an epoch is reckoned from it.
"""

import argparse
import atexit
import itertools
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

sys.path[0] = str(Path(__file__).parents[1])  # a neighbour of this file is called as a package

import nets  # noqa: E402
from benchmarks.samples import normalized, picture, to_tensor  # noqa: E402
from benchmarks.turns import Steps, add_flags, measure, place, settle, wait  # noqa: E402
from data.build import Arrays, Options, build  # noqa: E402
from nets.recipe.experiments import EXPERIMENTS  # noqa: E402

Pixels = np.ndarray


@dataclass(frozen=True)
class Tutorial:
    """Records of a shape, the store they lie in, and what the tutorial makes of them: a transform, a module, SGD."""

    records: int
    shape: tuple[int, ...]
    classes: int
    stores: tuple[str, str]
    batch: int
    transform: Callable[[Pixels], Tensor]
    module: Callable[[], nn.Module]
    rate: float
    momentum: float = 0.9
    nesterov: bool = False


def colour(pixels: Pixels) -> Tensor:
    return normalized(to_tensor(picture(pixels)))


def digit(pixels: Pixels) -> Tensor:
    return to_tensor(picture(pixels))


def large_digit(pixels: Pixels) -> Tensor:
    return to_tensor(picture(pixels).resize((32, 32), Image.Resampling.BILINEAR))


def product(features: Pixels) -> Tensor:
    return torch.from_numpy(features[:, 0, 0])


def gray(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).float().div(255).sub(0.5)


class ConvNet(nn.Module):
    """The net of the CIFAR-10 tutorial."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores N x 10 of images N x 3 x 32 x 32."""
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        return self.fc3(x)


def mlp(*sizes: int) -> nn.Module:
    layers = [[nn.Linear(a, b), nn.ReLU()] for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(nn.Flatten(), *[one for pair in layers for one in pair][:-1])


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def gray_conv() -> nn.Module:
    stages: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32), (32, 64)):
        stages += [nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(*stages, nn.Flatten(), nn.Linear(64 * 9, 200), nn.ReLU(), nn.Linear(200, 10))


CIFAR = ("cifar10_train", "cifar10_test")
GRAY = (1, 32, 32)
TUTORIALS = {
    "cifar10_tutorial": Tutorial(50000, (3, 32, 32), 10, CIFAR, 4, colour, ConvNet, 0.001),
    "mnist_mlp": Tutorial(50000, (1, 28, 28), 10, ("mnist_train", "mnist_val"), 128, digit,
                          lambda: mlp(784, 32, 10), 0.5, 0.0),
    "lenet_32": Tutorial(60000, (1, 28, 28), 10, ("mnist_train", "mnist_test"), 64, large_digit, lenet, 0.02),
    "otto": Tutorial(55690, (93, 1, 1), 9, ("otto_train", "otto_val"), 128, product, lambda: mlp(93, 512, 9), 0.05),
    "cifar10_gray_mlp": Tutorial(50000, GRAY, 10, CIFAR, 128, gray, lambda: mlp(1024, 100, 10), 0.01, nesterov=True),
    "cifar10_gray_conv": Tutorial(50000, GRAY, 10, CIFAR, 128, gray, gray_conv, 0.01, nesterov=True),
}  # fmt: skip


class Examples(Dataset[tuple[Tensor, int]]):
    """One example at a time, transformed."""

    def __init__(self, tutorial: Tutorial, values: Pixels, labels: Pixels) -> None:
        self.transform = tutorial.transform
        self.values = values
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.values[index]), int(self.labels[index])


def records(name: str) -> tuple[Pixels, Pixels]:
    """Random values and labels, the same for both contenders."""
    tutorial = TUTORIALS[name]
    rng = np.random.default_rng(0)
    shape = (tutorial.records, *tutorial.shape)
    values = rng.standard_normal(shape, np.float32) if name == "otto" else rng.integers(0, 256, shape, np.uint8)
    return values, rng.integers(0, tutorial.classes, tutorial.records)


def tutorial_steps(name: str, device: torch.device) -> Steps:
    settle("fp32", device)
    tutorial = TUTORIALS[name]
    examples = Examples(tutorial, *records(name))
    loader = DataLoader(examples, tutorial.batch, shuffle=True, num_workers=2, persistent_workers=True)
    net = tutorial.module().to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), tutorial.rate, momentum=tutorial.momentum, nesterov=tutorial.nesterov)

    def forever() -> Iterator[list[Tensor]]:
        while True:
            yield from loader

    batches = forever()
    running_loss = 0.0

    def steps(count: int) -> None:
        nonlocal running_loss
        for _ in range(count):
            inputs, wanted = next(batches)
            inputs, wanted = inputs.to(device), wanted.to(device)
            optimizer.zero_grad()
            loss = criterion(net(inputs), wanted)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()

    return steps


def our_steps(name: str, device: torch.device) -> Steps:
    """The recipe's solver, on stores. LeNet's digits are stored at 32 x 32, as in its recipe."""
    logging.disable(logging.INFO)
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    os.chdir(folder.name)
    Path("stores").mkdir()
    values, labels = records(name)
    if name == "lenet_32":
        values = np.pad(values, ((0, 0), (0, 0), (2, 2), (2, 2)))
    for store, count in zip(TUTORIALS[name].stores, (len(labels), 200), strict=True):
        build(Path(f"stores/{store}_lmdb"), Arrays(values[:count], labels[:count]), Options(overwrite=True))
    solver = nets.Solver.load(f"protos/zoo/{name}/solver.prototxt", device)
    solver.param.test_interval = 0
    solver.param.snapshot = 0
    torch.set_num_threads(EXPERIMENTS[name].threads or torch.get_num_threads())  # the recipe's --threads

    def steps(count: int) -> None:
        solver.step(count)
        wait(device)

    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", default=",".join(TUTORIALS))
    add_flags(parser)
    args = parser.parse_args()
    device = torch.device(args.device)
    print(f"{place(device)}; seconds for an epoch")
    print(f"{'recipe':18} {'batch':>5} {'steps':>6} {'ours':>8} {'tutorial':>9} {'times as fast':>14}")
    for name in args.recipes.split(","):
        tutorial = TUTORIALS[name]
        contenders = {"ours": partial(our_steps, name, device), "tutorial": partial(tutorial_steps, name, device)}
        speeds = measure(contenders, args.seconds, first=20)
        steps = -(-tutorial.records // tutorial.batch)
        ours, theirs = steps / speeds["ours"], steps / speeds["tutorial"]
        print(f"{name:18} {tutorial.batch:5} {steps:6} {ours:8.2f} {theirs:9.2f} {theirs / ours:14.2f}", flush=True)


if __name__ == "__main__":
    main()
