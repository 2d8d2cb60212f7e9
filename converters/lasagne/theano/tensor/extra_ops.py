"""``theano.tensor.extra_ops``."""

from converters.lasagne.theano.tensor.more import bincount, cumprod, diff
from converters.lasagne.theano.tensor.ops import cumsum, repeat, squeeze, to_one_hot

__all__ = ["bincount", "cumprod", "cumsum", "diff", "repeat", "squeeze", "to_one_hot"]
