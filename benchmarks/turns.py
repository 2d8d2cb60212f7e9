"""Contenders that run in turn, so that a busy machine disturbs all alike."""

import argparse
import multiprocessing
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection

import torch

from nets.step import Options

Steps = Callable[[int], None]  # runs that many steps, to their end
Build = Callable[[], Steps]  # makes them; it travels to another process
Command = list[str]  # or a program that reads numbers of steps, a line each, and writes the seconds that they took


def measure(contenders: Mapping[str, Build | Command], seconds: float, first: int = 3) -> dict[str, float]:
    """Steps a second of each: the median of turns of about a second each; *first* steps tell how many fit in one.

    Each runs in a process of its own, so that none has another's memory, threads or settings.
    """
    runners = {name: _Program(one) if isinstance(one, list) else _Runner(one) for name, one in contenders.items()}
    try:
        counts = {}
        for name, runner in runners.items():
            runner.seconds(first)
            counts[name] = max(1, round(first / runner.seconds(first)))
        speeds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(max(1, round(seconds))):
            for name, runner in runners.items():
                speeds[name].append(counts[name] / runner.seconds(counts[name]))
        return {name: statistics.median(values) for name, values in speeds.items()}
    finally:
        for runner in runners.values():
            runner.end()


class _Runner:
    """A contender in its process."""

    def __init__(self, build: Build) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, build))
        self._process.start()
        theirs.close()
        self._pipe.recv()  # it is ready

    def seconds(self, count: int) -> float:
        """How long *count* steps take."""
        self._pipe.send(count)
        return float(self._pipe.recv())

    def end(self) -> None:
        """Stop the process."""
        self._pipe.close()
        self._process.join()


class _Program:
    """A contender that is a program."""

    def __init__(self, command: Command) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, count: int) -> float:
        """How long *count* steps take."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._process.args!r} ended without an answer")
        return float(answer)

    def end(self) -> None:
        """Let the process end."""
        self._process.communicate()


def _serve(pipe: Connection, build: Build) -> None:
    steps = build()
    pipe.send(None)
    while True:
        try:
            count = pipe.recv()
        except EOFError:
            return
        start = time.perf_counter()
        steps(count)
        pipe.send(time.perf_counter() - start)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How long to measure, and where."""
    parser.add_argument("--seconds", type=float, default=5, help="turns of about a second for each contender")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def settle(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Let PyTorch compute as Caffe on PyTorch does at *precision*; the context to run a net in.

    Of itself PyTorch would take convolutions in TF32 on a GPU.
    """
    Options(precision).apply(device)
    return Options(precision).autocast(device)


def wait(device: torch.device) -> None:
    """Let a GPU finish what was given to it."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def place(device: torch.device) -> str:
    """Where it runs, and on which PyTorch, in words."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return f"torch {torch.__version__}, {name}"
