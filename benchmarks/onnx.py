"""Exported nets in onnxruntime, ours beside torch's own exporter: ``python benchmarks/onnx.py [--net resnet50]``.

CaffeNet and ResNet-50 with drawn weights, on the CPU. For each batch: the model of ``converters.export_onnx``, the same
with ``fold_bn`` and ``fast_lrn``, that of ``torch.onnx.export`` of the same net, and the net itself in PyTorch. They
take turns in a random order, so that what else the machine does meets them all; the median and the best time of a pass
count. torch's exporter needs the onnxscript package.
"""

import sys
from pathlib import Path

# This file is called like the package that it imports: its folder must not be searched.
HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), str(HERE.parent / "tests" / "converters")] + [
    path for path in sys.path if Path(path or ".").resolve() != HERE
]

import argparse  # noqa: E402  # after the search path
import logging  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import statistics  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Callable  # noqa: E402

import architectures  # noqa: E402
import torch  # noqa: E402

import converters  # noqa: E402
import nets  # noqa: E402
from nets import runtime  # noqa: E402

NETS = {"caffenet": (architectures.caffenet, 227), "resnet50": (architectures.resnet50, 224)}


class Prob(torch.nn.Module):
    """A net as torch's exporter likes it: one tensor in, one out."""

    def __init__(self, net: nets.Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102  # the class says it
        return self.net(data=x)["prob"]


def by_torch(net: nets.Net, x: torch.Tensor, path: Path) -> None:
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Prob(net), (x,), path, input_names=["data"], output_names=["prob"], dynamo=True, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("N", min=1, max=64)},) if len(x) > 1 else None,
        )  # fmt: skip


def measure(ways: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of passes by way: they take turns for *seconds* each."""
    for run in ways.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in ways}
    end = time.perf_counter() + seconds * len(ways)
    while time.perf_counter() < end:
        for name in random.sample(list(ways), len(ways)):  # what runs before leaves its weights in the caches
            start = time.perf_counter()
            ways[name]()
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def compare(name: str, batch: int, seconds: float, threads: int, folder: Path) -> None:
    make, size = NETS[name]
    net = architectures.make(make())
    x = torch.randn(batch, 3, size, size)
    paths = {way: folder / f"{name}{batch}_{i}.onnx" for i, way in enumerate(("ours", "ours, faster", "torch.onnx"))}
    converters.export_onnx(net, paths["ours"])
    converters.export_onnx(net, paths["ours, faster"], fold_bn=True, fast_lrn=True)
    by_torch(net, x, paths["torch.onnx"])
    ways: dict[str, Callable[[], object]] = {}
    wanted = net(data=x)["prob"].detach().numpy()
    for way, path in paths.items():
        session = runtime.open_session(path, threads)
        found = session.run({"data": x.numpy()})["prob"]
        assert abs(found - wanted).max() < 1e-4 * wanted.max(), way
        ways[way] = lambda session=session: session.run({"data": x.numpy()})
    with torch.no_grad():
        ways["PyTorch"] = lambda: net(data=x)
        times = measure(ways, seconds)
    print(f"{name}, batch {batch}, {threads} threads:")
    for way, found in times.items():
        print(f"  {way:14} {statistics.median(found):8.1f} ms median, {min(found):8.1f} ms best, {len(found)} passes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", choices=list(NETS), action="append")
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each way")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        for name in args.net or NETS:
            for batch in args.batch or (1, 8):
                compare(name, batch, args.seconds, args.threads, Path(folder))


if __name__ == "__main__":
    main()
