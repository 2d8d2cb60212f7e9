"""The softmax loss of many positions at once, by one operator."""

from typing import Any

import torch
from torch import Tensor

MANY = 1024  # labels; with fewer, PyTorch's own operators take no longer
LEAST = torch.finfo(torch.float32).tiny  # the original takes the logarithm of no smaller probability


class Likelihood(torch.autograd.Function):
    """``apply(x, index, ignore, divisor)``: the sum of -log softmax(x)[label] over all positions, by *divisor*.

    *x*: outer x C x any, of float32; *index*: outer x any, whole numbers; *ignore*: the label that does not count, None
    for none; *divisor*: a number or a scalar. PyTorch's two operators and their gradients pass over memory twice as
    often. Raises RuntimeError where a label is no class.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, ignore: int | None, divisor: float | Tensor) -> Tensor:
        kept = None if ignore is None else (index != ignore).unsqueeze(1)
        places = index.unsqueeze(1) if kept is None else index.unsqueeze(1).where(kept, 0)
        prob = torch.softmax(x, 1)
        picked = prob.gather(1, places)
        if ctx.needs_input_grad[0]:
            gradient = prob.scatter_(1, places, picked - 1)
            ctx.save_for_backward(gradient if kept is None else gradient.masked_fill_(~kept, 0))
            ctx.divisor = divisor
        logs = picked.clamp_(min=LEAST).log_()
        return (logs if kept is None else logs.where(kept, 0)).sum() / -divisor

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * (upstream / ctx.divisor), None, None, None
