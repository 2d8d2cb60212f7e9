"""``theano.tensor.extra_ops``."""

from converters.lasagne.theano.tensor.form import repeat, squeeze, to_one_hot
from converters.lasagne.theano.tensor.more import bincount, cumprod, diff, fill_diagonal
from converters.lasagne.theano.tensor.ops import cumsum

__all__ = ["bincount", "cumprod", "cumsum", "diff", "fill_diagonal", "repeat", "squeeze", "to_one_hot"]
