"""``install``: the names of Theano, Lasagne and nolearn lead here, for scripts and notebooks."""

import importlib
import sys
from types import ModuleType

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
    "theano.gradient": "converters.lasagne.theano.gradient",
    "theano.tensor": "converters.lasagne.theano.tensor",
    "theano.tensor.extra_ops": "converters.lasagne.theano.tensor.extra_ops",
    "theano.tensor.nlinalg": "converters.lasagne.theano.tensor.nlinalg",
    "theano.tensor.nnet": "converters.lasagne.theano.tensor.nnet",
    "theano.tensor.shared_randomstreams": "converters.lasagne.theano.tensor.shared_randomstreams",
    "theano.tensor.signal": "converters.lasagne.theano.tensor.signal",
}  # fmt: skip
ABSENT = ("lasagne.layers.cuda_convnet", "pylearn2", "theano.sandbox.cuda.dnn")  # scripts catch the ImportError


def install() -> None:
    """Let ``import theano``, ``lasagne`` and ``nolearn.lasagne`` find these modules, in this process.

    Settings of .theanorc and THEANO_FLAGS are taken. ``lasagne.layers.cuda_convnet`` raises ImportError, as it did
    where it was not built.
    """
    from converters.lasagne.theano.config import config  # noqa: PLC0415  # installing is what reads the settings

    for name, target in MODULES.items():
        sys.modules[name] = importlib.import_module(target)
    nolearn = ModuleType("nolearn", "nolearn, of which nolearn.lasagne is supported.")
    nolearn.lasagne = sys.modules["nolearn.lasagne"]  # type: ignore[attr-defined]  # a module made on the spot
    sys.modules["nolearn"] = nolearn
    for name in ABSENT:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python marks a module that is not there
    _sandbox()
    config.read()


def _sandbox() -> None:
    """The few modules of ``theano.sandbox`` and ``theano.compile`` that scripts import by name."""
    streams = sys.modules["theano.tensor.shared_randomstreams"]
    rng = ModuleType("theano.sandbox.rng_mrg")
    rng.MRG_RandomStreams = streams.RandomStreams  # type: ignore[attr-defined]  # made on the spot
    cuda = ModuleType("theano.sandbox.cuda")
    cuda.cuda_available = False  # type: ignore[attr-defined]  # made on the spot
    sandbox = ModuleType("theano.sandbox")
    sandbox.rng_mrg, sandbox.cuda = rng, cuda  # type: ignore[attr-defined]  # made on the spot
    signal = sys.modules["theano.tensor.signal"]
    found = {"theano.sandbox": sandbox, "theano.sandbox.rng_mrg": rng, "theano.sandbox.cuda": cuda}
    for name in ("downsample", "pool"):
        module = ModuleType(f"theano.tensor.signal.{name}")
        module.__dict__.update(vars(getattr(signal, name)))
        found[module.__name__] = module
    sys.modules.update(found)
    sys.modules["theano"].sandbox = sandbox  # type: ignore[attr-defined]  # the stand-in has no such module by itself
