"""``FlattenLayer``, ``ReshapeLayer``, ``DimshuffleLayer``, ``PadLayer`` and ``SliceLayer``."""

import operator
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from converters.lasagne.layers.base import Computed, worked_out
from converters.lasagne.theano.tensor import form
from converters.lasagne.theano.variable import Variable
from converters.lasagne.utils import int_types


class FlattenLayer(Computed):
    """The trailing axes joined, so that *outdim* are left."""

    def __init__(self, incoming: Any, outdim: int = 2, **kwargs: Any) -> None:
        super().__init__(incoming, **kwargs)
        if outdim < 1:
            raise ValueError(f"Dim must be >0, was {outdim}")
        self.outdim = outdim

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """*x*, flat behind the first axes."""
        return form.flatten(x, self.outdim)

    def get_output_shape_for(self, input_shape: Any) -> Any:
        """The product of the joined sizes; None where one of them is open."""
        joined = input_shape[self.outdim - 1 :]
        size: int | None = 1
        for n in joined:
            size = None if size is None or n is None else size * n
        return (*input_shape[: self.outdim - 1], size)


flatten = FlattenLayer


class ReshapeLayer(Computed):
    """Another shape: numbers, ``[i]`` for the size of axis i of the input, -1 once for what is left."""

    def __init__(self, incoming: Any, shape: Any, **kwargs: Any) -> None:
        super().__init__(incoming, **kwargs)
        self.shape = tuple(operator.index(size) if isinstance(size, int_types) else size for size in shape)
        if sum(isinstance(size, int) and size == -1 for size in self.shape) > 1:
            raise ValueError("`shape` cannot contain multiple -1")
        for size in self.shape:
            if isinstance(size, int) and (size == 0 or size < -1):
                raise ValueError("`shape` integers must be positive or -1")
            if isinstance(size, list) and (len(size) != 1 or not 0 <= size[0] < len(self.input_shape)):
                raise ValueError("`shape` input references must be lists of one axis number of the input")
        self.get_output_shape_for(self.input_shape)

    def sizes(self, shape: Sequence[int]) -> list[int]:
        """The output's sizes, -1 among them, for an input of *shape*."""
        found = []
        for size in self.shape:
            if isinstance(size, Variable):
                found.append(int(worked_out(size)))
            else:
                found.append(shape[size[0]] if isinstance(size, list) else int(size))
        return found

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """*x* in the other shape."""
        return x.reshape(self.sizes(x.shape))

    def get_output_shape_for(self, input_shape: Any) -> Any:
        """The shape; None where it follows an open size."""
        cited = [size[0] for size in self.shape if isinstance(size, list)]
        known = all(n is not None or axis in cited for axis, n in enumerate(input_shape))
        if known and not any(isinstance(size, Variable) for size in self.shape):
            try:
                return super().get_output_shape_for(input_shape)
            except RuntimeError:
                raise ValueError(f"{self}: {tuple(input_shape)} cannot be reshaped to {self.shape}: it holds another "
                                 "number of values") from None  # fmt: skip
        sizes = [input_shape[size[0]] if isinstance(size, list) else size for size in self.shape]
        return tuple(None if isinstance(size, Variable) or size == -1 else size for size in sizes)


reshape = ReshapeLayer


class DimshuffleLayer(Computed):
    """The axes in the order of *pattern*, "x" for a new one; axes of size 1 may be left out."""

    def __init__(self, incoming: Any, pattern: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(incoming, **kwargs)
        used = [axis for axis in pattern if axis != "x"]
        if len(set(used)) != len(used):
            raise ValueError("pattern contains a dimension twice")
        if any(not 0 <= axis < len(self.input_shape) for axis in used):
            raise ValueError(f"pattern names axes beyond the {len(self.input_shape)} of the input")
        left = [axis for axis in range(len(self.input_shape)) if axis not in used]
        if any(self.input_shape[axis] not in (1, None) for axis in left):
            raise ValueError(f"pattern leaves out axes {left}, which are not of size 1")
        self.pattern = tuple(pattern)

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """*x* with its axes in the new order."""
        return form.dimshuffle(x, *self.pattern)

    def get_output_shape_for(self, input_shape: Any) -> Any:
        """The sizes in the new order."""
        return tuple(1 if axis == "x" else input_shape[axis] for axis in self.pattern)


dimshuffle = DimshuffleLayer


class PadLayer(Computed):
    """*val* around the axes behind the first *batch_ndim*: *width* a number, one an axis, or pairs."""

    def __init__(self, incoming: Any, width: Any, val: Any = 0, batch_ndim: int = 2, **kwargs: Any) -> None:
        super().__init__(incoming, **kwargs)
        self.width = width
        self.val = val
        self.batch_ndim = batch_ndim

    def borders(self, ndim: int) -> list[tuple[int, int]]:
        """What is added before and behind each axis after the first *batch_ndim*."""
        count = ndim - self.batch_ndim
        widths = [self.width] * count if isinstance(self.width, int_types) else list(self.width)
        if len(widths) > count:
            raise IndexError(f"{self}: {len(widths)} widths for the {count} axes behind the first {self.batch_ndim}")
        pairs = [(w, w) if isinstance(w, int_types) else w for w in widths]
        return [(int(before), int(behind)) for before, behind in pairs] + [(0, 0)] * (count - len(pairs))

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """The larger tensor."""
        pairs = self.borders(x.ndim)
        return F.pad(x, [width for pair in reversed(pairs) for width in pair], value=float(self.val))


pad = PadLayer


class SliceLayer(Computed):
    """A slice, or with a number one item, along *axis*."""

    def __init__(self, incoming: Any, indices: Any, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(incoming, **kwargs)
        self.slice = indices
        self.axis = axis

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        """The chosen part."""
        axis = self.axis % x.ndim
        return form.subtensor(x, (slice(None),) * axis + (self.slice,))

    def get_output_shape_for(self, input_shape: Any) -> Any:
        """The shape with the axis cut, or gone."""
        shape = list(input_shape)
        axis = self.axis % len(shape)
        if isinstance(self.slice, int):
            del shape[axis]
        elif shape[axis] is not None:
            shape[axis] = len(range(shape[axis])[self.slice])
        return tuple(shape)
