"""The Python interface of Caffe: ``import caffe`` in scripts and notebooks, with `nets` behind it.

``python -m converters.run SCRIPT.py`` runs a script with this in the original's place, ``converters.pycaffe.install()``
puts it there in a notebook.

>>> from converters.pycaffe import NetSpec, layers as L, params as P  # from caffe, once it is installed
>>> n = NetSpec()
>>> n.data = L.Input(shape=[dict(dim=[1, 1, 4, 4])])
>>> n.pool = L.Pooling(n.data, kernel_size=2, stride=2, pool=P.Pooling.MAX)
>>> str(n.to_proto().layer[1].pooling_param).split()
['pool:', 'MAX', 'kernel_size:', '2', 'stride:', '2']
"""

import sys
import time
from types import ModuleType
from typing import Any

from converters.pycaffe import classifier, coord_map, drawing, io, mode, net, solver
from converters.pycaffe.classifier import Classifier
from converters.pycaffe.mode import set_device, set_mode_cpu, set_mode_gpu, set_random_seed
from converters.pycaffe.net import Net
from converters.pycaffe.solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)
from data.sources import SOURCES
from nets.layer import LAYERS
from nets.layers.python import UserLayer as Layer
from protos import schema, spec
from protos.schema import TEST, TRAIN
from protos.spec import L, NetSpec, P, to_proto

__version__ = "1.0.0"
layers, params = L, P


def layer_type_list() -> list[str]:
    """The names of all layer types."""
    return sorted({*LAYERS, *SOURCES, "Input"})


def install() -> None:
    """Let ``import caffe`` find this, in this process."""
    proto = ModuleType("caffe.proto", "The messages of Caffe.")
    proto.caffe_pb2 = schema  # type: ignore[attr-defined]  # a module made on the spot
    found = {
        "": sys.modules[__name__],
        ".classifier": classifier,
        ".coord_map": coord_map,
        ".draw": drawing,
        ".io": io,
        ".net_spec": spec,
        ".proto": proto,
        ".proto.caffe_pb2": schema,
        ".pycaffe": net,
        "._caffe": sys.modules[__name__],
    }
    for name, module in found.items():
        sys.modules[f"caffe{name}"] = module
        if name and "." not in name[1:]:
            setattr(sys.modules[__name__], name[1:], module)


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


def has_nccl() -> bool:
    """False: several GPUs train by ``python -m nets.train --gpu 0,1``."""
    return False


def init_log(*_: Any) -> None:
    """Begin to log, as Caffe does, to stderr."""
    from nets.console import start_log  # noqa: PLC0415  # it takes the log over, so only who asks gets it

    start_log()


_UNSUPPORTED = {
    "Detector": "cut the windows out yourself, and give them to caffe.Classifier",
    "NCCL": "train on several GPUs by python -m nets.train --gpu 0,1",
}


def __getattr__(name: str) -> Any:
    if name in _UNSUPPORTED:
        raise NotImplementedError(f"caffe.{name} is not supported: {_UNSUPPORTED[name]}")
    raise AttributeError(f"module 'caffe' has no attribute '{name}'")


__all__ = [
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Classifier",
    "Layer",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "Timer",
    "get_solver",
    "has_nccl",
    "init_log",
    "install",
    "io",
    "layer_type_list",
    "layers",
    "mode",
    "params",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_random_seed",
    "solver",
    "to_proto",
]  # fmt: skip
