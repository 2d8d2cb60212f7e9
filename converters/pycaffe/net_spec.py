"""``caffe.net_spec``: nets built in Python, as `protos.spec` builds them, with what only the original allowed."""

from typing import Any

from google.protobuf.message import Message

from protos import spec
from protos.errors import NetError
from protos.schema import LayerParameter
from protos.spec import L, LayerSpec, P, Top, param_of, to_proto

layers, params = L, P


class MissingTopError(NetError, AttributeError):
    """There is no top of this name; ``hasattr`` says so, too."""


class NetSpec(spec.NetSpec):
    """`protos.spec.NetSpec`, in which a name may be given again: what had it before keeps its place without a name.

    ``keys``, ``vals`` and ``update`` are those of SSD.
    """

    def __setitem__(self, name: str, thing: Top | LayerSpec) -> None:
        self.put(name, thing)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except NetError as error:
            raise MissingTopError(str(error)) from None

    def keys(self) -> list[str]:
        """The names that were given."""
        return list(self.tops)

    def vals(self) -> list[Top | LayerSpec]:
        """What has these names."""
        return list(self.tops.values())

    def update(self, name: str, options: dict[str, Any]) -> None:
        """Give the layer that makes *name* other options."""
        self[name].fn.params.update(options)


class Function(LayerSpec):
    """A layer by its type, its bottoms and its options."""

    def __init__(self, type_name: str, inputs: tuple[Top, ...], params: dict[str, Any]) -> None:
        options = dict(params)
        super().__init__(type_name, tuple(inputs), options.pop("ntop", 1), options.pop("in_place", False), options)


def assign_proto(proto: Message, name: str, val: Any) -> None:
    """``proto.name = val``, with dicts for messages and lists, or single values, for repeated fields."""
    spec.assign(proto, name, val, proto.DESCRIPTOR.name)


def param_name_dict() -> dict[str, str]:
    """The fields of a layer's options, without ``_param``, by the names of their types, without ``Parameter``."""
    fields = [field for field in LayerParameter.DESCRIPTOR.fields if field.name.endswith("_param")]
    named = [(field.message_type.name, field.name) for field in fields if field.message_type is not None]
    return {kind.removesuffix("Parameter"): name.removesuffix("_param") for kind, name in named}


_param_names = param_name_dict()

__all__ = [
    "Function", "L", "LayerSpec", "NetSpec", "P", "Top", "assign_proto", "layers", "param_name_dict", "param_of",
    "params", "to_proto",
]  # fmt: skip
