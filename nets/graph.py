"""A net as frozen data: which layers there are in a phase, and which blob goes where.

``build`` is pure: it opens no file, no store and no device. Data layers become sources, their tops are inputs of the
graph. All that is wrong without knowing a shape is reported in one go.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from data.sources import SOURCES
from nets.layer import LAYERS, Count, Layer, Shape, shape_text
from protos.errors import NetError, listing
from protos.registry import suggest
from protos.schema import TEST, TRAIN, LayerParameter, NetParameter, NetState, NetStateRule
from protos.text import to_text
from protos.upgrade import upgrade_net

INPUT = "Input"

MANY_RULES = {  # layer types of forks whose nets do not say what they mean
    "ROIAlign": "forks give this name to several rules, means and maxima of samples at other places, with one message",
}


@dataclass(frozen=True)
class Node:
    """One layer of the graph. ``proto`` is shared: read it, never write to it."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    loss_weights: tuple[float, ...]
    proto: LayerParameter

    def __str__(self) -> str:
        return f"layer '{self.name}' ({self.type})"


@dataclass(frozen=True)
class Graph:
    """A net in one phase.

    ``inputs``: blob -> shape, in the order of the file; None where the shape is not known. ``sources``: the data layers
    that feed some of them. ``outputs``: the tops that nobody consumes, in Caffe's (alphabetical) order. ``param``: the
    layers of this phase as they were declared.
    """

    name: str
    phase: str
    inputs: Mapping[str, Shape | None]
    layers: tuple[Node, ...]
    outputs: tuple[str, ...]
    sources: tuple[LayerParameter, ...]
    param: NetParameter


def build(
    param: NetParameter,
    phase: str = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    allow_python: bool = False,
    allow_foreign: bool = False,
) -> Graph:
    """The graph of *param* in *phase* ("TRAIN" or "TEST"), at *level*, with *stages* set.

    *input_shapes* names the shapes of inputs: tops of data layers, or other shapes for Input layers. *allow_python*
    admits Python layers, which run the user's code, *allow_foreign* layers of unknown types, of which no Net can be
    made. Raises NetError that lists every problem found.
    """
    state = NetState(phase=phase, level=level or param.state.level, stage={*param.state.stage, *stages})
    current = upgrade_net(param)
    kept, problems = filter_layers(current, state)
    wiring = _Wiring(kept, input_shapes or {}, _elsewhere(current, state), allow_foreign)
    problems += wiring.problems
    if not allow_python and (python := [f"'{node.name}'" for node in wiring.nodes if node.type == "Python"]):
        problems.append(
            f"Python layers {', '.join(python)} run their own code: allow it with allow_python=True or --allow-python"
        )
    if problems:
        raise NetError(f"net '{param.name}': {listing(problems)}")
    return Graph(
        name=param.name,
        phase=phase,
        inputs=wiring.inputs,
        layers=tuple(wiring.nodes),
        outputs=tuple(sorted(wiring.unconsumed)),
        sources=tuple(wiring.sources),
        param=kept,
    )


def filter_layers(param: NetParameter, state: NetState) -> tuple[NetParameter, list[str]]:
    """A copy of *param* with the layers whose include and exclude rules admit *state*; what is wrong with the rules."""
    kept = NetParameter()
    kept.CopyFrom(param)
    del kept.layer[:]
    problems = []
    for layer in param.layer:
        if layer.include and layer.exclude:
            problems.append(f"layer '{layer.name}' has both include and exclude rules: keep one kind")
        if _admitted(layer, state):
            kept.layer.add().CopyFrom(layer)
    return kept, problems


def unknown_layers(param: NetParameter) -> list[str]:
    """The layers of *param*, in whichever phase, that name a type which is not known: a line for each type."""
    found = _Problems()
    for layer in param.layer:
        if layer.type and not is_known(layer.type):
            found.add(layer, _unknown_type(layer.type))
    return found.lines()


def is_known(type: str) -> bool:
    """Whether there is code for layers of this type, or it is of a source."""
    return type == INPUT or type in SOURCES or type in LAYERS


def _unknown_type(type: str) -> str:
    if type in MANY_RULES:
        return f"no layer of this type is known: {MANY_RULES[type]}"
    known = [*LAYERS, *SOURCES, INPUT]
    extended = [name for name in known if len(type) > len(name) + 1 and (type.startswith(name) or type.endswith(name))]
    meant = "" if suggest(type, extended) else suggest(type, known)  # StripPooling is no slip for Pooling
    return f"no layer of this type is known{meant}"


