"""``theano.tensor.nnet``."""

from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.lasagne.theano.tensor import convolutions
from converters.lasagne.theano.tensor.calls import floating, lazy
from converters.lasagne.theano.tensor.convolutions import conv2d, conv2d_transpose, conv3d  # noqa: F401  # Theano's place
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


def softmax_with_bias(x: Any, b: Any) -> Any:
    """The softmax of the rows of x + b."""
    return softmax(x + b)


@lazy
def logsoftmax(c: Any) -> Any:
    """The logarithm of softmax."""
    t = floating(c)
    return torch.log_softmax(t if t.ndim == 2 else t[None], 1)


@lazy
def relu(x: Any, alpha: Any = 0) -> Any:
    """x where positive, alpha * x elsewhere; at 0 the slope is the mean of both."""
    t = floating(x)
    if isinstance(alpha, int | float):
        return _rectified(t, alpha)
    return 0.5 * (1 + alpha) * t + 0.5 * (1 - alpha) * torch.abs(t)


class Rectified(torch.autograd.Function):
    """x where positive, *leak* x elsewhere; its slope at 0 is the mean of both."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, leak: float) -> Tensor:
        """The larger of 0 and x, or with a leak the sum of its parts."""
        y = torch.relu(x) if leak == 0 else F.leaky_relu(x, leak)
        ctx.leak = leak
        ctx.save_for_backward(x)
        return y

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """The gradient where x is positive, its leak where x is negative, the mean of both where x is 0."""
        (x,), leak = ctx.saved_tensors, ctx.leak
        x = x.detach()
        if leak == 0:
            passed = torch.ops.aten.threshold_backward(upstream[0], x, 0)
        else:
            passed = torch.ops.aten.leaky_relu_backward(upstream[0], x, leak, False)
        if x.device.type == "cpu" and int(torch.count_nonzero(x)) == x.numel():
            return passed, None
        return passed + 0.5 * (1 - leak) * upstream[0] * (x == 0), None


def _rectified(x: Tensor, leak: float) -> Any:
    return Rectified.apply(x, leak)  # type: ignore[no-untyped-call]  # torch leaves it without types


@lazy
def elu(x: Any, alpha: float = 1) -> Any:
    """x where positive, alpha * (exp(x) - 1) elsewhere."""
    t = floating(x)
    if isinstance(alpha, int | float):
        return F.elu(t, alpha)
    return torch.where(t > 0, t, alpha * torch.expm1(t.clamp(max=0)))


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
    p = floating(output)
    t = as_tensor(target)
    t = t.to(p.dtype) if t.dtype == torch.bool else t
    return -(t * torch.log(p) + (1 - t) * torch.log1p(-p))


@lazy
def categorical_crossentropy(coding_dist: Any, true_dist: Any) -> Any:
    """-log of the probability of the true class, or with rows of probabilities -sum(truth * log coding)."""
    p, t = floating(coding_dist), as_tensor(true_dist)
    if t.ndim == p.ndim:
        return -(t * torch.log(p)).sum(-1)
    return -torch.log(p[torch.arange(len(t), device=p.device), t.long()])


@lazy
def softsign(x: Any) -> Any:
    """x / (1 + |x|)."""
    t = floating(x)
    return t / (1 + t.abs())


@lazy
def sigmoid_binary_crossentropy(output: Any, target: Any) -> Any:
    """``binary_crossentropy`` of sigmoid(output), without overflow."""
    x, t = floating(output), as_tensor(target)
    return torch.clamp(x, min=0) - x * t + torch.log1p(torch.exp(-x.abs()))


crossentropy_categorical_1hot = categorical_crossentropy


@lazy
def batch_normalization(
    inputs: Any, gamma: Any, beta: Any, mean: Any, std: Any, mode: str = "low_mem"
) -> Any:  # fmt: skip
    """(x - mean) / std * gamma + beta."""
    x, g, b, m, s = (floating(value) for value in (inputs, gamma, beta, mean, std))
    return (x - m) * (g / s) + b


@lazy
def batch_normalization_test(
    inputs: Any, gamma: Any, beta: Any, mean: Any, var: Any, axes: Any = "per-activation", epsilon: float = 1e-4
) -> Any:  # fmt: skip
    """(x - mean) / sqrt(var + epsilon) * gamma + beta; the figures differ along the axes that *axes* leaves out."""
    x = floating(inputs)
    over = (
        {"per-activation": (0,), "spatial": (0, *range(2, x.ndim))}.get(axes, axes) if isinstance(axes, str) else axes
    )
    shape = [1 if axis in over else size for axis, size in enumerate(x.shape)]
    g, b, m, v = (floating(value).reshape(shape) for value in (gamma, beta, mean, var))
    return (x - m) * g / torch.sqrt(v + epsilon) + b


@lazy
def bilinear_upsampling(
    input: Any, ratio: Any = None, frac_ratio: Any = None, batch_size: Any = None, num_input_channels: Any = None,
    use_1D_kernel: bool = True,  # Theano's name
) -> Any:  # fmt: skip
    """Images larger by the whole number *ratio*, by a triangle around each value; beyond the border values repeat."""
    x = floating(input)
    rows, columns = ratio if isinstance(ratio, tuple | list) else (ratio, ratio)
    return _stretched(_stretched(x, 2, rows), 3, columns)


def _stretched(x: Tensor, axis: int, ratio: int) -> Tensor:
    """Along one axis: a triangle of 2 * ratio - 1 values, or of 2 * ratio where ratio is even."""
    size = x.shape[axis]
    span = 2 * ratio - 1
    ramp = torch.arange(1, ratio + 1, dtype=x.dtype, device=x.device) / ratio
    kernel = torch.cat([ramp, ramp[:-1].flip(0)])
    ends = [x.narrow(axis, 0, 1), x, x.narrow(axis, size - 1, 1)]
    rows = torch.cat(ends, axis).movedim(axis, -1)
    flat = rows.reshape(-1, 1, size + 2)
    wide = F.conv_transpose1d(flat, kernel.reshape(1, 1, span), stride=ratio)
    first = ratio + ratio - 1 - (ratio - 1) // 2
    cut = wide[..., first : first + size * ratio]
    return cut.reshape(*rows.shape[:-1], size * ratio).movedim(-1, axis)


@lazy
def images2neibs(ten4: Any, neib_shape: Any, neib_step: Any = None, mode: str = "valid") -> Any:
    """The patches of images, a row each: N x C x patches, flat."""
    if mode != "valid":
        raise NotImplementedError(f"images2neibs: mode {mode!r} is not supported here: pad the images and use 'valid'")
    x, (rows, columns) = as_tensor(ten4), tuple(neib_shape)
    step = tuple(neib_step) if neib_step is not None else (rows, columns)
    parts = x.unfold(2, rows, step[0]).unfold(3, columns, step[1])
    return parts.reshape(-1, rows * columns)


abstract_conv = SimpleNamespace(
    bilinear_upsampling=bilinear_upsampling, **{name: getattr(convolutions, name) for name in convolutions.__all__}
)
bn = SimpleNamespace(batch_normalization=batch_normalization, batch_normalization_test=batch_normalization_test)
neighbours = SimpleNamespace(images2neibs=images2neibs)
conv = SimpleNamespace(conv2d=conv2d)
sigm = SimpleNamespace(sigmoid=sigmoid, hard_sigmoid=hard_sigmoid, ultra_fast_sigmoid=ultra_fast_sigmoid)
