"""Nonlinearities, biases and scales as layers, expressions, inverses and learned rectifiers."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.lasagne import init
from converters.lasagne.layers.base import Computed, ComputedMerge, Layer, call, number, plain, with_param, worked_out
from converters.lasagne.layers.noise import Stream, shared_axes
from converters.lasagne.layers.transformer import TPSTransformerLayer, TransformerLayer
from converters.lasagne.nonlinearities import rectify
from converters.lasagne.theano.tensor import nnet
from converters.lasagne.theano.variable import Apply, as_tensor
from converters.lasagne.utils import floatX


class NonlinearityLayer(Computed):
    """*nonlinearity* of the input."""

    def __init__(self, incoming: Any, nonlinearity: Any = rectify, **kwargs: Any) -> None:
        super().__init__(incoming, **kwargs)
        self.nonlinearity = plain(nonlinearity)

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """The function of each value."""
        return call(self.nonlinearity, x)

    def get_output_shape_for(self, input_shape: Any) -> Any:
        """The same shape."""
        return input_shape


class _Spread(Computed):
    """A parameter that is the same along ``shared_axes``."""

    def spread_shape(self, axes: Any, what: str) -> tuple[int, ...]:
        """The sizes of the other axes; sets ``shared_axes``. Raises ValueError where one is open."""
        self.shared_axes = shared_axes(axes, len(self.input_shape))
        shape = [size for axis, size in enumerate(self.input_shape) if axis not in self.shared_axes]
        if any(size is None for size in shape):
            raise ValueError(f"{type(self).__name__} needs specified input sizes for all axes that {what} are not "
                             "shared over.")  # fmt: skip
        return tuple(shape)

    def spread(self, x: Tensor, param: Any) -> tuple[Tensor, Tensor]:
        """*x*, and the parameter in a form that goes with it."""
        x, p = with_param(x, param)
        return x, p.reshape([1 if axis in self.shared_axes else size for axis, size in enumerate(x.shape)])

    def get_output_shape_for(self, input_shape: Any) -> Any:
        """The same shape."""
        return input_shape


class BiasLayer(_Spread):
    """x + b; b is shared along *shared_axes*, "auto" for all but the second."""

    def __init__(self, incoming: Any, b: Any = init.Constant(0), shared_axes: Any = "auto", **kwargs: Any) -> None:  # noqa: B008
        super().__init__(incoming, **kwargs)
        shape = self.spread_shape(shared_axes, "biases")
        self.b = None if b is None else self.add_param(b, shape, "b", regularizable=False)

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """The sum."""
        if self.b is None:
            return x
        x, b = self.spread(x, self.b)
        return x + b


class ScaleLayer(_Spread):
    """x * scales; they are shared along *shared_axes*, "auto" for all but the second."""

    def __init__(self, incoming: Any, scales: Any = init.Constant(1), shared_axes: Any = "auto", **kwargs: Any) -> None:  # noqa: B008
        super().__init__(incoming, **kwargs)
        self.scales = self.add_param(
            scales, self.spread_shape(shared_axes, "scales"), "scales", regularizable=False
        )  # fmt: skip

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """The product."""
        x, scales = self.spread(x, self.scales)
        return x * scales


def standardize(layer: Any, offset: Any, scale: Any, shared_axes: Any = "auto") -> Any:
    """(x - offset) / scale with fixed figures."""
    layer = BiasLayer(layer, -np.asarray(offset), shared_axes)
    layer.params[layer.b].remove("trainable")
    layer = ScaleLayer(layer, floatX(1.0) / np.asarray(scale), shared_axes)
    layer.params[layer.scales].remove("trainable")
    return layer


class ExpressionLayer(Layer):
    """*function* of the input. *output_shape*: of the output if it differs, a function of the input's, or "auto"."""

    def __init__(self, incoming: Any, function: Any, output_shape: Any = None, **kwargs: Any) -> None:
        super().__init__(incoming, **kwargs)
        self.function = function
        self._output_shape = output_shape

    def get_output_shape_for(self, input_shape: Any) -> Any:
        """The shape given, the input's, or with "auto" what a run gives."""
        if self._output_shape is None:
            return input_shape
        if self._output_shape == "auto":
            return _Run(self.input_shape, self.function).get_output_shape_for(input_shape)
        return self._output_shape(input_shape) if callable(self._output_shape) else self._output_shape

    def get_output_for(self, input: Any, **kwargs: Any) -> Any:
        """What the function makes of the input."""
        return call(self.function, input)


