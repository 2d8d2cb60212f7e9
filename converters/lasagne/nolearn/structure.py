"""The layers of a NeuralNet from its three formats."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from converters.lasagne.layers import Layer, MergeLayer, get_all_layers
from converters.lasagne.layers.input import InputLayer
from protos.errors import NetError
from protos.registry import suggest

LINKS = ("incoming", "mask_input", "localization_network", "hid_init", "cell_init")


def auto_name(kind: type, index: int) -> str:
    """The name of a layer without one: its kind and its place."""
    return f"{kind.__name__.lower().replace('layer', '')}{index}"


def options_for(prefix: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in *given* whose names begin with *prefix* and "_", without it."""
    return {key[len(prefix) + 1 :]: value for key, value in given.items() if key.startswith(f"{prefix}_")}


def build(layers: Any, given: Mapping[str, Any]) -> "OrderedDict[str, Any]":
    """All layers by name. *layers*: a Layer or a list of them, or a list of (name, class) or (class, options)."""
    if isinstance(layers, Layer) or (layers and isinstance(layers[0], Layer)):
        return _named(layers)
    found: OrderedDict[str, Any] = OrderedDict()
    names = [item[0] for item in layers if isinstance(item[0], str)]
    for index, item in enumerate(layers):
        name, factory, options = _parts(item, index, given, names)
        if name in found:
            raise NetError(f"NeuralNet has two layers named '{name}'")
        options["name"] = name
        found[name] = _made(factory, options, found)
    return found


def _named(layers: Any) -> "OrderedDict[str, Any]":
    found: OrderedDict[str, Any] = OrderedDict()
    for index, layer in enumerate(get_all_layers(layers)):
        if not layer.name:
            layer.name = auto_name(type(layer), index)
        if layer.name in found:
            raise NetError(f"NeuralNet has two layers named '{layer.name}'")
        found[layer.name] = layer
    return found


def _parts(item: Any, index: int, given: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Any, dict[str, Any]]:
    first, second = item
    if isinstance(first, str):
        longer = [name for name in names if name != first and name.startswith(f"{first}_")]
        own = {key: v for key, v in given.items() if not any(key.startswith(f"{name}_") for name in longer)}
        return first, second, options_for(first, own)
    options = dict(second)
    name = options.pop("name", None) or auto_name(first, index)
    return name, first, {**options, **options_for(name, given)}


def _made(factory: Any, options: dict[str, Any], found: "OrderedDict[str, Any]") -> Any:
    for key in LINKS:
        if isinstance(options.get(key), str):
            options[key] = _layer(options[key], found)
    if "incomings" in options:
        options["incomings"] = [_layer(one, found) if isinstance(one, str) else one for one in options["incomings"]]
    elif isinstance(factory, type) and issubclass(factory, MergeLayer) and "incoming" not in options and not found:
        raise NetError(f"layer '{options['name']}' needs incomings")
    elif factory is not InputLayer and "incoming" not in options:
        options["incoming"] = next(reversed(found.values())) if found else None
        if not found and isinstance(factory, type) and issubclass(factory, InputLayer):
            del options["incoming"]
    return factory(**options)


def _layer(name: str, found: Mapping[str, Any]) -> Any:
    if name not in found:
        raise NetError(f"no layer '{name}' before the one that names it{suggest(name, found)}")
    return found[name]
