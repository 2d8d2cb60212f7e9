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

        made = Apply(sample, [() if size is None else size], {})
        made.is_random = True
        return made

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

    def random_integers(self, size: Any = (), low: int = 0, high: int = 1, ndim: Any = None, dtype: str = "int64") -> Apply:  # fmt: skip  # noqa: E501
        """Whole numbers from *low* to *high*, both included."""
        return self._stream(size, lambda rng, sizes: rng.randint(low, high + 1, sizes), dtype)

    def choice(self, size: Any = (), a: int = 2, replace: bool = True, p: Any = None, ndim: Any = None, dtype: str = "int64") -> Apply:  # fmt: skip  # noqa: E501
        """Some of the numbers below *a*, with the probabilities *p*."""
        return self._stream(size, lambda rng, sizes: rng.choice(a, sizes, replace, p), dtype)

    def permutation(self, size: Any = (), n: int = 1, ndim: Any = None, dtype: str = "int64") -> Apply:
        """The numbers below *n* in random orders."""
        draw = lambda rng, sizes: np.stack([rng.permutation(n) for _ in range(int(np.prod(sizes)))]).reshape(*sizes, n)  # noqa: E731
        return self._stream(size, draw, dtype)

    def multinomial(self, size: Any = None, n: int = 1, pvals: Any = None, ndim: Any = None, dtype: str = "int64") -> Apply:  # fmt: skip  # noqa: E501
        """How often each outcome comes in *n* draws, for each row of *pvals*."""
        generator = np.random.RandomState(int(self.seeds.randint(2**30)))

        def sample(rows: Any) -> Tensor:
            table = np.atleast_2d(as_tensor(rows).detach().cpu().double().numpy())
            found = np.stack([generator.multinomial(n, row / row.sum()) for row in table])
            return as_tensor(found.reshape(as_tensor(rows).shape).astype(dtype))

        made = Apply(sample, [pvals], {})
        made.is_random = True
        return made
