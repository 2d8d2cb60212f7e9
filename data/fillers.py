"""The draws of Caffe's eight fillers: ``fill(shape, filler, generator) -> float32 tensor on the CPU``.

``nets`` fills weights with them and ``DummyData`` its tops. *count* is the number of values, *shape[0]* the
number of outputs; ``fan_in = count / shape[0]``, ``fan_out = count / shape[1]`` (count for one axis).
"""

from collections.abc import Callable, Sequence
from math import ceil, prod, sqrt

import torch
from torch import Tensor

from protos.errors import CaffeError
from protos.registry import Registry
from protos.schema import FillerParameter

Shape = tuple[int, ...]
Draw = Callable[[Shape, FillerParameter, torch.Generator | None], Tensor]

FILLERS: Registry[Draw] = Registry("filler")


def fill(shape: Sequence[int], filler: FillerParameter, generator: torch.Generator | None = None) -> Tensor:
    """Draw a float32 CPU tensor of *shape* after *filler*; *generator* None draws from torch's global one.

    Raises CaffeError for an unknown type, ``sparse`` on another type than gaussian, figures without a meaning, or a
    shape that the type cannot fill.
    """
    draw = FILLERS[filler.type]
    if filler.sparse != -1 and filler.type != "gaussian":
        raise CaffeError(f"filler {filler.type!r} cannot be sparse: only 'gaussian' takes `sparse`")
    return draw(tuple(shape), filler, generator)


@FILLERS("constant")
def constant(shape: Shape, filler: FillerParameter, generator: torch.Generator | None) -> Tensor:
    """Every value is ``value``."""
    return torch.full(shape, filler.value)


@FILLERS("uniform")
def uniform(shape: Shape, filler: FillerParameter, generator: torch.Generator | None) -> Tensor:
    """U(min, max)."""
    if not filler.min <= filler.max:
        raise CaffeError(f"uniform filler: min {filler.min:g} must not be above max {filler.max:g}")
    return torch.empty(shape).uniform_(filler.min, filler.max, generator=generator)


@FILLERS("gaussian")
def gaussian(shape: Shape, filler: FillerParameter, generator: torch.Generator | None) -> Tensor:
    """N(mean, std); with ``sparse`` k >= 0 each value stays with probability k / shape[0], else is zero."""
    if not filler.std >= 0:
        raise CaffeError(f"gaussian filler: std {filler.std:g} must not be below 0")
    values = torch.empty(shape).normal_(filler.mean, filler.std, generator=generator)
    if filler.sparse < -1:
        raise CaffeError(f"gaussian filler: sparse {filler.sparse} must be at least 0, or -1 for none")
    if filler.sparse == -1:
        return values
    if not shape or filler.sparse > shape[0]:
        raise CaffeError(f"gaussian filler: sparse {filler.sparse} is more than the outputs of {list(shape)}")
    return values * torch.empty(shape).bernoulli_(filler.sparse / shape[0], generator=generator)


@FILLERS("positive_unitball")
def positive_unitball(shape: Shape, filler: FillerParameter, generator: torch.Generator | None) -> Tensor:
    """U(0, 1), then each row along the first axis divided by its sum: rows are positive and sum to 1."""
    _fan_in(shape, filler)
    values = torch.rand(shape, generator=generator)
    return (values.view(shape[0], -1) / values.view(shape[0], -1).sum(1, keepdim=True)).view(shape)


@FILLERS("xavier")
def xavier(shape: Shape, filler: FillerParameter, generator: torch.Generator | None) -> Tensor:
    """U(-s, s), s = sqrt(3 / n); n is fan_in, fan_out or their average after ``variance_norm``."""
    bound = sqrt(3.0 / _fan(shape, filler))
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


@FILLERS("msra")
def msra(shape: Shape, filler: FillerParameter, generator: torch.Generator | None) -> Tensor:
    """N(0, sqrt(2 / n)); n as for xavier."""
    return torch.empty(shape).normal_(0.0, sqrt(2.0 / _fan(shape, filler)), generator=generator)


@FILLERS("bilinear")
def bilinear(shape: Shape, filler: FillerParameter, generator: torch.Generator | None) -> Tensor:
    """The kernel of a bilinear upsampling: (1 - |x/f - c|)(1 - |y/f - c|), f = ceil(k/2), c = (k-1)/2f."""
    if len(shape) != 4 or shape[2] != shape[3]:
        raise CaffeError(f"bilinear filler needs square kernels, N x C x k x k, not {list(shape)}")
    factor = ceil(shape[3] / 2)
    centre = (shape[3] - 1) / (2 * factor)
    ramp = 1 - (torch.arange(shape[3]) / factor - centre).abs()
    return (ramp[:, None] * ramp[None, :]).expand(shape).contiguous()


def _fan_in(shape: Shape, filler: FillerParameter) -> float:
    if not shape:
        raise CaffeError(f"filler {filler.type!r} needs at least one axis")
    if not prod(shape):
        raise CaffeError(f"a filler of this type needs a shape without zeros, not {list(shape)}")
    return prod(shape) / shape[0]


def _fan(shape: Shape, filler: FillerParameter) -> float:
    fan_in = _fan_in(shape, filler)
    fan_out = prod(shape) / shape[1] if len(shape) > 1 else prod(shape)
    by_norm = {
        FillerParameter.FAN_IN: fan_in,
        FillerParameter.FAN_OUT: fan_out,
        FillerParameter.AVERAGE: (fan_in + fan_out) / 2,
    }
    return by_norm[filler.variance_norm]
