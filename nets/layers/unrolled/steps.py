"""The same steps one by one, of operators that PyTorch differentiates and compiles."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nets.layers.clipping import Clipped
from nets.layers.plain import applied


def each_step(
    inputs: Tensor,
    mask: Tensor | None,
    keep: Tensor | None,
    states: tuple[Tensor, ...],
    step: Callable[..., tuple[Tensor, ...]],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The outputs of steps that PyTorch differentiates, and the last states."""
    made = []
    for t, now in enumerate(inputs.unbind()):
        after = step(now, *(state if keep is None else state * keep[t] for state in states))
        if mask is not None:
            after = tuple(torch.where(mask[t], new, old) for new, old in zip(after, states, strict=True))
        states = after
        made.append(states[0])
    return torch.stack(made), states


def bounded(x: Tensor, bound: float) -> Tensor:
    """*x*, with its gradient clipped."""
    clipped: Tensor = applied(Clipped, x, -bound, bound) if bound else x
    return clipped


def differentiable(
    ctx: Any, upstream: Tensor, tensors: int, steps: Callable[..., Tensor], options: int
) -> tuple[Tensor | None, ...]:
    """The gradients as what has gradients in its turn: by autograd, through the single *steps* of what was given."""
    given = ctx.saved_tensors[:tensors]
    asked = [x is not None and needs for x, needs in zip(given, ctx.needs_input_grad, strict=False)]
    wanted = [x for x, is_asked in zip(given, asked, strict=True) if is_asked]
    found = iter(torch.autograd.grad(steps(*given), wanted, upstream, create_graph=True))
    return (*(next(found) if is_asked else None for is_asked in asked), *[None] * options)
