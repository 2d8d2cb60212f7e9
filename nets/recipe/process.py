"""A command in a process of its own: what it says goes to a log and is shown, and an interrupt reaches it once."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from nets.launch import SIGNALS

LOOKED_EVERY = 0.1  # seconds between two looks at the log
PASSED_ON = {number: signal.SIGINT if number == signal.SIGINT else signal.SIGTERM for number in SIGNALS}


class Command:
    """``python -m WORDS`` in the folder *work*. ``interrupted``: whether a signal asked to stop it."""

    def __init__(self, words: Sequence[str], work: Path, log: Path, keep: int) -> None:
        """Start it; what it says is added to *log*. The descriptor *keep* stays open until it ends."""
        self._log = log
        self._said = log.stat().st_size if log.exists() else 0
        self.interrupted = False
        with log.open("ab") as out:  # not a pipe: what it says is kept even if this process is killed
            self._process = subprocess.Popen(
                [sys.executable, "-m", *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=work,
                env=_environment(),
                start_new_session=True,  # so that an interrupt at the terminal reaches it through here alone, once
                pass_fds=(keep,),
            )
        self.pid = self._process.pid

    def finish(self) -> int:
        """Show what it says until it ends; its exit status."""
        with self._passing_on(), self._log.open("rb") as file:
            file.seek(self._said)
            ended = False
            while not ended:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(LOOKED_EVERY)
                    ended = True
                _show(file)
        return self._process.returncode

    @contextlib.contextmanager
    def _passing_on(self) -> Iterator[None]:
        heeded = [number for number in PASSED_ON if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores one
        before = {number: signal.signal(number, self._pass_on) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, PASSED_ON[signal.Signals(number)])


def _environment() -> dict[str, str]:
    """This environment, in which the work folder's commands find the packages that this process uses."""
    here = str(Path(__file__).parents[2])
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([here, known] if known else [here]), "PYTHONUNBUFFERED": "1"}


def _show(file: IO[bytes]) -> None:
    text = file.read()
    if text:
        sys.stdout.write(text.decode(errors="replace"))
        sys.stdout.flush()
