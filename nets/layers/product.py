"""Products of matrices in float32 on a CPU. MKL, PyTorch's library for them, has only its slowest code for AMD's."""

import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.layers.plain import is_plain

# Below this many multiplications, or rows or columns of a matrix, oneDNN takes longer to set up than it saves.
ENOUGH, THIN = 2_500_000, 4
# ... and beside the many small steps of a sequence, where its code and what it packs have left the caches.
ENOUGH_BESIDE_STEPS = 40_000_000
CPUINFO = Path("/proc/cpuinfo")


def _is_amd() -> bool:
    """Whether the processor is AMD's, as Linux or Windows says; elsewhere there is none with MKL."""
    with suppress(OSError), CPUINFO.open(errors="replace") as file:
        return "AuthenticAMD" in file.read(1000)  # of the first core; it takes long to tell of hundreds
    return "AuthenticAMD" in platform.processor()


# oneDNN multiplies twice as fast there; this is PyTorch's only way to it for plain tensors.
WITH_ONEDNN = (
    torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and _is_amd()
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b, as torch's function of this name. x: any axes, the last K; weight: M x K; bias: M."""
    if not _is_faster(x, weight, bias):
        return F.linear(x, weight, bias)
    y: Tensor = _Product.apply(x.flatten(0, -2), weight, bias)  # type: ignore[no-untyped-call]
    return y if x.dim() == 2 else y.reshape(*x.shape[:-1], -1)


def linear_beside_steps(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same, in front of or behind the small steps of a sequence."""
    return (linear if x.numel() * weight.shape[0] >= ENOUGH_BESIDE_STEPS else F.linear)(x, weight, bias)


def matmul(a: Tensor, b: Tensor, enough: int = ENOUGH) -> Tensor:
    """a b for matrices, by what has gradients of its own: this has none. *enough*: multiplications for oneDNN."""
    return _multiplied(a, b.t()) if _is_faster(a, b.t(), enough=enough) else a @ b


def add_matmul_(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """*total* + a b, in place; as ``matmul``."""
    return total.add_(_multiplied(a, b.t())) if _is_faster(a, b.t()) else total.addmm_(a, b)


def _is_faster(x: Tensor, weight: Tensor, bias: Tensor | None = None, enough: int = ENOUGH) -> bool:
    """Whether oneDNN takes x W^T + b, and in less time."""
    if not (WITH_ONEDNN and is_plain(x, weight, bias) and torch.backends.mkldnn.enabled):
        return False
    columns = x.shape[-1]
    rows, units = x.numel() // max(columns, 1), weight.shape[0]
    return min(rows, columns, units) >= THIN and rows * columns * units >= enough


def _dense(x: Tensor) -> Tensor:
    """*x*, copied if its rows or columns do not follow each other in memory."""
    return x if x.is_contiguous() or x.t().is_contiguous() else x.contiguous()


def _multiplied(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(_dense(x), _dense(weight), bias, "none", [], "")
    return y


class _Product(torch.autograd.Function):
    """x W^T + b for x of two axes, through oneDNN; its gradients are such products themselves."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _multiplied(x, weight, None if bias is None else bias.contiguous())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            linear(upstream, weight.t()) if of_x else None,
            linear(upstream.t(), x.t()) if of_weight else None,
            upstream.sum(0) if of_bias else None,
        )

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor | None, weight_t: Tensor | None, bias_t: Tensor | None) -> Tensor | None:
        x, weight = ctx.saved_tensors
        parts = [F.linear(a, b) for a, b in ((x_t, weight), (x, weight_t)) if a is not None and b is not None]
        return sum(parts, start=0 if bias_t is None else bias_t)  # type: ignore[return-value]  # there is a part or a bias

    @staticmethod
    def vmap(_: Any, axes: tuple[int | None, ...], *values: Tensor | None) -> tuple[Tensor, int]:
        y: Tensor = torch.func.vmap(F.linear, axes)(*values)  # type: ignore[arg-type]  # a bias may be None
        return y, 0
