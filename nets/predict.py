"""``python -m nets.predict MODEL WEIGHTS INPUT...``: what a net says of images, of a store, or of a table."""

import argparse
import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from data.command import size
from nets import console, feeding, findings, maps, runtime
from nets.feeding import Flags, Item, Treatment
from nets.inference import load_for_inference, shape_flag
from nets.net import Net
from nets.placement import place
from nets.predictions import plan, predict
from nets.scores import Scores
from protos import files
from protos.errors import CaffeError, DataError, NetError

Floats = NDArray[np.float32]
BATCH = 64


@dataclass(frozen=True)
class Result:
    """The name and label of an item, with its scores, one a class, or a map a class; its values are not kept.

    *size*: rows and columns of the image that was resized as a whole to the net's input.
    """

    name: str
    label: int | None
    scores: Floats
    size: tuple[int, int] | None = None


class Predictor:
    """A net that is asked for one of its predictions, *output* (the last where that is None)."""

    def __init__(self, net: Net, treatment: Treatment, output: str | None, device: torch.device) -> None:
        blobs = {one.name: one.blob for one in plan(net).predictions}
        if output is not None and output not in blobs:
            raise NetError(f"the net predicts {', '.join(blobs)}, not '{output}'")
        self.output = output or list(blobs)[-1]
        self.input = treatment.input
        self.finds_boxes = findings.finds_boxes(net, self.output)
        self.makes_maps = not self.finds_boxes and maps.is_map(net.shapes[blobs[self.output]])
        self._net = place(net, device)
        self._device = device

    def __call__(self, batch: torch.Tensor) -> Floats:
        """Scores, N x classes, of a batch, or N x classes x rows x columns.

        Raises NetError where the prediction is not one list of scores, or of maps, an item.
        """
        return by_class(self._predict(batch), len(batch))

    def find(self, batch: torch.Tensor) -> list[Floats]:
        """The boxes found in each item of a batch: class, confidence and corners, K x 6."""
        return findings.by_item(self._predict(batch), len(batch))

    def _predict(self, batch: torch.Tensor) -> Floats:
        found = predict(self._net, {self.input: batch.to(self._device)})[self.output].float()
        return found.cpu().numpy().copy()  # no tensor's memory, see ``nets.trace.lasting``


def by_class(scores: Floats, count: int) -> Floats:
    """N x classes of N x classes x 1 ...; maps as they are."""
    if maps.is_map(scores.shape) and len(scores) == count:
        return scores
    if scores.shape[:1] != (count,) or scores.ndim < 2 or scores[0].size != scores.shape[1]:
        raise NetError(f"the prediction has the shape {list(scores.shape)}: it needs scores for each of {count} items")
    return scores.reshape(count, -1)


class Comparison:
    """Runs an exported model beside the net, and keeps the largest difference."""

    def __init__(self, path: str, predictor: Predictor) -> None:
        self._session = runtime.open_session(path)
        self._path = path
        self._input, self._output = predictor.input, predictor.output
        if self._output not in self._session.outputs:
            raise CaffeError(f"{path}: predicts {', '.join(self._session.outputs)}, the net '{self._output}'")
        size = self._session.inputs.get(self._input, (None,))[0]
        self.batch = size if isinstance(size, int) else None
        self.difference = 0.0
        self.count = 0
        self.others = 0
        self._places = "have"

    def add(self, batch: torch.Tensor, scores: Floats) -> None:
        """Compare the model's scores of *batch* with the net's."""
        values = batch.numpy()
        short = (self.batch or len(values)) - len(values)
        padded = np.concatenate([values, np.zeros((short, *values.shape[1:]), np.float32)]) if short else values
        found = by_class(self._session.run({self._input: padded})[self._output], len(padded))[: len(values)]
        self.difference = max(self.difference, float(np.abs(found - scores).max()))
        self._places = "pixels have" if scores.ndim > 2 else "have"
        self.others += int((found.argmax(1) != scores.argmax(1)).sum())
        self.count += len(values)

    def report(self) -> str:
        """One line."""
        return (
            f"{self._path}: {self.count} items, scores differ by at most {self.difference:.2e}, "
            f"{self.others} {self._places} another best class"
        )


