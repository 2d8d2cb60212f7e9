"""Update rules of Lasagne that Caffe does not have, as solver types of this project.

Each is an ``Update`` as Caffe's six are (``nets.updates``, which explains the names), with the same decay, clipping and
rates. ``momentum`` and ``momentum2`` are Lasagne's beta1 and beta2, ``delta`` is its epsilon, ``rms_decay`` its rho:

===========  ==============================================================================================
RootAdaGrad  h += g^2;   w -= r g / sqrt(h + delta)
RootRMSProp  h = rms_decay h + (1 - rms_decay) g^2;   w -= r g / sqrt(h + delta)
AdaMax       h = momentum h + (1 - momentum) g;   h2 = max(momentum2 h2, |g|)
             w -= r / (1 - momentum^t) h / (h2 + delta)
AMSGrad      h, h2 as in Adam;   h3 = max(h3, h2)
             w -= r sqrt(1 - momentum2^t) / (1 - momentum^t) h / (sqrt(h3) + delta)
===========  ==============================================================================================

The first two differ from Caffe's AdaGrad and RMSProp in that delta is inside of the root. All other rules of Lasagne
are Caffe's: momentum is SGD, adadelta is AdaDelta with rho as its momentum.
"""

from typing import Any

import torch
from torch import Tensor

from nets.updates import UPDATES, AdaGrad, Adam, Block, Rate, RMSProp, descend

__all__ = ["UPDATES", "AMSGrad", "AdaMax", "RootAdaGrad", "RootRMSProp"]


class _Root:
    """delta is inside of the root."""

    def _divide(self, grads: list[Tensor], history: list[Tensor], delta: float) -> None:
        roots = torch._foreach_add(history, delta)
        torch._foreach_sqrt_(roots)
        torch._foreach_div_(grads, roots)


@UPDATES("RootAdaGrad")
class RootAdaGrad(_Root, AdaGrad):
    """AdaGrad with delta inside of the root; options: ``delta``."""


@UPDATES("RootRMSProp")
class RootRMSProp(_Root, RMSProp):
    """RMSProp with delta inside of the root; options: ``rms_decay``, ``delta``."""


@UPDATES("AdaMax")
class AdaMax(Adam):
    """Adam by the greatest gradient so far; options: ``momentum``, ``momentum2``, ``delta``."""

    def _factor(self, group: dict[str, Any], t: Any) -> Any:
        return 1 / (1 - group["momentum"] ** t)

    def _apply(self, block: Block, grads: list[Tensor], rate: Rate) -> None:
        self._decay(block, grads)
        means, greatest = block.histories
        torch._foreach_lerp_(means, grads, 1 - block.group["momentum"])
        torch._foreach_mul_(greatest, block.group["momentum2"])
        torch._foreach_maximum_(greatest, torch._foreach_abs(grads))
        steps = torch._foreach_div(means, torch._foreach_add(greatest, block.group["delta"]))
        descend(block.params, list(steps), rate)


@UPDATES("AMSGrad")
class AMSGrad(Adam):
    """Adam by the greatest mean square so far; options: ``momentum``, ``momentum2``, ``delta``."""

    histories = 3

    def _apply(self, block: Block, grads: list[Tensor], rate: Rate) -> None:
        self._decay(block, grads)
        means, squares, greatest = block.histories
        torch._foreach_lerp_(means, grads, 1 - block.group["momentum"])
        torch._foreach_mul_(squares, block.group["momentum2"])
        torch._foreach_addcmul_(squares, grads, grads, value=1 - block.group["momentum2"])
        torch._foreach_maximum_(greatest, squares)
        roots = torch._foreach_sqrt(greatest)
        torch._foreach_add_(roots, block.group["delta"])
        descend(block.params, list(torch._foreach_div(means, roots)), rate)
