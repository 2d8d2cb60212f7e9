"""The original's tools, spelled as in old shell scripts: commands of their names are installed.

``convert_imageset``, ``convert_mnist_data.bin``, ``convert_cifar_data.bin``, ``compute_image_mean``,
``extract_features``, ``classification.bin``, ``upgrade_net_proto_text``, ``upgrade_net_proto_binary`` and
``upgrade_solver_proto_text``; ``python -m nets.tools NAME ...`` runs them, too.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nets import console
from nets.tools.classifying import classification
from nets.tools.features import extract_features
from nets.tools.stores import compute_image_mean, convert_cifar_data, convert_imageset, convert_mnist_data
from nets.tools.upgrades import upgrade_net_proto_binary, upgrade_net_proto_text, upgrade_solver_proto_text
from protos.errors import CaffeError
from protos.registry import suggest

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
