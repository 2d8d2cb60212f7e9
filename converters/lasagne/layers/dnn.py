"""``lasagne.layers.dnn``: the layers that asked for cuDNN. Here they are the others, but filters are not flipped."""

from collections.abc import Sequence
from typing import Any

from converters.lasagne import init
from converters.lasagne.layers.conv import BaseConvLayer
from converters.lasagne.layers.normalization import BatchNormLayer, activated, without_bias, without_nonlinearity
from converters.lasagne.layers.pool import Pool2DLayer, Pool3DLayer, SpatialPyramidPoolingLayer
from converters.lasagne.nonlinearities import rectify

gpu_enabled = dnn_enabled = True


class Pool2DDNNLayer(Pool2DLayer):
    """Pooling along two axes; windows that stick out are always left out."""

    def __init__(
        self,
        incoming: Any,
        pool_size: Any,
        stride: Any = None,
        pad: Any = (0, 0),
        ignore_border: bool = True,
        mode: str = "max",
        **kwargs: Any,
    ) -> None:
        _require_border(self, ignore_border)
        super().__init__(incoming, pool_size, stride, pad, ignore_border, mode, **kwargs)


class MaxPool2DDNNLayer(Pool2DDNNLayer):
    """The maximum along two axes."""

    def __init__(
        self,
        incoming: Any,
        pool_size: Any,
        stride: Any = None,
        pad: Any = (0, 0),
        ignore_border: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, pool_size, stride, pad, ignore_border, mode="max", **kwargs)


class Pool3DDNNLayer(Pool3DLayer):
    """Pooling along three axes; windows that stick out are always left out."""

    def __init__(
        self,
        incoming: Any,
        pool_size: Any,
        stride: Any = None,
        pad: Any = (0, 0, 0),
        ignore_border: bool = True,
        mode: str = "max",
        **kwargs: Any,
    ) -> None:
        _require_border(self, ignore_border)
        super().__init__(incoming, pool_size, stride, pad, ignore_border, mode, **kwargs)


class MaxPool3DDNNLayer(Pool3DDNNLayer):
    """The maximum along three axes."""

    def __init__(
        self,
        incoming: Any,
        pool_size: Any,
        stride: Any = None,
        pad: Any = (0, 0, 0),
        ignore_border: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, pool_size, stride, pad, ignore_border, mode="max", **kwargs)


def _require_border(layer: Any, ignore_border: bool) -> None:
    if not ignore_border:
        raise NotImplementedError(f"{type(layer).__name__} requires ignore_border=True: use the layer without DNN")


class Conv2DDNNLayer(BaseConvLayer):
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


class Conv3DDNNLayer(BaseConvLayer):
    """A correlation along three axes."""

    def __init__(
        self,
        incoming: Any,
        num_filters: int,
        filter_size: Any,
        stride: Any = (1, 1, 1),
        pad: Any = 0,
        untie_biases: bool = False,
        W: Any = init.GlorotUniform(),  # noqa: B008
        b: Any = init.Constant(0.0),  # noqa: B008
        nonlinearity: Any = rectify,
        flip_filters: bool = False,
        num_groups: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, num_filters, filter_size, stride, pad, untie_biases, W, b, nonlinearity,
                         flip_filters, num_groups, n=3, **kwargs)  # fmt: skip


class SpatialPyramidPoolingDNNLayer(SpatialPyramidPoolingLayer):
    """Pooling to n x n bins."""

    def __init__(
        self,
        incoming: Any,
        pool_dims: Sequence[int] = [4, 2, 1],  # the original's signature; it is only read
        mode: str = "max",
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, pool_dims, mode, "fast", **kwargs)


class BatchNormDNNLayer(BatchNormLayer):
    """Batch normalisation."""


def batch_norm_dnn(layer: Any, **kwargs: Any) -> Any:
    """Batch normalisation between *layer*, which loses its bias, and its nonlinearity."""
    nonlinearity = without_nonlinearity(layer)
    without_bias(layer)
    name = kwargs.pop("name", None) or (layer.name and f"{layer.name}_bn")
    return activated(BatchNormDNNLayer(layer, name=name, **kwargs), nonlinearity, name and f"{name}_nonlin")
