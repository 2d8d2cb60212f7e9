"""``theano.tensor.extra_ops``."""

from converters.lasagne.theano.tensor.ops import cumsum, repeat, to_one_hot

__all__ = ["cumsum", "repeat", "to_one_hot"]
