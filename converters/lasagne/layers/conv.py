"""The convolutions of ``lasagne.layers``: plain, transposed and dilated, along one to three axes."""

import copy
import operator
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.lasagne import init
from converters.lasagne.layers.base import Computed, call, is_ours, plain, value, with_param
from converters.lasagne.nonlinearities import rectify
from converters.lasagne.theano.tensor.convolutions import TRANSPOSED, conv1d, conv2d, conv3d, correlated
from converters.lasagne.theano.variable import Variable, apply
from converters.lasagne.utils import as_tuple, int_types


def conv_output_length(input_length: Any, filter_size: int, stride: int, pad: Any = 0) -> Any:
    """The places of a filter along an axis; None for None. *pad*: a number, "valid", "full" or "same"."""
    if input_length is None:
        return None
    if pad == "valid":
        pad = 0
    padded = {"full": filter_size - 1, "same": filter_size // 2}.get(pad, pad) if isinstance(pad, str) else pad
    if not isinstance(padded, int):
        raise ValueError(f"Invalid pad: {pad}")
    length = input_length + 2 * padded - filter_size + 1
    if pad == "same":
        length = input_length
    return (length + stride - 1) // stride


def conv_input_length(output_length: Any, filter_size: int, stride: int, pad: Any = 0) -> Any:
    """The length whose convolution has *output_length*, the smallest where there are several; None for None."""
    if output_length is None:
        return None
    named = {"valid": 0, "full": filter_size - 1, "same": filter_size // 2}
    padded = named.get(pad) if isinstance(pad, str) else pad
    if not isinstance(padded, int):
        raise ValueError(f"Invalid pad: {pad}")
    return (output_length - 1) * stride - 2 * padded + filter_size


class BaseConvLayer(Computed):
    """nonlinearity(x * W + b) along *n* axes, all behind the second by default. W: filters x channels / groups x size.

    *pad*: a number, one an axis, "valid", "full" (size - 1) or "same" (size // 2, odd sizes). *flip_filters*: a
    convolution proper, with W turned around; otherwise a correlation. ``convolution``: the function that computes it.
    """

    convolution: Any = conv2d

    def __init__(
        self,
        incoming: Any,
        num_filters: int,
        filter_size: Any,
        stride: Any = 1,
        pad: Any = 0,
        untie_biases: bool = False,
        W: Any = init.GlorotUniform(),  # noqa: B008  # the original's signature; it keeps no state
        b: Any = init.Constant(0.0),  # noqa: B008
        nonlinearity: Any = rectify,
        flip_filters: bool = True,
        num_groups: int = 1,
        n: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, **kwargs)
        self.nonlinearity = plain(nonlinearity)
        self.n = len(self.input_shape) - 2 if n is None else n
        if self.n + 2 != len(self.input_shape):
            raise ValueError(f"Tried to create a {self.n}D convolution layer with input shape {self.input_shape}. "
                             f"Expected {self.n + 2} input dimensions (batchsize, channels, {self.n} spatial).")  # fmt: skip  # noqa: E501
        self.num_filters = operator.index(num_filters)
        self.filter_size = as_tuple(filter_size, self.n, int_types)
        self.flip_filters = flip_filters
        self.stride = as_tuple(stride, self.n, int_types)
        self.untie_biases = untie_biases
        self.num_groups = num_groups
        if num_groups <= 0 or num_filters % num_groups or self.input_shape[1] % num_groups:
            raise ValueError(f"num_groups {num_groups} must divide {num_filters} filters and {self.input_shape[1]} "
                             "input channels")  # fmt: skip
        self.pad = self._padding(pad)
        self.W = self.add_param(W, self.get_W_shape(), name="W")
        shape = (self.num_filters, *(self.output_shape[2:] if untie_biases else ()))
        self.b = None if b is None else self.add_param(b, shape, name="b", regularizable=False)

    def _padding(self, pad: Any) -> Any:
        if pad == "valid":
            return as_tuple(0, self.n)
        if pad == "same" and any(size % 2 == 0 for size in self.filter_size):
            raise NotImplementedError("`same` padding requires odd filter size.")
        return pad if pad in ("full", "same") else as_tuple(pad, self.n, int_types)

    @property
    def num_input_channels(self) -> int:
        """The channels of the input."""
        return int(self.input_shape[1])

    def get_W_shape(self) -> tuple[int, ...]:  # Lasagne's name
        """The shape of the filters."""
        return (self.num_filters, self.num_input_channels // self.num_groups, *self.filter_size)

    def borders(self) -> list[int]:
        """The padding on both sides of each axis."""
        if self.pad == "full":
            return [size - 1 for size in self.filter_size]
        if self.pad == "same":
            return [size // 2 for size in self.filter_size]
        return list(self.pad)

    def filters(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """*x* and the filters, turned as a correlation wants them."""
        x, w = with_param(x, self.W)
        return x, w.flip(*range(2, 2 + self.n)) if self.flip_filters else w

    def convolve(self, input: Any, **kwargs: Any) -> Any:
        """The convolution alone. Scripts override it, and hand it variables."""
        if isinstance(input, Variable):
            return apply(copy.copy(self).product, input)
        if is_ours(self.convolution):  # all of these compute the same
            return self.product(input)
        border = "half" if self.pad == "same" else self.pad
        return call(self.convolution, *with_param(input, self.W), self.input_shape, self.get_W_shape(),
                    subsample=self.stride, border_mode=border, filter_flip=self.flip_filters)  # fmt: skip

    def product(self, x: Tensor) -> Tensor:
        """The convolution of a tensor."""
        return self._correlate(x, None)

    def _correlate(self, x: Tensor, bias: Tensor | None) -> Tensor:
        x, w = self.filters(x)
        bias = None if bias is None else bias.to(x.dtype).expand(self.num_filters)
        return correlated(x, w, bias, stride=self.stride, padding=self.borders(), groups=self.num_groups)

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """The convolution, the bias and the nonlinearity."""
        if self.b is not None and not self.untie_biases and self._is_plain():
            return call(self.nonlinearity, self._correlate(x, value(self.b, x)))  # in one pass
        y = call(self.convolve, x, **kwargs)
        if self.b is not None:
            b = with_param(y, self.b)[1]
            y = y + (b if self.untie_biases else b.reshape(-1, *[1] * self.n))
        return call(self.nonlinearity, y)

    def _is_plain(self) -> bool:
        kind = type(self)
        return (kind.convolve is BaseConvLayer.convolve and kind.product is BaseConvLayer.product
                and is_ours(self.convolution))  # fmt: skip

    def lengths(self, sizes: Sequence[int]) -> list[int]:
        """The output's sizes along the convolved axes."""
        return [
            conv_output_length(size, k, s, p)
            for size, k, s, p in zip(sizes, self.filter_size, self.stride, self.borders(), strict=True)
        ]

    def shape_probe(self, x: Any) -> Tensor:
        """The filters in place of the channels, and the places of the filters."""
        return torch.empty([x.shape[0], self.num_filters, *self.lengths(x.shape[2:])], device="meta")


class Conv1DLayer(BaseConvLayer):
    """A convolution along one axis, computed by *convolution*."""

    def __init__(
        self,
        incoming: Any,
        num_filters: int,
        filter_size: Any,
        stride: Any = 1,
        pad: Any = 0,
        untie_biases: bool = False,
        W: Any = init.GlorotUniform(),  # noqa: B008
        b: Any = init.Constant(0.0),  # noqa: B008
        nonlinearity: Any = rectify,
        flip_filters: bool = True,
        convolution: Any = conv1d,
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, num_filters, filter_size, stride, pad, untie_biases, W, b, nonlinearity,
                         flip_filters, n=1, **kwargs)  # fmt: skip
        self.convolution = convolution


class Conv2DLayer(BaseConvLayer):
    """A convolution along two axes, computed by *convolution*."""

    def __init__(
        self,
        incoming: Any,
        num_filters: int,
        filter_size: Any,
        stride: Any = (1, 1),
        pad: Any = 0,
        untie_biases: bool = False,
        W: Any = init.GlorotUniform(),  # noqa: B008
        b: Any = init.Constant(0.0),  # noqa: B008
        nonlinearity: Any = rectify,
        flip_filters: bool = True,
        convolution: Any = conv2d,
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, num_filters, filter_size, stride, pad, untie_biases, W, b, nonlinearity,
                         flip_filters, n=2, **kwargs)  # fmt: skip
        self.convolution = convolution


class Conv3DLayer(BaseConvLayer):
    """A convolution along three axes, computed by *convolution*."""

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
        flip_filters: bool = True,
        convolution: Any = conv3d,
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, num_filters, filter_size, stride, pad, untie_biases, W, b, nonlinearity,
                         flip_filters, n=3, **kwargs)  # fmt: skip
        self.convolution = convolution


class _Transposed(BaseConvLayer):
    """The gradient of a convolution as a layer of its own. W: channels x filters x size."""

    output_size: Any = None

    def get_W_shape(self) -> tuple[int, ...]:  # Lasagne's name
        """The shape of the filters."""
        return (self.num_input_channels // self.num_groups, self.num_filters, *self.filter_size)

    def lengths(self, sizes: Sequence[int]) -> list[int]:
        """The output's sizes: as asked for, or the smallest that fit."""
        if self.output_size is not None:
            return list(self.output_size)
        return [
            conv_input_length(size, k, s, p)
            for size, k, s, p in zip(sizes, self.filter_size, self.stride, self.borders(), strict=True)
        ]

    def extra(self, sizes: Sequence[int]) -> list[int]:
        """How much larger than the smallest that fits the output is to be."""
        wanted = self.lengths(sizes)
        least = [
            conv_input_length(size, k, s, p)
            for size, k, s, p in zip(sizes, self.filter_size, self.stride, self.borders(), strict=True)
        ]
        return [a - b for a, b in zip(wanted, least, strict=True)]

    def product(self, x: Tensor) -> Tensor:
        """The transposed convolution of a tensor."""
        extra = self.extra(x.shape[2:])
        x, w = with_param(x, self.W)
        w = w if self.flip_filters else w.flip(*range(2, 2 + self.n))
        return TRANSPOSED[self.n](
            x, w, stride=self.stride, padding=self.borders(), output_padding=extra, groups=self.num_groups
        )


class TransposedConv2DLayer(_Transposed):
    """The transposed convolution along two axes. *crop*: what pad is to the convolution; *output_size*: its size."""

    def __init__(
        self,
        incoming: Any,
        num_filters: int,
        filter_size: Any,
        stride: Any = (1, 1),
        crop: Any = 0,
        untie_biases: bool = False,
        W: Any = init.GlorotUniform(),  # noqa: B008
        b: Any = init.Constant(0.0),  # noqa: B008
        nonlinearity: Any = rectify,
        flip_filters: bool = False,
        output_size: Any = None,
        **kwargs: Any,
    ) -> None:
        self.output_size = None if output_size is None else as_tuple(output_size, 2)
        super().__init__(incoming, num_filters, filter_size, stride, crop, untie_biases, W, b, nonlinearity,
                         flip_filters, n=2, **kwargs)  # fmt: skip
        self.crop = self.pad


class TransposedConv3DLayer(_Transposed):
    """The transposed convolution along three axes."""

    def __init__(
        self,
        incoming: Any,
        num_filters: int,
        filter_size: Any,
        stride: Any = (1, 1, 1),
        crop: Any = 0,
        untie_biases: bool = False,
        W: Any = init.GlorotUniform(),  # noqa: B008
        b: Any = init.Constant(0.0),  # noqa: B008
        nonlinearity: Any = rectify,
        flip_filters: bool = False,
        output_size: Any = None,
        **kwargs: Any,
    ) -> None:
        self.output_size = None if output_size is None else as_tuple(output_size, 3)
        super().__init__(incoming, num_filters, filter_size, stride, crop, untie_biases, W, b, nonlinearity,
                         flip_filters, n=3, **kwargs)  # fmt: skip
        self.crop = self.pad


Deconv2DLayer = TransposedConv2DLayer
Deconv3DLayer = TransposedConv3DLayer


class DilatedConv2DLayer(BaseConvLayer):
    """A correlation whose filters have holes: *dilation* is the step between their values. W: channels x filters x size."""  # noqa: E501

    def __init__(
        self,
        incoming: Any,
        num_filters: int,
        filter_size: Any,
        dilation: Any = (1, 1),
        pad: Any = 0,
        untie_biases: bool = False,
        W: Any = init.GlorotUniform(),  # noqa: B008
        b: Any = init.Constant(0.0),  # noqa: B008
        nonlinearity: Any = rectify,
        flip_filters: bool = False,
        **kwargs: Any,
    ) -> None:
        self.dilation = as_tuple(dilation, 2, int_types)
        super().__init__(incoming, num_filters, filter_size, 1, pad, untie_biases, W, b, nonlinearity, flip_filters,
                         n=2, **kwargs)  # fmt: skip
        if self.pad != (0, 0):
            raise NotImplementedError(f"DilatedConv2DLayer requires pad=0 / (0,0) / 'valid', but got {pad}: "
                                      "put a PadLayer in front")  # fmt: skip
        if flip_filters:
            raise NotImplementedError("DilatedConv2DLayer requires flip_filters=False")
        del self.stride

    def get_W_shape(self) -> tuple[int, ...]:  # Lasagne's name
        """The shape of the filters."""
        return (self.num_input_channels, self.num_filters, *self.filter_size)

    def lengths(self, sizes: Sequence[int]) -> list[int]:
        """The output's sizes."""
        reach = [(k - 1) * d + 1 for k, d in zip(self.filter_size, self.dilation, strict=True)]
        return [size - k + 1 for size, k in zip(sizes, reach, strict=True)]

    def product(self, x: Tensor) -> Tensor:
        """The correlation of a tensor."""
        x, w = self.filters(x)
        return F.conv2d(x, w.transpose(0, 1), dilation=self.dilation)
