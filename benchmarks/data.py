"""How fast stores are built and read: ``python benchmarks/data.py``; the figures are records and MB a second.

50,000 records of the size of CIFAR-10's (3 x 32 x 32 bytes) and 2,000 encoded JPEGs of 256 x 256, made up at random
in a temporary folder. Side by side: a raw LMDB cursor (the limit), a plain ``ParseFromString`` loop, and
torchvision's CIFAR10 class under a DataLoader with 2 workers (where torchvision cannot be imported: the same steps,
written out). The last lines hold the figures against the bars.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

sys.path[0] = str(Path(__file__).parents[1])  # this file is called as the package that it measures

from benchmarks.samples import to_tensor  # noqa: E402
from data import images  # noqa: E402
from data.build import Arrays, Dataset, Item, Options, build  # noqa: E402
from data.sources import Source, open_source  # noqa: E402
from protos import text  # noqa: E402
from protos.schema import Datum  # noqa: E402

BATCH = 100
RNG = np.random.default_rng(0)


class Jpegs(Dataset):
    """Encoded images of smooth noise."""

    def __init__(self, count: int) -> None:
        coarse = RNG.integers(0, 256, (count, 3, 16, 16), dtype=np.uint8)
        self._encoded = [images.encode(images.resize(each, 256, 256), "jpg") for each in coarse]

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, index: int) -> Item:
        return Item(None, index % 10, self._encoded[index])


def timed(run: Callable[[], object], repeats: int = 1) -> float:
    """The best of *repeats* runs, in seconds."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


class Report:
    """Prints a line for each measurement and keeps records a second by name."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}

    def line(self, name: str, records: int, size: int, seconds: float) -> None:
        """Report *records* of *size* bytes in *seconds*."""
        self.rates[name] = records / seconds
        print(
            f"{name:44} {records / seconds:12,.0f} records/s {records * size / seconds / 1e6:10,.1f} MB/s", flush=True
        )

    def bar(self, what: str, value: float, least: float) -> None:
        """Report a figure against the bar."""
        print(f"{what:60} {value:10,.2f}  bar {least:10,.2f}  {'met' if value >= least else 'MISSED'}")


def source_of(path: Path, transform: str = "", budget: int | None = None) -> Source:
    net = f"""layer {{ name: "d" type: "Data" top: "data" top: "label" transform_param {{ {transform} }}
              data_param {{ source: "{path}" batch_size: {BATCH} backend: LMDB }} }}"""
    return open_source(text.parse_net(net).layer[0], "TRAIN", seed=1, budget=budget)


def epoch(source: Source) -> None:
    assert source.records is not None
    for _ in range(source.records // BATCH):
        source.next()


def raw_scan(path: Path) -> None:
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
        for _ in transaction.cursor():
            pass


def parse_loop(path: Path) -> None:
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
        for _, value in transaction.cursor():
            datum = Datum()
            datum.ParseFromString(value)
            np.frombuffer(datum.data, np.uint8).reshape(datum.channels, datum.height, datum.width)


def first_pass(path: Path, budget: int | None) -> None:
    with source_of(path, budget=budget) as source:
        epoch(source)


class Written:
    """What torchvision's CIFAR10 does for an item with the transform ToTensor."""

    def __init__(self, values: np.ndarray, labels: list[int]) -> None:
        self._values, self._labels = values, labels

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return to_tensor(Image.fromarray(self._values[index])), self._labels[index]


def torchvision_set(values: np.ndarray, labels: list[int]) -> tuple[str, object]:
    """torchvision's own class, filled here, not from a download; or :class:`Written`."""
    try:
        from torchvision.datasets import CIFAR10  # noqa: PLC0415
        from torchvision.transforms import ToTensor  # noqa: PLC0415
    except (ImportError, RuntimeError) as error:
        return f"written out, as torchvision fails: {error}", Written(values, labels)
    dataset = CIFAR10.__new__(CIFAR10)
    dataset.data, dataset.targets = values, labels
    dataset.transform, dataset.target_transform = ToTensor(), None
    return "torchvision's class", dataset


def loader_epoch(values: np.ndarray, labels: np.ndarray) -> Callable[[], None]:
    """An epoch of CIFAR10 under a DataLoader."""
    how, dataset = torchvision_set(np.ascontiguousarray(values.transpose(0, 2, 3, 1)), labels.tolist())
    print(f"DataLoader: {how}")
    loader = DataLoader(dataset, BATCH, num_workers=2)

    def run() -> None:
        for _ in loader:
            pass

    return run


def plain(folder: Path, count: int, report: Report) -> None:
    values = RNG.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    labels = RNG.integers(0, 10, count)
    path = folder / "plain_lmdb"
    for backend in ("leveldb", "hdf5", "lmdb"):
        place = path if backend == "lmdb" else folder / f"{backend}.h5"
        seconds = timed(lambda p=place, b=backend: build(p, Arrays(values, labels), Options(backend=b)))  # type: ignore[misc]
        report.line(f"build, {backend}", count, 3072, seconds)
    report.line("raw LMDB cursor", count, 3072, timed(lambda: raw_scan(path), 5))
    report.line("ParseFromString loop", count, 3072, timed(lambda: parse_loop(path), 2))
    report.line("first pass, resident", count, 3072, timed(lambda: first_pass(path, None), 3))
    report.line("first pass, streamed", count, 3072, timed(lambda: first_pass(path, 0), 3))
    for name, transform in (
        ("", ""),
        (", scale", "scale: 0.0039"),
        (", crop and mirror", "crop_size: 28 mirror: true"),
    ):
        with source_of(path, transform) as source:
            source.next()
            report.line(f"later epochs, resident{name}", count, 3072, timed(lambda s=source: epoch(s), 3))  # type: ignore[misc]
    report.line("CIFAR10 under a DataLoader, 2 workers", count, 3072, timed(loader_epoch(values, labels)))


def encoded(folder: Path, count: int, report: Report) -> None:
    path, dataset = folder / "jpeg_lmdb", Jpegs(count)
    size = sum(len(item.encoded) for item in map(dataset.__getitem__, range(count))) // count
    report.line("JPEG: build", count, size, timed(lambda: build(path, dataset, Options())))
    decode = timed(lambda: [images.decode(dataset[k].encoded, None) for k in range(count)])
    report.line("JPEG: decode alone, one thread", count, size, decode)
    resident = []
    with source_of(path, "crop_size: 227 mirror: true", budget=0) as source:
        for number in range(10):
            seconds = timed(lambda: epoch(source))
            if not number:
                report.line("JPEG: streamed, decode, crop, mirror", count, size, seconds)
            resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6)
    print("JPEG: memory after each of 10 streamed epochs, MB:", " ".join(f"{each:.0f}" for each in resident))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--jpegs", type=int, default=2_000)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        plain(Path(folder), args.records, report)
        encoded(Path(folder), args.jpegs, report)
    rates = report.rates
    report.bar("build, LMDB, records/s", rates["build, lmdb"], 20_000)
    report.bar("first pass / raw cursor", rates["first pass, resident"] / rates["raw LMDB cursor"], 0.2)
    loader = rates["CIFAR10 under a DataLoader, 2 workers"]
    report.bar("later epochs / DataLoader", rates["later epochs, resident"] / loader, 10)


if __name__ == "__main__":
    main()
