"""LRN as matrix arithmetic: more nodes than the one called ``LRN``, which engines compute slowly, with one core.

The sum over neighbouring channels is a 1 x 1 convolution with a band of ones (times alpha / size, and k for a bias);
the power 0.75, by far the commonest, is two square roots.
"""

from collections.abc import Sequence

import numpy as np

from converters.recorder import Node
from nets.emitter import Value


def spread_lrn(nodes: Sequence[Node], hints: dict[Value, str]) -> list[Node]:
    """*nodes* with each LRN over a known number of channels written out. *hints* learns of the new constants."""
    written: list[Node] = []
    for node in nodes:
        x = node.inputs[0] if node.inputs else None
        channels = x.shape[1] if node.kind == "LRN" and x is not None and len(x.shape) > 1 else None
        written += _written_out(node, x, channels, hints) if x is not None and isinstance(channels, int) else [node]
    return written


def _written_out(node: Node, x: Value, channels: int, hints: dict[Value, str]) -> list[Node]:
    made: list[Node] = []

    def op(kind: str, *inputs: Value, to: Value | None = None, **attributes: object) -> Value:
        made.append(Node(kind, node.layer, list(inputs), [to or Value()], dict(attributes)))
        return made[-1].outputs[0]

    def constant(values: object, name: str) -> Value:
        value = Value(data=np.asarray(values, np.float32))
        hints[value] = f"{node.layer}.{name}"
        return value

    size, alpha, beta, k = (node.attributes[name] for name in ("size", "alpha", "beta", "bias"))
    assert isinstance(size, int)
    assert isinstance(alpha, float)
    distance = np.abs(np.arange(channels)[:, None] - np.arange(channels))
    band = np.where(distance <= size // 2, alpha / size, 0.0)[..., None, None]
    bias = np.full(channels, k)
    total = op("Conv", op("Mul", x, x), constant(band, "band"), constant(bias, "k"), kernel_shape=(1, 1))
    if beta == 0.75:
        root = op("Sqrt", total)
        op("Div", x, op("Mul", root, op("Sqrt", root)), to=node.outputs[0])
    else:
        op("Div", x, op("Pow", total, constant(beta, "beta")), to=node.outputs[0])
    return made
