"""``to_net``: a Lasagne net as a NetParameter, its weights in Caffe's layout."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from converters.lasagne import objectives
from converters.lasagne.layers import InputLayer, MergeLayer, get_all_layers
from converters.lasagne.nonlinearities import sigmoid, softmax
from converters.lasagne.rules import rule_of
from converters.lasagne.writer import Writer
from protos import files, text
from protos.errors import NetError, listing
from protos.schema import LayerParameter, NetParameter

Path = str | os.PathLike[str]


def to_net(
    layer: Any,
    loss: Any = None,
    batch_size: int = 1,
    input_shapes: Mapping[Any, Sequence[int]] | None = None,
    name: str = "lasagne",
) -> NetParameter:
    """The net that ends in *layer* (or a list of layers), with its weights.

    Without *loss* a deploy net; with one of ``lasagne.objectives`` (categorical_crossentropy behind softmax,
    binary_crossentropy behind sigmoid, squared_error) it ends in Caffe's loss layer, and takes a ``label`` besides.
    *batch_size* stands for an open first axis, *input_shapes* (by input layer or its name) for other open sizes. Blobs
    are called like the layers. Raises NetError that names every layer without a counterpart.
    """
    if loss is not None and isinstance(layer, list | tuple):
        raise NetError(f"net '{name}': a loss goes with one output layer, not with {len(layer)}")
    every = get_all_layers(layer)
    shapes = _shapes(every, batch_size, dict(input_shapes or {}))
    writer = Writer(name, loss is not None, shapes)
    problems: list[str] = []
    for one in every:
        try:
            if isinstance(one, InputLayer):
                writer.tops[one] = _input(writer, one)
            else:
                before = one.input_layers if isinstance(one, MergeLayer) else [one.input_layer]
                writer.tops[one] = rule_of(one)(writer, one, [writer.tops.get(item, "?") for item in before])
        except NetError as error:
            problems.append(str(error))
    if problems:
        raise NetError(f"net '{name}': {listing(problems)}")
    if loss is not None:
        _add_loss(writer, layer, loss, batch_size)
    return writer.net


def save_net(layer: Any, prototxt: Path, caffemodel: Path, **options: Any) -> None:
    """Write ``to_net(layer, **options)`` to two files, as ``nets.load`` and the original Caffe read them."""
    net = to_net(layer, **options)
    bare = NetParameter()
    bare.CopyFrom(net)
    for one in bare.layer:
        del one.blobs[:]
    with files.replacing(prototxt) as file:
        file.write(text.to_text(bare).encode())
    with files.replacing(caffemodel) as file:
        file.write(net.SerializeToString(deterministic=True))


def _shapes(every: Sequence[Any], batch_size: int, given: Mapping[Any, Sequence[int]]) -> dict[Any, tuple[Any, ...]]:
    """The shape of each layer, from those of the inputs."""
    found: dict[Any, tuple[Any, ...]] = {}
    for one in every:
        if isinstance(one, InputLayer):
            shape = list(given.get(one, given.get(one.name, one.shape)))
            found[one] = tuple(batch_size if axis == 0 and size is None else size for axis, size in enumerate(shape))
        elif isinstance(one, MergeLayer):
            found[one] = tuple(one.get_output_shape_for([found[item] for item in one.input_layers]))
        else:
            found[one] = tuple(one.get_output_shape_for(found[one.input_layer]))
    return found


def _input(writer: Writer, layer: Any) -> str:
    name = writer.free(layer.name or "data")
    writer.names[layer] = name
    shape = writer.shape(layer)
    if None in shape:
        raise NetError(f"input '{name}' has open sizes {tuple(layer.shape)}: name its shape in input_shapes")
    made = writer.add("Input", name, [])
    made.input_param.shape.add().dim.extend(shape)
    return name


def _add_loss(writer: Writer, layer: Any, loss: Any, batch_size: int) -> None:
    """Caffe's loss in place of the last nonlinearity."""
    top = writer.tops[layer]
    nonlinearity = getattr(layer, "nonlinearity", None)
    shape = [batch_size if n is None else n for n in layer.output_shape]
    if loss is objectives.categorical_crossentropy and nonlinearity is softmax:
        scores, kind, label, weight = _without_last(writer, "Softmax"), "SoftmaxWithLoss", shape[:1], 1.0
    elif loss is objectives.binary_crossentropy and nonlinearity is sigmoid:
        scores, kind, label = _without_last(writer, "Sigmoid"), "SigmoidCrossEntropyLoss", shape
        weight = shape[0] / _count(shape)
    elif loss is objectives.squared_error:
        scores, kind, label, weight = top, "EuclideanLoss", shape, 2.0 * shape[0] / _count(shape)
    else:
        said = getattr(loss, "__name__", type(loss).__name__)
        raise NetError(f"loss {said} behind {getattr(nonlinearity, '__name__', 'no nonlinearity')} has no layer: "
                       "use categorical_crossentropy behind softmax, binary_crossentropy behind sigmoid, or squared_error")  # fmt: skip  # noqa: E501
    name = writer.free("label")
    given = LayerParameter(name=name, type="Input", top=[name])
    given.input_param.shape.add().dim.extend(label)
    places = [i for i, one in enumerate(writer.net.layer) if one.type == "Input"]
    writer.net.layer.insert(places[-1] + 1, given)
    made = writer.add(kind, writer.free("loss"), [scores, name])
    if weight != 1:
        made.loss_weight.append(weight)


def _count(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _without_last(writer: Writer, kind: str) -> str:
    """Take the last layer, of this *kind*, off the net; its bottom."""
    last = writer.net.layer[-1]
    if last.type != kind:
        raise NetError(f"the net ends in {last.type}, not in {kind}")
    bottom = last.bottom[0]
    del writer.net.layer[-1]
    return bottom
