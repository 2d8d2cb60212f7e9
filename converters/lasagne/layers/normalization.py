"""``LocalResponseNormalization2DLayer``, ``BatchNormLayer``, ``StandardizationLayer`` and their short forms."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.lasagne import init
from converters.lasagne.layers.base import Computed, number, value, with_param
from converters.lasagne.layers.special import BiasLayer, NonlinearityLayer, ScaleLayer
from converters.lasagne.nonlinearities import identity
from converters.lasagne.theano.variable import probing
from nets.layers.layout import settled


class LocalResponseNormalization2DLayer(Computed):
    """x / (k + alpha * the sum of x^2 over *n* neighbouring channels)^beta; alpha is not divided by n."""

    def __init__(
        self, incoming: Any, alpha: float = 1e-4, k: float = 2, beta: float = 0.75, n: int = 5, **kwargs: Any
    ) -> None:
        super().__init__(incoming, **kwargs)
        self.alpha = alpha
        self.k = k
        self.beta = beta
        self.n = n
        if n % 2 == 0:
            raise NotImplementedError("Only works with odd n")

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """The normalised values."""
        half = self.n // 2
        squares = F.pad(x * x, (0, 0, 0, 0, half, half)).unfold(1, self.n, 1).sum(-1)
        return x / (self.k + self.alpha * squares) ** self.beta


def _all_but_features(axes: Any, ndim: int) -> tuple[int, ...]:
    if axes == "auto":
        return (0, *range(2, ndim))
    return (axes,) if isinstance(axes, int) else tuple(axes)


class BatchNormLayer(Computed):
    """(x - mean) * gamma * inv_std + beta, with the batch's figures in training and running averages otherwise.

    In training the averages move towards the batch's by *alpha*; inv_std is 1 / sqrt(biased variance + epsilon).
    """

    def __init__(
        self,
        incoming: Any,
        axes: Any = "auto",
        epsilon: float = 1e-4,
        alpha: float = 0.1,
        beta: Any = init.Constant(0),  # noqa: B008  # the original's signature; it keeps no state
        gamma: Any = init.Constant(1),  # noqa: B008
        mean: Any = init.Constant(0),  # noqa: B008
        inv_std: Any = init.Constant(1),  # noqa: B008
        **kwargs: Any,
    ) -> None:
        super().__init__(incoming, **kwargs)
        self.axes = _all_but_features(axes, len(self.input_shape))
        self.epsilon = epsilon
        self.alpha = alpha
        shape = [size for axis, size in enumerate(self.input_shape) if axis not in self.axes]
        if any(size is None for size in shape):
            raise ValueError("BatchNormLayer needs specified input sizes for all axes not normalized over.")
        self.beta = None if beta is None else self.add_param(beta, shape, "beta", trainable=True, regularizable=False)
        self.gamma = None if gamma is None else self.add_param(gamma, shape, "gamma", regularizable=True)
        tags = {"trainable": False, "regularizable": False, "batch_norm_stat": True}
        self.mean = self.add_param(mean, shape, "mean", **tags)
        self.inv_std = self.add_param(inv_std, shape, "inv_std", **tags)

    def forward(
        self,
        x: Tensor,
        deterministic: bool = False,
        batch_norm_use_averages: bool | None = None,
        batch_norm_update_averages: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """The normalised values; the averages are moved unless *deterministic* or told otherwise."""
        use = deterministic if batch_norm_use_averages is None else batch_norm_use_averages
        update = not deterministic if batch_norm_update_averages is None else batch_norm_update_averages
        made: Tensor | None = None
        if update or not use:
            made, batch_mean, batch_inv = self._of_batch(x)
        if use or made is None:
            mean, inv_std = (batch_mean, batch_inv) if not use else (
                value(self.mean, x).clone(), value(self.inv_std, x).clone()
            )  # fmt: skip
            made = self._scaled(x, mean, inv_std)
        if update and not probing():
            self._move(self.mean, batch_mean)
            self._move(self.inv_std, batch_inv)
        return made

    def _of_batch(self, x: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """The batch normalised by its own figures, where PyTorch does that at one go; its mean and its inv_std."""
        gamma, beta = (None if param is None else value(param, x) for param in (self.gamma, self.beta))
        plain = self.axes == (0, *range(2, x.ndim)) and x.is_floating_point() and not probing()
        if plain and all(param is None or param.dtype == x.dtype for param in (gamma, beta)):
            return torch.native_batch_norm(settled(x), gamma, beta, None, None, True, 0.0, self.epsilon)
        mean = x.mean(self.axes)
        return None, mean, 1 / torch.sqrt(x.var(self.axes, correction=0) + self.epsilon)

    def _scaled(self, x: Tensor, mean: Tensor, inv_std: Tensor) -> Tensor:
        kept = [size if axis not in self.axes else 1 for axis, size in enumerate(x.shape)]
        scale = inv_std if self.gamma is None else inv_std * value(self.gamma, x)
        y = (x - mean.reshape(kept)) * scale.reshape(kept)
        return y if self.beta is None else y + with_param(y, self.beta)[1].reshape(kept)

    @torch.no_grad()
    def _move(self, average: Any, batch: Tensor) -> None:
        share = number(self.alpha)
        average.tensor.mul_(1 - share).add_(batch.detach().to(average.tensor), alpha=share)


def batch_norm(layer: Any, **kwargs: Any) -> Any:
    """Batch normalisation between *layer*, which loses its bias, and its nonlinearity."""
    nonlinearity = without_nonlinearity(layer)
    without_bias(layer)
    name = kwargs.pop("name", None) or (layer.name and f"{layer.name}_bn")
    return activated(BatchNormLayer(layer, name=name, **kwargs), nonlinearity, name and f"{name}_nonlin")


def without_nonlinearity(layer: Any) -> Any:
    """Take the nonlinearity from *layer* and give it back; None if it has none."""
    nonlinearity = getattr(layer, "nonlinearity", None)
    if nonlinearity is not None:
        layer.nonlinearity = identity
    return nonlinearity


def without_bias(layer: Any) -> None:
    """Take the bias from *layer*, if it has one."""
    if getattr(layer, "b", None) is not None:
        del layer.params[layer.b]
        layer.b = None


def activated(layer: Any, nonlinearity: Any, name: str | None) -> Any:
    """*layer* with *nonlinearity* behind it, if there is one."""
    return layer if nonlinearity is None else NonlinearityLayer(layer, nonlinearity, name=name)


class StandardizationLayer(Computed):
    """(x - mean) / sqrt(variance + epsilon) of each item's own values, along *axes*.

    "auto": all axes behind the second, or the second of a matrix; "spatial", "features", or a list of axes.
    """

    def __init__(self, incoming: Any, axes: Any = "auto", epsilon: float = 1e-4, **kwargs: Any) -> None:
        super().__init__(incoming, **kwargs)
        ndim = len(self.input_shape)
        if axes == "auto":
            axes = "features" if ndim == 2 else "spatial"
        named = {"spatial": tuple(range(2, ndim)), "features": tuple(range(1, ndim))}
        self.axes = named[axes] if isinstance(axes, str) else ((axes,) if isinstance(axes, int) else tuple(axes))
        self.epsilon = epsilon

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """The standardised values; 0 where there is nothing to standardise along."""
        if not self.axes:
            return x - x
        mean = x.mean(self.axes, keepdim=True)
        return (x - mean) / torch.sqrt(x.var(self.axes, correction=0, keepdim=True) + self.epsilon)


def instance_norm(layer: Any, learn_scale: bool = True, learn_bias: bool = True, **kwargs: Any) -> Any:
    """Standardisation of each channel between *layer*, which loses its bias, and its nonlinearity."""
    nonlinearity = without_nonlinearity(layer)
    without_bias(layer)
    name = kwargs.pop("name", None) or (layer.name and f"{layer.name}_in")
    layer = StandardizationLayer(layer, name=name, **kwargs)
    if learn_scale:
        layer = ScaleLayer(layer, name=name and f"{name}_scale")
    if learn_bias:
        layer = BiasLayer(layer, name=name and f"{name}_bias")
    return activated(layer, nonlinearity, name and f"{name}_nonlin")


def layer_norm(layer: Any, **kwargs: Any) -> Any:
    """Standardisation of each item between *layer*, which loses its bias, and its nonlinearity."""
    nonlinearity = without_nonlinearity(layer)
    without_bias(layer)
    name = kwargs.pop("name", None) or (layer.name and f"{layer.name}_ln")
    layer = StandardizationLayer(layer, axes="features", name=name, **kwargs)
    layer = ScaleLayer(layer, name=name and f"{name}_scale")
    layer = BiasLayer(layer, name=name and f"{name}_bias")
    return activated(layer, nonlinearity, name and f"{name}_nonlin")
