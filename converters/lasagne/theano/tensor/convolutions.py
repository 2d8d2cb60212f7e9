"""The convolutions of ``theano.tensor.nnet``, and their gradients as functions of their own."""

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from converters.lasagne.theano.tensor.calls import lazy
from converters.lasagne.theano.variable import as_int, as_tensor
from nets.layers.convolution import HEAVY, TINY, correlate
from nets.layers.layout import laid_last
from nets.layers.plain import is_plain

TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _reach(w: Tensor, dilation: Sequence[int]) -> list[int]:
    return [(n - 1) * d + 1 for n, d in zip(w.shape[2:], dilation, strict=True)]


def _padding(border_mode: Any, reach: Sequence[int]) -> list[int]:
    if isinstance(border_mode, str):
        return [{"valid": 0, "half": n // 2, "full": n - 1}[border_mode] for n in reach]
    return list(border_mode) if isinstance(border_mode, tuple | list) else [border_mode] * len(reach)


def _flipped(w: Tensor, filter_flip: bool) -> Tensor:
    return w.flip(*range(2, w.ndim)) if filter_flip else w


def _convolved(x: Tensor, w: Tensor, border_mode: Any, subsample: Any, filter_flip: bool, dilation: Any) -> Tensor:
    pad = _padding(border_mode, _reach(w, dilation))
    return correlated(x, _flipped(w, filter_flip), stride=tuple(subsample), padding=pad, dilation=tuple(dilation))


def correlated(x: Tensor, w: Tensor, bias: Tensor | None = None, **options: Any) -> Tensor:
    """``correlate``; images go channels last from there on where a CPU convolves and pools them faster so."""
    if x.dim() == 4 and x.is_contiguous() and is_plain(x, w, bias):
        filters = w.numel()
        if HEAVY * x.numel() >= filters and x.shape[0] * x.shape[2] * x.shape[3] * filters >= TINY:
            x = laid_last(x)
    return correlate(x, w, bias, **options)


@lazy
def conv1d(
    input: Any,
    filters: Any,
    image_shape: Any = None,
    filter_shape: Any = None,
    border_mode: Any = "valid",
    subsample: Any = (1,),
    filter_flip: bool = True,
) -> Any:
    """The convolution of rows N x C x L with filters out x C x l, turned around unless told not to. Lasagne's."""
    return _convolved(as_tensor(input), as_tensor(filters), border_mode, subsample, filter_flip, (1,))


@lazy
def conv2d(
    input: Any,
    filters: Any,
    input_shape: Any = None,
    filter_shape: Any = None,
    border_mode: Any = "valid",
    subsample: Any = (1, 1),
    filter_flip: bool = True,
    image_shape: Any = None,
    filter_dilation: Any = (1, 1),
    **ignored: Any,
) -> Any:
    """The convolution of images N x C x H x W with filters out x C x h x w, turned around unless told otherwise."""
    return _convolved(as_tensor(input), as_tensor(filters), border_mode, subsample, filter_flip, filter_dilation)


@lazy
def conv3d(
    input: Any,
    filters: Any,
    input_shape: Any = None,
    filter_shape: Any = None,
    border_mode: Any = "valid",
    subsample: Any = (1, 1, 1),
    filter_flip: bool = True,
    filter_dilation: Any = (1, 1, 1),
) -> Any:
    """The convolution of volumes N x C x D x H x W with filters out x C x d x h x w, turned unless told not to."""
    return _convolved(as_tensor(input), as_tensor(filters), border_mode, subsample, filter_flip, filter_dilation)


@lazy
def conv2d_grad_wrt_inputs(
    output_grad: Any,
    filters: Any,
    input_shape: Any,
    filter_shape: Any = None,
    border_mode: Any = "valid",
    subsample: Any = (1, 1),
    filter_flip: bool = True,
    filter_dilation: Any = (1, 1),
) -> Any:
    """The gradient of ``conv2d`` for an input of *input_shape*, whose last two sizes count; N x C x H x W."""
    top, w = as_tensor(output_grad), as_tensor(filters)
    reach = _reach(w, filter_dilation)
    pad = _padding(border_mode, reach)
    least = [(n - 1) * s + k - 2 * p for n, s, k, p in zip(top.shape[2:], subsample, reach, pad, strict=True)]
    wanted = [n if size is None else as_int(size) for n, size in zip(least, input_shape[-2:], strict=True)]
    rest = [a - b for a, b in zip(wanted, least, strict=True)]
    return F.conv_transpose2d(top, _flipped(w, filter_flip), stride=tuple(subsample), padding=pad, output_padding=rest,
                              dilation=tuple(filter_dilation))  # fmt: skip


def conv2d_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    filter_shape: Any = None,
    border_mode: Any = "valid",
    input_dilation: Any = (1, 1),
    filter_flip: bool = True,
    filter_dilation: Any = (1, 1),
) -> Any:
    """``conv2d_grad_wrt_inputs`` under the names of a layer; filters: in x out x h x w."""
    return conv2d_grad_wrt_inputs(
        input, filters, output_shape, filter_shape, border_mode, input_dilation, filter_flip, filter_dilation
    )


class AbstractConv2d:
    """``conv2d`` with its settings; calling it takes the images and the filters."""

    def __init__(
        self,
        imshp: Any = None,
        kshp: Any = None,
        border_mode: Any = "valid",
        subsample: Any = (1, 1),
        filter_flip: bool = True,
        filter_dilation: Any = (1, 1),
    ) -> None:
        self.settings = {"border_mode": border_mode, "subsample": subsample, "filter_flip": filter_flip,
                         "filter_dilation": filter_dilation}  # fmt: skip

    def __call__(self, img: Any, kern: Any) -> Any:
        return conv2d(img, kern, **self.settings)


class AbstractConv2d_gradInputs(AbstractConv2d):  # Theano's name
    """``conv2d_grad_wrt_inputs`` with its settings; calling it takes the filters, the gradient and two sizes."""

    def __call__(self, kern: Any, topgrad: Any, shape: Any) -> Any:  # type: ignore[override]  # as in Theano
        return conv2d_grad_wrt_inputs(topgrad, kern, shape, **self.settings)


__all__ = [
    "AbstractConv2d", "AbstractConv2d_gradInputs", "conv2d", "conv2d_grad_wrt_inputs", "conv2d_transpose", "conv3d",
]  # fmt: skip
