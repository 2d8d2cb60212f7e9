"""``install``: the names of Theano, Lasagne and nolearn lead here, for scripts and notebooks."""

import importlib
import sys
from types import ModuleType
from typing import Any

from data.allocation import keep_freed_memory

MODULES = {
    "lasagne": "converters.lasagne",
    **{f"lasagne.{n}": f"converters.lasagne.{n}" for n in (
        "init", "layers", "nonlinearities", "objectives", "random", "regularization", "updates", "utils")},
    **{f"lasagne.layers.{n}": f"converters.lasagne.layers.{n}" for n in (
        "base", "conv", "corrmm", "dense", "dnn", "embedding", "helper", "input", "local", "merge", "noise",
        "normalization", "pool", "recurrent", "shape", "special")},
    "nolearn.lasagne": "converters.lasagne.nolearn",
    "nolearn.lasagne.base": "converters.lasagne.nolearn.net",
    "nolearn.lasagne.handlers": "converters.lasagne.nolearn.handlers",
    "nolearn.lasagne.visualize": "converters.lasagne.nolearn.visualize",
    "theano": "converters.lasagne.theano",
    "theano.compat": "converters.lasagne.theano.compat",
    "theano.compat.python2x": "converters.lasagne.theano.compat",
    "theano.compile": "converters.lasagne.theano.compile",
    "theano.compile.mode": "converters.lasagne.theano.compile",
    "theano.compile.nanguardmode": "converters.lasagne.theano.compile",
    "theano.compile.ops": "converters.lasagne.theano.op",
    "theano.compile.sharedvalue": "converters.lasagne.theano.compile",
    "theano.gof.op": "converters.lasagne.theano.op",
    "theano.gradient": "converters.lasagne.theano.gradient",
    "theano.ifelse": "converters.lasagne.theano.ifelse",
    "theano.printing": "converters.lasagne.theano.printing",
    "theano.scan_module": "converters.lasagne.theano.loops",
    "theano.tensor.basic": "converters.lasagne.theano.tensor",
    "theano.tensor.elemwise": "converters.lasagne.theano.elemwise",
    "theano.tensor.slinalg": "converters.lasagne.theano.tensor.nlinalg",
    "theano.tensor.sharedvar": "converters.lasagne.theano.shared",
    "theano.tensor.var": "converters.lasagne.theano.tensor.var",
    "theano.tensor.raw_random": "converters.lasagne.theano.tensor.shared_randomstreams",
    "theano.tensor": "converters.lasagne.theano.tensor",
    "theano.tensor.extra_ops": "converters.lasagne.theano.tensor.extra_ops",
    "theano.tensor.nlinalg": "converters.lasagne.theano.tensor.nlinalg",
    "theano.tensor.nnet": "converters.lasagne.theano.tensor.nnet",
    "theano.tensor.shared_randomstreams": "converters.lasagne.theano.tensor.shared_randomstreams",
    "theano.tensor.signal": "converters.lasagne.theano.tensor.signal",
    "theano.updates": "converters.lasagne.theano.updates",
}  # fmt: skip
ABSENT = (
    "lasagne.layers.cuda_convnet",
    "pylearn2",
    "theano.gpuarray",
)  # scripts catch the ImportError


# These can be imported; what is in them says that it is not supported when it is used.
UNSUPPORTED = (
    "lasagne.theano_extensions", "lasagne.theano_extensions.conv", "lasagne.theano_extensions.padding",
    "nolearn.cache", "nolearn.dbn", "nolearn.decaf", "nolearn.grid_search", "nolearn.metrics", "theano.d3viz",
    "theano.gof", "theano.gof.graph", "theano.misc", "theano.misc.pkl_utils", "theano.scalar", "theano.sparse",
    "theano.tensor.fft", "theano.tensor.nnet.conv3d2d", "theano.tensor.opt", "theano.tensor.signal.conv",
)  # fmt: skip


