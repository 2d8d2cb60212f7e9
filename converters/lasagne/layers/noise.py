"""``DropoutLayer`` and ``GaussianNoiseLayer``. Their streams are seeded by the common one."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from converters.lasagne.layers.base import Computed, number
from converters.lasagne.random import get_rng
from converters.lasagne.utils import as_tuple
from nets.layers.drops import drawn
from nets.layers.plain import is_plain


class Stream:
    """Random tensors; the seed is taken from ``lasagne.random``, so that what is drawn after it is the original's.

    On a GPU they come from its own generator, which a CUDA graph moves on at each replay.
    """

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(int(get_rng().randint(1, 2147462579)))

    def uniform(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Between 0 and 1."""
        return torch.rand(tuple(shape), generator=self._on(like), dtype=like.dtype, device=like.device)

    def chosen(self, shape: Sequence[int], like: Tensor, share: float) -> Tensor:
        """1 with the probability *share*, and otherwise 0."""
        if is_plain(like) and 0 <= share <= 1:
            return drawn(prod(shape), share, self.generator).view(tuple(shape))
        return (self.uniform(shape, like) < share).to(like.dtype)

    def normal(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Around 0, with deviation 1."""
        return torch.randn(tuple(shape), generator=self._on(like), dtype=like.dtype, device=like.device)

    def _on(self, like: Tensor) -> torch.Generator | None:
        return self.generator if like.device.type == "cpu" else None


class DropoutLayer(Computed):
    """In training each value is 0 with probability *p*, the others are divided by 1 - p if *rescale*.

    Along *shared_axes* all values share their fate. Deterministic: x.
    """

    def __init__(self, incoming: Any, p: Any = 0.5, rescale: bool = True, shared_axes: Any = (), **kwargs: Any) -> None:
        super().__init__(incoming, **kwargs)
        self._srng = Stream()
        self.p = p
        self.rescale = rescale
        self.shared_axes = tuple(shared_axes)

    def mask(self, x: Tensor) -> Tensor:
        """1 for what stays, 0 for what goes; size 1 along the shared axes."""
        shared = {axis % x.ndim for axis in self.shared_axes}
        shape = [1 if axis in shared else size for axis, size in enumerate(x.shape)]
        return self._srng.chosen(shape, x, 1 - number(self.p))

    def forward(self, x: Tensor, deterministic: bool = False, **kwargs: Any) -> Any:
        """*x*, or what the mask leaves of it."""
        if deterministic or number(self.p) == 0:
            return x
        mask = self.mask(x)
        return x / (1 - number(self.p)) * mask if self.rescale else x * mask


dropout = DropoutLayer


def dropout_channels(incoming: Any, *args: Any, **kwargs: Any) -> DropoutLayer:
    """Dropout of whole channels."""
    ndim = len(getattr(incoming, "output_shape", incoming))
    kwargs["shared_axes"] = tuple(range(2, ndim))
    return DropoutLayer(incoming, *args, **kwargs)


spatial_dropout = dropout_channels


def dropout_locations(incoming: Any, *args: Any, **kwargs: Any) -> DropoutLayer:
    """Dropout of all channels of a place."""
    kwargs["shared_axes"] = (1,)
    return DropoutLayer(incoming, *args, **kwargs)


class GaussianNoiseLayer(Computed):
    """In training x + sigma * normal noise. Deterministic: x."""

    def __init__(self, incoming: Any, sigma: Any = 0.1, **kwargs: Any) -> None:
        super().__init__(incoming, **kwargs)
        self._srng = Stream()
        self.sigma = sigma

    def forward(self, x: Tensor, deterministic: bool = False, **kwargs: Any) -> Any:
        """*x*, with noise in training."""
        if deterministic or number(self.sigma) == 0:
            return x
        return x + number(self.sigma) * self._srng.normal(x.shape, x)


def shared_axes(axes: Any, ndim: int) -> tuple[int, ...]:
    """The axes along which a parameter is shared: "auto" for all but the second, "all", or a list of them."""
    if axes == "auto":
        return (0, *range(2, ndim))
    if axes == "all":
        return tuple(range(ndim))
    listed = as_tuple(axes, len(axes) if isinstance(axes, list | tuple) else 1)
    return tuple(axis + ndim if axis < 0 else axis for axis in listed if axis < ndim)
