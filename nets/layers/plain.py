"""Whether an operator runs on the CPU as it is called, so that another one may take its place."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def is_followed() -> bool:
    """Whether PyTorch compiles, exports, traces or transforms (torch.func) what is done: by its own operators then."""
    return torch.compiler.is_compiling() or _is_traced() or torch._C._are_functorch_transforms_active()


def _is_traced() -> bool:
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]


def is_plain(*values: Tensor | None) -> bool:
    """Whether *values*, of any shapes, are in float32 on a CPU, and nothing casts, compiles or traces what is done."""
    if is_followed():
        return False
    for value in values:
        if value is not None and (value.dtype != torch.float32 or value.device.type != "cpu"):
            return False
    return not torch.is_autocast_enabled("cpu")


def applied(function: type[torch.autograd.Function], *given: Any) -> Any:
    """``function.apply(*given)``. In a trace, whose gradients are PyTorch's own, what its forward pass consists of."""
    if _is_traced():
        return function.forward(_Forgetful(), *given)
    return function.apply(*given)  # type: ignore[no-untyped-call]  # torch's


def once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """*backward* of a Function, whose gradients refuse to be differentiated again, by a RuntimeError.

    What PyTorch has for this takes them for constants, without a word, where the gradient that comes in is one. All
    that they depend on has to be among the Function's saved tensors, or in ``ctx.tensors``.
    """

    @functools.wraps(backward)
    def ended(ctx: Any, *upstream: Any) -> Any:
        with torch.no_grad():
            found = backward(ctx, *upstream)
        if not torch.is_grad_enabled():
            return found
        held = [
            one
            for one in (*ctx.saved_tensors, *getattr(ctx, "tensors", ()), *upstream)
            if one is not None and one.requires_grad
        ]
        gradients = found if isinstance(found, tuple) else (found,)
        return tuple(one if one is None else _End.apply(one, *held) for one in gradients)  # type: ignore[no-untyped-call]

    return ended


class _End(torch.autograd.Function):
    """A gradient that is none of PyTorch's operators'."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *held: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        raise RuntimeError("the gradient of one of the net's layers cannot be differentiated again")


class _Forgetful:
    """The context of a forward pass without a backward one."""

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep nothing."""
