"""Pooling, upscaling and the like of ``lasagne.layers``."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from converters.lasagne.layers.base import Computed, call
from converters.lasagne.theano.tensor import calls, ops
from converters.lasagne.utils import as_tuple
from converters.lasagne.windows import pool, pooled_length
from nets.layers.layout import led_back, repeated


def pool_output_length(input_length: Any, pool_size: int, stride: int, pad: int, ignore_border: bool) -> Any:
    """How many windows there are along an axis; None for None."""
    if input_length is None or pool_size is None:
        return None
    return pooled_length(input_length, pool_size, stride, pad, ignore_border)


@calls.lazy
def pool_2d(input: Any, **kwargs: Any) -> Any:
    """``theano.tensor.signal.pool.pool_2d``: options ws, ignore_border, stride, pad, mode."""
    return _pool(input, 2, **kwargs)


@calls.lazy
def pool_3d(input: Any, **kwargs: Any) -> Any:
    """``theano.tensor.signal.pool.pool_3d``: options ws, ignore_border, stride, pad, mode."""
    return _pool(input, 3, **kwargs)


def _pool(x: Any, n: int, ws: Any, ignore_border: bool = False, stride: Any = None, pad: Any = 0, mode: str = "max") -> Tensor:  # fmt: skip  # noqa: E501
    size = as_tuple(ws, n)
    return pool(x, size, as_tuple(stride or size, n), as_tuple(pad, n), ignore_border, mode)


def _mode(mode: Any) -> Any:
    """The mode by its name; max itself is what some of the model zoo's nets pass. A wrong one shows when it is used."""
    return "max" if mode is max else {"average": "average_inc_pad"}.get(mode, mode)


class _Pool(Computed):
    """The windows along *n* axes. *stride* None: the size. *ignore_border*: windows that stick out are left out.

    Modes: max, average_inc_pad, average_exc_pad, sum.
    """

    n: int

    def __init__(self, incoming: Any, pool_size: Any, stride: Any, pad: Any, ignore_border: bool, mode: str, **kwargs: Any) -> None:  # fmt: skip  # noqa: E501
        super().__init__(incoming, **kwargs)
        if len(self.input_shape) != self.n + 2:
            raise ValueError(f"Tried to create a {self.n}D pooling layer with input shape {self.input_shape}. "
                             f"Expected {self.n + 2} input dimensions (batchsize, channels, {self.n} spatial).")  # fmt: skip  # noqa: E501
        self.pool_size = as_tuple(pool_size, self.n)
        self.stride = self.pool_size if stride is None else as_tuple(stride, self.n)
        self.pad = as_tuple(pad, self.n)
        self.ignore_border = ignore_border
        self.mode = _mode(mode)
        if not ignore_border and any(self.pad):
            raise ValueError("pad goes with ignore_border=True only")

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """The pooled windows."""
        return pool(x, self.pool_size, self.stride, self.pad, self.ignore_border, self.mode)

    def shape_probe(self, x: Any) -> Tensor:
        """The number of windows along each axis."""
        sizes = zip(x.shape[2:], self.pool_size, self.stride, self.pad, strict=True)
        return torch.empty([*x.shape[:2], *(pooled_length(*size, self.ignore_border) for size in sizes)], device="meta")


class Pool1DLayer(_Pool):
    """Pooling along one axis."""

    n = 1

    def __init__(
        self,
        incoming: Any,
        pool_size: Any,
        stride: Any = None,
        pad: Any = 0,
        ignore_border: bool = True,
        mode: str = "max",
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, pool_size, stride, pad, ignore_border, mode, **kwargs)


class Pool2DLayer(_Pool):
    """Pooling along two axes."""

    n = 2

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
        super().__init__(incoming, pool_size, stride, pad, ignore_border, mode, **kwargs)


class Pool3DLayer(_Pool):
    """Pooling along three axes."""

    n = 3

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
        super().__init__(incoming, pool_size, stride, pad, ignore_border, mode, **kwargs)


class MaxPool1DLayer(Pool1DLayer):
    """The maximum along one axis."""

    def __init__(
        self,
        incoming: Any,
        pool_size: Any,
        stride: Any = None,
        pad: Any = 0,
        ignore_border: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, pool_size, stride, pad, ignore_border, mode="max", **kwargs)


class MaxPool2DLayer(Pool2DLayer):
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


class MaxPool3DLayer(Pool3DLayer):
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


class _Upscale(Computed):
    n: int

    def __init__(self, incoming: Any, scale_factor: Any, mode: str, **kwargs: Any) -> None:
        super().__init__(incoming, **kwargs)
        self.scale_factor = as_tuple(scale_factor, self.n)
        if any(factor < 1 for factor in self.scale_factor):
            raise ValueError(f"Scale factor must be >= 1, not {self.scale_factor}")
        if mode not in ("repeat", "dilate"):
            raise ValueError(f"Mode must be 'repeat' or 'dilate', not {mode!r}")
        self.mode = mode

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """Every value *scale_factor* times along each axis, or once with zeros behind it."""
        if self.mode == "repeat":
            return repeated(x, self.scale_factor)
        sizes = [n * factor for n, factor in zip(x.shape[2:], self.scale_factor, strict=True)]
        y = x.new_zeros([*x.shape[:2], *sizes])
        y[(slice(None), slice(None), *(slice(None, None, factor) for factor in self.scale_factor))] = x
        return y


class Upscale1DLayer(_Upscale):
    """Larger by *scale_factor* along one axis: values repeated, or (mode "dilate") followed by zeros."""

    n = 1

    def __init__(self, incoming: Any, scale_factor: Any, mode: str = "repeat", **kwargs: Any) -> None:
        super().__init__(incoming, scale_factor, mode, **kwargs)


