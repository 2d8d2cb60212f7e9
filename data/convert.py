"""Builders of stores: ``python -m data.convert mnist|cifar10|otto|imageset|annotated|csv|numpy ...``.

Each is a function of parsed options here, over the module that knows the format.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import annoset, cifar10, imageset, mnist, otto, table
from data.build import Arrays, Dataset, Options, build
from data.command import add_build_options, add_out, log, natural, not_negative, run, share, size
from data.images import resize
from data.mean import write_mean
from protos.errors import DataError
from protos.files import replacing

CLASSES = 10  # of MNIST and of CIFAR-10

Bytes = NDArray[np.uint8]
Indices = NDArray[np.int64]


def _store(path: Path, dataset: Dataset, options: Options) -> None:
    written, bad = build(path, dataset, options)
    log.info("%s: %s records%s", path, f"{written:,}", f", {bad:,} left out" if bad else "")


def convert_mnist(args: argparse.Namespace) -> None:
    """Stores ``mnist_train_*`` and ``mnist_test_*`` of the IDX files, and ``mnist_val_*`` of what is held out."""
    if args.download:
        _download("MNIST", args.source)
    inside = args.source / "MNIST" / "raw"  # where torchvision puts them
    source = inside if inside.is_dir() else args.source
    for part in ("train", "test"):
        images, labels = mnist.read_set(source, part)
        _store_parts("mnist", part, _resized(images[:, None], args.resize), labels, args)


def convert_cifar10(args: argparse.Namespace) -> None:
    """Stores ``cifar10_{train,test,val}_*``, the last of what is held out; with ``--mean``, the first one's mean."""
    if args.download:
        _download("CIFAR10", args.source)
    for part in ("train", "test"):
        images, labels = cifar10.read_set(args.source, part)
        images = _resized(cifar10.to_gray(images) if args.gray else images, args.resize)
        kept = _store_parts("cifar10", part, images, labels, args)
        if args.mean and part == "train":
            write_mean(args.out / "cifar10_mean.binaryproto", images[kept].mean(0, np.float64).astype(np.float32))


def _store_parts(name: str, part: str, images: Bytes, labels: Bytes, args: argparse.Namespace) -> Indices:
    """Store a published *part*; of "train", what ``--holdout`` draws goes to the store "val". The indices that stay."""
    options = Options.from_args(args)
    order = np.random.default_rng(args.seed).permutation(len(images))
    held = np.sort(order[: args.holdout]) if part == "train" else order[:0]
    if len(held) == len(images):
        raise DataError(f"--holdout {args.holdout} leaves nothing of the {len(images)} training images to train on")
    kept = np.setdiff1d(np.arange(len(images)), held)
    for own, chosen in ((part, kept), ("val", held)):
        if len(chosen):
            _store(options.store(args.out, f"{name}_{own}"), Arrays(images[chosen], labels[chosen]), options)
            if args.one_hot:
                vectors = Arrays(np.eye(CLASSES, dtype=np.uint8)[labels[chosen]][:, :, None, None], labels[chosen])
                _store(options.store(args.out, f"{name}_{own}_onehot"), vectors, options)
    return kept


def _resized(pixels: Bytes, size: tuple[int, int] | None) -> Bytes:
    """N x C x H x W images at *size*."""
    return pixels if size is None else np.stack([resize(image, *size) for image in pixels])


def convert_otto(args: argparse.Namespace) -> None:
    """Stores ``otto_train_*``, ``otto_val_*`` (held out) and ``otto_test_*``, scaled alike."""
    options = Options.from_args(args)
    scaling_file = args.out / "otto_scaling.json"
    train, test = args.source / "train.csv", args.source / "test.csv"
    if train.exists() or not test.exists():
        values, labels = otto.read_train(train)
        kept, held = otto.hold_out(labels, args.holdout, args.seed)
        scaling = otto.Scaling.fit(values[kept], args.log1p, args.standardize)
        for name, chosen in (("train", kept), ("val", held)):
            if len(chosen):
                dataset = Arrays(_columns(scaling(values[chosen])), labels[chosen])
                _store(options.store(args.out, f"otto_{name}"), dataset, options)
        scaling.save(scaling_file)
    if test.exists():
        values = otto.Scaling.load(scaling_file)(otto.read_test(test))
        _store(options.store(args.out, "otto_test"), Arrays(_columns(values), None), options)


