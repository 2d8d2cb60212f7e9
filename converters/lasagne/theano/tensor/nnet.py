"""``theano.tensor.nnet``."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.lasagne.theano.tensor.ops import floating, lazy
from converters.lasagne.theano.variable import as_tensor


@lazy
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(floating(x))


@lazy
def softmax(x: Any) -> Any:
    """Softmax of each row of a matrix; a vector counts as one row."""
    t = floating(x)
    if t.ndim > 2:
        raise ValueError(f"softmax takes a matrix, not {t.ndim} axes: flatten it first")
    return torch.softmax(t if t.ndim == 2 else t[None], 1)


@lazy
def logsoftmax(x: Any) -> Any:
    """The logarithm of softmax."""
    return torch.log_softmax(floating(x), 1)


@lazy
def relu(x: Any, alpha: Any = 0) -> Any:
    """x where positive, alpha * x elsewhere; at 0 the slope is the mean of both."""
    t = floating(x)
    if isinstance(alpha, int | float) and alpha == 0:
        return _rectified(t)
    return 0.5 * (1 + alpha) * t + 0.5 * (1 - alpha) * torch.abs(t)


class Rectified(torch.autograd.Function):
    """max(0, x), whose slope at 0 is 0.5."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The larger of 0 and x."""
        y = torch.relu(x)
        ctx.save_for_backward(x)
        return y

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradient where x is positive, half of it where x is 0."""
        (x,) = ctx.saved_tensors
        passed = torch.ops.aten.threshold_backward(upstream[0], x.detach(), 0)
        if int(torch.count_nonzero(x)) == x.numel():
            return passed
        return passed + 0.5 * upstream[0] * (x.detach() == 0)


def _rectified(x: Tensor) -> Any:
    return Rectified.apply(x)  # type: ignore[no-untyped-call]  # torch leaves it without types


@lazy
def elu(x: Any, alpha: float = 1) -> Any:
    """x where positive, alpha * (exp(x) - 1) elsewhere."""
    t = floating(x)
    zero = torch.zeros((), dtype=t.dtype, device=t.device)
    return torch.where(t > 0, t, alpha * torch.expm1(torch.where(t > 0, zero, t)))


@lazy
def selu(x: Any) -> Any:
    """1.0507 * elu(x, 1.6733), the self-normalising choice."""
    return 1.0507009873554804934193349852946 * elu(x, 1.6732632423543772848170429916717)


@lazy
def softplus(x: Any) -> Any:
    """log(1 + exp(x))."""
    t = floating(x)
    return torch.logaddexp(t, torch.zeros_like(t))


@lazy
def hard_sigmoid(x: Any) -> Any:
    """0.2 x + 0.5, between 0 and 1."""
    return torch.clamp(0.2 * floating(x) + 0.5, 0, 1)


@lazy
def ultra_fast_sigmoid(x: Any) -> Any:
    """Theano's approximation of the sigmoid by pieces."""
    half = 0.5 * floating(x)
    size = half.abs()
    line = 0.935409070603099 + 0.0458812946797165 * (size - 1.7)
    flat = torch.full_like(size, 0.99505475368673)
    value = torch.where(size < 1.7, 1.5 * size / (1 + size), torch.where(size < 3, line, flat))
    return 0.5 * (torch.where(half < 0, -value, value) + 1)


@lazy
def binary_crossentropy(output: Any, target: Any) -> Any:
    """-(target log output + (1 - target) log(1 - output))."""
    p, t = floating(output), as_tensor(target)
    return -(t * torch.log(p) + (1 - t) * torch.log1p(-p))


@lazy
def categorical_crossentropy(coding: Any, truth: Any) -> Any:
    """-log of the probability of the true class, or with rows of probabilities -sum(truth * log coding)."""
    p, t = floating(coding), as_tensor(truth)
    if t.ndim == p.ndim:
        return -(t * torch.log(p)).sum(-1)
    return -torch.log(p[torch.arange(len(t), device=p.device), t.long()])


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
    w = as_tensor(filters)
    reach = [(n - 1) * d + 1 for n, d in zip(w.shape[2:], filter_dilation, strict=True)]
    names = {"valid": [0, 0], "half": [n // 2 for n in reach], "full": [n - 1 for n in reach]}
    pad = names[border_mode] if isinstance(border_mode, str) else [border_mode] * 2
    pad = list(border_mode) if isinstance(border_mode, tuple | list) else pad
    turned: Tensor = w.flip(2, 3) if filter_flip else w
    return F.conv2d(as_tensor(input), turned, stride=tuple(subsample), padding=pad, dilation=tuple(filter_dilation))
