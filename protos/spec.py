"""Nets built in Python: every layer is a call, named by the attribute that its top is assigned to.

>>> n = NetSpec("small")
>>> n.data, n.label = L.DummyData(shape=[dict(dim=[8, 1, 28, 28]), dict(dim=[8])], ntop=2)
>>> n.ip = L.InnerProduct(n.data, num_output=10, weight_filler=dict(type="xavier"), param=[dict(lr_mult=2)])
>>> n.relu = L.ReLU(n.ip, in_place=True)
>>> n.loss = L.SoftmaxWithLoss(n.relu, n.label)
>>> [(layer.name, list(layer.bottom), list(layer.top)) for layer in n.to_proto().layer[1:]]
[('ip', ['data'], ['ip']), ('relu', ['ip'], ['ip']), ('loss', ['ip', 'label'], ['loss'])]

An option goes into the message of the layer's type, as ``num_output`` of an InnerProduct goes into
``inner_product_param``, or else into the field of `LayerParameter` of its name: ``param``, ``include``,
``loss_weight``, ``transform_param`` and so on. Messages are written as dicts, repeated fields as lists, or as
a single value for short.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from protos import schema
from protos.errors import NetError
from protos.registry import suggest
from protos.scan import descriptor_of
from protos.schema import LayerParameter, NetParameter

_FIELDS = descriptor_of(LayerParameter).fields_by_name
# Options of these types stand in a message that is not called like the type, even if another fork has one that is.
_SHARED_PARAM = {
    "Deconvolution": "convolution_param",
    "EuclideanLoss": "loss_param",
    "LSTM": "recurrent_param",
    "MultiBoxLoss": "multibox_loss_param",
    "Normalize": "norm_param",
    "RNN": "recurrent_param",
    "SigmoidCrossEntropyLoss": "loss_param",
    "SoftmaxWithLoss": "loss_param",
}


@dataclass(frozen=True, eq=False)
class Top:
    """One of the blobs that a layer makes."""

    fn: "LayerSpec"
    n: int

    def to_proto(self) -> NetParameter:
        """The net that makes it, as `to_proto` gives it."""
        return to_proto(self)


class LayerSpec:
    """A layer before it has a name: its type, the tops that it takes, and its options, which may change until the net
    is written."""

    def __init__(self, kind: str, bottoms: tuple[Top, ...], ntop: int, in_place: bool, options: dict[str, Any]):
        for bottom in bottoms:
            if not isinstance(bottom, Top):
                raise NetError(f"{kind}: a bottom is the top of another layer, not {bottom!r}")
        if in_place and (ntop != 1 or not bottoms):
            raise NetError(f"{kind}: a layer in place has one top, and the bottom that it takes")
        self.type_name = kind
        self.inputs = bottoms
        self.in_place = in_place
        self.tops = tuple(Top(self, index) for index in range(ntop))
        self.params = options
        self.message()  # so that a wrong option is refused where it is written

    def message(self) -> LayerParameter:
        """Its type and options."""
        message = LayerParameter(type=self.type_name)
        param = param_of(self.type_name)
        own = getattr(message, param) if param else message
        for name, value in self.params.items():
            is_own = name in own.DESCRIPTOR.fields_by_name or name not in _FIELDS
            assign(own if is_own else message, name, value, self.type_name)
        return message


class _Layers:
    """``L.Convolution(...)``: a layer of the type that the attribute names, any type; see `protos.spec`."""

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        return functools.partial(_layer, kind)


def _layer(kind: str, *bottoms: Top, ntop: int = 1, in_place: bool = False, **options: Any) -> Any:
    """The top of a new layer; a tuple of its *ntop* tops, or the layer itself where it has none."""
    layer = LayerSpec(kind, bottoms, ntop, in_place, options)
    if ntop == 1:
        return layer.tops[0]
    return layer.tops if ntop else layer


L = _Layers()


class NetSpec:
    """A net in the making: assign tops (or layers without tops) to attributes or items, then `to_proto`.

    ``n.conv1 = L.Convolution(n.data, ...)``; ``n["res/conv1"] = ...`` for names that are no Python names.
    A layer is called like its first top. What an assigned layer takes is in the net even if it has no name
    yet: it gets the name of its type and a number. ``tops`` holds what has been assigned, by name.
    """

    def __init__(self, name: str = "") -> None:
        vars(self).update(_name=name, tops={})

    def __setattr__(self, name: str, thing: Top | LayerSpec) -> None:
        self[name] = thing

    def __setitem__(self, name: str, thing: Top | LayerSpec) -> None:
        if name in self.tops:
            raise NetError(f"{name}: there is a top of this name already")
        self.put(name, thing)

    def put(self, name: str, thing: Top | LayerSpec) -> None:
        """Let *thing* have this name, which another one may have had."""
        if not isinstance(thing, Top | LayerSpec):
            raise NetError(f"{name}: a net consists of tops and layers, not of {thing!r}")
        self.tops[name] = thing

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        if name not in self.tops:
            raise NetError(f"no top {name!r} in the net so far{suggest(name, self.tops)}")
        return self.tops[name]

    def to_proto(self) -> NetParameter:
        """The net as a message, its layers in the order in which they need each other."""
        net = NetParameter(name=self._name) if self._name else NetParameter()
        _Writer(net, self.tops)
        return net


def to_proto(*tops: Top) -> NetParameter:
    """The net that makes *tops* as a message; what has no name gets that of its type and a number."""
    net = NetParameter()
    writer = _Writer(net, {})
    for top in tops:
        writer.add(top.fn)
    return net


class _Params:
    """``P.Pooling.MAX``: a value of an enumeration, in the message of a layer type's options."""

    def __getattr__(self, kind: str) -> Any:
        message = getattr(schema, f"{kind}Parameter", None)
        if kind.startswith("__") or message is None:
            raise AttributeError(kind)
        return message


