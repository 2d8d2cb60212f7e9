"""``theano.updates``: what is to be stored where, as ``scan`` gives it."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any


class OrderedUpdates(OrderedDict[Any, Any]):
    """A dict of shared variables and their new values, to which others can be added. Those of the later one count."""

    def __add__(self, other: Mapping[Any, Any]) -> "OrderedUpdates":
        """Both."""
        return OrderedUpdates([*self.items(), *OrderedDict(other).items()])

    def __radd__(self, other: Mapping[Any, Any]) -> "OrderedUpdates":
        """Both, the other in front."""
        return OrderedUpdates(other) + self