class Upscale2DLayer(_Upscale):
    """Larger by *scale_factor* along two axes."""

    n = 2

    def __init__(self, incoming: Any, scale_factor: Any, mode: str = "repeat", **kwargs: Any) -> None:
        super().__init__(incoming, scale_factor, mode, **kwargs)


class Upscale3DLayer(_Upscale):
    """Larger by *scale_factor* along three axes."""

    n = 3

    def __init__(self, incoming: Any, scale_factor: Any, mode: str = "repeat", **kwargs: Any) -> None:
        super().__init__(incoming, scale_factor, mode, **kwargs)


class FeaturePoolLayer(Computed):
    """*pool_function* over groups of *pool_size* neighbours along *axis*; the maximum: maxout."""

    def __init__(
        self, incoming: Any, pool_size: int, axis: int = 1, pool_function: Any = ops.max_, **kwargs: Any
    ) -> None:
        super().__init__(incoming, **kwargs)
        self.pool_size = pool_size
        self.axis = axis
        self.pool_function = pool_function
        size = self.input_shape[axis]
        if size is not None and size % pool_size:
            raise ValueError(f"Number of input features ({size}) must be a multiple of the pool size ({pool_size})")

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """The pooled groups."""
        axis = self.axis % x.ndim
        return call(self.pool_function, torch.unflatten(x, axis, (-1, self.pool_size)), axis=axis + 1)

    def shape_probe(self, x: Any) -> Tensor:
        """As many features as there are groups."""
        shape = list(x.shape)
        shape[self.axis] //= self.pool_size
        return torch.empty(shape, device="meta")


class FeatureWTALayer(Computed):
    """The largest of each group of *pool_size* neighbours along *axis* stays, the others become 0."""

    def __init__(self, incoming: Any, pool_size: int, axis: int = 1, **kwargs: Any) -> None:
        super().__init__(incoming, **kwargs)
        self.pool_size = pool_size
        self.axis = axis
        size = self.input_shape[axis]
        if size is not None and size % pool_size:
            raise ValueError(f"Number of input features ({size}) must be a multiple of the region size ({pool_size})")

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """*x* with the losers of each group set to 0."""
        axis = self.axis % x.ndim
        groups = torch.unflatten(x, axis, (-1, self.pool_size))
        best = groups.argmax(axis + 1, keepdim=True)
        places = torch.arange(self.pool_size, device=x.device).reshape(-1, *[1] * (x.ndim - axis - 1))
        return (groups * (places == best)).reshape(x.shape)

    def shape_probe(self, x: Any) -> Tensor:
        """The same."""
        return torch.empty(x.shape, device="meta")


class GlobalPoolLayer(Computed):
    """*pool_function* over all axes behind the second."""

    def __init__(self, incoming: Any, pool_function: Any = ops.mean, **kwargs: Any) -> None:
        super().__init__(incoming, **kwargs)
        self.pool_function = pool_function

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """N x C."""
        return call(self.pool_function, led_back(x).flatten(2), axis=2)

    def shape_probe(self, x: Any) -> Tensor:
        """N x C."""
        return torch.empty(x.shape[:2], device="meta")


def pool_2d_nxn_regions(inputs: Any, output_size: int, mode: str = "max") -> list[Any]:
    """The *output_size* squared regions of an image, which may overlap by a row, each pooled to N x C x 1."""
    if mode not in ("max", "average_inc_pad", "average_exc_pad"):
        raise ValueError(f"mode must be max, average_inc_pad or average_exc_pad, not {mode!r}")
    function = ops.max_ if mode == "max" else ops.mean
    height, width = inputs.shape[2:4]

    def span(size: int, i: int) -> slice:
        return slice(i * size // output_size, -(-(i + 1) * size // output_size))

    return [
        function(inputs[:, :, span(height, i), span(width, j)], axis=(2, 3))[..., None]
        for i in range(output_size)
        for j in range(output_size)
    ]


class SpatialPyramidPoolingLayer(Computed):
    """Pooling to n x n bins for each n of *pool_dims*, listed behind each other: N x C x sum of n squared.

    Implementation "fast" takes windows of equal size and stride, "kaiming" divides the image as its author did.
    """

    def __init__(
        self,
        incoming: Any,
        pool_dims: Sequence[int] = [4, 2, 1],  # the original's signature; it is only read
        mode: str = "max",
        implementation: str = "fast",
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, **kwargs)
        if len(self.input_shape) != 4:
            raise ValueError(f"SpatialPyramidPoolingLayer requires 4D input, got {self.input_shape}")
        if implementation not in ("fast", "kaiming"):
            raise ValueError(f"implementation must be 'fast' or 'kaiming', not {implementation!r}")
        self.pool_dims = list(pool_dims)
        self.mode = mode
        self.implementation = implementation

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """All bins of all levels."""
        if self.implementation == "kaiming":
            return torch.cat([bin_ for n in self.pool_dims for bin_ in pool_2d_nxn_regions(x, n, self.mode)], 2)
        levels = []
        for n in self.pool_dims:
            size = [-(-length // n) for length in x.shape[2:]]
            stride = [length // n for length in x.shape[2:]]
            levels.append(pool(x, size, stride, (0, 0), True, self.mode).flatten(2))
        return torch.cat(levels, 2)

    def shape_probe(self, x: Any) -> Tensor:
        """N x C x bins."""
        return torch.empty([*x.shape[:2], sum(n * n for n in self.pool_dims)], device="meta")
