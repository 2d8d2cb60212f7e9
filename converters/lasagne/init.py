"""``lasagne.init``: first values of parameters, drawn in the original's order from ``lasagne.random``."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.lasagne.random import get_rng
from converters.lasagne.singular import orthonormal
from converters.lasagne.theano.config import config

Array = NDArray[Any]


def _float_x(values: Any) -> Array:
    return np.asarray(values, dtype=config.floatX)


class Initializer:
    """Calling it with a shape gives an array of floatX."""

    def __call__(self, shape: Sequence[int]) -> Array:
        return self.sample(tuple(shape))

    def sample(self, shape: tuple[int, ...]) -> Array:
        """The values. Raises NotImplementedError in the base."""
        raise NotImplementedError(f"{type(self).__name__} has no sample(shape)")


class Normal(Initializer):
    """Normal, with deviation *std* around *mean*."""

    def __init__(self, std: float = 0.01, mean: float = 0.0) -> None:
        self.std = std
        self.mean = mean

    def sample(self, shape: tuple[int, ...]) -> Array:
        """The values."""
        return _float_x(get_rng().normal(self.mean, self.std, size=shape))


class Uniform(Initializer):
    """Uniform in +-*range* or between the two of a pair; with *std*, in mean +- sqrt(3) std."""

    def __init__(self, range: Any = 0.01, std: float | None = None, mean: float = 0.0) -> None:
        if std is not None:
            low, high = mean - np.sqrt(3) * std, mean + np.sqrt(3) * std
        elif isinstance(range, tuple | list):
            low, high = range
        else:
            low, high = -range, range
        self.range = (low, high)

    def sample(self, shape: tuple[int, ...]) -> Array:
        """The values."""
        return _float_x(get_rng().uniform(low=self.range[0], high=self.range[1], size=shape))


def _gain(gain: Any) -> float:
    return float(np.sqrt(2)) if gain == "relu" else float(gain)


def _fans(shape: tuple[int, ...], c01b: bool, name: str) -> tuple[int, int, int]:
    """Units in front (axis 1), units behind (axis 0), and the size of the receptive field."""
    if c01b:
        if len(shape) != 4:
            raise RuntimeError(f"{name} with c01b=True takes 4 axes, not {len(shape)}")
        return shape[0], shape[3], shape[1] * shape[2]
    if len(shape) < 2:
        raise RuntimeError(f"{name} takes 2 axes or more, not {len(shape)}")
    return shape[1], shape[0], int(np.prod(shape[2:]))


class Glorot(Initializer):
    """std = gain * sqrt(2 / ((n1 + n2) * receptive field)); *gain* "relu" is sqrt(2)."""

    def __init__(self, initializer: Callable[..., Initializer], gain: Any = 1.0, c01b: bool = False) -> None:
        self.initializer = initializer
        self.gain = _gain(gain)
        self.c01b = c01b

    def sample(self, shape: tuple[int, ...]) -> Array:
        """The values."""
        n1, n2, field = _fans(shape, self.c01b, type(self).__name__)
        return self.initializer(std=self.gain * np.sqrt(2.0 / ((n1 + n2) * field))).sample(shape)


class GlorotNormal(Glorot):
    """Glorot with a normal distribution."""

    def __init__(self, gain: Any = 1.0, c01b: bool = False) -> None:
        super().__init__(Normal, gain, c01b)


class GlorotUniform(Glorot):
    """Glorot with a uniform distribution."""

    def __init__(self, gain: Any = 1.0, c01b: bool = False) -> None:
        super().__init__(Uniform, gain, c01b)


class He(Initializer):
    """std = gain * sqrt(1 / fan_in); *gain* "relu" is sqrt(2)."""

    def __init__(self, initializer: Callable[..., Initializer], gain: Any = 1.0, c01b: bool = False) -> None:
        self.initializer = initializer
        self.gain = _gain(gain)
        self.c01b = c01b

    def sample(self, shape: tuple[int, ...]) -> Array:
        """The values."""
        n1, _, field = _fans(shape, self.c01b, type(self).__name__)
        fan_in = n1 * field if self.c01b or len(shape) > 2 else shape[0]
        return self.initializer(std=self.gain * np.sqrt(1.0 / fan_in)).sample(shape)


class HeNormal(He):
    """He with a normal distribution."""

    def __init__(self, gain: Any = 1.0, c01b: bool = False) -> None:
        super().__init__(Normal, gain, c01b)


class HeUniform(He):
    """He with a uniform distribution."""

    def __init__(self, gain: Any = 1.0, c01b: bool = False) -> None:
        super().__init__(Uniform, gain, c01b)


class Constant(Initializer):
    """The same value everywhere."""

    def __init__(self, val: Any = 0.0) -> None:
        self.val = val

    def sample(self, shape: tuple[int, ...]) -> Array:
        """The values."""
        return _float_x(np.ones(shape) * self.val)


class Sparse(Initializer):
    """A matrix in which a share of *sparsity* is drawn from Normal(std), the rest is zero."""

    def __init__(self, sparsity: float = 0.1, std: float = 0.01) -> None:
        self.sparsity = sparsity
        self.std = std

    def sample(self, shape: tuple[int, ...]) -> Array:
        """The values."""
        if len(shape) != 2:
            raise RuntimeError(f"Sparse takes 2 axes, not {len(shape)}")
        values = _float_x(np.zeros(shape))
        rows, columns = shape
        for k in range(columns):
            picked = np.arange(rows)
            get_rng().shuffle(picked)
            picked = picked[: int(self.sparsity * rows)]
            values[picked, k] = _float_x(get_rng().normal(0.0, self.std, size=len(picked)))
        return values


class Orthogonal(Initializer):
    """Orthonormal rows or columns times *gain*, from the singular vectors of normal values."""

    def __init__(self, gain: Any = 1.0) -> None:
        self.gain = _gain(gain)

    def sample(self, shape: tuple[int, ...]) -> Array:
        """The values."""
        if len(shape) < 2:
            raise RuntimeError(f"Orthogonal takes 2 axes or more, not {len(shape)}")
        flat = (shape[0], int(np.prod(shape[1:])))
        return _float_x(self.gain * orthonormal(get_rng().normal(0.0, 1.0, flat)).reshape(shape))
