"""The kinds of steps that check scripts tell apart, ``theano.tensor.Elemwise`` and its counterpart on a GPU."""


class Elemwise:
    """A step on the CPU."""

    def __str__(self) -> str:
        return "Elemwise"


class GpuElemwise(Elemwise):
    """A step on a GPU."""

    def __str__(self) -> str:
        return "GpuElemwise"
