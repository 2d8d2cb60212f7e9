"""What Theano offered to definitions of nets, on torch: settings, variables, expressions, functions."""

from converters.lasagne.theano import compile, gradient, ifelse, printing, tensor  # Theano's names
from converters.lasagne.theano.compile import Mode, NanGuardMode
from converters.lasagne.theano.config import config
from converters.lasagne.theano.function import In, Out, Param, function
from converters.lasagne.theano.gradient import Lop, Rop, grad
from converters.lasagne.theano.loops import clone, foldl, foldr, map, reduce, scan
from converters.lasagne.theano.op import Op, as_op
from converters.lasagne.theano.printing import pprint
from converters.lasagne.theano.shared import shared
from converters.lasagne.theano.tensor import dot
from converters.lasagne.theano.updates import OrderedUpdates
from converters.lasagne.theano.variable import Variable

__version__ = "1.0.5"

pp = pprint

__all__ = [
    "In", "Lop", "Mode", "NanGuardMode", "Op", "OrderedUpdates", "Out", "Param", "Rop", "Variable", "as_op", "clone",
    "compile", "config", "dot", "foldl", "foldr",
    "function", "grad", "gradient", "ifelse", "map", "pp", "printing", "reduce", "scan", "shared", "tensor",
]  # fmt: skip


def __getattr__(name: str) -> object:
    raise AttributeError(f"theano.{name} is not supported here: write it with the functions that are")