def convert_imageset(args: argparse.Namespace) -> None:
    """A store of images, by a list file or by a folder for each class."""
    entries, classes = (imageset.from_list(args.list), []) if args.list else imageset.from_folders(args.root)
    _store(args.store, imageset.ImageSet(args.root, entries, _treatment(args)), Options.from_args(args))
    _write_classes(args.store, classes)


def _treatment(args: argparse.Namespace, limits: tuple[int, int] = (0, 0)) -> imageset.Treatment:
    encoding = args.encode_type or ("jpg" if args.encoded else None)
    return imageset.Treatment(args.gray, args.resize, encoding, limits)


def convert_annotated(args: argparse.Namespace) -> None:
    """A store of images with the boxes of their objects, for AnnotatedData."""
    if args.backend == "hdf5":
        raise DataError("--backend hdf5: boxes go into an lmdb or a leveldb")
    treatment, labels = _treatment(args, (args.min_dim, args.max_dim)), None
    entries: list[tuple[str, str]] | list[tuple[str, int]]
    if args.anno_type == "classification":
        entries = imageset.from_list(args.list)
    else:
        entries = annoset.read_pairs(args.list)
        labels = annoset.read_label_map(args.label_map_file, args.check_label) if args.label_map_file else {}
    made = annoset.AnnotatedSet(args.root, entries, treatment, labels, args.label_type)
    _store(args.store, made, Options.from_args(args))


def convert_csv(args: argparse.Namespace) -> None:
    """A store of a table: a record of D x 1 x 1 floats for each line."""
    found = table.read_csv(args.file, args.label, tuple(args.drop))
    labels, classes = table.to_classes(found.labels) if found.labels is not None else (None, [])
    _store(args.store, Arrays(_columns(found.values), labels), Options.from_args(args))
    _write_classes(args.store, classes)


def convert_numpy(args: argparse.Namespace) -> None:
    """A store of the arrays in an ``.npz``."""
    values, labels = table.read_npz(args.file, args.data, args.label)
    _store(args.store, Arrays(values, labels), Options.from_args(args))


def _columns(values: otto.Floats) -> np.ndarray[Any, np.dtype[np.float32]]:
    return values[:, :, None, None]


def _write_classes(store: Path, classes: list[str]) -> None:
    """Write the names of numbered classes beside the store."""
    if classes:
        path = store.with_name(f"{store.name}_classes.txt")
        with replacing(path) as file:
            file.write("".join(f"{name}\n" for name in classes).encode(errors="surrogateescape"))
        log.info("%s: the names of the %d classes, in the order of their labels", path, len(classes))


