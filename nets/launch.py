"""Training in several processes on this machine, started from one command: each is a rank, see ``nets.ranks``."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from protos.errors import CaffeError

LOOK_EVERY = 0.1  # seconds
PATIENCE = 20.0  # seconds for the others to end by themselves, once one has failed
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

LAUNCHER = "CAFFE_LAUNCHER"  # names a pipe that ends when the launcher does

Rank = subprocess.Popen[bytes]


def launch(count: int, words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run ``nets.train`` with the arguments *words* as *count* ranks; the exit status.

    The ranks get every signal that comes, and stop where this process is killed. The first speaks; what another one has
    to say is heard where it fails otherwise. Once one fails the others are ended.
    Raises CaffeError on Windows.
    """
    if sys.platform == "win32":
        raise CaffeError("several GPUs do not train on Windows itself, but in its Linux subsystem (WSL); name one")
    pipe, held = os.pipe()
    shared = {
        **environment, "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()),
        LAUNCHER: str(pipe),
    }  # fmt: skip
    command = [sys.executable, "-m", "nets.train", *words]
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, held)
        stack.callback(os.close, pipe)
        said = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, count)]
        # In sessions of their own, so that an interrupt from the keyboard comes to each of them once.
        ranks = [
            subprocess.Popen(
                command,
                env={**shared, "RANK": str(i), "LOCAL_RANK": str(i)},
                stderr=said[i - 1] if i else None,
                start_new_session=True,
                pass_fds=[pipe],
            )
            for i in range(count)
        ]
        with _forwarding(ranks):
            failed = _wait(ranks)
        if ranks[failed].returncode != ranks[0].returncode:
            _repeat(said[failed - 1])
        status: int = ranks[failed].returncode
    return status if status >= 0 else 128 - status


def launched() -> bool:
    """Whether ``launch`` started this process."""
    return LAUNCHER in os.environ


def stop_with_launcher() -> None:
    """Where ``launch`` started this process: stop, as by SIGTERM, when the launcher is gone."""

    def wait() -> None:
        os.read(int(os.environ[LAUNCHER]), 1)  # nothing is ever written to it
        os.kill(os.getpid(), signal.SIGTERM)

    if launched():
        threading.Thread(target=wait, name="launcher", daemon=True).start()


def visible(numbers: Sequence[int]) -> str:
    """The GPUs of these *numbers* for CUDA_VISIBLE_DEVICES, which may choose among the machine's already."""
    chosen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return ",".join(chosen[number] if chosen else str(number) for number in numbers)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def _forwarding(ranks: Sequence[Rank]) -> Iterator[None]:
    def send(number: int, frame: object) -> None:
        for rank in ranks:
            rank.send_signal(number)

    before = {number: signal.signal(number, send) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(ranks: Sequence[Rank]) -> int:
    """Wait for all; the index of the one that failed first, 0 where none has."""
    failed: int | None = None
    deadline = 0.0
    while None in (ended := [rank.poll() for rank in ranks]):
        if failed is None:
            failed = next((i for i, status in enumerate(ended) if status), None)
            deadline = time.monotonic() + PATIENCE
        elif time.monotonic() > deadline:
            for rank in ranks:
                rank.kill()
        time.sleep(LOOK_EVERY)
    return failed if failed is not None else next((i for i, rank in enumerate(ranks) if rank.returncode), 0)


def _repeat(said: IO[bytes]) -> None:
    said.seek(0)
    sys.stderr.write(said.read().decode(errors="replace"))
