"""BatchNorm and Scale drawn into the convolution or inner product before them, or into one another.

Every fold is exact in real numbers: a factor and a term for each channel move into weights and bias.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from converters.affine import Affine, Array
from converters.recorder import Node
from nets.emitter import Value

FILTERS = ("Conv", "ConvTranspose", "Gemm")


def fold(nodes: Sequence[Node], outputs: Sequence[Value], hints: dict[Value, str]) -> list[Node]:
    """*nodes* with batch normalisations, and the scales and biases behind them or behind filters, folded away.

    A value that something else reads, or that is one of *outputs*, stays. *hints* learns of the new constants.
    """
    readers = Counter(value for node in nodes for value in node.uses())
    readers.update(outputs)
    makers: dict[Value, Node] = {}
    kept: list[Node] = []
    for node in nodes:
        affine = _affine(node)
        before = makers.get(node.inputs[0]) if affine is not None and node.inputs[0] is not None else None
        alone = before is not None and readers[before.outputs[0]] == 1 and _goes_by_channel(node, before)
        if affine is not None and before is not None and alone and _absorb(before, affine, readers, hints):
            before.outputs = node.outputs
            makers[node.outputs[0]] = before
        else:
            kept.append(node)
            makers.update((value, node) for value in node.outputs)
    return kept


def _affine(node: Node) -> Affine | None:
    """What *node* does to each part along one axis, if that is all it does."""
    if node.kind == "BatchNormalization":
        scale, bias, mean, variance = (_data(value) for value in node.inputs[1:])
        epsilon = node.attributes["epsilon"]
        factor = scale / np.sqrt(variance + float(epsilon))  # type: ignore[arg-type]  # a number
        return Affine(factor, bias - mean * factor)
    if node.kind in ("Mul", "Add") and node.inputs[1] is not None and node.inputs[1].data is not None:
        shape = node.inputs[1].data.shape
        if node.inputs[1].data.dtype != np.float32 or any(size != 1 for size in shape[1:]) or not shape:
            return None
        values = _data(node.inputs[1]).reshape(-1)
        if node.kind == "Mul":
            return Affine(values, np.zeros_like(values))
        return Affine(np.ones_like(values), values)
    return None


def _goes_by_channel(node: Node, before: Node) -> bool:
    """Whether the axis of *node*'s factors is the second of what *before* makes."""
    if node.kind == "BatchNormalization":
        return True
    if before.kind == "Gemm":
        axes = 2
    else:
        like = before.inputs[0 if before.kind == "BatchNormalization" else 1]
        axes = 0 if like is None else len(like.shape if like.data is None else like.data.shape)
    factors = node.inputs[1]
    return factors is not None and factors.data is not None and factors.data.ndim == axes - 1


def _absorb(before: Node, affine: Affine, readers: Counter[Value], hints: dict[Value, str]) -> bool:
    """Let *before* do *affine* as well; whether it can."""
    if before.kind == "BatchNormalization":
        first = Affine(_data(before.inputs[1]), _data(before.inputs[2]))
        if len(first.factor) != len(affine.factor):
            return False
        both = affine.after(first)
        _replace(before, 1, both.factor, hints)
        _replace(before, 2, both.term, hints)
        return True
    weight = before.inputs[1] if before.kind in FILTERS else None
    if weight is None or weight.data is None or readers[weight] > 1:
        return False
    axis, group = _output_axis(before), _group(before)
    channels = weight.data.shape[axis] * (group if axis == 1 else 1)
    if channels != len(affine.factor):
        return False
    bias = _data(before.inputs[2]) if len(before.inputs) > 2 else np.zeros(channels)
    values, terms = affine.in_filter(_data(weight), bias, axis, group)
    _replace(before, 1, values, hints)
    _replace(before, 2, terms, hints)
    return True


def _group(node: Node) -> int:
    group = node.attributes.get("group", 1)
    assert isinstance(group, int)
    return group


def _output_axis(node: Node) -> int:
    if node.kind == "ConvTranspose":
        return 1
    return 0 if node.kind == "Conv" or node.attributes.get("transB") else 1


def _data(value: Value | None) -> Array:
    assert value is not None
    assert value.data is not None
    return value.data.astype(np.float64)


def _replace(node: Node, at: int, values: Array, hints: dict[Value, str]) -> None:
    """Give *node* a constant of its own as input *at*."""
    made = Value(values.shape, data=values.astype(np.float32))
    if at < len(node.inputs):
        old = node.inputs[at]
        assert old is not None
        hints[made] = hints[old]
        node.inputs[at] = made
    else:
        hints[made] = f"{node.layer}.bias"
        node.inputs.append(made)
