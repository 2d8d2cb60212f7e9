"""Files of any age in the current format."""

from collections.abc import Callable, Sequence
from pathlib import Path

from nets.console import log
from nets.tools import flags
from protos import files, text


def upgrade_net_proto_text(argv: Sequence[str] | None = None) -> int:
    """Write a net of any age as a prototxt in the current format."""
    return _upgrade(upgrade_net_proto_text, argv, binary=False)


def upgrade_net_proto_binary(argv: Sequence[str] | None = None) -> int:
    """Write a binary net of any age, with its weights, in the current format."""
    return _upgrade(upgrade_net_proto_binary, argv, binary=True)


def upgrade_solver_proto_text(argv: Sequence[str] | None = None) -> int:
    """Write a solver of any age as a prototxt in the current format."""
    old, new = _from_to(upgrade_solver_proto_text, argv)
    text.write(text.read_solver(files.find(old)), new)
    log.info("Wrote upgraded SolverParameter text proto to %s", new)
    return 0


def _upgrade(tool: Callable[..., int], argv: Sequence[str] | None, binary: bool) -> int:
    old, new = _from_to(tool, argv)
    text.write(text.read_net(files.find(old)), new, binary=binary)
    log.info("Wrote upgraded NetParameter %s proto to %s", "binary" if binary else "text", new)
    return 0


def _from_to(tool: Callable[..., int], argv: Sequence[str] | None) -> tuple[Path, Path]:
    args = flags.parse(flags.parser(tool, ("FILE_IN", "the file of any age"), ("FILE_OUT", "the file to write")), argv)
    return Path(args.file_in), Path(args.file_out)
