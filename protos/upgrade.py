"""Every old format, brought to the current one, so that nothing behind this module knows that they exist.

- V0, ``layers { layer { type: "conv"``: options are sorted into the messages of the layer types, and
  ``padding`` layers folded into the layers that they feed.
- V1, ``layers { type: CONVOLUTION``: becomes ``layer { type: "Convolution"``; ``blobs_lr``, ``weight_decay``,
  ``param`` and ``blob_share_mode`` become ``param { lr_mult decay_mult name share_mode }``.
- V1 data layers: ``scale``, ``mean_file``, ``crop_size`` and ``mirror`` move to ``transform_param``.
- ``input`` with ``input_dim`` or ``input_shape``: becomes one ``Input`` layer in front.
- BatchNorm with three ``param``: their ``lr_mult`` and ``decay_mult`` are set to 0.
- DeepLab's ``hole`` becomes ``dilation``, its ``softmaxloss_param`` ``loss_param``.
- ``solver_type: ADAM``: becomes ``type: "Adam"``.

What has no place in the current format is refused, never dropped.
"""

import warnings
from collections.abc import Iterable

from google.protobuf.message import Message

from protos import forks
from protos.errors import CaffeWarning, ParseError, listing
from protos.schema import (
    LayerParameter,
    NetParameter,
    ParamSpec,
    SolverParameter,
    V0LayerParameter,
    V1LayerParameter,
)

SOLVER_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}

# The V1 types whose current name is not their words with capital initials.
V1_TYPES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BN": "BN",
    "BNLL": "BNLL",
    "CONVOLUTION3D": "Convolution3D",
    "DEPTHWISECONVOLUTION": "DepthwiseConvolution",
    "DETECTIONOUTPUT": "DetectionOutput",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MCWINDOW_DATA": "MCWindowData",
    "MVN": "MVN",
    "NAMCWINDOW_DATA": "NAMCWindowData",
    "NONE": "",
    "POOLING3D": "Pooling3D",
    "PRELU": "PReLU",
    "PRIORBOX": "PriorBox",
    "RELU": "ReLU",
    "RELU6": "ReLU6",
    "ROIPOOLING": "ROIPooling",
    "SELU": "SeLU",
    "SELU_DROPOUT": "SeLUDropout",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}

V0_TYPES = {
    "accuracy": "Accuracy",
    "bnll": "BNLL",
    "concat": "Concat",
    "conv": "Convolution",
    "data": "Data",
    "dropout": "Dropout",
    "euclidean_loss": "EuclideanLoss",
    "flatten": "Flatten",
    "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output",
    "im2col": "Im2col",
    "images": "ImageData",
    "infogain_loss": "InfogainLoss",
    "innerproduct": "InnerProduct",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MultinomialLogisticLoss",
    "pool": "Pooling",
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "softmax_loss": "SoftmaxWithLoss",
    "split": "Split",
    "tanh": "TanH",
    "window_data": "WindowData",
}

_TRANSFORM = {
    "scale": "transform_param.scale",
    "meanfile": "transform_param.mean_file",
    "cropsize": "transform_param.crop_size",
    "mirror": "transform_param.mirror",
}
_WEIGHTS = {
    "num_output": "num_output",
    "biasterm": "bias_term",
    "weight_filler": "weight_filler",
    "bias_filler": "bias_filler",
}
_WINDOWS = {"pad": "pad", "kernelsize": "kernel_size", "stride": "stride"}


def _under(message: str, fields: dict[str, str]) -> dict[str, str]:
    return {old: f"{message}.{new}" for old, new in fields.items()}


