"""Functions over whole nets: ``get_output``, ``get_all_params`` and their like."""

import difflib
import inspect
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.lasagne import utils
from converters.lasagne.layers.base import MergeLayer
from converters.lasagne.layers.input import GivenLayer, InputLayer
from converters.lasagne.theano.variable import Apply, Constant, Input, evaluate


def _listed(layer: Any) -> list[Any]:
    return list(layer) if isinstance(layer, list | tuple) else [layer]


def _before(layer: Any) -> list[Any]:
    if isinstance(layer, MergeLayer):
        return [one for one in layer.input_layers if one is not None]
    inner = getattr(layer, "input_layer", None)
    return [] if inner is None else [inner]


def get_all_layers(layer: Any, treat_as_input: Iterable[Any] | None = None) -> list[Any]:
    """All layers that *layer* (or a list of layers) needs, each behind what it needs, itself last.

    Nothing is looked for behind the layers in *treat_as_input*.
    """
    ends = set(treat_as_input or ())
    queue: list[Any] = _listed(layer)
    seen: set[Any] = set()
    done: dict[Any, None] = {}
    while queue:
        node = queue[0]
        if node is None:
            queue.pop(0)
        elif node not in seen:
            seen.add(node)
            if node not in ends:
                queue[:0] = _before(node)
        else:
            done.setdefault(queue.pop(0))
    return list(done)


def takes_data(layer: Any) -> bool:
    """Whether *layer* is an input of the net's own."""
    return isinstance(layer, InputLayer) and not isinstance(layer, GivenLayer)


def get_output(layer_or_layers: Any, inputs: Any = None, **kwargs: Any) -> Any:
    """The output of one or several layers.

    *inputs*: None for the variables of the input layers, one value for all input layers, or a dict from layer to
    value. For torch tensors the result is one, worked out at once; for variables and arrays it is a variable, whose
    ``eval()`` gives an array. *kwargs* (``deterministic=True``) go to every layer; names that none knows are reported.
    """
    given = inputs if isinstance(inputs, dict) else {}
    all_layers = get_all_layers(layer_or_layers, given)
    outputs: dict[Any, Any] = {layer: _value(value) for layer, value in given.items()}
    shared = None if inputs is None or isinstance(inputs, dict) else _value(inputs)
    for layer, value in given.items() if shared is None else [(one, shared) for one in all_layers if takes_data(one)]:
        if isinstance(layer, InputLayer) and isinstance(value, Input) and not any(value.sizes):
            value.sizes = layer.shape
    known: set[str] = {"deterministic"}
    for layer in all_layers:
        if layer in outputs:
            continue
        if isinstance(layer, InputLayer):
            outputs[layer] = layer.input_var if shared is None or not takes_data(layer) else shared
            continue
        outputs[layer] = layer.get_output_for(_inputs_of(layer, outputs), **kwargs)
        known |= _accepted(layer)
    _warn_unused(set(kwargs) - known, known)
    wanted = [outputs[layer] for layer in _listed(layer_or_layers)]
    if any(isinstance(value, Tensor) for value in (shared, *given.values())):
        wanted = [_now(value) for value in wanted]
    return wanted if isinstance(layer_or_layers, list | tuple) else wanted[0]


def _now(value: Any) -> Any:
    """A variable worked out: functions of a layer of one's own may give one for tensors."""
    return evaluate([value], None, torch.is_grad_enabled())[0] if isinstance(value, Apply) else value


def _value(value: Any) -> Any:
    return Constant(value) if isinstance(value, np.ndarray | list | int | float) else value


def _inputs_of(layer: Any, outputs: dict[Any, Any]) -> Any:
    if isinstance(layer, MergeLayer):
        inputs = layer.input_layers
        if any(one is None for one in inputs):
            raise ValueError(f"{layer} has no layer in front of it: give get_output a dict with its value")
        return [outputs[one] for one in inputs]
    if layer.input_layer is None:
        raise ValueError(f"get_output() was called without giving an input expression for the free-floating {layer}: "
                         "give a dict that holds its value")  # fmt: skip
    return outputs[layer.input_layer]


def _accepted(layer: Any) -> set[str]:
    names = set(layer.get_output_kwargs)
    for method in (layer.get_output_for, getattr(layer, "forward", None)):
        if method is not None:
            names |= {name for name, p in inspect.signature(method).parameters.items() if p.default is not p.empty}
    return names


def _warn_unused(unused: set[str], known: set[str]) -> None:
    if unused:
        said = []
        for name in sorted(unused):
            near = difflib.get_close_matches(name, known)
            said.append(f"{name} (perhaps you meant {near[0]})" if near else name)
        warnings.warn(f"get_output() was called with unused kwargs:\n\t{', '.join(said)}", UserWarning, 3)


def get_output_shape(layer_or_layers: Any, input_shapes: Any = None) -> Any:
    """The output shape of one or several layers, for other *input_shapes* if given: one, or a dict from layer."""
    if not input_shapes:
        shapes = [layer.output_shape for layer in _listed(layer_or_layers)]
        return shapes if isinstance(layer_or_layers, list | tuple) else shapes[0]
    given = dict(input_shapes) if isinstance(input_shapes, dict) else {}
    all_layers = get_all_layers(layer_or_layers, given)
    if not given:
        given = {layer: input_shapes for layer in all_layers if takes_data(layer)}
    for layer in all_layers:
        if layer in given:
            continue
        if isinstance(layer, InputLayer):
            given[layer] = layer.shape
            continue
        before = layer.input_layers if isinstance(layer, MergeLayer) else [layer.input_layer]
        shapes = [given[one] for one in before]
        given[layer] = layer.get_output_shape_for(shapes if isinstance(layer, MergeLayer) else shapes[0])
    wanted = [given[layer] for layer in _listed(layer_or_layers)]
    return wanted if isinstance(layer_or_layers, list | tuple) else wanted[0]


def get_all_params(layer: Any, unwrap_shared: bool = True, **tags: bool) -> list[Any]:
    """All parameters of a net that have (True) or have not (False) the *tags*, each once."""
    found = [param for one in get_all_layers(layer) for param in one.get_params(unwrap_shared=unwrap_shared, **tags)]
    return utils.unique(found)


def count_params(layer: Any, **tags: bool) -> int:
    """The number of values in all parameters with the *tags*."""
    return sum(int(np.prod(param.get_value(borrow=True).shape)) for param in get_all_params(layer, **tags))


def get_all_param_values(layer: Any, **tags: bool) -> list[Any]:
    """The values of all parameters with the *tags*, as arrays."""
    return [param.get_value() for param in get_all_params(layer, **tags)]


def set_all_param_values(layer: Any, values: Sequence[Any], **tags: bool) -> None:
    """Set all parameters with the *tags*. Raises ValueError where the number or a shape differs."""
    params = get_all_params(layer, **tags)
    if len(params) != len(values):
        raise ValueError(f"mismatch: got {len(values)} values to set {len(params)} parameters")
    problems = [
        f"parameter {i} ({param}) has shape {tuple(param.get_value(borrow=True).shape)}, its value {np.shape(value)}"
        for i, (param, value) in enumerate(zip(params, values, strict=True))
        if tuple(param.get_value(borrow=True).shape) != np.shape(value)
    ]
    if problems:
        raise ValueError("mismatch: " + "; ".join(problems))
    for param, value in zip(params, values, strict=True):
        param.set_value(value)
