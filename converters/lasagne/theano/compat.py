"""``theano.compat``: the names that both Pythons have."""

from collections import OrderedDict

__all__ = ["OrderedDict"]