# V0 type -> {V0 field: where it stands now}
V0_FIELDS = {
    "concat": {"concat_dim": "concat_param.concat_dim"},
    "conv": _under("convolution_param", _WEIGHTS | _WINDOWS | {"group": "group"}),
    "data": _TRANSFORM
    | _under("data_param", {"source": "source", "batchsize": "batch_size", "rand_skip": "rand_skip"}),
    "dropout": {"dropout_ratio": "dropout_param.dropout_ratio"},
    "hdf5_data": {"source": "hdf5_data_param.source", "batchsize": "hdf5_data_param.batch_size"},
    "hdf5_output": {"hdf5_output_param": "hdf5_output_param"},
    "images": _TRANSFORM
    | _under(
        "image_data_param",
        {
            "source": "source",
            "batchsize": "batch_size",
            "rand_skip": "rand_skip",
            "shuffle_images": "shuffle",
            "new_height": "new_height",
            "new_width": "new_width",
        },
    ),
    "infogain_loss": {"source": "infogain_loss_param.source"},
    "innerproduct": _under("inner_product_param", _WEIGHTS),
    "lrn": _under("lrn_param", {name: name for name in ("local_size", "alpha", "beta", "k")}),
    "pool": _under("pooling_param", _WINDOWS | {"pool": "pool"}),
    "window_data": _TRANSFORM
    | _under(
        "window_data_param",
        {
            "source": "source",
            "batchsize": "batch_size",
            "det_fg_threshold": "fg_threshold",
            "det_bg_threshold": "bg_threshold",
            "det_fg_fraction": "fg_fraction",
            "det_context_pad": "context_pad",
            "det_crop_mode": "crop_mode",
        },
    ),
}

DATA_PARAMS = {"Data": "data_param", "ImageData": "image_data_param", "WindowData": "window_data_param"}
DATA_TRANSFORMS = ("scale", "mean_file", "crop_size", "mirror")


def upgrade_net(old: NetParameter) -> NetParameter:
    """*old* in the current format, as a new message. ParseError where something in it has no current form.

    >>> from protos.text import to_text
    >>> old = NetParameter(layers=[V1LayerParameter(type="RELU", blobs_lr=[2])])
    >>> print(to_text(upgrade_net(old)), end="")
    layer {
      type: "ReLU"
      param {
        lr_mult: 2.0
      }
    }
    """
    net = NetParameter()
    net.CopyFrom(old)
    if net.layers:
        if net.layer:
            raise ParseError(
                "a net has either 'layer' or 'layers' (the old format), not both: "
                f"layer {net.layer[0].name!r}, layers {_name(net.layers[0])!r}"
            )
        net.layer.extend(_from_v1(layer) for layer in _without_padding(net.layers))
        net.ClearField("layers")
    axes = 5 if any(layer.type in ("Convolution3D", "Pooling3D") for layer in net.layer) else 4
    for layer in net.layer:
        forks.upgrade(layer)
        _fold_param_specs(layer, layer)
        _reset_batch_norm(layer)
        _warn_of_dead_transforms(layer)
    _inputs_to_layer(net, axes)
    return net


def upgrade_solver(old: SolverParameter) -> SolverParameter:
    """*old* with ``type`` in place of ``solver_type``, and its inline nets upgraded, as a new message.

    >>> upgrade_solver(SolverParameter(solver_type="RMSPROP")).type
    'RMSProp'
    """
    solver = SolverParameter()
    solver.CopyFrom(old)
    if solver.HasField("solver_type"):
        enum = SolverParameter.SolverType.Name(solver.solver_type)
        name = SOLVER_TYPES.get(enum, enum)
        if solver.HasField("type") and solver.type != name:
            raise ParseError(f"solver_type: {enum} (the old form) contradicts type: {solver.type!r}; keep one")
        solver.type = name
        solver.ClearField("solver_type")
    for field in ("net_param", "train_net_param"):
        if solver.HasField(field):
            net = getattr(solver, field)
            net.CopyFrom(upgrade_net(net))
    for net in solver.test_net_param:
        net.CopyFrom(upgrade_net(net))
    return solver


