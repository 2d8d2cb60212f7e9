"""Training, data included: nets.Solver beside a plain PyTorch loop and beside the usual tutorial loop, in one run.

    python benchmarks/train.py [--nets lenet,mlp] [--seconds 5] [--device cpu] [--precision fp32]

plain: a hand-written module, torch.optim.SGD, eager, batches sliced from float tensors that are on the device already.
tutorial: the same module fed by a DataLoader with 2 workers, which makes a tensor of each picture and normalises it.
ours: nets.Solver on an LMDB store of the same records, from prototxts, with as many threads as nets.train would take.
All bring the bytes of the records to [-1, 1].
All compute at the same precision. They take turns of about a second, each in its own process, and the median speed
counts, so that a busy machine slows all alike.
"""

import argparse
import atexit
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

sys.path[0] = str(Path(__file__).parents[1])  # a neighbour of this file is called as a package

import nets  # noqa: E402
from benchmarks.samples import Pixels, normalized, picture, to_tensor  # noqa: E402
from benchmarks.turns import Steps, add_flags, measure, place, settle, wait  # noqa: E402
from data.stores import create_store  # noqa: E402
from nets.step import PRECISIONS, Options  # noqa: E402
from nets.train import choose_threads  # noqa: E402
from protos.schema import Datum  # noqa: E402

CLASSES = 10


@dataclass(frozen=True)
class Job:
    """A net to train: its input, batch and records, the plain module, and the layers of the prototxt."""

    shape: tuple[int, int, int]
    batch: int
    records: int
    module: Callable[[], nn.Module]
    layers: str


def conv(name: str, bottom: str, outputs: int, size: int, pad: int = 0, stride: int = 1, group: int = 1) -> str:
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
        f"convolution_param {{ num_output: {outputs} kernel_size: {size} pad: {pad} stride: {stride} group: {group} "
        'weight_filler { type: "xavier" } } }\n'
    )


def pool(name: str, bottom: str, kind: str, size: int = 3, stride: int = 2) -> str:
    param = f"pooling_param {{ pool: {kind} kernel_size: {size} stride: {stride} }}"
    return f'layer {{ name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}" {param} }}\n'


def dense(name: str, bottom: str, outputs: int) -> str:
    param = f'inner_product_param {{ num_output: {outputs} weight_filler {{ type: "xavier" }} }}'
    return f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" {param} }}\n'


def in_place(kind: str, blob: str, param: str = "") -> str:
    return f'layer {{ name: "{kind}_{blob}" type: "{kind}" bottom: "{blob}" top: "{blob}" {param} }}\n'


def lrn(name: str, bottom: str) -> str:
    return f'layer {{ name: "{name}" type: "LRN" bottom: "{bottom}" top: "{name}" lrn_param {{ alpha: 0.0001 }} }}\n'


LENET = (
    conv("conv1", "data", 20, 5) + pool("pool1", "conv1", "MAX", 2) + conv("conv2", "pool1", 50, 5)
    + pool("pool2", "conv2", "MAX", 2) + dense("ip1", "pool2", 500) + in_place("ReLU", "ip1")
    + dense("out", "ip1", CLASSES)
)  # fmt: skip
QUICK = (
    conv("conv1", "data", 32, 5, 2) + pool("pool1", "conv1", "MAX") + in_place("ReLU", "pool1")
    + conv("conv2", "pool1", 32, 5, 2) + in_place("ReLU", "conv2") + pool("pool2", "conv2", "AVE")
    + conv("conv3", "pool2", 64, 5, 2) + in_place("ReLU", "conv3") + pool("pool3", "conv3", "AVE")
    + dense("ip1", "pool3", 64) + dense("out", "ip1", CLASSES)
)  # fmt: skip
MLP = dense("ip1", "data", 512) + in_place("ReLU", "ip1") + dense("out", "ip1", CLASSES)
CAFFENET = (
    conv("conv1", "data", 96, 11, stride=4) + in_place("ReLU", "conv1") + pool("pool1", "conv1", "MAX")
    + lrn("n1", "pool1") + conv("conv2", "n1", 256, 5, 2, group=2) + in_place("ReLU", "conv2")
    + pool("pool2", "conv2", "MAX") + lrn("n2", "pool2")
    + conv("conv3", "n2", 384, 3, 1) + in_place("ReLU", "conv3")
    + conv("conv4", "conv3", 384, 3, 1, group=2) + in_place("ReLU", "conv4")
    + conv("conv5", "conv4", 256, 3, 1, group=2) + in_place("ReLU", "conv5") + pool("pool5", "conv5", "MAX")
    + dense("fc6", "pool5", 4096) + in_place("ReLU", "fc6") + in_place("Dropout", "fc6")
    + dense("fc7", "fc6", 4096) + in_place("ReLU", "fc7") + in_place("Dropout", "fc7") + dense("out", "fc7", CLASSES)
)  # fmt: skip

STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # blocks and channels of ResNet-50


def norm(blob: str) -> str:
    affine = "scale_param { bias_term: true filler { value: 1 } }"
    return in_place("BatchNorm", blob) + in_place("Scale", blob, affine)


def convs(name: str, bottom: str, outputs: int, size: int, stride: int = 1) -> str:
    """A convolution without bias, normalised."""
    pad, filler = size // 2, 'weight_filler { type: "msra" }'
    param = f"num_output: {outputs} kernel_size: {size} pad: {pad} stride: {stride} bias_term: false {filler}"
    layer = f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
    return f"{layer}convolution_param {{ {param} }} }}\n{norm(name)}"


def resnet() -> str:
    net = convs("conv1", "data", 64, 7, 2) + in_place("ReLU", "conv1") + pool("pool1", "conv1", "MAX")
    last = "pool1"
    for stage, (blocks, channels) in enumerate(STAGES):
        for block in range(blocks):
            name, stride = f"s{stage}b{block}", 2 if stage and not block else 1
            a, b, c, short = (f"{name}{part}" for part in ("a", "b", "c", "_short"))
            net += convs(a, last, channels, 1, stride) + in_place("ReLU", a)
            net += convs(b, a, channels, 3) + in_place("ReLU", b) + convs(c, b, 4 * channels, 1)
            net += convs(short, last, 4 * channels, 1, stride) if not block else ""
            sides = f'bottom: "{last if block else short}" bottom: "{c}" top: "{name}"'
            net += f'layer {{ name: "{name}" type: "Eltwise" {sides} }}\n'
            net += in_place("ReLU", name)
            last = name
    return net + pool("pool5", last, "AVE", 7, 1) + dense("out", "pool5", CLASSES)


class Block(nn.Module):
    """A bottleneck of a plain ResNet, its stride in the first convolution as in the first paper."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * channels
        self.path = nn.Sequential(
            nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            nn.Conv2d(channels, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.short = nn.Sequential()
        if inputs != outputs:
            self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways through it."""
        return nn.functional.relu(self.path(x) + self.short(x), inplace=True)


def plain_resnet() -> nn.Module:
    sizes = [(channels, not block and bool(stage))
             for stage, (blocks, channels) in enumerate(STAGES) for block in range(blocks)]  # fmt: skip
    inputs = [64, *(4 * channels for channels, _ in sizes)]
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        *(Block(n, channels, 1 + halves) for n, (channels, halves) in zip(inputs, sizes, strict=False)),
        nn.AvgPool2d(7), nn.Flatten(), nn.Linear(2048, CLASSES),
    )  # fmt: skip


JOBS = {
    "lenet": Job(
        (1, 28, 28), 64, 6400,
        lambda: nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, CLASSES),
        ),
        LENET,
    ),
    "cifar10_quick": Job(
        (3, 32, 32), 100, 5000,
        lambda: nn.Sequential(
            nn.Conv2d(3, 32, 5, padding=2), nn.MaxPool2d(3, 2, ceil_mode=True), nn.ReLU(),
            nn.Conv2d(32, 32, 5, padding=2), nn.ReLU(), nn.AvgPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.AvgPool2d(3, 2, ceil_mode=True), nn.Flatten(),
            nn.Linear(1024, 64), nn.Linear(64, CLASSES),
        ),
        QUICK,
    ),
    "mlp": Job(
        (93, 1, 1), 64, 6400,
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(93, 512), nn.ReLU(), nn.Linear(512, CLASSES)),
        MLP,
    ),
    "caffenet": Job(
        (3, 227, 227), 32, 128,
        lambda: nn.Sequential(
            nn.Conv2d(3, 96, 11, 4), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.LocalResponseNorm(5, 1e-4),
            nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.LocalResponseNorm(5, 1e-4), nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True), nn.Flatten(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, CLASSES),
        ),
        CAFFENET,
    ),
    "resnet50": Job((3, 224, 224), 16, 64, plain_resnet, resnet()),
}  # fmt: skip


