"""The softmax loss of many positions at once, by one operator."""

from typing import Any

import torch
from torch import Tensor

MANY = 1024  # labels; with fewer, or with few classes, PyTorch's own operators are as quick
LEAST = torch.finfo(torch.float32).tiny  # the original takes the logarithm of no smaller probability


class Likelihood(torch.autograd.Function):
    """``apply(x, index, divisor)``: the sum of -log softmax(x)[label] over all positions by *divisor*; and softmax(x).

    *x*: outer x C x any, of float32; *index*: outer x any, whole numbers. PyTorch's two operators and their gradients
    pass over memory more often. Raises RuntimeError where a label is no class.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, divisor: float) -> tuple[Tensor, Tensor]:
        prob, places = torch.softmax(x, 1), index.unsqueeze(1)
        loss = prob.gather(1, places).clamp_(min=LEAST).log_().sum() / -divisor
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(prob, places)  # prob as what it gives: a gradient of the gradient comes by it
        ctx.divisor = divisor
        return loss, prob

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, None, None]:
        (prob, places), (of_loss, of_prob) = ctx.saved_tensors, upstream
        gradient = None
        if of_loss is not None:
            share = of_loss / ctx.divisor
            gradient = (prob * share).scatter_add_(1, places, (-share).expand(places.shape))
        if of_prob is not None:
            carried = prob * (of_prob - (of_prob * prob).sum(1, keepdim=True))
            gradient = carried if gradient is None else gradient + carried
        return gradient, None, None
