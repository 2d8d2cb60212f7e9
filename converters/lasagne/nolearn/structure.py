"""The layers of a NeuralNet from its three formats."""

import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from converters.lasagne.layers import Layer, MergeLayer, get_all_layers
from converters.lasagne.layers.input import InputLayer
from protos.errors import NetError
from protos.registry import suggest


class ArgumentError(NetError, ValueError, TypeError):
    """An argument of NeuralNet that does not fit: of the kinds, too, that the original raises."""


LINKS = ("incoming", "mask_input", "localization_network", "hid_init", "cell_init")


def auto_name(kind: type, index: int) -> str:
    """The name of a layer without one: its kind and its place."""
    return f"{kind.__name__.lower().replace('layer', '')}{index}"


def options_for(prefix: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in *given* whose names begin with *prefix* and "_", without it."""
    return {key[len(prefix) + 1 :]: value for key, value in given.items() if key.startswith(f"{prefix}_")}


class Layers(OrderedDict[Any, Any]):
    """Layers by name, and by place: ``layers_[0]``, ``layers_[1:]``."""

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return Layers(list(self.items())[key])
        return list(self.values())[key] if isinstance(key, int) else super().__getitem__(key)


def build(layers: Any, given: Mapping[str, Any]) -> Layers:
    """All layers by name. *layers*: a Layer or a list of them, or a list of (name, class) or (class, options)."""
    if isinstance(layers, Layer) or (layers and isinstance(layers[0], Layer)):
        return _named(layers)
    found = Layers()
    last: Any = None
    names = [item[0] for item in layers if isinstance(item[0], str) and not isinstance(item[1], Mapping)]
    for index, item in enumerate(layers):
        name, factory, options = _parts(item, index, given, names)
        if name in found:
            raise ArgumentError(f"NeuralNet has two layers named '{name}'")
        options["name"] = name
        wrapper = options.pop("layer_wrapper", None)
        last = found[name] = _made(factory, options, found, last)
        if wrapper is not None:
            last = wrapper(last)
            found.update({one.name: one for one in get_all_layers(last)[:-1] if one not in found.values() and one.name})
            found[f"LW_{name}"] = last
    return found


def _named(layers: Any) -> Layers:
    found = Layers()
    for index, layer in enumerate(get_all_layers(layers)):
        if not layer.name:
            layer.name = auto_name(type(layer), index)
        if layer.name in found:
            raise ArgumentError(f"NeuralNet has two layers named '{layer.name}'")
        found[layer.name] = layer
    return found


def _parts(item: Any, index: int, given: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Any, dict[str, Any]]:
    first, second = item
    if isinstance(second, Mapping):
        first = _class(first)
    if isinstance(first, str):
        longer = [name for name in names if name != first and name.startswith(f"{first}_")]
        own = {key: v for key, v in given.items() if not any(key.startswith(f"{name}_") for name in longer)}
        return first, _class(second), options_for(first, own)
    options = dict(second)
    name = options.pop("name", None) or auto_name(first, index)
    return name, first, {**options, **options_for(name, given)}


def _made(factory: Any, options: dict[str, Any], found: "OrderedDict[str, Any]", last: Any) -> Any:
    for key in LINKS:
        if isinstance(options.get(key), str):
            options[key] = _layer(options[key], found)
    for key in ("W", "b"):
        if isinstance(options.get(key), str):  # that of another layer
            options[key] = getattr(_layer(options[key], found), key, None)
    if "incomings" in options:
        options["incomings"] = [_layer(one, found) if isinstance(one, str) else one for one in options["incomings"]]
    elif isinstance(factory, type) and issubclass(factory, MergeLayer) and "incoming" not in options and not found:
        raise NetError(f"layer '{options['name']}' needs incomings")
    elif not (isinstance(factory, type) and issubclass(factory, InputLayer)):
        options.setdefault("incoming", last)
    try:
        return factory(**options)
    except TypeError as error:
        given = ", ".join(f"{key}={value!s}" for key, value in options.items() if key != "name")
        raise ArgumentError(f"layer '{options['name']}': {factory.__name__} does not take {given}: {error}") from error


def _class(factory: Any) -> Any:
    """The class itself, also where its full name is given."""
    if not isinstance(factory, str):
        return factory
    module, _, name = factory.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    if found is None:
        raise ArgumentError(f"there is no class {factory}: give the class itself, or as in lasagne.layers.DenseLayer")
    return found


def _layer(name: str, found: Mapping[str, Any]) -> Any:
    if name not in found:
        raise NetError(f"no layer '{name}' before the one that names it{suggest(name, found)}")
    return found[name]
