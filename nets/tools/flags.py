"""Flags as the original's tools take them."""

import argparse
import sys
from collections.abc import Callable, Sequence

from data.stores import BACKENDS
from nets import console
from protos.errors import CaffeError


def parser(tool: Callable[..., int], *places: tuple[str, str]) -> argparse.ArgumentParser:
    """A parser for *tool* with these positional arguments and their help; one in brackets may be left out."""
    made = argparse.ArgumentParser(tool.__name__, description=tool.__doc__, allow_abbrev=False)
    for name, said in places:
        count = "?" if name.startswith("[") else None
        made.add_argument(name.strip("[]").lower(), metavar=name.strip("[]"), help=said, nargs=count)
    return made


def switches(made: argparse.ArgumentParser, **said: str) -> tuple[str, ...]:
    """Add flags that are on or off, by name and help; their names."""
    for name, what in said.items():
        console.flag(made, name, what, type=truth, default=False, metavar="BOOL")
    return tuple(said)


def truth(said: str) -> bool:
    """An argparse type: true or false, in the spellings of the original's flags."""
    if said.lower() in ("true", "t", "1", "yes", "y"):
        return True
    if said.lower() in ("false", "f", "0", "no", "n"):
        return False
    raise argparse.ArgumentTypeError(f"{said!r} is neither true nor false")


def parse(
    made: argparse.ArgumentParser, argv: Sequence[str] | None, on_or_off: Sequence[str] = ()
) -> argparse.Namespace:
    """The flags in *argv*; one of *on_or_off* takes no word behind it, and ``--noNAME`` says that it is off."""
    spelled = {f"{dashes}{name}": f"--{name}=true" for name in on_or_off for dashes in ("-", "--")}
    spelled |= {f"{dashes}no{name}": f"--{name}=false" for name in on_or_off for dashes in ("-", "--")}
    words = sys.argv[1:] if argv is None else argv
    return console.parse_original(made, [spelled.get(word, word) for word in words])


def check_backend(name: str) -> None:
    """Raise CaffeError unless *name* is a kind of store."""
    if name not in BACKENDS:
        raise CaffeError(f"unknown db_type '{name}': give {' or '.join(BACKENDS)}")
