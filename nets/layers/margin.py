"""MarginInnerProduct, which SphereFace trains with."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from nets.fillers import ZERO, Filler
from nets.layer import LAYERS, Layer, Shape
from nets.layers.distances import check_classes
from nets.layers.loss import check_items, check_labels
from nets.layers.plain import applied, once
from protos.schema import LayerParameter, MarginInnerProductParameter

TIMES = {"SINGLE": 1, "DOUBLE": 2, "TRIPLE": 3, "QUADRUPLE": 4}  # a type's m


@LAYERS("MarginInnerProduct")
class MarginInnerProduct(Layer):
    """y = x W^T with rows of length 1, but abs(x) psi(t) for the label, t the angle from its row to x.

    bottoms: x (N x any), labels (N, whole numbers below num_output); tops: N x num_output, and lambda (1). psi(t) is
    (-1)^k cos(m t) - 2k from k pi/m to (k + 1) pi/m, with m 1 to 4 for type SINGLE, DOUBLE, TRIPLE and QUADRUPLE. For m
    above 1 the label has (lambda x w + abs(x) psi(t)) / (1 + lambda), and lambda in pass i is the greater of
    base (1 + gamma i)^-power and lambda_min. i counts the passes of this very net, from `iteration` + 1; a solver state
    of ours keeps it, with one of the original's set `iteration`. Each pass, also in testing, writes the rows of length
    1 to the blob.
    As in the original neither gradient is the slope: the weight's is dy x^T; in the label's share of x's, a w + b x
    for abs(x) psi(t), (a, b) is made a pair of length 1.
    Options: num_output, type (SINGLE), weight_filler (constant 0, which has no direction: set it), axis (must be 1),
    base (1), gamma (0), power (1), iteration (0), lambda_min (0). Blobs: weight (num_output x values of an item).
    Source: SphereFace's layer of this name.
    """

    message = "margin_inner_product_param"
    options = frozenset({
        "num_output", "type", "weight_filler", "axis", "base", "gamma", "power", "iteration", "lambda_min",
    })  # fmt: skip
    bottoms = (2, 2)
    tops = (1, 2)
    labels = (1,)
    fp32 = True
    blob_names = ("weight",)
    weight: Tensor

    def __init__(
        self,
        inputs: int,
        num_output: int,
        times: int = 1,
        base: float = 1,
        gamma: float = 0,
        power: float = 1,
        least: float = 0,
        done: int = 0,
        filler: Filler = ZERO,
        says: bool = False,
    ) -> None:
        """*times*: m; *least*: lambda_min; *done*: the passes before the first; *says*: whether lambda is a top."""
        super().__init__()
        self.times = times
        self.base = base
        self.gamma = gamma
        self.power = power
        self.least = least
        self.done = done
        self.says = says
        self.add_blob("weight", (num_output, inputs), filler)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, (x, label) = proto.margin_inner_product_param, bottoms
        check_classes(p, x, label)
        times = TIMES[MarginInnerProductParameter.MarginType.Name(p.type)]
        return cls(torch.Size(x[1:]).numel(), p.num_output, times, p.base, p.gamma, p.power, p.lambda_min, p.iteration,
                   Filler.from_proto(p.weight_filler), len(proto.top) == 2)  # fmt: skip

    def forward(self, x: Tensor, label: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x, index = x.flatten(1), label.reshape(-1).long()
        check_items(x.shape, index.shape)
        passes = (self.carried[0].to(x) if self.carried else x.new_full((), self.done)) + 1
        if not x.is_meta:
            self.carried = (passes,)
        share = (self.base * (1 + self.gamma * passes) ** -self.power).clamp(min=self.least)
        with torch.no_grad():
            self.weight.copy_(self.weight / self.weight.norm(dim=1, keepdim=True))
        try:
            y: Tensor = applied(_Margin, x, self.weight, index, share, self.times)
        except (IndexError, RuntimeError):
            check_labels(index, len(self.weight), None)
            raise
        return (y, share.reshape(1)) if self.says else y


class _Margin(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, index: Tensor, share: Tensor, times: int) -> Tensor:
        y = x @ weight.t()
        at = index[:, None]
        own, size = y.gather(1, at), x.norm(dim=1, keepdim=True)
        cos = own / size
        factor, a, b = _psi(cos, times)
        ctx.save_for_backward(x, weight, at, share, a, -b / size)
        ctx.times = times
        return y if times == 1 else y.scatter(1, at, (share * own + size * factor) / (1 + share))

    @staticmethod
    @once
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        x, weight, at, share, a, b = ctx.saved_tensors
        moved = upstream.t() @ x
        if ctx.times == 1:
            return upstream @ weight, moved, None, None, None
        own, length = upstream.gather(1, at), torch.hypot(a, b)
        rest = upstream.scatter(1, at, own * (share + a / length) / (1 + share)) @ weight
        return rest + own / (1 + share) * (b / length) * x, moved, None, None, None


def _psi(cos: Tensor, times: int) -> tuple[Tensor, Tensor, Tensor]:
    """psi of the angles with these cosines; a, and b without its -1 / abs(x), of the gradient a w + b x."""
    sign = cos.sign()
    if times == 1:
        return cos, torch.ones_like(cos), torch.zeros_like(cos)
    if times == 2:
        return 2 * sign * cos**2 - 1, 4 * sign * cos, 2 * sign * cos**2 + 1
    if times == 3:
        outer = (cos.abs() - 0.5).sign()
        less = sign * (1 + outer) - 2
        return outer * (4 * cos**3 - 3 * cos) + less, outer * (12 * cos**2 - 3), 8 * outer * cos**3 - less
    outer = sign * (2 * cos**2 - 1).sign()
    less = 2 * sign + outer - 3
    return (
        outer * (8 * cos**4 - 8 * cos**2 + 1) + less,
        outer * (32 * cos**3 - 16 * cos),
        outer * (24 * cos**4 - 8 * cos**2 - 1) - less,
    )