def v1_type(enum: str) -> str:
    """The current name of a layer type of V1, a fork's too.

    >>> v1_type("SIGMOID_CROSS_ENTROPY_LOSS"), v1_type("LRN")
    ('SigmoidCrossEntropyLoss', 'LRN')
    """
    return V1_TYPES.get(enum, enum.title().replace("_", ""))


def _name(layer: V1LayerParameter) -> str:
    return layer.layer.name if layer.HasField("layer") else layer.name


def _from_v1(old: V1LayerParameter) -> LayerParameter:
    new = _from_v0(old) if old.HasField("layer") else LayerParameter()
    for field, value in old.ListFields():
        if field.name == "type":
            new.type = v1_type(V1LayerParameter.LayerType.Name(value))
        elif field.name not in ("layer", "param"):
            _assign(new, field.name, value)
    if new.type in DATA_PARAMS:
        _move_transforms(new, DATA_PARAMS[new.type])
    _fold_param_specs(new, new, names=old.param)
    return new


def _assign(message: Message, name: str, value: object) -> None:
    """``message.name = value`` for a field of any kind."""
    if isinstance(value, Message):
        getattr(message, name).MergeFrom(value)
    elif message.DESCRIPTOR.fields_by_name[name].is_repeated:
        getattr(message, name).extend(value)
    else:
        setattr(message, name, value)


def _move_transforms(layer: LayerParameter, data_param: str) -> None:
    source = getattr(layer, data_param)
    for field in DATA_TRANSFORMS:
        if source.HasField(field):
            setattr(layer.transform_param, field, getattr(source, field))
            source.ClearField(field)


def _warn_of_dead_transforms(layer: LayerParameter) -> None:
    """Say what the original does: in the current format it never looks at the old place of these options."""
    data_param = DATA_PARAMS.get(layer.type)
    if data_param:
        dead = [field for field in DATA_TRANSFORMS if getattr(layer, data_param).HasField(field)]
        if dead:
            warnings.warn(
                f"layer {layer.name!r}: {', '.join(dead)} in {data_param} has no effect, as in the original: "
                "move it to transform_param",
                CaffeWarning,
                stacklevel=3,
            )


def _fold_param_specs(
    source: V0LayerParameter | LayerParameter, layer: LayerParameter, names: Iterable[str] = ()
) -> None:
    """``blobs_lr``, ``weight_decay`` and their like of *source*, one entry a blob, to ``layer.param``."""

    def spec(index: int) -> ParamSpec:
        while len(layer.param) <= index:
            layer.param.add()
        return layer.param[index]

    for index, name in enumerate(names):
        spec(index).name = name
    for index, value in enumerate(source.blobs_lr):
        spec(index).lr_mult = value
    for index, value in enumerate(source.weight_decay):
        spec(index).decay_mult = value
    if isinstance(source, LayerParameter):
        for index, mode in enumerate(source.blob_share_mode):
            strict = mode == V1LayerParameter.STRICT
            spec(index).share_mode = ParamSpec.STRICT if strict else ParamSpec.PERMISSIVE
        for field in ("blobs_lr", "weight_decay", "blob_share_mode"):
            layer.ClearField(field)


def _reset_batch_norm(layer: LayerParameter) -> None:
    """Three param on a BatchNorm are of the time when its statistics had to be kept from training by hand."""
    if layer.type == "BatchNorm" and len(layer.param) == 3:
        for spec in layer.param:
            spec.lr_mult = 0
            spec.decay_mult = 0


def _from_v0(outer: V1LayerParameter) -> LayerParameter:
    old = outer.layer
    if old.type not in V0_TYPES:
        raise ParseError(f"layer {old.name!r}: no layer type {old.type!r} in the V0 format")
    layer = LayerParameter(type=V0_TYPES[old.type])
    if old.HasField("name"):
        layer.name = old.name
    places = V0_FIELDS.get(old.type, {})
    problems = []
    for field, value in old.ListFields():
        if field.name == "blobs":
            layer.blobs.extend(value)
        elif field.name in places:
            *within, name = places[field.name].split(".")
            target = getattr(layer, within[0]) if within else layer
            _assign_any(target, name, value)
        elif field.name not in ("name", "type", "blobs_lr", "weight_decay"):
            problems.append(f"a V0 layer of type {old.type!r} has no {field.name}")
    if problems:
        raise ParseError(f"layer {old.name!r}: {listing(problems)}")
    _fold_param_specs(old, layer)
    return layer


