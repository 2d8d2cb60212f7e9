"""What the commands of this package share: one-line errors, log lines, and the options of every builder."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from data.allocation import keep_freed_memory
from protos.errors import CaffeError

log = logging.getLogger("caffe")


def run(main: Callable[[], None]) -> None:
    """Run a command: a CaffeError ends it with one line on stderr and status 2, an interrupt with 130.

    Where nobody reads on (``| head``), it ends in silence.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    keep_freed_memory()
    try:
        main()
        sys.stdout.flush()
    except CaffeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("interrupted; what was not finished is gone", file=sys.stderr)
        sys.exit(130)


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every builder takes."""
    parser.add_argument("--backend", choices=("lmdb", "leveldb", "hdf5"), default="lmdb", help="default: lmdb")
    parser.add_argument("--shuffle", action="store_true", help="store the records in a random order")
    parser.add_argument("--seed", type=not_negative, default=0, metavar="N", help="of the order; default: 0")
    parser.add_argument("--limit", type=natural, metavar="N", help="store the first N records only")
    parser.add_argument("--overwrite", action="store_true", help="replace a store of that name")


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add ``--out``, the folder for stores."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the stores")


def size(text: str) -> tuple[int, int]:
    """An argparse type: a height and a width, as 240x320 or 240,320, or one number for both."""
    sides = text.lower().replace(",", "x").split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 256 or 240x320")
    return int(sides[0]), int(sides[-1])


def share(text: str) -> float:
    """An argparse type: a number from 0 to below 1."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError("must be at least 0 and below 1")
    return value


def natural(text: str) -> int:
    """An argparse type: an integer of at least 1."""
    return _at_least(1, text)


def not_negative(text: str) -> int:
    """An argparse type: an integer of at least 0."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}")
    return value
