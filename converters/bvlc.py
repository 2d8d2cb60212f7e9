"""A net in the words of BVLC Caffe alone: what forks call otherwise, or compute in one layer where it takes two."""

from collections.abc import Callable, Iterator
from typing import cast

import torch
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from converters.draft import Draft, Part, Value
from converters.merging import affine_of, become_scale
from nets.layer import LAYERS
from nets.layers.activation import ReLU
from nets.layers.regions import RReLU
from nets.layers.resampling import Upsample
from nets.layers.spatial import Upscale
from nets.layers.volume import Convolution3D
from protos.errors import NetError, listing
from protos.schema import EltwiseParameter, LayerParameter, PoolingParameter

# Those of BVLC's layer types that a net in use can have.
TYPES = frozenset({
    "AbsVal", "ArgMax", "BNLL", "BatchNorm", "BatchReindex", "Bias", "Clip", "Concat", "Convolution", "Crop",
    "Deconvolution", "Dropout", "ELU", "Eltwise", "Embed", "Exp", "Filter", "Flatten", "HDF5Output", "Im2col",
    "InnerProduct", "Input", "LRN", "LSTM", "LSTMUnit", "Log", "MVN", "PReLU", "Parameter", "Pooling", "Power",
    "Python", "RNN", "ReLU", "Reduction", "Reshape", "SPP", "Scale", "Sigmoid", "Silence", "Slice", "Softmax",
    "Split", "Swish", "TanH", "Threshold", "Tile"
})  # fmt: skip
OF_FORKS = 50_000  # fields and values from this number on are forks', in LayerParameter those from SSD's on
OF_SSD = 200

Words = Callable[[Draft, Part], list[Part] | None]


def foreign(part: Part) -> str:
    """What BVLC Caffe does not know of *part*; "" where it knows all."""
    if part.proto.type not in TYPES:
        return f"{part}"
    options = ", ".join(_options(part.proto))
    return f"{part} with {options}" if options else ""


def _options(message: Message, path: str = "") -> Iterator[str]:
    """The fields of *message* that BVLC's schema does not have, and those with values that it does not have."""
    first = OF_SSD if isinstance(message, LayerParameter) else OF_FORKS
    for field, value in message.ListFields():
        name = f"{path}{field.name}"
        if field.number >= first or (field.type == FieldDescriptor.TYPE_ENUM and _most(value) >= OF_FORKS):
            yield name
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for one in value if field.is_repeated else (value,):
                yield from _options(one, f"{name}.")


def _most(value: object) -> int:
    return value if isinstance(value, int) else max(cast("list[int]", value))


def translate(draft: Draft) -> None:
    """Put BVLC's layers in the place of all others. Raises NetError that lists those for which it has none."""
    for part in [*draft.parts]:
        _without_hints(part.proto)
        if foreign(part) and part.proto.type in WORDS:
            made = WORDS[part.proto.type](draft, part)
            if made is not None:
                draft.replace(part, made)
    if problems := [said for part in draft.parts if (said := foreign(part))]:
        raise NetError(f"net '{draft.name}': BVLC Caffe has no words for {listing(problems)}")


def _without_hints(proto: LayerParameter) -> None:
    """Take away what changes no number: hints of how to compute, and options of other layers."""
    if proto.type not in LAYERS:
        return
    layer = LAYERS[proto.type]
    for field, options in proto.ListFields():
        if field.name == layer.message:
            for name in layer.hints & {one.name for one, _ in options.ListFields()}:
                options.ClearField(name)
        elif field.number >= OF_SSD:
            proto.ClearField(field.name)


# ---- in other words, None where there are none


def _convolution(draft: Draft, part: Part) -> list[Part]:
    part.proto.type = "Convolution"
    part.proto.convolution_param.group = part.bottoms[0].shape[1]
    part.proto.convolution_param.num_output = part.tops[0].shape[1]
    return [part]


def _volume(draft: Draft, part: Part) -> list[Part]:
    window, old = cast("Convolution3D", part.layer()).window, part.proto
    said = old.convolution3d_param if old.HasField("convolution3d_param") else old.convolution_param
    part.proto = LayerParameter(name=old.name, type="Convolution")
    new = part.proto.convolution_param
    new.num_output, new.bias_term, new.group = said.num_output, said.bias_term, said.group
    new.kernel_size[:], new.stride[:], new.pad[:] = window.kernel, window.stride, window.pad
    return [part]