def _elsewhere(param: NetParameter, state: NetState) -> dict[str, str]:
    """Top -> where it is made, for the tops of the layers that *state* leaves out."""
    other = NetState()
    other.CopyFrom(state)
    other.phase = TEST if state.phase == TRAIN else TRAIN
    made: dict[str, str] = {}
    for layer in param.layer:
        if not _admitted(layer, state):
            rules = " ".join(f"{kind} {{ {' '.join(to_text(rule).split())} }}" for kind, rule in _rules(layer))
            where = f"by layer '{layer.name}', which its rules leave out: {rules}"
            if _admitted(layer, other):
                where = f"in phase {'TEST' if other.phase == TEST else 'TRAIN'} only, by layer '{layer.name}'"
            made |= dict.fromkeys(layer.top, where)
    return made


def _rules(layer: LayerParameter) -> list[tuple[str, NetStateRule]]:
    return [("include", rule) for rule in layer.include] + [("exclude", rule) for rule in layer.exclude]


def _admitted(layer: LayerParameter, state: NetState) -> bool:
    included = any(_meets(state, rule) for rule in layer.include) if layer.include else True
    return included and not any(_meets(state, rule) for rule in layer.exclude)


def _meets(state: NetState, rule: NetStateRule) -> bool:
    return (
        (not rule.HasField("phase") or rule.phase == state.phase)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and set(rule.stage) <= set(state.stage)
        and not set(rule.not_stage) & set(state.stage)
    )


class _Problems:
    """What is wrong with layers, once for all layers of a type with which it is wrong."""

    def __init__(self) -> None:
        self._layers: dict[tuple[str, str], dict[str, None]] = {}

    def add(self, layer: LayerParameter, problem: str) -> None:
        """Note a problem of *layer*."""
        self._layers.setdefault((layer.type, problem), {})[f"'{layer.name}'"] = None

    def lines(self) -> list[str]:
        """``layers 'a', 'b' (Type): problem``, in the order in which they were found."""
        return [
            f"layer{'s' if len(names) > 1 else ''} {', '.join(names)} ({type}): {problem}"
            for (type, problem), names in self._layers.items()
        ]