def run(items: Iterable[Item], treatment: Treatment, predictor: Predictor, count: int,
        comparison: Comparison | None) -> Iterable[Result]:  # fmt: skip
    """The results of *items*, in batches of *count*."""
    for chunk in feeding.batches(items, count):
        batch = treatment(chunk)
        scores = predictor(batch)
        if comparison is not None:
            comparison.add(batch, scores)
        for item, row in zip(chunk, scores, strict=True):
            yield Result(item.name, item.label, row, treatment.size_of(item))


# ---- showing


def read_labels(path: str) -> list[str]:
    """The names of the classes, a line each."""
    names = [line.strip() for line in files.read(path).decode("utf-8-sig", "replace").splitlines()]
    while names and not names[-1]:
        names.pop()
    return names


def class_names(labels: Sequence[str] | None, classes: int, of_table: bool) -> list[str]:
    """*labels*; without, ``Class_1`` and on of a table, as Kaggle has them, and the numbers of all else, from 0.

    Raises DataError where they are not as many as the net's classes.
    """
    if labels is None:
        return [f"Class_{i + 1}" if of_table else str(i) for i in range(classes)]
    if len(labels) != classes:
        raise DataError(f"the label file names {len(labels)} classes, the net has {classes}")
    return list(labels)


def best(result: Result, names: Sequence[str], top: int) -> str:
    """The *top* classes of one item, as the original's classifier shows them."""
    order = np.argsort(-result.scores, kind="stable")[:top]
    lines = [f'{result.scores[i]:.4f} - "{names[i]}"' for i in order]
    return "\n".join([f"---------- Prediction for {result.name} ----------", *lines])


