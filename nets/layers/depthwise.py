"""The depthwise convolutions of Caffe's forks: each filter sees one channel."""

from collections.abc import Sequence
from typing import Self

from nets.fillers import Filler
from nets.layer import LAYERS, Shape, canonical_axis
from nets.layers.convolution import Convolution, Window
from protos.errors import NetError
from protos.schema import LayerParameter


@LAYERS("DepthwiseConvolution")
class DepthwiseConvolution(Convolution):
    """A Convolution whose group is the number C of its channels. bottoms: N x C x spatial; tops: N x num_output x
    spatial.

    Options: as Convolution's; num_output must be a multiple of C, and group, where it is set, C: elsewhere the fork
    computes one thing on a CPU and another on a GPU. Blobs: weight (num_output x 1 x kernel), bias (num_output).
    Source: the layer of this name for MobileNet.
    """

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.convolution_param
        channels = bottoms[0][canonical_axis(p.axis, len(bottoms[0]))]
        if p.HasField("group") and p.group != channels:
            raise NetError(f"group {p.group} must be left out, or be the number of its channels, {channels}")
        grouped = LayerParameter()
        grouped.CopyFrom(proto)
        grouped.convolution_param.group = channels
        return super().from_proto(grouped, bottoms)


@LAYERS("ConvolutionDepthwise")
class ConvolutionDepthwise(Convolution):
    """A Convolution with one filter for each channel. bottom: N x C x H x W; top: N x C x the places of the window.

    Options: as Convolution's; num_output, where it is set, must be C, and group is overlooked, as in the fork.
    Blobs: weight (C x 1 x kernel_h x kernel_w), bias (C). Source: the layer of this name for MobileNet.
    """

    options = Convolution.options - {"axis"}

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, shape = proto.convolution_param, bottoms[0]
        if len(shape) != 4:
            raise NetError("its bottom needs 4 axes, N x C x H x W")
        if len(bottoms) > 1 or len(proto.top) > 1:
            raise NetError("takes one bottom and makes one top")
        if p.HasField("num_output") and p.num_output != shape[1]:
            raise NetError(f"num_output {p.num_output} must be left out, or be the number of its channels, {shape[1]}")
        window, weight, bias = Window.from_proto(p, 2), *map(Filler.from_proto, (p.weight_filler, p.bias_filler))
        return cls(shape[1], shape[1], window, shape[1], p.bias_term, weight, bias)
