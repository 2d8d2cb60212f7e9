"""What a net makes of its data, into stores."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from data import datum
from data.stores import create_store
from nets import console
from nets.console import log
from nets.inputs import Inputs
from nets.model import read, with_shapes
from nets.net import Net
from nets.placement import place
from nets.tools import flags
from nets.weights import load_weights
from protos import files
from protos.errors import CaffeError, DataError
from protos.registry import suggest

KEY_DIGITS = 10  # of a record's key


@torch.no_grad()
def extract_features(argv: Sequence[str] | None = None) -> int:
    """Store what a net makes of the data of its TEST phase: a store for each blob, a record for each item."""
    made = flags.parser(
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
    args = vars(flags.parse(made, argv))
    blobs, paths = args["blob_names"].split(","), args["dataset_names"].split(",")
    if len(blobs) != len(paths):
        raise CaffeError(f"{len(blobs)} names of blobs, but {len(paths)} of stores: give one for each")
    batches = args["num_mini_batches"]
    if not batches.isdecimal() or not int(batches):
        raise CaffeError(f"num_mini_batches {batches}: give a positive number")
    flags.check_backend(args["db_type"])
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
