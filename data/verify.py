"""Whether a store is good: ``python -m data.verify STORE`` reads every record and lists what is wrong."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from data import datum
from data.command import log, natural, run
from data.stores import Store, open_store
from protos.errors import DataError, listing

_LISTED = 5


def problems(store: Store, classes: int | None = None) -> Iterator[str]:
    """What is wrong with each bad record: it does not parse, its shape differs, its label is no class."""
    shape: tuple[int, ...] | None = None
    for at, (key, value) in enumerate(tqdm(store.scan(), total=len(store), disable=None, unit=" records")):
        where = f"record {at} ({key.decode(errors='backslashreplace')})"
        try:
            record = datum.parse(value, where)
            found = datum.values(record, None, where).shape
        except DataError as error:
            yield str(error)
            continue
        shape = shape or found
        if found != shape:
            yield f"{where}: shape {list(found)}, but the first has {list(shape)}"
        if record.label < 0 or (classes is not None and record.label >= classes):
            yield f"{where}: label {record.label} is not in 0 to {classes - 1 if classes else '...'}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m data.verify", description="Check every record of a store.")
    parser.add_argument("store", type=Path)
    parser.add_argument("--classes", type=natural, metavar="N", help="labels must be below N")
    args = parser.parse_args()
    with open_store(args.store, thorough=True) as store:
        found = list(problems(store, args.classes))
        if not len(store):
            raise DataError(f"{args.store}: there are no records in it")
        if found:
            more = [f"and {len(found) - _LISTED} more"] if len(found) > _LISTED else []
            raise DataError(f"{args.store}: {listing(found[:_LISTED] + more)}")
        log.info("%s: %d records, all good", args.store, len(store))


if __name__ == "__main__":
    run(main)