class _Wiring:
    """Follows the blobs through the layers in their order."""

    def __init__(
        self,
        param: NetParameter,
        input_shapes: Mapping[str, Sequence[int]],
        elsewhere: Mapping[str, str],
        allow_foreign: bool,
    ) -> None:
        self.input_shapes = {name: tuple(shape) for name, shape in input_shapes.items()}
        self.elsewhere = elsewhere
        self.allow_foreign = allow_foreign
        self._found = _Problems()
        self._foreign: set[str] = set()  # tops of layers whose type is not known
        self.inputs: dict[str, Shape | None] = {}
        self.nodes: list[Node] = []
        self.sources: list[LayerParameter] = []
        self.makers: dict[str, str] = {}
        self.unconsumed: set[str] = set()
        self.needed: dict[str, str] = {}  # blob -> the first layer that takes it as it was last made, or its loss
        self.later = {top: layer.name for layer in reversed(param.layer) for top in layer.top}
        for layer in param.layer:
            self._add(layer)

    @property
    def problems(self) -> list[str]:
        """What is wrong, a line each."""
        strays = [name for name in self.input_shapes if name not in self.inputs and name not in self._foreign]
        return self._found.lines() + [
            f"input_shapes names '{name}', which is no input{suggest(name, self.inputs)}" for name in strays
        ]

    def _add(self, layer: LayerParameter) -> None:
        if layer.type == INPUT or layer.type in SOURCES:
            self._add_input(layer)
        elif layer.type in LAYERS:
            self._add_layer(layer, LAYERS[layer.type])
        else:
            self._add_foreign(layer)

    def _add_input(self, layer: LayerParameter) -> None:
        shapes: list[Shape | None] = [None] * len(layer.top)
        if layer.type == INPUT:
            declared = [tuple(shape.dim) for shape in layer.input_param.shape]
            if len(declared) not in (0, 1, len(layer.top)):
                self._report(layer, f"has {len(layer.top)} tops but {len(declared)} shapes: give one, or one for each")
            elif any(size < 0 for shape in declared for size in shape):
                self._report(layer, f"a size of its shape is negative: {', '.join(map(shape_text, declared))}")
            elif declared:
                shapes = list(declared if len(declared) == len(layer.top) else declared * len(layer.top))
        else:
            self.sources.append(layer)
        self._count(layer, "bottom", len(layer.bottom), (0, 0))
        self._count(layer, "top", len(layer.top), (1, None))
        self._make_tops(layer, tuple(layer.top))
        for top, shape in zip(layer.top, shapes, strict=True):
            self.inputs[top] = self.input_shapes.get(top, shape)

    def _add_layer(self, layer: LayerParameter, cls: type[Layer]) -> None:
        tops = tuple(layer.top)
        if cls.is_loss and len(tops) < cls.tops[0]:
            tops += tuple(self._automatic_tops(layer, cls.tops[0] - len(tops)))
        self._count(layer, "bottom", len(layer.bottom), cls.bottoms)
        self._count(layer, "top", len(tops), cls.tops)
        for problem in (*unsupported(layer, cls), *cls.check(layer)):
            self._report(layer, problem)
        self._take_bottoms(layer)
        self._make_tops(layer, tops)
        weights = self._loss_weights(layer, cls, len(tops))
        self.needed |= {top: layer.name for top, weight in zip(tops, weights, strict=False) if weight}
        proto = layer
        if len(tops) != len(layer.top):
            proto = LayerParameter()
            proto.CopyFrom(layer)
            proto.top[:] = tops
        self.nodes.append(Node(layer.name, layer.type, tuple(layer.bottom), tops, weights, proto))

    def _add_foreign(self, layer: LayerParameter) -> None:
        if not self.allow_foreign:
            self._report(layer, _unknown_type(layer.type))
        tops = tuple(layer.top)
        self._foreign.update(tops)
        self._take_bottoms(layer)
        self._make_tops(layer, tops)
        self.nodes.append(Node(layer.name, layer.type, tuple(layer.bottom), tops, (0.0,) * len(tops), layer))

    def _automatic_tops(self, layer: LayerParameter, count: int) -> Iterator[str]:
        for i in range(count):
            stem = layer.name if i == 0 else f"{layer.name}_{i}"
            yield stem if stem not in self.makers else f"{stem}_top"

    def _loss_weights(self, layer: LayerParameter, cls: type[Layer], tops: int) -> tuple[float, ...]:
        if layer.loss_weight and len(layer.loss_weight) != tops:
            self._report(
                layer, f"has {tops} tops but {len(layer.loss_weight)} loss weights: give none, or one for each"
            )
        elif layer.loss_weight:
            return tuple(layer.loss_weight)
        return tuple(1.0 if cls.is_loss and i == 0 else 0.0 for i in range(tops))

    def _take_bottoms(self, layer: LayerParameter) -> None:
        if layer.propagate_down and len(layer.propagate_down) != len(layer.bottom):
            counts = f"{len(layer.bottom)} bottoms but {len(layer.propagate_down)} propagate_down"
            self._report(layer, f"has {counts}: give none, or one for each")
        for bottom in layer.bottom:
            if bottom in self.makers:
                self.unconsumed.discard(bottom)
                self.needed.setdefault(bottom, layer.name)
            elif bottom in self.later:
                self._report(layer, f"bottom '{bottom}' is made only later, by layer '{self.later[bottom]}'")
            elif bottom in self.elsewhere:
                self._report(layer, f"bottom '{bottom}' is made {self.elsewhere[bottom]}")
            else:
                self._report(layer, f"bottom '{bottom}' is made by no layer{suggest(bottom, self.makers)}")

    def _make_tops(self, layer: LayerParameter, tops: tuple[str, ...]) -> None:
        for i, top in enumerate(tops):
            in_place = i < len(layer.bottom) and layer.bottom[i] == top
            if top in self.makers and not in_place:
                self._report(layer, f"top '{top}' is already made by layer '{self.makers[top]}'")
            elif in_place and (other := self.needed.get(top, layer.name)) != layer.name:
                self._report(layer, f"cannot work in place on '{top}', which layer '{other}' needs: name its top anew")
            self.needed.pop(top, None)
            self.makers[top] = layer.name
            self.unconsumed.add(top)

    def _count(self, layer: LayerParameter, kind: str, have: int, count: Count) -> None:
        least, most = count
        if have < least or (most is not None and have > most):
            wanted = f"at least {least}" if most is None else f"{least}" if least == most else f"{least} to {most}"
            self._report(layer, f"has {have} {kind}s where it takes {wanted}")

    def _report(self, layer: LayerParameter, problem: str) -> None:
        self._found.add(layer, problem)


def unsupported(layer: LayerParameter, cls: type[Layer]) -> Iterator[str]:
    """The options that *layer* sets in its own message and *cls* does not honour, a line each.

    A message of the layer's name that is not the one of *cls* is another fork's.
    """
    for field, value in layer.ListFields():
        if field.name != cls.message and _stem(field.name) == layer.type.lower() and value.ListFields():
            place = f"takes its options in {cls.message}, not in" if cls.message else "takes no options, which are in"
            yield f"{place} {field.name}"
    if not cls.message:
        return
    message = getattr(layer, cls.message)
    for field, value in message.ListFields():
        if field.name in cls.options or field.name in cls.hints:
            continue
        if not field.is_repeated and field.message_type is None and value == field.default_value:
            continue
        yield f"option {cls.message}.{field.name} is not supported"


def _stem(field: str) -> str:
    """The name of a layer type, in small letters, whose options a *field* of LayerParameter would hold."""
    stem, _, param = field.lower().rpartition("_")
    return stem.replace("_", "") if param in ("param", "parameter") else ""
