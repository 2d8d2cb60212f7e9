"""``DenseLayer`` and ``NINLayer``."""

import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.lasagne import init
from converters.lasagne.layers.base import Computed, call, plain, with_param
from converters.lasagne.nonlinearities import rectify
from nets.layers.layout import led_back
from nets.layers.product import linear


class DenseLayer(Computed):
    """nonlinearity(x W + b); the axes behind the first *num_leading_axes* are joined. W: inputs x units."""

    def __init__(
        self,
        incoming: Any,
        num_units: int,
        W: Any = init.GlorotUniform(),  # noqa: B008  # the original's signature; it keeps no state
        b: Any = init.Constant(0.0),  # noqa: B008
        nonlinearity: Any = rectify,
        num_leading_axes: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, **kwargs)
        self.nonlinearity = plain(nonlinearity)
        self.num_units = operator.index(num_units)
        if not -len(self.input_shape) < num_leading_axes < len(self.input_shape):
            raise ValueError(
                f"{self}: num_leading_axes {num_leading_axes} leaves nothing of {len(self.input_shape)} input axes"
            )
        self.num_leading_axes = num_leading_axes
        trailing = self.input_shape[num_leading_axes:]
        if any(size is None for size in trailing):
            raise ValueError(f"A DenseLayer requires a fixed input shape (except for the leading axes): got "
                             f"{self.input_shape} for num_leading_axes={num_leading_axes}")  # fmt: skip
        self.W = self.add_param(W, (int(np.prod(trailing)), self.num_units), name="W")
        self.b = None if b is None else self.add_param(b, (self.num_units,), name="b", regularizable=False)

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """The product, the bias and the nonlinearity."""
        leading = self.num_leading_axes % x.ndim
        x, w = with_param(led_back(x).flatten(leading) if leading < x.ndim - 1 else x, self.W)
        y = linear(x, w.t())
        if self.b is not None:
            y = y + with_param(y, self.b)[1]
        return call(self.nonlinearity, y)

    def shape_probe(self, x: Any) -> Tensor:
        """The leading axes and the units."""
        return torch.empty([*x.shape[: self.num_leading_axes], self.num_units], device="meta")


class NINLayer(Computed):
    """A dense layer over the channels of each place. W: channels x units; b: units, with *untie_biases* one a place."""

    def __init__(
        self,
        incoming: Any,
        num_units: int,
        untie_biases: bool = False,
        W: Any = init.GlorotUniform(),  # noqa: B008
        b: Any = init.Constant(0.0),  # noqa: B008
        nonlinearity: Any = rectify,
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, **kwargs)
        self.nonlinearity = plain(nonlinearity)
        self.num_units = operator.index(num_units)
        self.untie_biases = untie_biases
        self.W = self.add_param(W, (self.input_shape[1], self.num_units), name="W")
        places = tuple(self.input_shape[2:]) if untie_biases else ()
        self.b = None if b is None else self.add_param(b, (self.num_units, *places), name="b", regularizable=False)

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """The product over axis 1, the bias and the nonlinearity."""
        x, w = with_param(x, self.W)
        y = torch.einsum("nc...,cu->nu...", x, w)
        if self.b is not None:
            b = with_param(y, self.b)[1]
            y = y + (b if self.untie_biases else b.reshape(-1, *[1] * (y.ndim - 2)))
        return call(self.nonlinearity, y)

    def shape_probe(self, x: Any) -> Tensor:
        """The units in place of the channels."""
        return torch.empty([x.shape[0], self.num_units, *x.shape[2:]], device="meta")
