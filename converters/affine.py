"""What BatchNorm, Scale and Bias come to when a net is only used: a factor and a term for each channel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """y = factor * x + term, by channel (axis 1); both (C,)."""

    factor: Array
    term: Array

    def after(self, first: "Affine") -> "Affine":
        """*first* and then this."""
        return Affine(self.factor * first.factor, self.factor * first.term + self.term)

    def in_filter(self, weight: Array, bias: Array, axis: int, group: int = 1) -> tuple[Array, Array]:
        """The weight and bias of a filter that does this as well, exactly in real numbers.

        *axis* of the weight are its output channels; where that is the second one (a transposed convolution's), only
        those of one *group* stand there, and the groups along the first.
        """
        groups = weight.reshape(group, -1, *weight.shape[1:]) if axis == 1 else weight[None, None]
        factors = self.factor.reshape(group if axis == 1 else 1, 1, -1, *(1,) * (weight.ndim - axis - 1))
        return (groups * factors).reshape(weight.shape), self.factor * bias + self.term
