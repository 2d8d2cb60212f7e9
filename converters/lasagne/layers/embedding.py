"""``EmbeddingLayer``."""

from typing import Any

import torch
from torch import Tensor

from converters.lasagne import init
from converters.lasagne.layers.base import Computed, value


class EmbeddingLayer(Computed):
    """A row of W (input_size x output_size) for each whole number of the input."""

    def __init__(
        self,
        incoming: Any,
        input_size: int,
        output_size: int,
        W: Any = init.Normal(),  # noqa: B008  # the original's signature; it keeps no state
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, **kwargs)
        self.input_size = input_size
        self.output_size = output_size
        self.W = self.add_param(W, (input_size, output_size), name="W")

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """The rows."""
        return value(self.W, x)[x.long()]

    def shape_probe(self, x: Any) -> Tensor:
        """The input's shape and the size of a row."""
        return torch.empty([*x.shape, self.output_size], device="meta")