def _assign_any(message: Message, name: str, value: object) -> None:
    """`_assign`, where a single old value may become the one entry of what is now a list."""
    if message.DESCRIPTOR.fields_by_name[name].is_repeated:
        getattr(message, name).append(value)
    else:
        _assign(message, name, value)


def _without_padding(layers: Iterable[V1LayerParameter]) -> list[V1LayerParameter]:
    """*layers* with V0's padding layers folded into the convolutions and poolings that they feed."""
    kept: list[V1LayerParameter] = []
    maker: dict[str, V1LayerParameter] = {}  # blob -> the last layer so far that makes it
    for layer in layers:
        if layer.layer.type != "padding":
            kept.append(_with_padding_of_bottoms(layer, maker))
        maker.update(dict.fromkeys(layer.top, layer))
    return kept


def _with_padding_of_bottoms(layer: V1LayerParameter, maker: dict[str, V1LayerParameter]) -> V1LayerParameter:
    folded = V1LayerParameter()
    folded.CopyFrom(layer)
    for index, bottom in enumerate(layer.bottom):
        padding = maker.get(bottom)
        if padding is None or padding.layer.type != "padding":
            continue
        where = f"padding layer {padding.layer.name!r}"
        if layer.layer.type not in ("conv", "pool"):
            raise ParseError(f"{where} feeds {_name(layer)!r}, which is neither a convolution nor a pooling")
        if layer.layer.pad or len(layer.bottom) != 1 or len(padding.bottom) != 1:
            raise ParseError(f"{where} feeds {_name(layer)!r}, which has a pad of its own or several bottoms")
        folded.layer.pad = padding.layer.pad
        folded.bottom[index] = padding.bottom[0]
    return folded


def _inputs_to_layer(net: NetParameter, axes: int) -> None:
    if not net.input:
        return
    names, shapes = _inputs(net, axes)
    if names:
        layer = LayerParameter(name="input", type="Input", top=names)
        for dims in shapes:
            layer.input_param.shape.add(dim=dims)
        rest = list(net.layer)
        net.ClearField("layer")
        net.layer.append(layer)
        net.layer.extend(rest)
    for field in ("input", "input_shape", "input_dim"):
        net.ClearField(field)


def _inputs(net: NetParameter, axes: int) -> tuple[list[str], list[list[int]]]:
    """The inputs of the net and the shape of each, *axes* input_dim; no shapes where the net states none."""
    names = list(net.input)
    if not net.input_shape and not net.input_dim:
        # In a net for training and deploying at once a data layer may make the blob: then it is no input.
        made = {top for layer in net.layer for top in layer.top}
        return [name for name in names if name not in made], []
    if net.input_shape:
        shapes = [list(shape.dim) for shape in net.input_shape]
    else:
        shapes = [list(net.input_dim[i : i + axes]) for i in range(0, len(net.input_dim) - axes + 1, axes)]
    stated = (
        f"{len(names)} inputs ({', '.join(names)}) have {len(net.input_shape)} input_shape and "
        f"{len(net.input_dim)} input_dim"
    )
    if len(shapes) < len(names):
        raise ParseError(f"{stated}: each takes one input_shape or {'five' if axes == 5 else 'four'} input_dim")
    if len(net.input_shape) + len(net.input_dim) / axes != len(names):
        warnings.warn(f"{stated}: those beyond the first of each are ignored", CaffeWarning, stacklevel=4)
    return names, shapes[: len(names)]
