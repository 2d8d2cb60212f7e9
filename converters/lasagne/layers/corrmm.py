"""``lasagne.layers.corrmm``: the convolution by matrix products. Here it is the other, but filters are not flipped."""

from typing import Any

from converters.lasagne import init
from converters.lasagne.layers.conv import BaseConvLayer
from converters.lasagne.nonlinearities import rectify

gpu_enabled = True


class Conv2DMMLayer(BaseConvLayer):
    """A correlation along two axes."""

    def __init__(
        self,
        incoming: Any,
        num_filters: int,
        filter_size: Any,
        stride: Any = (1, 1),
        pad: Any = 0,
        untie_biases: bool = False,
        W: Any = init.GlorotUniform(),  # noqa: B008  # the original's signature; it keeps no state
        b: Any = init.Constant(0.0),  # noqa: B008
        nonlinearity: Any = rectify,
        flip_filters: bool = False,
        num_groups: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, num_filters, filter_size, stride, pad, untie_biases, W, b, nonlinearity,
                         flip_filters, num_groups, n=2, **kwargs)  # fmt: skip
