"""Random streams of ``theano.tensor.shared_randomstreams``: the original's draws, from NumPy."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from converters.lasagne.theano.config import config
from converters.lasagne.theano.variable import Apply, as_int, as_tensor


class RandomStreams:
    """Each call of a method gives a variable with a generator of its own, which draws anew at every evaluation."""

    def __init__(self, seed: int | None = None) -> None:
        self.seeds = np.random.RandomState(seed)

    def _stream(self, size: Any, draw: Callable[[np.random.RandomState, tuple[int, ...]], Any], dtype: str) -> Apply:
        generator = np.random.RandomState(int(self.seeds.randint(2**30)))

        def sample(sizes: Sequence[Any]) -> Tensor:
            return as_tensor(np.asarray(draw(generator, tuple(as_int(n) for n in sizes))).astype(dtype))

        return Apply(sample, [() if size is None else size], {})

    def uniform(
        self, size: Any = (), low: float = 0.0, high: float = 1.0, ndim: Any = None, dtype: Any = None
    ) -> Apply:
        """Between *low* and *high*."""
        return self._stream(size, lambda rng, n: rng.uniform(low, high, n), dtype or config.floatX)

    def normal(self, size: Any = (), avg: float = 0.0, std: float = 1.0, ndim: Any = None, dtype: Any = None) -> Apply:
        """Around *avg*, with deviation *std*."""
        return self._stream(size, lambda rng, n: rng.normal(avg, std, n), dtype or config.floatX)

    def binomial(self, size: Any = (), n: int = 1, p: float = 0.5, ndim: Any = None, dtype: str = "int64") -> Apply:
        """How many of *n* trials succeed."""
        return self._stream(size, lambda rng, sizes: rng.binomial(n, p, sizes), dtype)
