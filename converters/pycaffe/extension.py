"""``caffe._caffe``: the names of the original's extension module, most of which ``caffe`` has, too."""

import logging
import time
from typing import Any, NoReturn

from converters.pycaffe.blob import Blob, BlobVec
from converters.pycaffe.mode import set_device, set_mode_cpu, set_mode_gpu, set_random_seed
from converters.pycaffe.net import Net
from converters.pycaffe.solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    Solver,
    get_solver,
)
from data.sources import SOURCES
from nets.layer import LAYERS
from nets.layers.python import UserLayer as Layer
from protos.errors import CaffeError
from protos.schema import LayerParameter, SolverParameter

__version__ = "1.0.0"
get_solver_from_file = get_solver  # its name in 2014

# The original's types for lists: of the blobs that a Python layer is given, of layers, nets, names and numbers.
RawBlobVec = LayerVec = NetVec = StringVec = IntVec = DtypeVec = BoolVec = list

_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


class NCCL:
    """What trains on several GPUs in the original, and is refused here."""

    def __init__(self, *_: Any) -> None:
        _refuse_several("NCCL")

    @staticmethod
    def new_uid() -> str:
        """The name of a group of processes: refused."""
        _refuse_several("NCCL")


def _refuse_several(name: str) -> NoReturn:
    raise CaffeError(f"caffe.{name} is not supported: train on several GPUs by python -m nets.train --gpu 0,1")


def has_nccl() -> bool:
    """False: several GPUs train by ``python -m nets.train --gpu 0,1``."""
    return False


def solver_count() -> int:
    """The number of processes that train together: 1."""
    return 1


def solver_rank() -> int:
    """The number of this one: 0."""
    return 0


def set_solver_count(count: int) -> None:
    """Train in one process; raises CaffeError for any more."""
    if count != 1:
        _refuse_several(f"set_solver_count({count})")


def set_solver_rank(rank: int) -> None:
    """Be the only process; raises CaffeError for any other."""
    if rank != 0:
        _refuse_several(f"set_solver_rank({rank})")


def set_multiprocess(several: bool) -> None:
    """Of no effect: there is one process."""


def layer_type_list() -> list[str]:
    """The names of all layer types."""
    return sorted({*LAYERS, *SOURCES, "Input"})


def init_log(level: int = 0, stderr: bool = False) -> None:
    """Begin to log, as Caffe does, to stderr: from *level* on, 0 for everything, 1 for warnings, 2 for errors."""
    from nets.console import log, start_log  # noqa: PLC0415  # it takes the log over, so only who asks gets it

    start_log()
    log.setLevel(_LEVELS[min(max(level, 0), len(_LEVELS) - 1)])


def set_logging_disabled() -> None:
    """Log errors alone."""
    logging.getLogger("caffe").setLevel(logging.ERROR)


def log(message: str) -> None:
    """Write a line to the log."""
    logging.getLogger("caffe").info(message)


class Timer:
    """A clock: ``start()``, ``stop()``, then ``ms``, the milliseconds between."""

    def __init__(self) -> None:
        self.ms = 0.0
        self._since = 0.0

    def start(self) -> None:
        """Begin."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """End."""
        self.ms = (time.perf_counter() - self._since) * 1000


__all__ = [
    "NCCL", "AdaDeltaSolver", "AdaGradSolver", "AdamSolver", "Blob", "BlobVec", "BoolVec", "DtypeVec", "IntVec",
    "Layer", "LayerParameter", "LayerVec", "NesterovSolver", "Net", "NetVec", "RMSPropSolver", "RawBlobVec",
    "SGDSolver", "Solver", "SolverParameter", "StringVec", "Timer", "get_solver", "get_solver_from_file",
    "has_nccl", "init_log", "layer_type_list", "log", "set_device", "set_logging_disabled", "set_mode_cpu",
    "set_mode_gpu", "set_multiprocess", "set_random_seed", "set_solver_count", "set_solver_rank", "solver_count",
    "solver_rank",
]  # fmt: skip
