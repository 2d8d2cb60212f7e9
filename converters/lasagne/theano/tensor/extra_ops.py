"""``theano.tensor.extra_ops``."""

from converters.lasagne.theano.tensor.form import repeat, squeeze, to_one_hot
from converters.lasagne.theano.tensor.more import bincount, cumprod, diff
from converters.lasagne.theano.tensor.ops import cumsum

__all__ = ["bincount", "cumprod", "cumsum", "diff", "repeat", "squeeze", "to_one_hot"]