class _Run(Computed):
    def __init__(self, incoming: Any, function: Any) -> None:
        super().__init__(incoming)
        self.function = function

    def shape_probe(self, x: Any) -> Tensor:
        """What the function makes of the shape: of zeros, where it needs values."""
        try:
            return as_tensor(call(self.function, x))
        except (RuntimeError, NotImplementedError):
            return as_tensor(call(self.function, torch.zeros(x.shape, dtype=x.dtype)))


class InverseLayer(ComputedMerge):
    """The gradient of *layer* for its input, where the gradient of its output is the input of this one."""

    def __init__(self, incoming: Any, layer: Any, **kwargs: Any) -> None:
        super().__init__([incoming, layer, layer.input_layer], **kwargs)
        self.layer = layer

    def reads(self) -> list[Any]:
        """What *layer* reads."""
        return self.layer.reads() if isinstance(self.layer, Computed) else self.layer.get_params(unwrap_shared=False)

    def get_output_shape_for(self, input_shapes: Any) -> Any:
        """The shape of *layer*'s input."""
        return input_shapes[2]

    def forward(self, x: Any, **kwargs: Any) -> Any:
        """The gradient, differentiable itself."""
        upstream, _, bottom = x
        with torch.enable_grad():
            bottom = bottom if bottom.requires_grad else bottom.detach().requires_grad_()
            top = worked_out(self.layer.get_output_for(bottom, **kwargs))
            return torch.autograd.grad(top, bottom, upstream, create_graph=True)[0]


class ParametricRectifierLayer(_Spread):
    """x where positive, alpha * x elsewhere; alpha is learned, shared along *shared_axes* ("auto", "all")."""

    def __init__(
        self, incoming: Any, alpha: Any = init.Constant(0.25), shared_axes: Any = "auto", **kwargs: Any  # noqa: B008
    ) -> None:  # fmt: skip
        super().__init__(incoming, **kwargs)
        shape = self.spread_shape(shared_axes, "alphas")
        self.alpha = self.add_param(alpha, shape, name="alpha", regularizable=False)

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """The rectified values."""
        x, alpha = self.spread(x, self.alpha)
        return nnet.relu(x, alpha)


def prelu(layer: Any, **kwargs: Any) -> ParametricRectifierLayer:
    """A learned rectifier in place of *layer*'s nonlinearity."""
    if getattr(layer, "nonlinearity", None) is not None:
        layer.nonlinearity = plain(None)
    return ParametricRectifierLayer(layer, **kwargs)


class RandomizedRectifierLayer(Computed):
    """A rectifier whose leakiness is drawn between *lower* and *upper* in training, their mean otherwise."""

    def __init__(
        self, incoming: Any, lower: Any = 0.3, upper: Any = 0.8, shared_axes: Any = "auto", **kwargs: Any
    ) -> None:
        super().__init__(incoming, **kwargs)
        self._srng = Stream()
        self.lower = lower
        self.upper = upper
        if not isinstance(lower > upper, Apply) and lower > upper:
            raise ValueError(f"Upper bound for RandomizedRectifierLayer needs to be higher than lower bound: {upper}")
        self.shared_axes = _rectifier_axes(shared_axes, len(self.input_shape))

    def forward(self, x: Tensor, deterministic: bool = False, **kwargs: Any) -> Any:
        """The rectified values."""
        low, high = number(self.lower), number(self.upper)
        if deterministic or low == high:
            return nnet.relu(x, (high + low) / 2.0)
        shape = [1 if axis in self.shared_axes else size for axis, size in enumerate(x.shape)]
        return nnet.relu(x, low + (high - low) * self._srng.uniform(shape, x))

    def get_output_shape_for(self, input_shape: Any) -> Any:
        """The same shape."""
        return input_shape


_rectifier_axes = shared_axes


def rrelu(layer: Any, **kwargs: Any) -> RandomizedRectifierLayer:
    """A randomised rectifier in place of *layer*'s nonlinearity."""
    if getattr(layer, "nonlinearity", None) is not None:
        layer.nonlinearity = plain(None)
    return RandomizedRectifierLayer(layer, **kwargs)


__all__ = [
    "BiasLayer", "ExpressionLayer", "InverseLayer", "NonlinearityLayer", "ParametricRectifierLayer",
    "RandomizedRectifierLayer", "ScaleLayer", "TPSTransformerLayer",
    "TransformerLayer", "prelu", "rrelu", "standardize",
]  # fmt: skip
