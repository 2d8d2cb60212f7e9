"""What the commands that export a net have in common."""

import argparse

from nets import console
from nets.inference import shape_flag
from protos.errors import CaffeError


def parser(
    command: str, about: str, out: str, meaning: str, check: str, open_sizes: bool = True
) -> argparse.ArgumentParser:
    """The flags of *command*, which writes a net and its weights to *out*, whose *meaning* is its help.

    *open_sizes*: what it writes can leave the batch, and the size of images, open.
    """
    made = console.parser(command, about)
    made.add_argument("model", metavar="MODEL.prototxt", help="the net")
    made.add_argument("weights", metavar="WEIGHTS", help=".caffemodel or .h5; several separated by commas")
    made.add_argument("out", metavar=out, help=meaning)
    if open_sizes:
        console.flag(made, "batch", "a number, or 'dynamic' (default)", default="dynamic", metavar="N")
        console.flag(made, "dynamic_spatial", "leave height and width of the image open", action="store_true")
    console.flag(made, "check", check, action="store_true")
    shape_flag(made)
    console.state_flags(made)
    return made


def batch(said: str) -> int | None:
    """The number in a ``--batch`` flag, None for 'dynamic'. Raises CaffeError for anything else."""
    if said == "dynamic":
        return None
    if not said.isdecimal():
        raise CaffeError(f"--batch {said}: give a number, or 'dynamic'")
    return int(said)
