"""BatchNorm, Scale and Bias drawn into the filters before them, or into one Scale: for a net that is only used.

Chip compilers and old runtimes often ask for it. Every step is exact in real numbers.
"""

import numpy as np
import torch

from converters.affine import Affine, Array
from converters.draft import Draft, Part
from nets.layer import canonical_axis
from protos.schema import LayerParameter

AFFINE = ("BatchNorm", "BN", "Scale", "Bias", "Power", "Dropout")  # what may be a factor and a term for each channel
NORMALISATIONS = ("BatchNorm", "BN")
FILTERS = ("Convolution", "ConvolutionDepthwise", "Deconvolution", "DepthwiseConvolution", "InnerProduct")


def merge(draft: Draft) -> None:
    """Draw what is affine by channel into the filters before it; a normalisation without one becomes a Scale.

    Filters whose blobs are shared, and values that others read, stay.
    """
    for part in [*draft.parts]:
        affine = affine_of(part)
        if affine is None:
            continue
        before = draft.maker(part.bottoms[0])
        if draft.is_alone(part) and _absorb(before, affine):
            draft.join(part)
        elif part.proto.type in NORMALISATIONS:
            become_scale(part, affine)


@torch.no_grad()
def affine_of(part: Part) -> Affine | None:
    """What *part* does to each channel, found by asking it; None where it does anything else."""
    if part.proto.type not in AFFINE or len(part.bottoms) != 1 or len(part.tops) != 1:
        return None
    shape = part.bottoms[0].shape
    if len(shape) < 2 or not _by_channel(part.proto, len(shape), shape[1], [blob.numel() for blob in part.blobs]):
        return None
    layer = part.layer().double()
    size = (1, shape[1], *(1,) * (len(shape) - 2))
    asked = [torch.full(size, value, dtype=torch.float64) for value in (0.0, 1.0, -2.0)]
    low, one, other = (layer(x.clone()) for x in asked)
    together = layer(torch.cat(asked))  # differs where the batch's statistics count
    if not torch.allclose(together, torch.cat([low, one, other])) or not torch.allclose(other, 3 * low - 2 * one):
        return None
    return Affine((one - low).flatten().numpy(), low.flatten().numpy())


def _by_channel(proto: LayerParameter, axes: int, channels: int, sizes: list[int]) -> bool:
    """Whether blobs of these *sizes* hold a value for each channel, or one for all."""
    axis = {"Scale": proto.scale_param.axis, "Bias": proto.bias_param.axis}.get(proto.type, 1)
    return all(size == 1 or (size == channels and canonical_axis(axis, axes) == 1) for size in sizes)


def become_scale(part: Part, affine: Affine) -> None:
    """Let *part* be a Scale that does *affine*."""
    part.proto = LayerParameter(name=part.proto.name, type="Scale")
    part.proto.scale_param.bias_term = True
    part.blobs = [_blob(affine.factor), _blob(affine.term)]


def _absorb(part: Part, affine: Affine) -> bool:
    """Let *part* do *affine* as well; whether it can."""
    first = affine_of(part)
    if first is not None:
        become_scale(part, affine.after(first))
        return True
    if part.proto.type not in FILTERS or len(part.tops) != 1 or part.proto.param:  # with a name its blobs are shared
        return False
    weight, *biases = (blob.cpu().double().numpy() for blob in part.blobs)
    bias = biases[0] if biases else np.zeros_like(affine.term)
    axis, group = 0, 1
    if part.proto.type == "InnerProduct":
        if len(part.tops[0].shape) != 2:
            return False
        part.proto.inner_product_param.ClearField("bias_term")
        axis = int(part.proto.inner_product_param.transpose)
    else:
        p = part.proto.convolution_param
        if canonical_axis(p.axis, len(part.tops[0].shape)) != 1:
            return False
        p.ClearField("bias_term")
        if part.proto.type == "Deconvolution":
            axis, group = 1, p.group
    part.blobs = [_blob(values) for values in affine.in_filter(weight, bias, axis, group)]
    return True


def _blob(values: Array) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