class Samples(Dataset[tuple[Tensor, int]]):
    """What a tutorial writes: an image at a time, through PIL, to a tensor, normalised."""

    def __init__(self, images: Pixels, labels: np.ndarray) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        tensor = to_tensor(picture(image)) if image.shape[-1] > 1 else torch.from_numpy(image).float().div(255)
        return normalized(tensor), int(self.labels[index])


def records(job: Job) -> tuple[Pixels, np.ndarray]:
    """Random images and labels, the same for each contender."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (job.records, *job.shape), dtype=np.uint8)
    return images, rng.integers(0, CLASSES, job.records)


def plain_steps(net: str, device: torch.device, precision: str = "fp32") -> Steps:
    job = JOBS[net]
    images, labels = records(job)
    x = torch.from_numpy(images).float().div(127.5).sub(1).to(device)
    y = torch.from_numpy(labels).to(device)
    step = _module_step(job, device, precision)
    position = 0

    def steps(count: int) -> None:
        nonlocal position
        for _ in range(count):
            if position + job.batch > len(y):
                position = 0
            step(x[position : position + job.batch], y[position : position + job.batch])
            position += job.batch
        wait(device)

    return steps


def tutorial_steps(net: str, device: torch.device, precision: str = "fp32") -> Steps:
    job = JOBS[net]
    loader = DataLoader(Samples(*records(job)), job.batch, shuffle=True, num_workers=2, persistent_workers=True)
    step = _module_step(job, device, precision)

    def forever() -> Iterator[list[Tensor]]:
        while True:
            yield from loader

    batches = forever()

    def steps(count: int) -> None:
        for _ in range(count):
            x, y = next(batches)
            step(x.to(device), y.to(device))
        wait(device)

    return steps


def _module_step(job: Job, device: torch.device, precision: str) -> Callable[[Tensor, Tensor], None]:
    cast = settle(precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16" and device.type == "cuda")
    module = job.module().to(device)
    optimizer = torch.optim.SGD(module.parameters(), 0.001, momentum=0.9, weight_decay=0.0005)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        with cast:
            loss = nn.functional.cross_entropy(module(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def our_steps(name: str, device: torch.device, precision: str = "fp32") -> Steps:
    logging.disable(logging.INFO)
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    solver = nets.Solver.load(write_job(name, Path(folder.name)), device, options=Options(precision))
    if device.type == "cpu":
        choose_threads(solver.net)

    def steps(count: int) -> None:
        solver.step(count)
        wait(device)

    return steps


def write_job(name: str, folder: Path) -> Path:
    """The path of a solver in *folder*, with its net and a store of the records."""
    job, store = JOBS[name], folder / "store"
    with create_store(store) as writer:
        for i, (image, label) in enumerate(zip(*records(job), strict=True)):
            channels, height, width = job.shape
            datum = Datum(channels=channels, height=height, width=width, data=image.tobytes(), label=int(label))
            writer.put(b"%08d" % i, datum.SerializeToString())
    (folder / "net.prototxt").write_text(
        'layer { name: "in" type: "Data" top: "data" top: "label" '
        f"transform_param {{ mean_value: 127.5 scale: {1 / 127.5} }} "
        f'data_param {{ source: "{store}" batch_size: {job.batch} backend: LMDB }} }}\n{job.layers}'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "out" bottom: "label" top: "loss" }'
    )
    solver = folder / "solver.prototxt"
    solver.write_text(
        f'train_net: "{folder}/net.prototxt" base_lr: 0.001 momentum: 0.9 weight_decay: 0.0005 lr_policy: "fixed" '
        "snapshot_after_train: false"
    )
    return solver


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(JOBS))
    add_flags(parser)
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS)
    args = parser.parse_args()
    device = torch.device(args.device)
    print(f"{place(device)}, {args.precision}; steps a second")
    print(f"{'net':14} {'batch':>5} {'ours':>9} {'plain':>9} {'tutorial':>9} {'ours/plain':>11} {'ours/tutorial':>14}")
    for net in args.nets.split(","):
        contenders = {"ours": our_steps, "plain": plain_steps, "tutorial": tutorial_steps}
        speeds = measure(
            {name: partial(steps, net, device, args.precision) for name, steps in contenders.items()}, args.seconds
        )
        ours, plain, tutorial = speeds["ours"], speeds["plain"], speeds["tutorial"]
        ratios = f"{ours / plain:11.2f} {ours / tutorial:14.2f}"
        print(f"{net:14} {JOBS[net].batch:5} {ours:9.1f} {plain:9.1f} {tutorial:9.1f} {ratios}", flush=True)


if __name__ == "__main__":
    main()
