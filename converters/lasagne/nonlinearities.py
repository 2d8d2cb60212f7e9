"""``lasagne.nonlinearities``: functions of variables and tensors alike."""

from typing import Any

from converters.lasagne.theano.tensor import nnet, ops
from converters.lasagne.theano.tensor.nnet import sigmoid, softmax, softplus
from converters.lasagne.theano.tensor.ops import tanh


class ScaledTanH:
    """scale_out * tanh(scale_in * x)."""

    def __init__(self, scale_in: float = 1, scale_out: float = 1) -> None:
        self.scale_in = scale_in
        self.scale_out = scale_out

    def __call__(self, x: Any) -> Any:
        return ops.mul(ops.tanh(ops.mul(x, self.scale_in)), self.scale_out)


ScaledTanh = ScaledTanH


def rectify(x: Any) -> Any:
    """max(0, x); at 0 its slope is 0.5."""
    return nnet.relu(x)


class LeakyRectify:
    """x where positive, leakiness * x elsewhere."""

    def __init__(self, leakiness: float = 0.01) -> None:
        self.leakiness = leakiness

    def __call__(self, x: Any) -> Any:
        return nnet.relu(x, self.leakiness)


leaky_rectify = LeakyRectify()
very_leaky_rectify = LeakyRectify(1.0 / 3)


def elu(x: Any) -> Any:
    """x where positive, exp(x) - 1 elsewhere."""
    return nnet.elu(x)


class SELU:
    """scale * x where positive, scale * scale_neg * (exp(x) - 1) elsewhere."""

    def __init__(self, scale: float = 1, scale_neg: float = 1) -> None:
        self.scale = scale
        self.scale_neg = scale_neg

    def __call__(self, x: Any) -> Any:
        return ops.mul(nnet.elu(x, self.scale_neg), self.scale)


selu = SELU(scale=1.0507009873554804934193349852946, scale_neg=1.6732632423543772848170429916717)


def linear(x: Any) -> Any:
    """x."""
    return x


identity = linear

__all__ = [
    "SELU", "LeakyRectify", "ScaledTanH", "ScaledTanh", "elu", "identity", "leaky_rectify", "linear", "rectify",
    "selu", "sigmoid", "softmax", "softplus", "tanh", "very_leaky_rectify",
]  # fmt: skip
