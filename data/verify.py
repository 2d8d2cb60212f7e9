"""Whether a store is good: ``python -m data.verify STORE`` reads every record and lists what is wrong."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from data import datum
from data.command import log, natural, run
from data.stores import Store, open_store
from protos.errors import DataError, listing
from protos.schema import AnnotatedDatum

_LISTED = 5


def problems(store: Store, classes: int | None = None) -> Iterator[str]:
    """What is wrong with each bad record: it does not parse, its shape differs, its label is no class.

    Of images with boxes the shapes may differ; a box must lie within its image.
    """
    shape: tuple[int, ...] | None = None
    for at, (key, value) in enumerate(tqdm(store.scan(), total=len(store), disable=None, unit=" records")):
        where = f"record {at} ({key.decode(errors='backslashreplace')})"
        try:
            record = datum.parse_either(value, where)
            found = datum.values(record, None, where).shape
        except DataError as error:
            yield str(error)
            continue
        message = datum.parse_annotated(value, where) if datum.is_annotated(value) else None
        if message is not None and message.HasField("type"):
            yield from _of_boxes(message, where, classes)
            continue
        shape = shape or found
        if found != shape:
            yield f"{where}: shape {list(found)}, but the first has {list(shape)}"
        if record.label < 0 or (classes is not None and record.label >= classes):
            yield f"{where}: label {record.label} is not in 0 to {classes - 1 if classes else '...'}"


def _of_boxes(message: AnnotatedDatum, where: str, classes: int | None) -> Iterator[str]:
    for group in message.annotation_group:
        if group.group_label < 0 or (classes is not None and group.group_label >= classes):
            yield f"{where}: boxes of label {group.group_label}, not in 0 to {classes - 1 if classes else '...'}"
        for box in (one.bbox for one in group.annotation):
            if not (0 <= box.xmin < box.xmax <= 1 and 0 <= box.ymin < box.ymax <= 1):
                corners = f"{box.xmin:g} {box.ymin:g} {box.xmax:g} {box.ymax:g}"
                yield f"{where}: a box that is empty or exceeds the image: {corners}"


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
