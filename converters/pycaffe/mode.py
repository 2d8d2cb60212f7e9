"""Where pycaffe's nets compute: what ``set_mode_gpu`` and ``set_device`` said last counts for nets made afterwards."""

import os
import sys
import warnings
from functools import cache

import torch

from protos.errors import CaffeWarning

_state = {"gpu": False, "number": 0}


def set_mode_cpu() -> None:
    """Compute on the CPU, as is so from the beginning."""
    _state["gpu"] = False


def set_mode_gpu() -> None:
    """Compute on the GPU that ``set_device`` names; where there is none, on the CPU, with a warning."""
    _state["gpu"] = True


def set_device(number: int) -> None:
    """Choose a GPU by its number, from 0."""
    _state["number"] = int(number)


def device() -> torch.device:
    """The device of a net that is made now."""
    if not _state["gpu"]:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        warnings.warn("set_mode_gpu: there is no GPU, so that the CPU computes", CaffeWarning, stacklevel=2)
        return torch.device("cpu")
    return torch.device("cuda", _state["number"])


@cache
def prepare_forks() -> None:
    """Let nets compute in processes that are forked off: the threads of the first one do not come along."""
    if sys.platform != "win32":
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def set_random_seed(seed: int) -> None:
    """Seed what fillers and dropout draw."""
    torch.manual_seed(seed)
