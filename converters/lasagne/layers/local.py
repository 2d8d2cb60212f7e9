"""``LocallyConnected2DLayer``."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.lasagne import init
from converters.lasagne.layers.base import with_param
from converters.lasagne.layers.conv import Conv2DLayer
from converters.lasagne.nonlinearities import rectify


class LocallyConnected2DLayer(Conv2DLayer):
    """A convolution whose filters differ from place to place. W: filters x channels x size x places.

    With *channelwise* each filter sees its own channel only, and W has no axis of channels. The stride is 1, and the
    output as large as the input.
    """

    def __init__(
        self,
        incoming: Any,
        num_filters: int,
        filter_size: Any,
        stride: Any = (1, 1),
        pad: Any = "same",
        untie_biases: bool = False,
        W: Any = init.GlorotUniform(),  # noqa: B008
        b: Any = init.Constant(0.0),  # noqa: B008
        nonlinearity: Any = rectify,
        flip_filters: bool = True,
        channelwise: bool = False,
        **kwargs: Any,
    ) -> None:
        self.channelwise = channelwise
        super().__init__(incoming, num_filters, filter_size, stride, pad, untie_biases, W, b, nonlinearity,
                         flip_filters, **kwargs)  # fmt: skip
        if self.stride != (1, 1):
            raise NotImplementedError(f"{self} requires stride=1 / (1, 1), but got {stride}")
        if self.pad != "same":
            raise NotImplementedError(f"{self} requires pad='same', but got {pad}")

    def get_W_shape(self) -> tuple[int, ...]:  # Lasagne's name
        """The shape of the filters."""
        if any(size is None for size in self.input_shape[1:]):
            raise ValueError("A LocallyConnected2DLayer requires a fixed input shape (except for the batch size)")
        if self.channelwise and self.num_filters != self.num_input_channels:
            raise ValueError("num_filters and the number of input channels should match when channelwise is true")
        channels = () if self.channelwise else (self.num_input_channels,)
        return (self.num_filters, *channels, *self.filter_size, *self.output_shape[-2:])

    def product(self, x: Tensor) -> Tensor:
        """The sum over each place's own window."""
        x, w = with_param(x, self.W)
        if self.flip_filters:
            w = w.flip(-4, -3)
        height, width = self.borders()
        wide = F.pad(x, (width, width, height, height))
        windows = wide.unfold(2, self.filter_size[0], 1).unfold(3, self.filter_size[1], 1)
        rule = "nchwij,cijhw->nchw" if self.channelwise else "nchwij,kcijhw->nkhw"
        return torch.einsum(rule, windows, w)
