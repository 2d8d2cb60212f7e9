"""Random streams of ``theano.tensor.shared_randomstreams``: the original's draws, from NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from converters.lasagne.theano.config import config
from converters.lasagne.theano.variable import Apply, as_int, as_tensor, dtype_of

Generator = np.random.RandomState


class Stream:
    """What draws values of a size, with parameters, anew at each call."""

    def __init__(self, seed: int, draw: Callable[..., Any], dtype: Any) -> None:
        self.draw = draw
        self.dtype = dtype_of(dtype)
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Begin anew."""
        self.generator = Generator(seed)

    def __call__(self, sizes: Any, *values: Any) -> Tensor:
        found = [_array(value) for value in values]
        shape = None if len(sizes) == 0 and any(np.ndim(value) for value in found) else tuple(map(as_int, sizes))
        return as_tensor(np.asarray(self.draw(self.generator, shape, *found)).astype(self.dtype))


class RandomStreams:
    """Each call of a method gives a variable with a generator of its own, which draws anew at every evaluation."""

    def __init__(self, seed: int | None = None, use_cuda: bool | None = None) -> None:
        self.streams: list[Stream] = []
        self.seeds = Generator(seed)

    def seed(self, seed: int | None = None) -> None:
        """Let all variables drawn so far, and those to come, begin anew."""
        self.seeds = Generator(seed)
        for stream in self.streams:
            stream.seed(self._next())

    def _next(self) -> int:
        return int(self.seeds.randint(2**30))

    def _stream(self, size: Any, draw: Callable[..., Any], dtype: Any, *parameters: Any) -> Apply:
        stream = Stream(self._next(), draw, dtype)
        self.streams.append(stream)
        made = Apply(stream, [() if size is None else size, *parameters], {})
        made.is_random = True
        return made

    def uniform(
        self, size: Any = (), low: Any = 0.0, high: Any = 1.0, ndim: Any = None, dtype: Any = None, nstreams: Any = None
    ) -> Apply:
        """Between *low* and *high*."""
        return self._stream(size, _uniform, dtype or config.floatX, low, high)

    def normal(
        self, size: Any = (), avg: Any = 0.0, std: Any = 1.0, ndim: Any = None, dtype: Any = None, nstreams: Any = None
    ) -> Apply:
        """Around *avg*, with deviation *std*."""
        return self._stream(size, _normal, dtype or config.floatX, avg, std)

    def binomial(
        self, size: Any = (), n: Any = 1, p: Any = 0.5, ndim: Any = None, dtype: Any = "int64", nstreams: Any = None
    ) -> Apply:
        """How many of *n* trials succeed."""
        return self._stream(size, _binomial, dtype, n, p)

    def random_integers(self, size: Any = (), low: Any = 0, high: Any = 1, ndim: Any = None, dtype: Any = "int64") -> Apply:  # fmt: skip  # noqa: E501
        """Whole numbers from *low* to *high*, both included."""
        return self._stream(size, _integers, dtype, low, high)

    def choice(self, size: Any = (), a: Any = 2, replace: bool = True, p: Any = None, ndim: Any = None, dtype: Any = "int64", nstreams: Any = None) -> Apply:  # fmt: skip  # noqa: E501
        """Some of the numbers below *a*, or of the vector *a*, with the probabilities *p*."""
        return self._stream(size, _choice, dtype, a, p, replace)

    def permutation(self, size: Any = (), n: int = 1, ndim: Any = None, dtype: Any = "int64") -> Apply:
        """The numbers below *n* in random orders."""
        return self._stream(size, _permutation, dtype, n)

    def multinomial(self, size: Any = None, n: int = 1, pvals: Any = None, ndim: Any = None, dtype: Any = "int64", nstreams: Any = None) -> Apply:  # fmt: skip  # noqa: E501
        """How often each outcome comes in *n* draws, for each row of *pvals*."""
        return self._stream((), _multinomial, dtype, n, pvals)


def _uniform(rng: Generator, shape: Any, low: Any, high: Any) -> Any:
    return rng.uniform(low, high, shape)


def _normal(rng: Generator, shape: Any, avg: Any, std: Any) -> Any:
    return rng.normal(avg, std, shape)


def _binomial(rng: Generator, shape: Any, n: Any, p: Any) -> Any:
    return rng.binomial(n, p, shape)


def _integers(rng: Generator, shape: Any, low: Any, high: Any) -> Any:
    return rng.randint(low, high + 1, shape)


def _choice(rng: Generator, shape: Any, a: Any, p: Any, replace: bool) -> Any:
    return rng.choice(a if np.ndim(a) else int(a), shape or None, replace, p)


def _permutation(rng: Generator, shape: Any, n: Any) -> Any:
    return np.stack([rng.permutation(int(n)) for _ in range(int(np.prod(shape)))]).reshape(*shape, int(n))


def _multinomial(rng: Generator, shape: Any, n: Any, pvals: Any) -> Any:
    table = np.atleast_2d(np.asarray(pvals, np.float64))
    return np.stack([rng.multinomial(int(n), row / row.sum()) for row in table]).reshape(np.shape(pvals))


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value
