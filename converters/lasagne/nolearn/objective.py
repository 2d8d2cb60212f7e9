"""The loss of a NeuralNet."""

from typing import Any

from converters.lasagne import objectives, regularization
from converters.lasagne.layers import get_output
from converters.lasagne.theano.tensor import ops


def objective(
    layers: Any,
    loss_function: Any,
    target: Any,
    aggregate: Any = objectives.aggregate,
    deterministic: bool = False,
    l1: float = 0,
    l2: float = 0,
    get_output_kw: Any = None,
) -> Any:
    """The aggregated loss of the last of *layers*, and penalties of all their regularisable parameters."""
    every = list(layers.values()) if isinstance(layers, dict) else list(layers)
    output = get_output(every[-1], deterministic=deterministic, **(get_output_kw or {}))
    loss = aggregate(loss_function(output, target))
    for factor, penalty in ((l1, regularization.l1), (l2, regularization.l2)):
        if factor:
            loss = ops.add(loss, ops.mul(regularization.regularize_layer_params(every, penalty), factor))
    return loss
