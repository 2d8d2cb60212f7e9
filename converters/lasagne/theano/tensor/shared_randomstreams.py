"""Random streams of ``theano.tensor.shared_randomstreams``: the original's draws, from NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from converters.lasagne.theano.config import config
from converters.lasagne.theano.variable import Apply, as_int, as_tensor


class RandomStreams:
    """Each call of a method gives a variable with a generator of its own, which draws anew at every evaluation."""

    def __init__(self, seed: int | None = None) -> None:
        self.seeds = np.random.RandomState(seed)

    def _stream(self, size: Any, draw: Callable[..., Any], dtype: str, *parameters: Any) -> Apply:
        generator = np.random.RandomState(int(self.seeds.randint(2**30)))

        def sample(sizes: Any, *values: Any) -> Tensor:
            found = [_array(value) for value in values]
            shape = None if len(sizes) == 0 and any(np.ndim(value) for value in found) else tuple(map(as_int, sizes))
            return as_tensor(np.asarray(draw(generator, shape, *found)).astype(dtype))

        made = Apply(sample, [() if size is None else size, *parameters], {})
        made.is_random = True
        return made

    def uniform(
        self, size: Any = (), low: Any = 0.0, high: Any = 1.0, ndim: Any = None, dtype: Any = None, nstreams: Any = None
    ) -> Apply:
        """Between *low* and *high*."""
        return self._stream(size, lambda rng, n, *ends: rng.uniform(*ends, n), dtype or config.floatX, low, high)

    def normal(
        self, size: Any = (), avg: Any = 0.0, std: Any = 1.0, ndim: Any = None, dtype: Any = None, nstreams: Any = None
    ) -> Apply:
        """Around *avg*, with deviation *std*."""
        return self._stream(size, lambda rng, sizes, *of: rng.normal(*of, sizes), dtype or config.floatX, avg, std)

    def binomial(
        self, size: Any = (), n: Any = 1, p: Any = 0.5, ndim: Any = None, dtype: str = "int64", nstreams: Any = None
    ) -> Apply:
        """How many of *n* trials succeed."""
        return self._stream(size, lambda rng, sizes, *of: rng.binomial(*of, sizes), dtype, n, p)

    def random_integers(self, size: Any = (), low: Any = 0, high: Any = 1, ndim: Any = None, dtype: str = "int64") -> Apply:  # fmt: skip  # noqa: E501
        """Whole numbers from *low* to *high*, both included."""
        return self._stream(size, lambda rng, n, low, high: rng.randint(low, high + 1, n), dtype, low, high)

    def choice(self, size: Any = (), a: Any = 2, replace: bool = True, p: Any = None, ndim: Any = None, dtype: str = "int64", nstreams: Any = None) -> Apply:  # fmt: skip  # noqa: E501
        """Some of the numbers below *a*, or of the vector *a*, with the probabilities *p*."""
        draw = lambda rng, n, a, p: rng.choice(a if np.ndim(a) else int(a), n or None, replace, p)  # noqa: E731
        return self._stream(size, draw, dtype, a, p)

    def permutation(self, size: Any = (), n: int = 1, ndim: Any = None, dtype: str = "int64") -> Apply:
        """The numbers below *n* in random orders."""
        draw = lambda rng, sizes: np.stack([rng.permutation(n) for _ in range(int(np.prod(sizes)))]).reshape(*sizes, n)  # noqa: E731
        return self._stream(size, draw, dtype)

    def multinomial(self, size: Any = None, n: int = 1, pvals: Any = None, ndim: Any = None, dtype: str = "int64", nstreams: Any = None) -> Apply:  # fmt: skip  # noqa: E501
        """How often each outcome comes in *n* draws, for each row of *pvals*."""
        generator = np.random.RandomState(int(self.seeds.randint(2**30)))

        def sample(rows: Any) -> Tensor:
            table = np.atleast_2d(as_tensor(rows).detach().cpu().double().numpy())
            found = np.stack([generator.multinomial(n, row / row.sum()) for row in table])
            return as_tensor(found.reshape(as_tensor(rows).shape).astype(dtype))

        made = Apply(sample, [pvals], {})
        made.is_random = True
        return made


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value
