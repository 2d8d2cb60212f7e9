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

Draw = Callable[[Tensor, FillerParameter, torch.Generator | None], object]

FILLERS: Registry[Draw] = Registry("filler")


def fill(
    shape: Sequence[int],
    filler: FillerParameter,
    generator: torch.Generator | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Draw a float32 CPU tensor of *shape* after *filler*; *generator* None draws from torch's global one.

    *out*, if given, is that tensor, contiguous: large ones need not be in memory twice.

    Raises CaffeError for an unknown type, ``sparse`` on another type than gaussian, figures without a meaning, or a
    shape that the type cannot fill.
    """
    draw = FILLERS[filler.type]
    if filler.sparse != -1 and filler.type != "gaussian":
        raise CaffeError(f"filler {filler.type!r} cannot be sparse: only 'gaussian' takes `sparse`")
    values = torch.empty(tuple(shape)) if out is None else out
    draw(values, filler, generator)
    return values


@FILLERS("constant")
def constant(values: Tensor, filler: FillerParameter, generator: torch.Generator | None) -> None:
    """Every value is ``value``."""
    values.fill_(filler.value)


@FILLERS("uniform")
def uniform(values: Tensor, filler: FillerParameter, generator: torch.Generator | None) -> None:
    """U(min, max)."""
    if not filler.min <= filler.max:
        raise CaffeError(f"uniform filler: min {filler.min:g} must not be above max {filler.max:g}")
    values.uniform_(filler.min, filler.max, generator=generator)


@FILLERS("gaussian")
def gaussian(values: Tensor, filler: FillerParameter, generator: torch.Generator | None) -> None:
    """N(mean, std); with ``sparse`` k >= 0 each value stays with probability k / shape[0], else is zero."""
    if not filler.std >= 0:
        raise CaffeError(f"gaussian filler: std {filler.std:g} must not be below 0")
    values.normal_(filler.mean, filler.std, generator=generator)
    if filler.sparse < -1:
        raise CaffeError(f"gaussian filler: sparse {filler.sparse} must be at least 0, or -1 for none")
    if filler.sparse == -1:
        return
    shape = values.shape
    if not shape or filler.sparse > shape[0]:
        raise CaffeError(f"gaussian filler: sparse {filler.sparse} is more than the outputs of {list(shape)}")
    values.mul_(torch.empty(shape).bernoulli_(filler.sparse / shape[0], generator=generator))


@FILLERS("positive_unitball")
def positive_unitball(values: Tensor, filler: FillerParameter, generator: torch.Generator | None) -> None:
    """U(0, 1), then each row along the first axis divided by its sum: rows are positive and sum to 1."""
    _fan_in(values.shape, filler)
    rows = values.uniform_(generator=generator).view(len(values), -1)
    rows /= rows.sum(1, keepdim=True)


@FILLERS("xavier")
def xavier(values: Tensor, filler: FillerParameter, generator: torch.Generator | None) -> None:
    """U(-s, s), s = sqrt(3 / n); n is fan_in, fan_out or their average after ``variance_norm``."""
    bound = sqrt(3.0 / _fan(values.shape, filler))
    values.uniform_(-bound, bound, generator=generator)


@FILLERS("msra")
def msra(values: Tensor, filler: FillerParameter, generator: torch.Generator | None) -> None:
    """N(0, sqrt(2 / n)); n as for xavier."""
    values.normal_(0.0, sqrt(2.0 / _fan(values.shape, filler)), generator=generator)


@FILLERS("bilinear")
def bilinear(values: Tensor, filler: FillerParameter, generator: torch.Generator | None) -> None:
    """The kernel of a bilinear upsampling: (1 - |x/f - c|)(1 - |y/f - c|), f = ceil(k/2), c = (k-1)/2f."""
    shape = values.shape
    if len(shape) != 4 or shape[2] != shape[3]:
        raise CaffeError(f"bilinear filler needs square kernels, N x C x k x k, not {list(shape)}")
    factor = ceil(shape[3] / 2)
    centre = (shape[3] - 1) / (2 * factor)
    ramp = 1 - (torch.arange(shape[3]) / factor - centre).abs()
    values.copy_(ramp[:, None] * ramp[None, :])


def _fan_in(shape: Sequence[int], filler: FillerParameter) -> float:
    if not shape:
        raise CaffeError(f"filler {filler.type!r} needs at least one axis")
    if not prod(shape):
        raise CaffeError(f"a filler of this type needs a shape without zeros, not {list(shape)}")
    return prod(shape) / shape[0]


def _fan(shape: Sequence[int], filler: FillerParameter) -> float:
    fan_in = _fan_in(shape, filler)
    fan_out = prod(shape) / shape[1] if len(shape) > 1 else prod(shape)
    by_norm = {
        FillerParameter.FAN_IN: fan_in,
        FillerParameter.FAN_OUT: fan_out,
        FillerParameter.AVERAGE: (fan_in + fan_out) / 2,
    }
    return by_norm[filler.variance_norm]
