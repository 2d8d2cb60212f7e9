"""The mean of a store: ``python -m data.mean STORE OUT.binaryproto``, what ``mean_file`` subtracts."""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data import datum
from data.command import log, run
from data.stores import Store, open_store
from protos.errors import DataError
from protos.files import replacing
from protos.schema import BlobProto


def mean_of(store: Store) -> NDArray[np.float32]:
    """The mean C x H x W of all records; DataError where there are none or shapes differ."""
    total: NDArray[np.float64] | None = None
    for at, (_, value) in enumerate(tqdm(store.scan(), total=len(store), disable=None, unit=" records")):
        where = f"{store.path}, record {at}"
        values = datum.values(datum.parse_either(value, where), None, where)
        if total is None:
            total = np.zeros(values.shape)
        if values.shape != total.shape:
            raise DataError(f"{where}: shape {list(values.shape)}, but the first record has {list(total.shape)}")
        total += values
    if total is None:
        raise DataError(f"{store.path}: there are no records in it")
    return (total / len(store)).astype(np.float32)


def write_mean(path: Path, mean: NDArray[np.float32]) -> None:
    """Write C x H x W *mean* as the original does: a BlobProto of 1 x C x H x W."""
    channels, height, width = mean.shape
    blob = BlobProto(num=1, channels=channels, height=height, width=width, data=mean.ravel().tolist())
    with replacing(path) as file:
        file.write(blob.SerializeToString())


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m data.mean", description="Compute the mean of a store.")
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path, metavar="OUT.binaryproto")
    args = parser.parse_args()
    with open_store(args.store) as store:
        mean = mean_of(store)
        write_mean(args.out, mean)
        log.info("%s: the mean of %d records; by channel: %s", args.out, len(store), mean.mean((1, 2)).round(3))


if __name__ == "__main__":
    run(main)
