"""``InputLayer``, and the layer of a value that is given beside the data."""

import operator
from typing import Any

from converters.lasagne.layers.base import Layer
from converters.lasagne.theano.config import config
from converters.lasagne.theano.variable import Input


class InputLayer(Layer):
    """Where data enters: of *shape*, open where None; *input_var* is made where none is given."""

    def __init__(self, shape: Any, input_var: Any = None, name: str | None = None, **kwargs: Any) -> None:
        self.shape = tuple(size if size is None else operator.index(size) for size in shape)
        if any(size is not None and size <= 0 for size in self.shape):
            raise ValueError(f"Cannot create InputLayer with a non-positive shape dimension: {self.shape}")
        if input_var is None:
            label = f"{name}.input" if name else "input"
            input_var = Input(config.floatX, [size == 1 for size in self.shape], label)
        elif input_var.ndim != len(self.shape):
            raise ValueError(f"shape has {len(self.shape)} dimensions, but variable has {input_var.ndim}")
        if isinstance(input_var, Input):
            input_var.sizes = self.shape
        self.input_var = input_var
        super().__init__(self.shape, name=name, **kwargs)
        del self.input_layer  # scripts ask whether a layer has one

    @property
    def output_shape(self) -> tuple[Any, ...]:
        """The shape."""
        return self.shape


class GivenLayer(InputLayer):
    """A variable among the incomings of a layer, such as a first state: one input for a whole net is not for it."""
