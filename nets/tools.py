"""The original's tools, spelled as in old shell scripts: commands of their names are installed.

``convert_imageset``, ``convert_mnist_data.bin``, ``convert_cifar_data.bin``, ``compute_image_mean``,
``extract_features``, ``classification.bin``, ``upgrade_net_proto_text``, ``upgrade_net_proto_binary`` and
``upgrade_solver_proto_text``; ``python -m nets.tools NAME ...`` runs them, too.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data import cifar10, datum, images, imageset, mnist
from data.allocation import keep_freed_memory
from data.build import Arrays, Item, Options, build
from data.mean import mean_of, write_mean
from data.stores import BACKENDS, create_store, open_store
from data.transform import read_mean
from nets import console
from nets.console import log
from nets.inputs import Inputs
from nets.model import load, read, with_shapes
from nets.net import Net
from nets.placement import place
from nets.weights import load_weights
from protos import files, text
from protos.errors import CaffeError, DataError
from protos.registry import suggest

KEY_DIGITS = 10  # of the records that extract_features writes
SHOWN = 5  # classes, by classification.bin


# ---- flags


def _parser(tool: Callable[..., int], *places: tuple[str, str]) -> argparse.ArgumentParser:
    """A parser for *tool* with these positional arguments and their help; one in brackets may be left out."""
    made = argparse.ArgumentParser(tool.__name__, description=tool.__doc__, allow_abbrev=False)
    for name, said in places:
        count = "?" if name.startswith("[") else None
        made.add_argument(name.strip("[]").lower(), metavar=name.strip("[]"), help=said, nargs=count)
    return made


def _switches(made: argparse.ArgumentParser, **said: str) -> tuple[str, ...]:
    """Add flags that are on or off, by name and help; their names."""
    for name, what in said.items():
        console.flag(made, name, what, type=_truth, default=False, metavar="BOOL")
    return tuple(said)


def _truth(said: str) -> bool:
    if said.lower() in ("true", "t", "1", "yes", "y"):
        return True
    if said.lower() in ("false", "f", "0", "no", "n"):
        return False
    raise argparse.ArgumentTypeError(f"{said!r} is neither true nor false")


def _parse(
    made: argparse.ArgumentParser, argv: Sequence[str] | None, switches: Sequence[str] = ()
) -> argparse.Namespace:
    """The flags in *argv*; one of *switches* takes no word behind it, and ``--noNAME`` says that it is off."""
    spelled = {f"{dashes}{name}": f"--{name}=true" for name in switches for dashes in ("-", "--")}
    spelled |= {f"{dashes}no{name}": f"--{name}=false" for name in switches for dashes in ("-", "--")}
    words = sys.argv[1:] if argv is None else argv
    return console.parse_original(made, [spelled.get(word, word) for word in words])


# ---- stores


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
    made = _parser(
        convert_imageset,
        ("ROOTFOLDER/", "what stands before the names of the images"),
        ("LISTFILE", "lines `name label`"),
        ("DB_NAME", "the store to build"),
    )
    switches = _switches(
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
    args = vars(_parse(made, argv, switches))
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
    made = _parser(convert_mnist_data, *places)
    console.flag(made, "backend", "lmdb (default) or leveldb", default="lmdb", choices=BACKENDS)
    args = _parse(made, argv)
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
    args = _parse(_parser(convert_cifar_data, *places), argv)
    _check_backend(args.db_type)
    for part in ("train", "test"):
        pixels, labels = cifar10.read_set(Path(args.input_folder), part)
        _build(Path(args.output_folder) / f"cifar10_{part}_{args.db_type}", pixels, labels, args.db_type)
    return 0


def _build(store: Path, values: NDArray[np.uint8], labels: NDArray[np.uint8], backend: str) -> None:
    if store.exists():
        raise DataError(f"{store}: exists already")
    written, _ = build(store, Arrays(values, labels), Options(backend))
    log.info("Processed %d files.", written)


def _check_backend(name: str) -> None:
    if name not in BACKENDS:
        raise CaffeError(f"unknown db_type '{name}': give {' or '.join(BACKENDS)}")


def compute_image_mean(argv: Sequence[str] | None = None) -> int:
    """Compute the mean image of a store, and the mean of each channel."""
    made = _parser(compute_image_mean, ("INPUT_DB", "the store"), ("[OUTPUT_FILE]", "the mean image, a BlobProto"))
    console.flag(made, "backend", "lmdb or leveldb; which it is shows", choices=BACKENDS)
    args = _parse(made, argv)
    with open_store(args.input_db) as store:
        mean = mean_of(store)
    if args.output_file is not None:
        log.info("Write to %s", args.output_file)
        write_mean(Path(args.output_file), mean)
    log.info("Number of channels: %d", len(mean))
    for channel, value in enumerate(mean.mean((1, 2))):
        log.info("mean_value channel [%d]: %g", channel, value)
    return 0


# ---- features


@torch.no_grad()
def extract_features(argv: Sequence[str] | None = None) -> int:
    """Store what a net makes of the data of its TEST phase: a store for each blob, a record for each item."""
    made = _parser(
        extract_features,
        ("PRETRAINED_NET_PARAM", "the weights"),
        ("FEATURE_EXTRACTION_PROTO_FILE", "the net, with a data layer"),
        ("BLOB_NAMES", "names of blobs, separated by commas"),
        ("DATASET_NAMES", "as many stores to build, separated by commas"),
        ("NUM_MINI_BATCHES", "how many batches to take"),
        ("DB_TYPE", "lmdb or leveldb"),
        ("[CPU/GPU]", "default: CPU"),
        ("[DEVICE_ID]", "the number of the GPU; default: 0"),
    )
    args = vars(_parse(made, argv))
    blobs, paths = args["blob_names"].split(","), args["dataset_names"].split(",")
    if len(blobs) != len(paths):
        raise CaffeError(f"{len(blobs)} names of blobs, but {len(paths)} of stores: give one for each")
    batches = args["num_mini_batches"]
    if not batches.isdecimal() or not int(batches):
        raise CaffeError(f"num_mini_batches {batches}: give a positive number")
    _check_backend(args["db_type"])
    for path in paths:
        if Path(path).exists():
            raise DataError(f"{path}: exists already")
    device = _device(args["cpu/gpu"], args["device_id"])
    net = Net(with_shapes(read(files.find(args["feature_extraction_proto_file"])), "TEST", 0, (), {}))
    unknown = [f"'{blob}'{suggest(blob, net.shapes)}" for blob in blobs if blob not in net.shapes]
    if unknown:
        raise CaffeError(f"the net has no blob {', '.join(unknown)}")
    load_weights(place(net, device), args["pretrained_net_param"])
    counts = _extract(net, Inputs(net.graph, device, None), dict(zip(blobs, paths, strict=True)), int(batches), args)
    for blob, count in counts.items():
        log.info("Extracted features of %d query images for feature blob %s", count, blob)
    return 0


def _device(kind: str | None, number: str | None) -> torch.device:
    if kind is not None and kind.upper() not in ("CPU", "GPU"):
        raise CaffeError(f"'{kind}': give CPU or GPU")
    if kind is None or kind.upper() == "CPU":
        return torch.device("cpu")
    return console.devices(number or "0")[0]


def _extract(net: Net, inputs: Inputs, stores: dict[str, str], batches: int, args: dict[str, str]) -> dict[str, int]:
    """Fill the *stores*, blob -> path, from so many *batches*; how many records each has."""
    counts = dict.fromkeys(stores, 0)
    with ExitStack() as stack:
        stack.callback(inputs.close)
        writers = {blob: stack.enter_context(create_store(path, args["db_type"])) for blob, path in stores.items()}
        for _ in range(batches):
            found = net.activations(**inputs.next())
            for blob, writer in writers.items():
                for value in _records(found[blob]):
                    writer.put(b"%0*d" % (KEY_DIGITS, counts[blob]), value)
                    counts[blob] += 1
    return counts


def _records(blob: Tensor) -> Iterator[bytes]:
    """The Datums of the items of a blob: axes behind the first one, three of them."""
    values = blob.detach().to("cpu", torch.float32)
    values = values.reshape(*(values.shape if values.dim() else (1,)), *(1,) * (4 - values.dim()))
    if values.dim() > 4:
        values = values.flatten(3)
    for item in values:
        yield datum.pack(item.numpy())


# ---- what is in a picture


@torch.no_grad()
def classification(argv: Sequence[str] | None = None) -> int:
    """Say which five classes an image most likely shows."""
    made = _parser(
        classification,
        ("DEPLOY.PROTOTXT", "a net with one input and one output"),
        ("NETWORK.CAFFEMODEL", "its weights"),
        ("MEAN.BINARYPROTO", "the mean image, of which the mean of each channel is taken away"),
        ("LABELS.TXT", "the name of a class in each line"),
        ("IMG.JPG", "the image"),
    )
    model, weights, mean, labels, image = vars(_parse(made, argv)).values()
    net = load(files.find(model), weights)
    names = files.decoded(files.read(labels)).splitlines()
    scores = _score(net, Path(mean), Path(image))
    if len(names) != len(scores):
        raise CaffeError(f"{labels}: {len(names)} labels, but the net has {len(scores)} outputs")
    print(f"---------- Prediction for {image} ----------")
    for best in scores.argsort(descending=True, stable=True)[:SHOWN].tolist():
        print(f'{scores[best]:.4f} - "{names[best]}"')
    return 0


def _score(net: Net, mean: Path, image: Path) -> Tensor:
    """The output of *net* for one *image*, at the size of its input, less the *mean* of each channel."""
    if len(net.graph.inputs) != 1 or len(net.graph.outputs) != 1:
        said = f"{len(net.graph.inputs)} inputs and {len(net.graph.outputs)} outputs"
        raise CaffeError(f"net '{net.graph.name}' has {said} where one of each is needed")
    ((name, shape),) = net.graph.inputs.items()
    if shape is None or len(shape) != 4 or shape[1] not in (1, 3):
        raise CaffeError(f"net '{net.graph.name}': '{name}' is no image of 1 or 3 channels")
    means = read_mean(mean)
    if len(means) != shape[1]:
        raise CaffeError(f"{mean}: {len(means)} channels where the net's input has {shape[1]}")
    pixels = images.resize(_with_channels(images.decode(image, None), shape[1]), *shape[2:])
    values = pixels.astype(np.float32) - means.mean((1, 2), np.float64).astype(np.float32)[:, None, None]
    (out,) = net.forward(**{name: torch.from_numpy(values)[None]}).values()
    return out[0].flatten()


def _with_channels(pixels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """C x H x W pixels, as they are encoded, with 1 or 3 channels; an image is not turned as its camera was."""
    if count == 1 and len(pixels) > 1:
        pixels = cifar10.to_gray(pixels[None, [2, 1, 0]])[0]
    return pixels.repeat(3, 0) if len(pixels) < count else pixels[:count]


# ---- upgrades


def upgrade_net_proto_text(argv: Sequence[str] | None = None) -> int:
    """Write a net of any age as a prototxt in the current format."""
    return _upgrade(upgrade_net_proto_text, argv, binary=False)


def upgrade_net_proto_binary(argv: Sequence[str] | None = None) -> int:
    """Write a binary net of any age, with its weights, in the current format."""
    return _upgrade(upgrade_net_proto_binary, argv, binary=True)


def upgrade_solver_proto_text(argv: Sequence[str] | None = None) -> int:
    """Write a solver of any age as a prototxt in the current format."""
    old, new = _from_to(upgrade_solver_proto_text, argv)
    text.write(text.read_solver(files.find(old)), new)
    log.info("Wrote upgraded SolverParameter text proto to %s", new)
    return 0


def _upgrade(tool: Callable[..., int], argv: Sequence[str] | None, binary: bool) -> int:
    old, new = _from_to(tool, argv)
    text.write(text.read_net(files.find(old)), new, binary=binary)
    log.info("Wrote upgraded NetParameter %s proto to %s", "binary" if binary else "text", new)
    return 0


def _from_to(tool: Callable[..., int], argv: Sequence[str] | None) -> tuple[Path, Path]:
    args = _parse(_parser(tool, ("FILE_IN", "the file of any age"), ("FILE_OUT", "the file to write")), argv)
    return Path(args.file_in), Path(args.file_out)


# ---- which one


TOOLS: dict[str, Callable[[Sequence[str] | None], int]] = {
    tool.__name__: tool
    for tool in (
        convert_imageset,
        convert_mnist_data,
        convert_cifar_data,
        compute_image_mean,
        extract_features,
        classification,
        upgrade_net_proto_text,
        upgrade_net_proto_binary,
        upgrade_solver_proto_text,
    )
}


def dispatch(words: Sequence[str]) -> int:
    """Run the tool that the first of *words* names, a path to it too; the exit status."""
    name = Path(words[0]).name.partition(".")[0]
    if name in TOOLS:
        return TOOLS[name](words[1:])
    if len(words) < 2 or words[1] not in TOOLS:
        given = f"'{words[1]}'{suggest(words[1], TOOLS)}" if len(words) > 1 else "no tool"
        raise CaffeError(f"{given}: there are {', '.join(TOOLS)}")
    return TOOLS[words[1]](words[2:])


def main() -> None:
    """Run the tool by whose name this was called."""
    console.run(lambda: dispatch(sys.argv))


if __name__ == "__main__":
    main()
