"""What all commands share: the log lines, the flags in both spellings, one-line errors, and signals."""

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from types import FrameType

import torch

from nets.solver import Action
from protos.errors import CaffeError, CaffeWarning

log = logging.getLogger("caffe")

INTERRUPTED = 130


class LogFormatter(logging.Formatter):
    """The original's prefix: level, date, time, thread, file and line; a message of several lines has it once."""

    def format(self, record: logging.LogRecord) -> str:
        """``I20261121 01:59:05.849818  7110 solver.py:45] message``."""
        when = datetime.fromtimestamp(record.created)
        thread = record.thread if record.thread is None else threading.get_native_id()
        return (
            f"{record.levelname[0]}{when:%Y%m%d %H:%M:%S.%f} {thread:5} {record.filename}:{record.lineno}] "
            f"{record.getMessage().rstrip()}"
        )


def start_log() -> None:
    """Send the log to stderr, in the original's form."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter())
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
    logging.captureWarnings(True)
    warned = logging.getLogger("py.warnings")
    warned.handlers[:] = [handler]
    warned.propagate = False


# A GPU only says that a number in some kernel was out of its range.
ON_A_CPU = "if a label or an index is out of range, the same command on a CPU names its layer"


def format_warning(message: Warning | str, category: type[Warning], *place: object, **line: object) -> str:
    """A CaffeWarning is complete in itself: the line of our code that gave it says nothing to a user."""
    if issubclass(category, CaffeWarning):
        return f"warning: {message}\n"
    return _format_warning(message, category, *place, **line)  # type: ignore[arg-type]  # as it was called


_format_warning = warnings.formatwarning


def run(main: Callable[[], int]) -> None:
    """Run a command to its exit status: 2 with one line for bad input, 130 for an interrupt."""
    warnings.formatwarning = format_warning
    try:
        status = main()
        sys.stdout.flush()
    except CaffeError as error:
        print(f"error: {error}", file=sys.stderr)
        status = error.exit_status
    except torch.OutOfMemoryError as error:
        print(f"error: the device is out of memory: {str(error).splitlines()[0]}", file=sys.stderr)
        status = CaffeError.exit_status
    except torch.AcceleratorError as error:
        print(f"error: the GPU stopped: {str(error).splitlines()[0]}; {ON_A_CPU}", file=sys.stderr)
        status = CaffeError.exit_status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = INTERRUPTED
    sys.exit(status)


def parser(module: str, description: str) -> argparse.ArgumentParser:
    """A parser for ``python -m MODULE``."""
    return argparse.ArgumentParser(f"python -m {module}", description=description, allow_abbrev=False)


def flag(parser: argparse.ArgumentParser, name: str, help: str, **options: object) -> None:
    """Add the flag *name* as ``--name`` and, as in the original, ``-name``; dashes and underscores are one."""
    stem = name.replace("_", "-")
    spellings = [f"--{stem}", f"-{stem}"]
    if "-" in stem:
        spellings += [f"--{name}", f"-{name}"]
    parser.add_argument(*spellings, help=help, dest=name, **options)  # type: ignore[arg-type]  # argparse's own


def net_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose a device and the layers of a net."""
    flag(parser, "gpu", "GPUs by number, separated by commas, or 'all'; default: what the solver says", metavar="IDS")
    state_flags(parser)
    flag(parser, "allow_python", "run the code that Python layers name", action="store_true")


def state_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose the layers of a net."""
    flag(parser, "level", "level of the net state", type=int, default=0, metavar="N")
    flag(parser, "stage", "stages of the net state, separated by commas", default="", metavar="A,B")
    flag(parser, "allow_unknown", "warn of fields that no schema knows instead of stopping", action="store_true")


def stages(text: str) -> list[str]:
    """The stages in a flag's text."""
    return [stage for stage in text.split(",") if stage]


def devices(text: str | None) -> list[torch.device]:
    """The GPUs that a ``--gpu`` flag names; none where it names none. Raises CaffeError for one that is not there."""
    if not text:
        return []
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if text == "all":
        numbers = list(range(count))
    elif all(part.strip().isdigit() for part in text.split(",")):
        numbers = [int(part) for part in text.split(",")]
    else:
        raise CaffeError(f"--gpu {text}: give numbers separated by commas, or 'all'")
    if not numbers or max(numbers) >= count:
        raise CaffeError(f"--gpu {text}: there {'is' if count == 1 else 'are'} {count} GPU{'' if count == 1 else 's'}")
    return [torch.device("cuda", number) for number in numbers]


EFFECTS = {"stop": Action.STOP, "snapshot": Action.SNAPSHOT, "none": Action.NONE}


class Signals:
    """Turns signals into actions for a solver to ``poll``; a second interrupt ends the program at once."""

    def __init__(self, sigint: str = "stop", sighup: str = "snapshot") -> None:
        self._effects = {signal.SIGINT: EFFECTS[sigint], signal.SIGTERM: Action.STOP}
        if hasattr(signal, "SIGHUP"):
            self._effects[signal.SIGHUP] = EFFECTS[sighup]
        self._wanted: list[Action] = []
        self.stopped = False

    @contextlib.contextmanager
    def caught(self) -> Iterator["Signals"]:
        """Catch the signals while the block runs."""
        before = {number: signal.signal(number, self._note) for number in self._effects}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def poll(self) -> Action:
        """The next action that was asked for."""
        return self._wanted.pop(0) if self._wanted else Action.NONE

    def _note(self, number: int, frame: FrameType | None) -> None:
        action = self._effects[signal.Signals(number)]
        if action == Action.STOP and self.stopped:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.stopped = self.stopped or action == Action.STOP
        if action != Action.NONE:
            self._wanted.append(action)


# Flags that each command of the original takes, whether they mean something to it or not, and those of its
# logging library: with a value, and switches.
FLAGS = (
    "solver", "model", "phase", "level", "stage", "snapshot", "weights", "iterations", "gpu", "sigint_effect",
    "sighup_effect", "log_dir", "minloglevel", "stderrthreshold", "v", "vmodule", "logbufsecs", "max_log_size",
)  # fmt: skip
SWITCHES = ("logtostderr", "alsologtostderr", "colorlogtostderr", "log_prefix")


def parse_original(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse *argv* as the original does, and start the log: it warns of flags that this command has no use for."""
    known = {action.dest for action in parser._actions}
    for name in FLAGS:
        if name not in known:
            flag(parser, name, argparse.SUPPRESS, default=argparse.SUPPRESS)
    for name in SWITCHES:
        flag(parser, name, argparse.SUPPRESS, nargs="?", default=argparse.SUPPRESS)
        flag(parser, f"no{name}", argparse.SUPPRESS, nargs="?", default=argparse.SUPPRESS)
    args = parse(parser, argv)
    start_log()
    idle = [f"-{name}" for name in vars(args) if name not in known]
    if idle:
        log.warning("flags of the original that have no effect here: %s", ", ".join(idle))
    return args


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse *argv*, the program's own arguments where it is None."""
    words = sys.argv[1:] if argv is None else argv
    return parser.parse_args(["--help" if word == "-help" else word for word in words])
