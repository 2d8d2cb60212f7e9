"""From a net that is trained and tested to one that is only used: data layers as inputs, losses as predictions."""

from collections.abc import Mapping, Sequence

from google.protobuf.message import Message

from converters.draft import Draft, Part, Value
from nets.graph import INPUT, Node
from nets.layer import Layer, Shape
from nets.layers.ctc import CtcLoss
from nets.layers.loss import Loss, SigmoidCrossEntropyLoss, SoftmaxLoss
from nets.net import Net
from nets.predictions import Prediction, plan
from protos.schema import LayerParameter

HANDING_ON = ("GaussianNoise", "SharedDropout", "SpatialDropout")  # in testing
TRAINING = (
    "include",
    "exclude",
    "loss_weight",
    "propagate_down",
    "blobs",
    "param",
)  # what only that, or building, reads
FILLERS = ("weight_filler", "bias_filler", "filler")
TELLING = ("BN", "BatchNorm")  # whose fillers say which layer it is
PROBABILITIES = "prob"


def deployed(net: Net, inputs: Mapping[str, Shape], tops: Sequence[Sequence[Shape]]) -> Draft:
    """The layers that the predictions of *net* need; ``outputs``: prediction -> its value.

    *inputs* and *tops*: the shapes of the net's inputs, and of each layer's tops in order. Layers that do nothing in
    testing are gone, and all options that steer training alone.
    """
    draft = _Walk(net, inputs, tops).draft
    draft.prune()
    for part in [part for part in draft.parts if _hands_on(part.proto)]:
        draft.bypass(part)
    _name(draft)
    return draft


def _name(draft: Draft) -> None:
    """Give Input layers the names of their tops, and every layer one of its own, by which its blobs are found."""
    seen: set[str] = set()
    own = {part.proto.name for part in draft.parts if part.proto.type != INPUT}
    for part in draft.parts:
        if part.proto.type == INPUT:
            name = part.tops[0].name
            part.proto.name = draft.free_name(name) if name in own else name
        elif part.proto.name in seen:
            part.proto.name = draft.free_name(part.proto.name)
        seen.add(part.proto.name)


class _Walk:
    """Goes through *net* layer by layer: ``draft`` is what was met."""

    def __init__(self, net: Net, inputs: Mapping[str, Shape], tops: Sequence[Sequence[Shape]]) -> None:
        planned = plan(net)
        self.draft = Draft(net.graph.name)
        self._losses = {one.loss: one for one in planned.predictions if one.loss}
        self._names = {*inputs, *(name for node, _ in net.nodes for name in (node.name, *node.tops))}
        self._blobs = {name: self._input(name, shape) for name, shape in inputs.items()}
        found: dict[str, Value] = {}
        for (node, layer), shapes in zip(net.nodes, tops, strict=True):
            if node.name in self._losses:
                assert isinstance(layer, Loss)
                one = self._losses[node.name]
                found[one.name] = self._predict(node, layer, one)
            elif node.name not in planned.judges:
                self._add(node, layer, shapes)
        named = {one.name: found.get(one.name) or self._blobs[one.blob] for one in planned.predictions}
        self.draft.outputs.update(named)

    def _input(self, name: str, shape: Shape) -> Value:
        proto = LayerParameter(type=INPUT)
        proto.input_param.shape.add().dim[:] = shape
        value = Value(name, shape)
        self.draft.parts.append(Part(proto, [], [value]))
        return value

    def _add(self, node: Node, layer: Layer, shapes: Sequence[Shape]) -> None:
        values = [Value(name, shape) for name, shape in zip(node.tops, shapes, strict=True)]
        bottoms = [self._blobs[name] for name in node.bottoms]
        self.draft.parts.append(Part(bare(node.proto), bottoms, values, [blob.detach() for blob in layer.blobs]))
        self._blobs |= zip(node.tops, values, strict=True)

    def _predict(self, node: Node, layer: Loss, wanted: Prediction) -> Value:
        """What *layer* makes of its first bottom: ``prob``, where the net has no name for it."""
        x, proto, name = self._blobs[wanted.blob], _activation(node, layer), wanted.name
        if len(node.tops) == len(self._losses) == 1 and PROBABILITIES not in self._names:
            proto.name = name = PROBABILITIES
        top = Value(name, x.shape)
        self.draft.parts.append(Part(proto, [x], [top]))
        self._blobs |= dict.fromkeys(node.tops[1:2], top)
        return top


def _activation(node: Node, layer: Loss) -> LayerParameter:
    """The layer that makes the predictions of the loss *layer*."""
    if isinstance(layer, SigmoidCrossEntropyLoss):
        return LayerParameter(name=node.name, type="Sigmoid")
    assert isinstance(layer, SoftmaxLoss | CtcLoss)
    made = LayerParameter(name=node.name, type="Softmax")
    axis = layer.axis if isinstance(layer, SoftmaxLoss) else 2
    if axis != 1:
        made.softmax_param.axis = axis
    return made


def bare(proto: LayerParameter) -> LayerParameter:
    """A copy of *proto* without what only training, or the choice of a phase, reads."""
    made = LayerParameter()
    made.CopyFrom(proto)
    for name in TRAINING:
        made.ClearField(name)
    if any(spec.name for spec in proto.param):  # blobs that layers share
        for spec in proto.param:
            kept = made.param.add(name=spec.name)
            if spec.HasField("share_mode"):
                kept.share_mode = spec.share_mode
    for _, options in made.ListFields() if proto.type not in TELLING else ():
        for name in FILLERS:
            if isinstance(options, Message) and name in options.DESCRIPTOR.fields_by_name:
                options.ClearField(name)
    return made


def _hands_on(proto: LayerParameter) -> bool:
    p = proto.dropout_param
    return proto.type in HANDING_ON or (proto.type == "Dropout" and p.scale_train and not p.sample_weights_test)
