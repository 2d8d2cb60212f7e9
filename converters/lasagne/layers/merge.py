"""``ConcatLayer`` and the element-wise merges."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from converters.lasagne.layers.base import ComputedMerge, call, worked_out
from converters.lasagne.theano.tensor import ops
from converters.lasagne.theano.variable import apply

CROPS = (None, "lower", "upper", "center")


def _modes(cropping: Any, ndim: int) -> list[Any]:
    modes = [*(cropping or ()), *[None] * ndim][:ndim]
    if any(mode not in CROPS for mode in modes):
        raise ValueError(f"Unknown crop mode in {modes}: use None, 'lower', 'upper' or 'center'")
    return modes


def autocrop(inputs: Sequence[Any], cropping: Any) -> Any:
    """*inputs* cut to a common size along the axes for which *cropping* says from which side."""
    if cropping is None:
        return inputs
    return apply(_autocrop, list(inputs), cropping)


def _autocrop(tensors: Sequence[Tensor], cropping: Any) -> list[Tensor]:
    if len({t.ndim for t in tensors}) != 1:
        raise ValueError("Not all inputs are of the same dimensionality")
    cut = list(tensors)
    for axis, mode in enumerate(_modes(cropping, tensors[0].ndim)):
        if mode is None:
            continue
        size = min(t.shape[axis] for t in cut)
        share = {"lower": 0.0, "upper": 1.0, "center": 0.5}[mode]
        cut = [t.narrow(axis, int((t.shape[axis] - size) * share), size) for t in cut]
    return cut


def autocrop_array_shapes(input_shapes: Sequence[Any], cropping: Any) -> list[Any]:
    """The shapes that ``autocrop`` leaves."""
    if cropping is None:
        return list(input_shapes)
    if len({len(shape) for shape in input_shapes}) != 1:
        raise ValueError("Not all inputs are of the same dimensionality")
    columns = []
    for sizes, mode in zip(zip(*input_shapes, strict=True), _modes(cropping, len(input_shapes[0])), strict=True):
        known = None if None in sizes else min(sizes)
        columns.append(sizes if mode is None else (known,) * len(sizes))
    return [tuple(shape) for shape in zip(*columns, strict=True)]


def _common(shapes: Sequence[Any], free: int | None, what: str) -> tuple[Any, ...]:
    """The shape that all *shapes* share apart from axis *free*; None fits anything. Raises ValueError otherwise."""
    merged = []
    for axis, sizes in enumerate(zip(*shapes, strict=True)):
        known = {size for size in sizes if size is not None}
        if (axis != free and len(known) > 1) or len({len(shape) for shape in shapes}) > 1:
            raise ValueError(f"Mismatch: input shapes must be the same {what}: {list(shapes)}")
        merged.append(None if axis == free or not known else known.pop())
    return tuple(merged)


class ConcatLayer(ComputedMerge):
    """The inputs behind each other along *axis*, cut to a common size elsewhere as *cropping* says."""

    def __init__(self, incomings: Sequence[Any], axis: int = 1, cropping: Any = None, **kwargs: Any) -> None:
        super().__init__(incomings, **kwargs)
        self.axis = axis
        if cropping is not None:
            cropping = _modes(cropping, len(self.input_shapes[0]))
            cropping[axis] = None
        self.cropping = cropping

    def get_output_shape_for(self, input_shapes: Any) -> Any:
        """The sum of the sizes along the axis."""
        shapes = autocrop_array_shapes(input_shapes, self.cropping)
        axis = self.axis % len(shapes[0])
        common = list(_common(shapes, axis, "except in the concatenation axis"))
        sizes = [shape[axis] for shape in shapes]
        common[axis] = None if None in sizes else sum(sizes)
        return tuple(common)

    def forward(self, x: Any, **kwargs: Any) -> Any:
        """The joined tensor."""
        return torch.cat(list(autocrop(x, self.cropping)), self.axis)


concat = ConcatLayer


class ElemwiseMergeLayer(ComputedMerge):
    """*merge_function* of the first two inputs, then of the result and the third, and so on."""

    def __init__(self, incomings: Sequence[Any], merge_function: Any, cropping: Any = None, **kwargs: Any) -> None:
        super().__init__(incomings, **kwargs)
        self.merge_function = merge_function
        self.cropping = cropping

    def get_output_shape_for(self, input_shapes: Any) -> Any:
        """The common shape; inputs of size 1 along an axis fit any."""
        shapes = autocrop_array_shapes(input_shapes, self.cropping)
        sizes = [[n for n in column if n != 1] or [1] for column in zip(*shapes, strict=True)]
        most = max(len(column) for column in sizes)
        return _common([[c[i % len(c)] for c in sizes] for i in range(most)], None, "")

    def forward(self, x: Any, **kwargs: Any) -> Any:
        """The merged values."""
        output = None
        for term in autocrop(x, self.cropping):
            output = term if output is None else call(self.merge_function, output, term)
        return output


class ElemwiseSumLayer(ElemwiseMergeLayer):
    """The sum of the inputs, each times its coefficient."""

    def __init__(self, incomings: Sequence[Any], coeffs: Any = 1, cropping: Any = None, **kwargs: Any) -> None:
        super().__init__(incomings, ops.add, cropping=cropping, **kwargs)
        self.coeffs = [coeffs] * len(incomings) if not isinstance(coeffs, list | tuple) else list(coeffs)
        if len(self.coeffs) != len(incomings):
            raise ValueError(f"Mismatch: got {len(self.coeffs)} coeffs for {len(incomings)} incomings")

    def forward(self, x: Any, **kwargs: Any) -> Any:
        """The weighted sum."""
        terms = [t if c == 1 else worked_out(t * c) for t, c in zip(x, self.coeffs, strict=True)]
        return super().forward(terms, **kwargs)
