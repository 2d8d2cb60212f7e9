"""What Theano offered to definitions of nets, on torch: settings, variables, expressions, functions."""

from converters.lasagne.theano import gradient, tensor
from converters.lasagne.theano.config import config
from converters.lasagne.theano.function import In, function
from converters.lasagne.theano.gradient import grad
from converters.lasagne.theano.shared import shared
from converters.lasagne.theano.variable import Variable

Param = In
__version__ = "1.0.5"

__all__ = ["In", "Param", "Variable", "config", "function", "grad", "gradient", "shared", "tensor"]


def __getattr__(name: str) -> object:
    said = {"scan": "write the loop in Python, or use a recurrent layer"}.get(
        name, "write it with the functions that are"
    )
    raise AttributeError(f"theano.{name} is not supported here: {said}")
