"""The gradient of a layer whose blob was overwritten in place before the backward pass.

The original keeps one copy of a blob. ReLU in place, then BatchNorm in place: when ReLU's backward pass looks for the
sign of its bottom, it finds the output of BatchNorm. BNLL in place finds its own output where its bottom was. The
gradient is not that of the function, but it is the one by which such nets were trained, and the one that their owners
compare with.
"""

from typing import Any

import torch
from torch import Tensor

from nets.layer import Layer
from nets.layers.plain import applied, once


class Reread:
    """One pass of *layer*, whose top other layers overwrite; ``final`` is what they leave in *blob*.

    That is the top, or what shares its memory. *in_place*: its bottom is the top too.
    """

    def __init__(self, layer: Layer, blob: str, in_place: bool) -> None:
        self.layer = layer
        self.blob = blob
        self.in_place = in_place
        self.final: Tensor | None = None

    def gradient(self, x: Tensor, y: Tensor, upstream: Tensor) -> Tensor:
        """The gradient to the bottom *x*."""
        final = y if self.final is None else self.final.reshape(y.shape)
        return self.layer.gradient(x, final if self.in_place else x, final, upstream)


def joined(x: Tensor, y: Tensor, reread: Reread) -> Tensor:
    """The top *y* with the gradient to *x* that the original gives."""
    top: Tensor = applied(_Reread, x, y.detach(), reread)
    return top


class _Reread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, reread: Reread) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.reread = reread
        return y.view_as(y)

    @staticmethod
    @once
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        return ctx.reread.gradient(*ctx.saved_tensors, upstream), None, None