P = _Params()


class _Writer:
    """Names everything, then adds each layer to *net* after those that it takes from."""

    def __init__(self, net: NetParameter, things: dict[str, Top | LayerSpec]) -> None:
        self.net = net
        self.names = {id(thing): name for name, thing in things.items()}
        self.taken = set(things)
        self.blobs: dict[int, str] = {}  # id of a top -> the blob that it is
        self.written: set[int] = set()
        for thing in things.values():
            self.add(thing.fn if isinstance(thing, Top) else thing)

    def add(self, last: LayerSpec) -> None:
        stack = [last]  # not recursion: nets are deeper than Python's stack
        while stack:
            layer = stack[-1]
            missing = [b.fn for b in reversed(layer.inputs) if id(b.fn) not in self.written]
            stack.extend(missing)
            if not missing:
                self.write(stack.pop())

    def write(self, layer: LayerSpec) -> None:
        if id(layer) in self.written:
            return
        self.written.add(id(layer))
        message = self.net.layer.add()
        message.CopyFrom(layer.message())
        made = [self.blobs[id(layer.inputs[0])]] if layer.in_place else [self.name_of(top) for top in layer.tops]
        self.blobs.update((id(top), blob) for top, blob in zip(layer.tops, made, strict=True))
        name = self.name_of(layer.tops[0] if layer.tops else layer)
        if not message.HasField("name"):
            message.name = name
        message.bottom.extend(self.blobs[id(bottom)] for bottom in layer.inputs)
        message.top.extend(made)

    def name_of(self, thing: Top | LayerSpec) -> str:
        if id(thing) not in self.names:
            self.names[id(thing)] = self.new_name((thing.fn if isinstance(thing, Top) else thing).type_name)
        return self.names[id(thing)]

    def new_name(self, kind: str) -> str:
        name = next(name for n in itertools.count(1) if (name := f"{kind}{n}") not in self.taken)
        self.taken.add(name)
        return name


def param_of(kind: str) -> str | None:
    """The field of LayerParameter that holds the options of a layer type, None where there is none.

    >>> param_of("InnerProduct"), param_of("LRN"), param_of("Deconvolution"), param_of("Silence")
    ('inner_product_param', 'lrn_param', 'convolution_param', None)
    """
    wanted = f"{kind}param".lower()
    return _SHARED_PARAM.get(kind) or next((name for name in _FIELDS if name.replace("_", "") == wanted), None)


def assign(message: Message, name: str, value: Any, kind: str) -> None:
    """``message.name = value`` in plain Python values, for a field of any sort.

    Raises NetError, which names *kind*, where it has no such field or the value does not fit.
    """
    descriptor = descriptor_of(type(message))
    field = descriptor.fields_by_name.get(name)
    if field is None:
        near = suggest(name, descriptor.fields_by_name)
        raise NetError(f"{kind}: unknown option {name!r} in {descriptor.name}{near}")
    values = value if isinstance(value, list | tuple) else [value]
    try:
        if field.message_type is not None:
            for entry in values:
                target = getattr(message, name)
                _fill(target.add() if field.is_repeated else target, entry, kind)
        else:
            message.MergeFrom(type(message)(**{name: values if field.is_repeated else value}))
    except (TypeError, ValueError) as error:
        raise NetError(f"{kind}: {name}={value!r} does not fit: {error}") from error


def _fill(message: Message, value: Any, kind: str) -> None:
    message.SetInParent()
    if isinstance(value, Message):
        message.CopyFrom(value)
    else:
        for name, inner in dict(value).items():
            assign(message, name, inner, kind)
