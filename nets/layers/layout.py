"""How a blob of four axes lies in memory."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.layers.plain import is_followed, is_plain

EXACT = 32  # up to here float32 divides places by a factor and finds each in its place
ABREAST = 16  # as many values go through PyTorch's softmax at once; fewer classes than that it takes singly


def is_last(x: Tensor) -> bool:
    """Whether *x* lies channels last, and not in the usual layout too as one channel or one pixel does."""
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def laid_last(x: Tensor) -> Tensor:
    """*x*, N x C x H x W, copied so that it lies channels last, with strides that say so of a single channel too."""
    rows = x.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)  # contiguous() would leave that one's
    return rows.permute(0, 3, 1, 2)


def led_back(x: Tensor) -> Tensor:
    """*x*, of any shape, whose gradient lies as *x* does before it goes further back, where that is channels last.

    For what gives its gradient in the usual layout whatever it takes: on a CPU PyTorch's backward passes of ReLU and
    pooling take four to eight times as long where the two differ, many times what the copy takes.
    """
    if x.dim() != 4 or x.is_contiguous() or not x.requires_grad:  # what most blobs are takes the shortest way
        return x
    if x.device.type != "cpu" or is_followed() or not is_last(x) or not torch.is_grad_enabled():
        return x
    y = x.view_as(x)  # a hook on *x* itself would stay with it
    y.register_hook(_last)  # type: ignore[no-untyped-call]  # torch's
    return y


def _last(gradient: Tensor | None) -> Tensor | None:
    if gradient is None or gradient.stride(1) == 1:  # some channels of a blob that lies so do too
        return None
    return gradient.contiguous(memory_format=torch.channels_last)


def pixels(x: Tensor) -> Tensor | None:
    """The channels of each pixel as a row (NHW x C) of *x*, N x C x H x W, where they lie together on a CPU.

    None where they do not, or are so few that what goes along them is quicker in the usual layout.
    """
    if x.dim() != 4 or x.stride(1) != 1 or x.shape[1] < ABREAST or x.is_contiguous() or not is_plain(x):
        return None
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def softmax(x: Tensor, axis: int) -> Tensor:
    """torch.softmax along *axis*, which leaves channels last where they are."""
    rows = pixels(x) if axis == 1 else None
    if rows is None:
        return torch.softmax(led_back(x), axis)
    batch, channels, height, width = x.shape
    return torch.softmax(rows, 1).view(batch, height, width, channels).permute(0, 3, 1, 2)


def repeated(x: Tensor, factors: Sequence[int]) -> Tensor:
    """*x*, N x C x spatial, each value as many times along each spatial axis as *factors* say."""
    if is_plain(x) and is_last(x) and max(factors) <= EXACT:  # in a tenth of the time
        return F.interpolate(x, scale_factor=[float(factor) for factor in factors])
    for axis, factor in enumerate(factors, 2):
        x = x.repeat_interleave(factor, axis)
    return x


def settled(x: Tensor) -> Tensor:
    """*x*, copied where its axes of 1 have strides that are neither of channels last nor of the usual layout.

    A reshaped view may be so. Of such a bottom PyTorch's batch norm makes wrong gradients on a CPU, as it takes it for
    channels last in one place and not in another.
    """
    if x.dim() != 4 or 1 not in x.shape or x.is_contiguous():
        return x
    _, channels, height, width = x.shape
    usual = (height * width * channels, 1, width * channels, channels)
    return x if x.stride() == usual else x.contiguous()