def install() -> None:
    """Let ``import theano``, ``lasagne`` and ``nolearn.lasagne`` find these modules, in this process.

    Settings of .theanorc and THEANO_FLAGS are taken. ``lasagne.layers.cuda_convnet`` raises ImportError, as it did
    where it was not built. The process keeps the memory of what is computed, see `keep_freed_memory`.
    """
    from converters.lasagne.theano.config import config  # noqa: PLC0415  # installing is what reads the settings

    for name, target in MODULES.items():
        sys.modules[name] = importlib.import_module(target)
    nolearn = ModuleType("nolearn", "nolearn, of which nolearn.lasagne is supported.")
    nolearn.lasagne = sys.modules["nolearn.lasagne"]  # type: ignore[attr-defined]  # a module made on the spot
    sys.modules["nolearn"] = nolearn
    for name in UNSUPPORTED:
        sys.modules[name] = _Unsupported(name)
    for name in ABSENT:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python marks a module that is not there
    sys.modules["theano.gof"].Op = sys.modules["theano"].Op  # type: ignore[attr-defined]  # made on the spot
    _sandbox()
    _link()
    config.read()
    keep_freed_memory()


class _Unsupported(ModuleType):
    """A module of the originals whose names raise when they are called, or when a class is made of them."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*arguments: Any, **options: Any) -> Any:
            raise NotImplementedError(f"{self.__name__}.{name} is not supported here: write it with the functions of "
                                      "theano.tensor and the layers that are")  # fmt: skip

        return type(name, (), {"__new__": refuse, "__init_subclass__": refuse})


def _link() -> None:
    """Let modules be found as attributes of those above them, as an import of a submodule leaves them."""
    for name in (*MODULES, *UNSUPPORTED):
        above, _, last = name.rpartition(".")
        if above and last not in vars(sys.modules[above]):
            setattr(sys.modules[above], last, sys.modules[name])


def _sandbox() -> None:
    """The few modules of ``theano.sandbox`` and ``theano.compile`` that scripts import by name."""
    streams = sys.modules["theano.tensor.shared_randomstreams"]
    rng = ModuleType("theano.sandbox.rng_mrg")
    rng.MRG_RandomStreams = streams.RandomStreams  # type: ignore[attr-defined]  # made on the spot
    cuda = importlib.import_module("converters.lasagne.theano.cuda")
    sandbox = ModuleType("theano.sandbox")
    sandbox.rng_mrg, sandbox.cuda = rng, cuda  # type: ignore[attr-defined]  # made on the spot
    cuda.basic_ops = cuda.type = cuda.var = cuda  # type: ignore[attr-defined]  # its own attributes
    cuda.dnn = importlib.import_module("converters.lasagne.theano.dnn")  # type: ignore[attr-defined]  # as above
    signal = sys.modules["theano.tensor.signal"]
    found = {"theano.sandbox": sandbox, "theano.sandbox.rng_mrg": rng, "theano.sandbox.cuda": cuda,
             "theano.sandbox.cuda.dnn": cuda.dnn}  # fmt: skip
    found |= {f"theano.sandbox.cuda.{part}": cuda for part in ("basic_ops", "type", "var")}
    nnet = sys.modules["theano.tensor.nnet"]
    parts = [(signal, "downsample"), (signal, "pool")]
    parts += [(nnet, name) for name in ("abstract_conv", "bn", "conv", "neighbours", "sigm")]
    for owner, name in parts:
        module = ModuleType(f"theano.tensor.{owner.__name__.rsplit('.', maxsplit=1)[1]}.{name}")
        module.__dict__.update(vars(getattr(owner, name)))
        found[module.__name__] = module
    found["theano.tensor.nnet.nnet"] = nnet.nnet = nnet  # type: ignore[attr-defined]  # its own attribute, as there
    sys.modules.update(found)
    sys.modules["theano"].sandbox = sandbox  # type: ignore[attr-defined]  # the stand-in has no such module by itself