def _clip(draft: Draft, part: Part) -> list[Part] | None:
    layer = cast("ReLU", part.layer())
    if layer.negative_slope or layer.most is None:
        return None
    part.proto = LayerParameter(name=part.proto.name, type="Clip")
    part.proto.clip_param.min, part.proto.clip_param.max = 0, layer.most
    return [part]


def _leaky(draft: Draft, part: Part) -> list[Part]:
    layer = cast("RReLU", part.layer())
    part.proto = LayerParameter(name=part.proto.name, type="ReLU")
    part.proto.relu_param.negative_slope = (layer.lower + layer.upper) / 2
    return [part]


def _identity(draft: Draft, part: Part) -> list[Part]:
    part.proto = LayerParameter(name=part.proto.name, type="Power")
    return [part]


def _scale(draft: Draft, part: Part) -> list[Part] | None:
    affine = affine_of(part)
    if affine is None:
        return None
    become_scale(part, affine)
    return [part]


def _pooling(draft: Draft, part: Part) -> list[Part]:
    p = part.proto.pooling_param
    if not p.ceil_mode:
        p.round_mode = PoolingParameter.FLOOR
    p.ClearField("ceil_mode")
    return [part]


def _axpy(draft: Draft, part: Part) -> list[Part]:
    """Scale by its first bottom, which that wants without axes behind the second, and the sum."""
    a, x, b = part.bottoms
    made = []
    if len(a.shape) > 2:
        flat = Value(draft.free_name(f"{part.proto.name}/factor"), a.shape[:2])
        made.append(Part(LayerParameter(name=flat.name, type="Flatten"), [a], [flat]))
        a = flat
    product = Value(draft.free_name(f"{part.proto.name}/product"), x.shape)
    scale = LayerParameter(name=product.name, type="Scale")
    scale.scale_param.axis = 0
    total = LayerParameter(name=part.proto.name, type="Eltwise")
    total.eltwise_param.operation = EltwiseParameter.SUM
    return [*made, Part(scale, [x, a], [product]), Part(total, [product, b], part.tops)]


def _repeated(draft: Draft, part: Part) -> list[Part] | None:
    """A Deconvolution by ones, each channel by itself, whose windows lie side by side."""
    layer = cast("Upsample | Upscale", part.layer())
    if len(part.bottoms) > 1:
        return None
    channels, scale = part.bottoms[0].shape[1], layer.scale
    part.proto = LayerParameter(name=part.proto.name, type="Deconvolution")
    p = part.proto.convolution_param
    p.num_output = p.group = channels
    p.bias_term = False
    p.kernel_size[:] = p.stride[:] = scale
    weight = torch.ones(channels, 1, *scale)
    if isinstance(layer, Upscale) and layer.dilate:
        weight = torch.zeros_like(weight)
        weight.flatten(2)[:, :, 0] = 1
    part.blobs = [weight]
    return [part]


def _reshape(draft: Draft, part: Part) -> list[Part] | None:
    """A Reshape, where only axes of 1 go or move."""
    bottom, top = part.bottoms[0].shape, part.tops[0].shape
    if part.proto.type != "Squeeze":
        order = [*part.proto.permute_param.order, *part.proto.transpose_param.dim]
        order += [axis for axis in range(len(bottom)) if axis not in order]
        moved = [axis for axis in order if axis == 0 or bottom[axis] != 1]  # a batch of 1 may grow
        if moved != sorted(moved):
            return None
    part.proto = LayerParameter(name=part.proto.name, type="Reshape")
    same = next((i for i, (a, b) in enumerate(zip(bottom, top, strict=False)) if a != b), min(len(bottom), len(top)))
    part.proto.reshape_param.shape.dim[:] = [0] * same + [*top[same:]]
    return [part]


WORDS: dict[str, Words] = {
    "Axpy": _axpy,
    "BN": _scale,
    "BatchNorm": _scale,
    "Convolution3D": _volume,
    "ConvolutionDepthwise": _convolution,
    "DepthwiseConvolution": _convolution,
    "Dropout": _scale,
    "GaussianNoise": _identity,
    "Permute": _reshape,
    "Pooling": _pooling,
    "RReLU": _leaky,
    "ReLU": _clip,
    "ReLU6": _clip,
    "SharedDropout": _identity,
    "SpatialDropout": _identity,
    "Squeeze": _reshape,
    "Transpose": _reshape,
    "Upsample": _repeated,
    "UpsampleDarknet": _repeated,
    "Upscale": _repeated,
}
