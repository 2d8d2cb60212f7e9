"""The command ``caffe``: train, test, time and device_query, spelled as in old shell scripts."""

import argparse
import sys
from collections.abc import Callable, Sequence

import torch

from nets import console, test, time, train
from protos.errors import CaffeError
from protos.registry import suggest

USAGE = """usage: caffe COMMAND [flags]

  train           train a net: -solver S [-weights W | -snapshot STATE] [-gpu all]
  test            score a net: -model M -weights W [-iterations N]
  time            time a net's layers: -model M [-iterations N] [-phase TEST]
  device_query    show GPUs: [-gpu 0,1]

caffe COMMAND -help lists the flags of a command.
"""


def device_query(argv: Sequence[str] | None = None) -> int:
    """Print what is known of the GPUs."""
    parser = argparse.ArgumentParser("caffe device_query", description="Show GPUs.", allow_abbrev=False)
    console.flag(parser, "gpu", "GPUs by number, separated by commas, or 'all'", default="all", metavar="IDS")
    args = console.parse_original(parser, argv)
    for device in console.devices(args.gpu):
        found = torch.cuda.get_device_properties(device)
        print(f"Device id:                     {device.index}")
        print(f"Name:                          {found.name}")
        print(f"Major revision number:         {found.major}")
        print(f"Minor revision number:         {found.minor}")
        print(f"Total global memory:           {found.total_memory}")
        print(f"Number of multiprocessors:     {found.multi_processor_count}")
    return 0


COMMANDS: dict[str, Callable[[Sequence[str] | None], int]] = {
    "train": train.main,
    "test": test.main,
    "time": time.main,
    "device_query": device_query,
}


def dispatch(argv: Sequence[str]) -> int:
    """Run the command that *argv* names; the exit status."""
    if not argv or argv[0] in ("-h", "-help", "--help", "help"):
        print(USAGE, end="")
        return 0 if argv else CaffeError.exit_status
    if argv[0] not in COMMANDS:
        raise CaffeError(f"unknown command '{argv[0]}'{suggest(argv[0], COMMANDS)}; caffe --help lists them")
    return COMMANDS[argv[0]](argv[1:])


def main() -> None:
    """Run the ``caffe`` command."""
    console.run(lambda: dispatch(sys.argv[1:]))


if __name__ == "__main__":
    main()
