"""Contenders that run in turn, so that a busy machine disturbs all alike."""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

Steps = Callable[[int], None]  # runs that many steps, to their end


def measure(contenders: dict[str, Steps], seconds: float, first: int = 3) -> dict[str, float]:
    """Steps a second of each: the median of turns of about a second each; *first* steps tell how many fit in one."""
    counts = {}
    for name, steps in contenders.items():
        steps(first)
        start = time.perf_counter()
        steps(first)
        counts[name] = max(1, round(first / (time.perf_counter() - start)))
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(max(1, round(seconds))):
        for name, steps in contenders.items():
            start = time.perf_counter()
            steps(counts[name])
            speeds[name].append(counts[name] / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in speeds.items()}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How long to measure, and where."""
    parser.add_argument("--seconds", type=float, default=5, help="turns of about a second for each contender")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def wait(device: torch.device) -> None:
    """Let a GPU finish what was given to it."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def place(device: torch.device) -> str:
    """Where it runs, and on which PyTorch, in words."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return f"torch {torch.__version__}, {name}"
