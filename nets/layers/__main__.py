"""``python -m nets.layers``: the table of layer types; ``--write README.md`` puts it between the file's markers."""

import argparse
from pathlib import Path

import nets.layers  # noqa: F401  # it registers them
from nets import console
from nets.layers import table


def main(argv: list[str] | None = None) -> int:
    """Print the table, or write it; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m nets.layers", description="Print the table of layer types.")
    parser.add_argument("--write", metavar="FILE", type=Path, help="replace what is between the markers of this file")
    path = parser.parse_args(argv).write
    if path is None:
        print(table.markdown())
    else:
        table.write(path)
    return 0


if __name__ == "__main__":
    console.run(main)
