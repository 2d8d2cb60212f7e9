"""What an experiment is: published files, stores, one or more nets to train, and the figures that a tutorial gave."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil
from pathlib import Path

from nets.recipe.results import Results
from nets.recipe.sizes import QUICK_RECORDS, Size, number, shortened, split
from nets.recipe.source import Published
from nets.recipe.stage import Stage
from nets.report import Figure
from protos import files

TEST_BATCH = 100  # of all test nets
CLASSES = "classes.txt"


@dataclass(frozen=True)
class Conversion:
    """A ``data.convert`` of the source: the *kind* of its files, its flags, those of a trial, the stores it makes."""

    kind: str
    flags: tuple[str, ...]
    stores: tuple[str, ...]
    quick_flags: tuple[str, ...] | None = None
    suffix: str = ""


@dataclass(frozen=True)
class Experiment:
    """An experiment; its prototxts are under ``protos/zoo/NAME``.

    ``line`` and ``about`` describe it. ``variants`` are endings of the names of solvers and nets, the first for the
    main one. ``tested`` is the store for the final figures, of ``records`` records; ``treatment``: how nets.predict
    treats them, for want of a data layer. ``epoch``: iterations of a pass; ``quick``: iterations of a trial.
    ``spreads``: whether its batches are split over all GPUs. ``channels``: the order of a store's colours.
    ``threads``: how many train on a CPU; 0 leaves it to torch.
    """

    name: str
    line: str
    about: str
    published: Published
    conversions: tuple[Conversion, ...]
    classes: tuple[str, ...]
    tested: str
    treatment: tuple[str, ...]
    epoch: int
    quick: int
    figures: Callable[[Results], Sequence[Figure]]
    records: int = 10000
    variants: tuple[str, ...] = ("",)
    spreads: bool = False
    channels: str = "BGR"
    submits: bool = False
    threads: int = 0

    # ---- prototxts

    def prototxts(self, size: Size) -> dict[str, str]:
        """Name and content of the work folder's prototxts, for a run of *size*."""
        folder = files.find(f"protos/zoo/{self.name}/solver.prototxt").parent
        found = {path.name: path.read_text() for path in sorted(folder.glob("*.prototxt"))}
        for name, content in found.items():
            if size.quick and name.startswith("solver"):
                found[name] = shortened(content, self.quick)
            if self.spreads and size.gpus > 1 and name.startswith("train_test"):
                found[name] = split(content, size.gpus)
        return found

    def weights(self, size: Size, variant: str = "") -> str:
        """The path of the trained weights in the work folder."""
        solver = self.prototxts(size)[f"solver{variant}.prototxt"]
        return f"{_prefix(solver)}_iter_{number(solver, 'max_iter')}.caffemodel"

    def deploy(self, size: Size, variant: str = "") -> str:
        """The prototxt to use what *variant* learned."""
        own = f"deploy{variant}.prototxt"
        return own if own in self.prototxts(size) else "deploy.prototxt"

    # ---- stages

    def stages(self, size: Size, source: Path) -> list[Stage]:
        """All stages in their order."""
        out = [self._convert(conversion, size, source) for conversion in self.conversions]
        out += [
            Stage("summary", "nets.summary", (NET.format(""),), (NET.format(""), *self._stores)),
            Stage("draw", "nets.draw", (NET.format(""), "net.svg"), (NET.format(""), *self._stores), ("net.svg",),
                  optional=True),
        ]  # fmt: skip
        for variant in self.variants:
            out += [self._train(variant, size), self._test(variant, size), self._predict(variant, size)]
        return [*out, *self._submit(size, source), *self._export(size), *self._plot(size)]

    @property
    def _stores(self) -> tuple[str, ...]:
        return tuple(f"stores/{store}" for conversion in self.conversions for store in conversion.stores)

    def _convert(self, conversion: Conversion, size: Size, source: Path) -> Stage:
        flags = conversion.quick_flags if size.quick and conversion.quick_flags is not None else conversion.flags
        words = (conversion.kind, str(source), "--out", "stores", "--overwrite", *flags, *size.limit)
        reads = tuple(str(path) for path in self.published.found(source))
        makes = tuple(f"stores/{store}" for store in conversion.stores)
        return Stage(f"convert{conversion.suffix}", "data.convert", words, reads, makes)

    def _train(self, variant: str, size: Size) -> Stage:
        solver = f"solver{variant}.prototxt"
        device: tuple[str, ...] = ("--threads", str(self.threads)) if self.threads else ()
        if size.gpus:
            device = ("--gpu", "all" if self.spreads else "0")
        return Stage(
            f"train{variant}",
            "nets.train",
            (solver, *device),
            (solver, NET.format(variant), *self._stores),
            (self.weights(size, variant),),
            snapshots=_prefix(self.prototxts(size)[solver]),
        )

    def _test(self, variant: str, size: Size) -> Stage:
        weights, net = self.weights(size, variant), NET.format(variant)
        batches = ceil((QUICK_RECORDS if size.quick else self.records) / TEST_BATCH)
        words = ("--model", net, "--weights", weights, "--iterations", str(batches), *_first_gpu(size))
        return Stage(f"test{variant}", "nets.test", words, (net, weights, *self._stores))

    def _predict(self, variant: str, size: Size) -> Stage:
        return self._prediction(f"predict{variant}", variant, size, f"predictions{variant}.npz")

    def _prediction(self, name: str, variant: str, size: Size, out: str) -> Stage:
        deploy, weights = self.deploy(size, variant), self.weights(size, variant)
        words = (deploy, weights, self.tested, "--labels", CLASSES, "--out", out, *self.treatment, *_first_gpu(size))
        return Stage(name, "nets.predict", words, (deploy, weights, self.tested, CLASSES), (out,))

    def _submit(self, size: Size, source: Path) -> list[Stage]:
        if not self.submits:
            return []
        table, scaling = source / "test.csv", "stores/otto_scaling.json"
        if not table.is_file():  # what was held out is as new to the net
            return [self._prediction("submission", "", size, "held_out.csv")]
        deploy, weights = self.deploy(size), self.weights(size)
        words = (deploy, weights, str(table), "--scaling", scaling, "--out", "submission.csv", *_first_gpu(size))
        return [Stage("submission", "nets.predict", words, (deploy, weights, str(table), scaling), ("submission.csv",))]

    def _export(self, size: Size) -> list[Stage]:
        deploy, weights, out = self.deploy(size), self.weights(size), f"{self.name}.onnx"
        check = ("--check",) if find_spec("onnxruntime") else ()
        return [Stage("onnx", "converters.onnx", (deploy, weights, out, *check), (deploy, weights), (out,))]

    def _plot(self, size: Size) -> list[Stage]:
        logs = tuple(f"logs/train{variant}.log" for variant in self.variants)
        deploy, weights = self.deploy(size), self.weights(size)
        look = ("--weights", deploy, weights, "weights.png")
        return [
            Stage("curves", "nets.plot", (*logs, "curves.png"), logs, ("curves.png",), optional=True),
            Stage("weights", "nets.plot", look, (deploy, weights), ("weights.png",), optional=True),
        ]


NET = "train_test{}.prototxt"


def _first_gpu(size: Size) -> tuple[str, ...]:
    return ("--gpu", "0") if size.gpus else ()


def _prefix(solver: str) -> str:
    found = re.search(r'^snapshot_prefix: "(.*)"$', solver, re.MULTILINE)
    assert found is not None
    return found[1]
