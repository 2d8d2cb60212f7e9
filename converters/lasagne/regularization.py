"""``lasagne.regularization``: penalties of parameters."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from converters.lasagne.layers.base import Layer
from converters.lasagne.layers.helper import get_all_params
from converters.lasagne.theano.tensor import ops
from converters.lasagne.theano.variable import Variable

Penalty = Callable[..., Any]


def l1(x: Any) -> Any:
    """The sum of |x|."""
    return ops.sum_(ops.abs_(x))


def l2(x: Any) -> Any:
    """The sum of x squared, without a half."""
    return ops.sum_(ops.sqr(x))


def apply_penalty(tensor_or_tensors: Any, penalty: Penalty, **kwargs: Any) -> Any:
    """The penalty of a tensor, or the sum of those of several."""
    if isinstance(tensor_or_tensors, Variable | Tensor | np.ndarray) or not isinstance(tensor_or_tensors, Iterable):
        return penalty(tensor_or_tensors, **kwargs)
    terms = [penalty(tensor, **kwargs) for tensor in tensor_or_tensors]
    return ops.add(*terms) if terms else 0


def regularize_layer_params(
    layer: Any, penalty: Penalty, tags: Mapping[str, bool] = {"regularizable": True}, **kwargs: Any
) -> Any:  # fmt: skip
    """The penalty of a layer's own parameters, or of those of a list of layers."""
    layers = [layer] if isinstance(layer, Layer) else layer
    params = [param for one in layers for param in one.get_params(**tags)]
    return apply_penalty(params, penalty, **kwargs)


def regularize_layer_params_weighted(
    layers: Mapping[Layer, float], penalty: Penalty, tags: Mapping[str, bool] = {"regularizable": True}, **kwargs: Any
) -> Any:  # fmt: skip
    """The sum of layers' penalties, each times its weight."""
    terms = [
        ops.mul(weight, apply_penalty(layer.get_params(**tags), penalty, **kwargs)) for layer, weight in layers.items()
    ]
    return ops.add(*terms)


def regularize_network_params(
    layer: Any, penalty: Penalty, tags: Mapping[str, bool] = {"regularizable": True}, **kwargs: Any
) -> Any:  # fmt: skip
    """The penalty of all parameters of a net."""
    return apply_penalty(get_all_params(layer, **tags), penalty, **kwargs)


__all__ = [
    "apply_penalty", "l1", "l2", "regularize_layer_params", "regularize_layer_params_weighted",
    "regularize_network_params",
]  # fmt: skip
