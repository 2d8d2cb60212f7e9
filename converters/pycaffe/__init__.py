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
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from converters.pycaffe import (
    classifier,
    coord_map,
    detector,
    drawing,
    extension,
    io,
    mode,
    net_spec,
    solver,
)
from converters.pycaffe.classifier import Classifier
from converters.pycaffe.detector import Detector
from converters.pycaffe.extension import (
    NCCL,
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    Layer,
    NesterovSolver,
    Net,
    RMSPropSolver,
    SGDSolver,
    Timer,
    __version__,
    get_solver,
    get_solver_from_file,
    has_nccl,
    init_log,
    layer_type_list,
    log,
    set_device,
    set_logging_disabled,
    set_mode_cpu,
    set_mode_gpu,
    set_multiprocess,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from converters.pycaffe.net_spec import NetSpec, layers, params, to_proto
from protos import schema
from protos.schema import TEST, TRAIN


class _Folders(list[str]):
    """Where ``import caffe.NAME`` looks: here, then in the folders ``caffe`` of sys.path for what a fork has there."""

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        for folder in sys.path:
            if Path(folder, "caffe").is_dir():
                yield str(Path(folder, "caffe"))


def install() -> None:
    """Let ``import caffe`` find this, in this process."""
    global __path__  # noqa: PLW0603  # the module's own, which the import system reads
    proto = ModuleType("caffe.proto", "The messages of Caffe.")
    proto.caffe_pb2 = schema  # type: ignore[attr-defined]  # a module made on the spot
    proto.__path__ = []
    found = {
        "": sys.modules[__name__],
        ".classifier": classifier,
        ".coord_map": coord_map,
        ".detector": detector,
        ".draw": drawing,
        ".io": io,
        ".net_spec": net_spec,
        ".proto": proto,
        ".proto.caffe_pb2": schema,
        ".pycaffe": extension,
        "._caffe": extension,
    }
    for name, module in found.items():
        sys.modules[f"caffe{name}"] = module
        if name and "." not in name[1:]:
            setattr(sys.modules[__name__], name[1:], module)
    __path__ = _Folders(__path__[:1])
    mode.prepare_forks()


def __getattr__(name: str) -> ModuleType:
    """``from caffe import score``: a module that a fork has beside Caffe's own, the one of ``import caffe.score``."""
    if name.startswith("__") or sys.modules.get("caffe") is not sys.modules[__name__]:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    if find_spec(f"caffe.{name}") is None:
        raise AttributeError(f"module 'caffe' has no attribute '{name}'")
    return import_module(f"caffe.{name}")


__all__ = [
    "NCCL",
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Classifier",
    "Detector",
    "Layer",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "Timer",
    "__version__",
    "get_solver",
    "get_solver_from_file",
    "has_nccl",
    "init_log",
    "install",
    "io",
    "layer_type_list",
    "layers",
    "log",
    "mode",
    "params",
    "set_device",
    "set_logging_disabled",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver",
    "solver_count",
    "solver_rank",
    "to_proto",
]  # fmt: skip