def _download(name: str, folder: Path) -> None:
    """Fetch a set through torchvision, which checks the sums of the files."""
    try:
        from torchvision import datasets  # noqa: PLC0415  # needed for this alone, and slow to import
    except (ImportError, RuntimeError, OSError) as error:  # what a torchvision that does not fit torch raises, too
        raise DataError(f"--download needs torchvision, which cannot be imported ({error})") from None
    try:
        for train in (True, False):
            getattr(datasets, name)(folder, train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{name} could not be fetched to {folder} ({' '.join(str(error).split())})") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data.convert", description="Build stores of records.")
    kinds = parser.add_subparsers(required=True, metavar="mnist|cifar10|otto|imageset|annotated|csv|numpy")

    def add(name: str, convert: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        kind = kinds.add_parser(name, help=convert.__doc__, description=convert.__doc__)
        kind.set_defaults(convert=convert)
        add_build_options(kind)
        return kind

    for name, convert in (("mnist", convert_mnist), ("cifar10", convert_cifar10), ("otto", convert_otto)):
        kind = add(name, convert)
        kind.add_argument("source", type=Path, metavar="SOURCE_DIR", help="where the published files are")
        add_out(kind)
        if name != "otto":
            kind.add_argument("--download", action="store_true", help="fetch the files to SOURCE_DIR first")
            _add_image_options(kind)
    kinds.choices["cifar10"].add_argument("--gray", action="store_true", help="one channel")
    kinds.choices["cifar10"].add_argument("--mean", action="store_true", help="write cifar10_mean.binaryproto")
    _add_otto_options(kinds.choices["otto"])
    _add_imageset_options(add("imageset", convert_imageset))
    _add_annotated_options(add("annotated", convert_annotated))
    _add_table_options(add("csv", convert_csv), add("numpy", convert_numpy))
    return parser


def _add_image_options(kind: argparse.ArgumentParser) -> None:
    said = "how many training images go to the store `val` instead, drawn by --seed; default: none"
    kind.add_argument("--holdout", type=natural, default=0, metavar="N", help=said)
    kind.add_argument("--resize", type=size, metavar="HxW", help="resize to this height and width")
    said = "besides, stores NAME_onehot of the labels: 10 x 1 x 1, 1 for the class, the records in the same order"
    kind.add_argument("--one-hot", action="store_true", help=said)


def _add_otto_options(kind: argparse.ArgumentParser) -> None:
    kind.add_argument("--holdout", type=share, default=0.0, help="share of each class for otto_val; default: 0")
    kind.add_argument("--standardize", action="store_true", help="mean 0 and deviation 1, by the training set")
    kind.add_argument("--log1p", action="store_true", help="log(1 + count) first")


def _add_imageset_options(kind: argparse.ArgumentParser) -> None:
    kind.add_argument("root", type=Path, metavar="ROOT", help="folder of the images")
    kind.add_argument("store", type=Path, metavar="STORE", help="the store to build")
    kind.add_argument("--list", type=Path, metavar="FILE", help="lines `name label`; default: a folder a class")
    _add_treatment_options(kind)


def _add_treatment_options(kind: argparse.ArgumentParser) -> None:
    kind.add_argument("--resize", type=size, metavar="HxW", help="resize to this height and width")
    kind.add_argument("--gray", action="store_true", help="one channel")
    kind.add_argument("--encoded", action="store_true", help="store encoded images, as jpg unless --encode-type")
    kind.add_argument("--encode-type", metavar="KIND", help="png or jpg; implies --encoded")
    kind.add_argument("--skip-bad", action="store_true", help="leave unreadable images out, and count them")


def _add_annotated_options(kind: argparse.ArgumentParser) -> None:
    kind.add_argument("list", type=Path, metavar="LIST", help="lines `image annotations`, files below --root")
    kind.add_argument("store", type=Path, metavar="STORE", help="the store to build")
    kind.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="folder of the files; default: this one")
    said = "the list holds annotation files, or `image label`; default: detection"
    kind.add_argument("--anno-type", choices=("detection", "classification"), default="detection", help=said)
    said = "xml of Pascal VOC, json of COCO, txt: `class x1 y1 x2 y2` a line; default: as the suffix says"
    kind.add_argument("--label-type", choices=tuple(annoset.READERS), help=said)
    kind.add_argument("--label-map-file", type=Path, metavar="FILE", help="a LabelMap, for the names in xml and json")
    kind.add_argument("--check-label", action="store_true", help="refuse names and labels that stand twice in it")
    said = "enlarge images whose shorter side is below this; --min-dim and --max-dim take the place of --resize"
    kind.add_argument("--min-dim", type=not_negative, default=0, metavar="N", help=said)
    said = "reduce images whose longer side is above this"
    kind.add_argument("--max-dim", type=not_negative, default=0, metavar="N", help=said)
    _add_treatment_options(kind)


def _add_table_options(csv: argparse.ArgumentParser, numpy: argparse.ArgumentParser) -> None:
    for kind in (csv, numpy):
        kind.add_argument("file", type=Path, metavar="FILE")
        kind.add_argument("store", type=Path, metavar="STORE", help="the store to build")
    csv.add_argument("--label", metavar="COLUMN", help="the column of labels; default: none")
    csv.add_argument("--drop", metavar="COLUMN", action="append", default=[], help="leave this column out")
    numpy.add_argument("--data", metavar="NAME", default="data", help="the array of examples; default: data")
    numpy.add_argument("--label", metavar="NAME", default="label", help="the array of labels; default: label")


def main() -> None:
    """The command."""
    args = _parser().parse_args()
    args.convert(args)


if __name__ == "__main__":
    run(main)