def write_table(path: str, results: Sequence[Result], names: Sequence[str]) -> None:
    """Write ``id`` and the scores by class, Kaggle's submission format."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", *names])
    writer.writerows([result.name, *(f"{score:.6g}" for score in result.scores)] for result in results)
    with files.replacing(path) as file:
        file.write(os.fsencode(out.getvalue()))  # the names of files among it


def write_arrays(path: str, results: Sequence[Result], names: Sequence[str]) -> None:
    """Write an ``.npz``: ``id`` (N,), ``probabilities`` (N x K), ``labels`` (N,), -1 where unknown, ``class_names``."""
    labels = [-1 if result.label is None else result.label for result in results]
    ids = np.array([result.name for result in results])
    scores = np.stack([result.scores for result in results])
    with files.replacing(path) as file:
        np.savez(file, id=ids, probabilities=scores, labels=np.array(labels, np.int64), class_names=np.array(names))


# ---- the command


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    made = console.parser("nets.predict", "Predict images, folders of images, stores, or tables (.csv).")
    made.add_argument("model", metavar="MODEL", help="the net prototxt")
    made.add_argument("weights", metavar="WEIGHTS", help="its weights")
    made.add_argument("inputs", nargs="+", type=Path, metavar="INPUT")
    console.flag(made, "labels", "the names of the classes, a line each", metavar="F")
    console.flag(made, "top", "how many classes, or boxes, to show of an image", type=int, default=5, metavar="N")
    console.flag(
        made,
        "out",
        "write id and scores of all items: a table, or as F.npz arrays, labels too; of nets that classify pixels a"
        " folder of pictures, or F.npz",
        metavar="F.csv",
    )
    console.flag(made, "mean", "numbers by channel (B,G,R), or a .binaryproto, in the prototxt's place", metavar="M")
    console.flag(made, "scale", "factor after the mean, in the prototxt's place", type=float, metavar="S")
    console.flag(made, "resize", "size of images before the middle is cut out; default: the mean's, or the input's",
                 type=size, metavar="HxW")  # fmt: skip
    console.flag(made, "scaling", "the scaling of a table's features, as data.convert otto wrote it", metavar="F.json")
    console.flag(made, "output", "which prediction, where the net has several", metavar="NAME")
    console.flag(made, "batch", f"items at a time (default {BATCH}; of nets that classify pixels the prototxt's own)",
                 type=int, metavar="N")  # fmt: skip
    console.flag(made, "compare", "run this exported model beside the net", metavar="F.onnx")
    shape_flag(made)
    console.net_flags(made)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    args = console.parse(parser(), argv)
    if args.top < 1 or (args.batch is not None and args.batch < 1):
        raise CaffeError("--top and --batch must be at least 1")
    labels = read_labels(args.labels) if args.labels else None
    net = load_for_inference(args.model, args.weights, args)
    gpus = console.devices(args.gpu)
    flags = Flags(args.mean, args.scale, args.resize)
    treatment = Treatment(net, flags)
    predictor = Predictor(net, treatment, args.output, gpus[0] if gpus else torch.device("cpu"))
    if predictor.finds_boxes and args.compare:
        raise CaffeError("--compare is for scores of classes: python -m converters.onnx --check compares boxes")
    comparison = Comparison(args.compare, predictor) if args.compare else None
    count = args.batch or (treatment.shape[0] if predictor.makes_maps else BATCH)
    count = comparison.batch if comparison is not None and comparison.batch else count
    items = feeding.read_items(args.inputs, treatment.shape[1], Path(args.scaling) if args.scaling else None)
    if predictor.finds_boxes:
        _show_boxes(feeding.batches(items, count), treatment, predictor, labels, args)
        return 0
    quiet = any(feeding.is_store(path) or feeding.is_table(path) for path in args.inputs)
    show = _show_maps if predictor.makes_maps else _show
    show(run(items, treatment, predictor, count, comparison), labels, args, quiet)
    if comparison is not None:
        print(comparison.report())
    return 0


def _show(results: Iterable[Result], labels: Sequence[str] | None, args: argparse.Namespace, quiet: bool) -> None:
    """Print each result unless *quiet*, the scores where labels are known, and write the table."""
    kept: list[Result] = []
    names: list[str] = []
    scores: Scores | None = None
    for result in results:
        if scores is None:
            names = class_names(labels, len(result.scores), any(map(feeding.is_table, args.inputs)))
            scores = Scores(len(names))
        if not quiet:
            print(best(result, names, args.top))
        if args.out:
            kept.append(result)
        if result.label is not None:
            scores.add(result.label, int(result.scores.argmax()))
    if scores is None:
        raise DataError("there is nothing in the inputs to predict")
    if scores.count:
        print(scores.report(names))
    if args.out:
        write = write_arrays if args.out.endswith(".npz") else write_table
        write(args.out, kept, names)
        print(f"{args.out}: {len(kept)} items")


def _show_maps(results: Iterable[Result], labels: Sequence[str] | None, args: argparse.Namespace, quiet: bool) -> None:
    """Print each image's classes by their shares of its pixels unless *quiet*, and write the maps."""
    pictures = maps.Pictures(args.out) if args.out and not args.out.endswith(".npz") else None
    kept: list[tuple[str, maps.Classes | Floats]] = []
    count = 0
    names: list[str] = []
    for result in results:
        names = names or class_names(labels, len(result.scores), of_table=False)
        if not quiet:
            print(maps.lines(result.name, result.scores, names, args.top))
        if pictures is not None:
            pictures.write(result.name, result.scores, result.size)
        elif args.out:
            kept.append((result.name, maps.result(result.scores)))
        count += 1
    if not count:
        raise DataError("there is nothing in the inputs to predict")
    if kept:
        maps.write_arrays(args.out, kept, names)
    if args.out:
        print(f"{args.out}: {count} items")


def _show_boxes(
    chunks: Iterable[list[Item]],
    treatment: Treatment,
    predictor: Predictor,
    labels: Sequence[str] | None,
    args: argparse.Namespace,
) -> None:
    """Print the best boxes found in each item, and write all."""
    kept: list[tuple[str, Floats]] = []
    for chunk in chunks:
        for item, boxes in zip(chunk, predictor.find(treatment(chunk)), strict=True):
            print(findings.lines(item.name, boxes, labels, args.top))
            kept += [(item.name, boxes)] if args.out else []
    if args.out and kept:
        findings.write(args.out, kept, labels)
        print(f"{args.out}: {sum(len(boxes) for _, boxes in kept)} boxes in {len(kept)} items")


if __name__ == "__main__":
    console.run(main)
