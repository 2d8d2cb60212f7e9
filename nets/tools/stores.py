"""Tools that build stores, and the mean of one."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data import cifar10, imageset, mnist
from data.allocation import keep_freed_memory
from data.build import Arrays, Item, Options, build
from data.mean import mean_of, write_mean
from data.stores import BACKENDS, open_store
from nets import console
from nets.console import log
from nets.tools import flags
from protos.errors import CaffeError, DataError


class _Listed(imageset.ImageSet):
    """Images whose names are put behind the root folder letter by letter; with *same_size* all have to be as large."""

    def __init__(self, root: str, entries: Sequence[tuple[str, int]], treatment: imageset.Treatment, same_size: bool):
        super().__init__(Path(root), entries, treatment)
        self._before = root
        self._same_size = same_size

    def path_of(self, name: str) -> Path:
        return Path(self._before + name)

    def items(self, indices: Iterable[int]) -> Iterator[Item | DataError]:
        size = None
        for item in super().items(indices):
            if self._same_size and isinstance(item, Item):
                own = len(item.encoded) if item.values is None else item.values.size
                if own != (size := size or own):
                    raise CaffeError(f"{item.name}: {own} bytes, but the first image has {size} (--check_size)")
            yield item


def convert_imageset(argv: Sequence[str] | None = None) -> int:
    """Build a store of the images that a list file names."""
    made = flags.parser(
        convert_imageset,
        ("ROOTFOLDER/", "what stands before the names of the images"),
        ("LISTFILE", "lines `name label`"),
        ("DB_NAME", "the store to build"),
    )
    switches = flags.switches(
        made,
        gray="one channel",
        shuffle="store the images in a random order",
        check_size="end where images differ in size",
        encoded="store encoded images",
    )
    console.flag(made, "encode_type", "png, jpg ...; default: as the image's file", default="", metavar="KIND")
    console.flag(made, "backend", "lmdb (default) or leveldb", default="lmdb", choices=BACKENDS)
    console.flag(made, "resize_width", "0: as it is", type=int, default=0, metavar="N")
    console.flag(made, "resize_height", "0: as it is", type=int, default=0, metavar="N")
    args = vars(flags.parse(made, argv, switches))
    keep_freed_memory()
    root, store = args["rootfolder/"], Path(args["db_name"])
    if store.exists():
        raise DataError(f"{store}: exists already")
    entries = imageset.from_list(Path(args["listfile"]))
    log.info("A total of %d images.", len(entries))
    size = (args["resize_height"], args["resize_width"])
    encoding = args["encode_type"] if args["encoded"] else None
    treatment = imageset.Treatment(args["gray"], size if min(size) > 0 else None, encoding)
    options = Options(args["backend"], args["shuffle"], skip_bad=True)
    written, bad = build(store, _Listed(root, entries, treatment, args["check_size"]), options)
    log.info("Processed %d files%s.", written, f"; {bad} could not be read" if bad else "")
    return 0


def convert_mnist_data(argv: Sequence[str] | None = None) -> int:
    """Build a store of MNIST's images and labels."""
    places = (("IMAGE_FILE", "IDX"), ("LABEL_FILE", "IDX"), ("OUTPUT_DB_FILE", "the store to build"))
    made = flags.parser(convert_mnist_data, *places)
    console.flag(made, "backend", "lmdb (default) or leveldb", default="lmdb", choices=BACKENDS)
    args = flags.parse(made, argv)
    digits, labels = mnist.read_pair(Path(args.image_file), Path(args.label_file))
    _build(Path(args.output_db_file), digits[:, None], labels, args.backend)
    return 0


def convert_cifar_data(argv: Sequence[str] | None = None) -> int:
    """Build the stores cifar10_train_DB_TYPE and cifar10_test_DB_TYPE of CIFAR-10's files."""
    places = (
        ("INPUT_FOLDER", "where the files are"),
        ("OUTPUT_FOLDER", "for the stores"),
        ("DB_TYPE", "lmdb, leveldb"),
    )
    args = flags.parse(flags.parser(convert_cifar_data, *places), argv)
    flags.check_backend(args.db_type)
    for part in ("train", "test"):
        pixels, labels = cifar10.read_set(Path(args.input_folder), part)
        _build(Path(args.output_folder) / f"cifar10_{part}_{args.db_type}", pixels, labels, args.db_type)
    return 0


def _build(store: Path, values: NDArray[np.uint8], labels: NDArray[np.uint8], backend: str) -> None:
    if store.exists():
        raise DataError(f"{store}: exists already")
    written, _ = build(store, Arrays(values, labels), Options(backend))
    log.info("Processed %d files.", written)


def compute_image_mean(argv: Sequence[str] | None = None) -> int:
    """Compute the mean image of a store, and the mean of each channel."""
    made = flags.parser(compute_image_mean, ("INPUT_DB", "the store"), ("[OUTPUT_FILE]", "the mean image, a BlobProto"))
    console.flag(made, "backend", "lmdb or leveldb; which it is shows", choices=BACKENDS)
    args = flags.parse(made, argv)
    with open_store(args.input_db) as store:
        mean = mean_of(store)
    if args.output_file is not None:
        log.info("Write to %s", args.output_file)
        write_mean(Path(args.output_file), mean)
    log.info("Number of channels: %d", len(mean))
    for channel, value in enumerate(mean.mean((1, 2))):
        log.info("mean_value channel [%d]: %g", channel, value)
    return 0
