"""How a layer says what it is in ONNX: the values it takes and gives, and the few verbs of ``Layer.emit``.

This package knows the words of ONNX and not its library: ``converters.onnx`` is the emitter that writes a model.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from protos.errors import NetError

# The size of an axis: a number; a text where it is left open, equal for equal sizes ("N": the batch); or None: unknown.
Dim = int | str | None
Dims = tuple[Dim, ...]
Constant = NDArray[Any] | Tensor | Sequence[int] | Sequence[float] | float


class Value:
    """A tensor of the model. *shape* is known for a layer's bottoms; *data* are the values of a constant."""

    def __init__(self, shape: Dims = (), name: str = "", data: NDArray[Any] | None = None) -> None:
        self.shape = shape
        self.name = name
        self.data = data


Emitted = Value | tuple[Value, ...]
Body = Callable[[tuple[Value, ...], tuple[Value, ...]], tuple[tuple[Value, ...], tuple[Value, ...]]]


class Emitter(Protocol):
    """What ``emit`` writes to. Attributes that are None are left out; an input that is None is absent."""

    @property
    def tops(self) -> Sequence[Dims]:
        """The shapes of the layer's tops."""

    def op(self, kind: str, *inputs: Value | None, **attributes: object) -> Value:
        """The output of a node of this *kind*."""

    def ops(self, kind: str, outputs: int, *inputs: Value | None, **attributes: object) -> tuple[Value, ...]:
        """The outputs of a node that has several."""

    def constant(self, values: Constant, name: str) -> Value:
        """A constant, called LAYER.name; whole numbers are int64, all others float32."""

    def blob(self, name: str, shape: tuple[int, ...] | None = None) -> Value:
        """A blob of the layer, called LAYER.name, in its own or another *shape*."""

    def scan(self, body: Body, states: Sequence[Value], steps: Sequence[Value]) -> tuple[Value, ...]:
        """Run *body* along the first axis of *steps*: (states, step) -> (next states, outputs of the step).

        Gives the last states, then the outputs of all steps, one behind the other along a new first axis.
        """


def fixed(value: Value, axes: Iterable[int] | None = None) -> tuple[int, ...]:
    """The sizes of *axes* (all) of *value*. Raises NetError where one is not a number."""
    wanted = range(len(value.shape)) if axes is None else axes
    sizes = []
    for axis in wanted:
        size = value.shape[axis]
        if not isinstance(size, int):
            what = "a fixed batch" if axis == 0 else "a fixed size of its image"
            raise NetError(f"needs {what}: it cannot be exported with axis {axis} of its bottom left open")
        sizes.append(size)
    return tuple(sizes)


def reshaped(g: Emitter, x: Value, shape: Dims) -> Value:
    """*x* in another *shape*. Axes that are no number must be those of *x* at the same place, but for one."""
    if x.shape == shape:
        return x
    sizes: list[int] = []
    for i, size in enumerate(shape):
        if isinstance(size, int):
            sizes.append(size)
        elif size is not None and i < len(x.shape) and x.shape[i] == size:
            sizes.append(0)  # the bottom's own
        else:
            sizes.append(-1)
    if sizes.count(-1) > 1:
        raise NetError("needs fixed sizes: it cannot be exported with several axes left open")
    return g.op("Reshape", x, g.constant(sizes, "shape"))


def times(g: Emitter, x: Value, factor: float, name: str = "scale") -> Value:
    """*x* times a constant."""
    return x if factor == 1 else g.op("Mul", x, g.constant(factor, name))


def plus(g: Emitter, x: Value, term: float, name: str = "shift") -> Value:
    """*x* plus a constant."""
    return x if term == 0 else g.op("Add", x, g.constant(term, name))


def cast(g: Emitter, x: Value, kind: str = "float32") -> Value:
    """*x* as "float32" or "int64" values."""
    return g.op("Cast", x, to={"float32": 1, "int64": 7}[kind])
