"""What the layers refuse: every message names the layer, its type, its bottoms' shapes, and what is wrong."""

import pytest
import torch

import nets
from protos import text
from protos.errors import NetError
from tests.nets import refused_forks, refused_lasagne

# type | shapes of the bottoms | number of tops | options, and what the message says of it
REFUSED = r"""
Pooling | 1x1x5x5 | 1 | pooling_param { kernel_size: 2 pad: 2 }
    pad must be smaller than the kernel
Pooling | 1x1x5x5 | 1 | pooling_param { pool: MAX }
    kernel sizes and strides must be set and positive
Pooling | 1x1x5x5 | 1 | pooling_param { kernel_size: 2 kernel_h: 3 kernel_w: 2 }
    give kernel_size, or both kernel_h and kernel_w
Pooling | 1x1x5x5 | 1 | pooling_param { kernel_h: 3 }
    give kernel_size, or both kernel_h and kernel_w
Pooling | 1x1x5x5 | 1 | pooling_param { global_pooling: true kernel_size: 2 }
    global_pooling takes no kernel size
Pooling | 1x1x5x5 | 1 | pooling_param { global_pooling: true pad: 2 }
    global_pooling goes with pad 0 and stride 1
Pooling | 1x1x5 | 1 | pooling_param { kernel_size: 2 }
    its bottom needs 4 axes, N x C x H x W
Pooling | 1x1x5x5 | 2 | pooling_param { kernel_size: 2 pool: AVE }
    a second top, the mask, goes with MAX only
Pooling | 1x1x5x5 | 1 | pooling_param { kernel_size: 2 pad: 1 pool: STOCHASTIC }
    pad goes with MAX and AVE only
Pooling | 1x1x3x3 | 1 | pooling_param { kernel_size: 5 }
    the kernel of 5 does not fit into 3 pixels with padding 0
Convolution | 1x1x3x3 | 1 | convolution_param { kernel_size: 3 }
    num_output must be set and positive
Convolution | 1x1x3x3 | 1 | convolution_param { num_output: 3 }
    kernel_size has 0 figures where it needs 1, or one for each of 2 spatial axes
Convolution | 1x3x3x3 | 1 | convolution_param { num_output: 3 kernel_size: 1 group: 2 }
    num_output 3 and 3 channels must divide into 2 groups
Convolution | 1x4x3x3 | 1 | convolution_param { num_output: 3 kernel_size: 1 group: 2 }
    num_output 3 and 4 channels must divide into 2 groups
Convolution | 1x4x3x3 | 1 | convolution_param { num_output: 3 kernel_size: 1 kernel_h: 2 kernel_w: 2 }
    kernel_h and kernel_w go with two spatial axes, and without kernel_size
Convolution | 1x4x3x3 | 1 | convolution_param { num_output: 3 kernel_size: 1 stride: 1 stride_h: 2 stride_w: 2 }
    stride_h and stride_w go with two spatial axes, and without stride
Convolution | 1x4x5x5 | 1 | convolution_param { num_output: 3 kernel_size: 1 stride_h: 2 }
    stride_h and stride_w are needed both
Convolution | 1x4x5x5x5 | 1 | convolution_param { num_output: 3 kernel_h: 1 kernel_w: 1 }
    kernel_h and kernel_w go with two spatial axes, and without kernel_size
Convolution | 1x4x5x5 | 1 | convolution_param { num_output: 3 kernel_size: 1 kernel_size: 2 kernel_size: 3 }
    kernel_size has 3 figures where it needs 1, or one for each of 2 spatial axes
Convolution | 1x4x5x5 | 1 | convolution_param { num_output: 3 kernel_size: 0 }
    kernel sizes must be positive
Convolution | 1x4x5x5 | 1 | convolution_param { num_output: 3 kernel_size: 1 stride: 0 }
    strides must be positive
Convolution | 1x4x5x5 | 1 | convolution_param { num_output: 3 kernel_size: 1 dilation: 0 }
    dilations must be positive
Deconvolution | 1x4x2x8 | 1 | convolution_param { num_output: 6 kernel_h: 3 kernel_w: 4 pad: 2 }
    its top would be of 0x7 pixels: pad is too large
Convolution | 1x4x2x2 | 1 | convolution_param { num_output: 3 kernel_size: 5 }
    the kernel does not fit into spatial axis 0: it spans 5 of 2
Convolution | 1x4x2x2 | 1 | convolution_param { num_output: 3 kernel_size: 1 axis: 4 }
    axis 4 does not exist in a blob of 4 axes
Convolution | 1x4x2x2 1x4x2x2 | 1 | convolution_param { num_output: 3 kernel_size: 1 }
    has 2 bottoms but 1 tops: each bottom makes one top
Convolution | 1x4x2x2 1x4x3x2 | 2 | convolution_param { num_output: 3 kernel_size: 1 }
    its bottoms must have one shape
Convolution | 1x4x2x2 | 1 | convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "gausian" } }
    unknown filler 'gausian', did you mean gaussian?
InnerProduct | 1x4 | 1 | inner_product_param { num_output: 3 weight_filler { type: "gaussian" sparse: -2 } }
    gaussian filler: sparse -2 must be at least 0, or -1 for none
InnerProduct | 1x4 | 1 | inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: -0.1 } }
    gaussian filler: std -0.1 must not be below 0
InnerProduct | 1x4 | 1 | inner_product_param { num_output: 3 bias_filler { type: "uniform" min: 0.5 max: -0.5 } }
    uniform filler: min 0.5 must not be above max -0.5
Convolution | 1x4x2x2 | 1 | convolution_param { num_output: 3 kernel_size: 1 bias_filler { type: "xavier" sparse: 1 } }
    filler 'xavier' cannot be sparse: only 'gaussian' takes `sparse`
Deconvolution | 1x4x2 | 1 | convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "bilinear" } }
    bilinear filler needs square kernels, N x C x k x k, not [4, 4, 1]
Convolution | 1x4x2x2 | 1 | convolution_param { num_output: 4 kernel_size: 1 relu: true dilation_h: 3 }
    option convolution_param.dilation_h is not supported; layer 'l' (Convolution): option convolution_param.relu
Convolution | 1x4x5 | 1 | convolution_param { num_output: 4 kernel_size: 2 pad_t: 1 }
    pad_t, pad_b, pad_l and pad_r go with two spatial axes
ConvolutionDepthwise | 1x4x2x3 | 1 | convolution_param { kernel_h: 2 kernel_w: 6 stride: 2 pad_h: 0 pad_w: 0 }
    the kernel does not fit into spatial axis 1: it spans 6 of 3
Im2col | 1x4x2x2 | 1 | convolution_param { kernel_size: 5 }
    the kernel does not fit into spatial axis 0: it spans 5 of 2
Im2col | 2x5 | 1 | convolution_param { kernel_size: 1 }
    axis 1 leaves no spatial axis behind it
InnerProduct | 1x4 | 1 |
    num_output must be set and positive
InnerProduct | 1x4 | 1 | inner_product_param { num_output: 2 axis: 3 }
    axis 3 does not exist in a blob of 2 axes
Embed | 1x4 | 1 | embed_param { num_output: 2 }
    input_dim and num_output must be set and positive
Softmax | 1x4 | 1 | softmax_param { axis: 2 }
    axis 2 does not exist in a blob of 2 axes
SoftmaxWithLoss | 2x4 3 | 1 |
    its bottoms must have the same number of items
SoftmaxWithLoss | 2x4x3 2x4 | 1 |
    needs 6 labels, one for each position outside of axis 1, not 2x4
SoftmaxWithLoss | 2x4 | 1 |
    has 1 bottoms where it takes 2
SoftmaxWithLoss | 2x4 2 | 3 |
    has 3 tops where it takes 1 to 2
SoftmaxWithLoss | 2x4 2 | 2 | loss_weight: 1
    has 2 tops but 1 loss weights: give none, or one for each
SoftmaxWithLoss | 2x4 2 | 1 | loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 3 }
    option loss_param.pre_fixed_normalizer is not supported
SoftmaxWithLoss | 2x4 2 | 1 | softmax_param { label_smooth_factor: 0.1 }
    option softmax_param.label_smooth_factor is not supported
SoftmaxWithLoss | 2x4 2 | 1 | loss_param { normalization: PRE_FIXED }
    normalization PRE_FIXED is not supported
HingeLoss | 2x4 3 | 1 |
    needs one label for each item
HingeLoss | 2x4 1x2 | 1 |
    needs one label for each item
MultinomialLogisticLoss | 2x4 3 | 1 |
    needs one label for each item
InfogainLoss | 2x4 2 | 1 |
    needs infogain_loss_param.source, or the matrix as a third bottom
InfogainLoss | 2x4 2 | 1 | infogain_loss_param { source: "nope.binaryproto" }
    infogain_loss_param.source: nope.binaryproto: No such file or directory
InfogainLoss | 2x4 2 3x3 | 1 |
    its matrix has 9 values where 4 classes need 16
InfogainLoss | 2x4 2 4x4 | 1 | loss_param { normalize: true }
    takes no loss_param.normalize, which is old: use normalization, VALID for true, BATCH_SIZE for false
EuclideanLoss | 2x4 2x3 | 1 |
    its bottoms must have as many values
EuclideanLoss | 2x4 1x8 | 1 |
    its bottoms must have the same number of items
ContrastiveLoss | 2x4 2x3 2 | 1 |
    its first two bottoms must both be N x C
ContrastiveLoss | 2x4 2x4 3 | 1 |
    its third bottom needs one value for each pair
ContrastiveLoss | 2x4 2x4 1x2 | 1 |
    its third bottom needs one value for each pair
SigmoidCrossEntropyLoss | 2x4 2x3 | 1 |
    its bottoms must have as many values
SigmoidCrossEntropyLoss | 2x4 1x8 | 1 |
    its bottoms must have the same number of items
Accuracy | 2x4 2 | 1 | accuracy_param { top_k: 5 }
    top_k 5 must be 1 to 4, the number of classes
Accuracy | 2x4 3 | 1 |
    needs 2 labels, one for each position outside of axis 1, not 3
TripletLoss | 4 4 4 | 1 | triplet_loss_param { margin: 2 }
    its bottoms need at least 2 axes, N x any
SmoothL1LossOHEM | 4 4 | 2 | loss_weight: 1 loss_weight: 0
    its bottoms need at least 2 axes, N x C
ArgMax | 2x4 | 1 | argmax_param { top_k: 5 }
    top_k 5 must be 1 to 4
Slice | 2x5 | 2 |
    axis 1 of size 5 does not divide into 2 equal tops: give slice points
Slice | 2x5 | 3 | slice_param { slice_point: 2 }
    has 3 tops but 1 slice points: give one fewer than tops
Slice | 2x5 | 3 | slice_param { slice_point: 3 slice_point: 2 }
    slice points [3, 2] must rise, and stay below the 5 of axis 1
Slice | 2x5 | 2 | slice_param { slice_point: 5 }
    slice points [5] must rise, and stay below the 5 of axis 1
Slice | 2x5 | 1 | slice_param { slice_dim: 1 axis: 1 }
    give axis or slice_dim, not both
Slice | 2x5 | 1 | slice_param { slice_dim: 2 }
    axis 2 does not exist in a blob of 2 axes
Concat | 2x5 3x5 | 1 |
    all its bottoms must agree in all axes but axis 1
Concat | 2x5 2x5x1 | 1 |
    all its bottoms must agree in all axes but axis 1
Concat | 2x5 2x5 | 1 | concat_param { axis: 1 concat_dim: 1 }
    give axis or concat_dim, not both
Crop | 2x5x4x4 2x5x5x4 | 1 |
    offset 0 and size 5 go beyond the 4 of axis 2
Crop | 2x5x4x4 2x5x2x2 | 1 | crop_param { offset: 3 }
    offset 3 and size 2 go beyond the 4 of axis 2
Crop | 2x5x4x4 2x5x2x2 | 1 | crop_param { offset: 1 offset: 1 offset: 1 }
    has 3 offsets: give none, one, or one for each of the 2 cropped axes
Crop | 2x5x4x4 2x5x2 | 1 |
    its second bottom needs at least 4 axes, as many as the first
Flatten | 2x5x4x4 | 1 | flatten_param { axis: 3 end_axis: 1 }
    axis 3 lies behind end_axis 1
Reshape | 2x5 | 1 | reshape_param { shape { dim: 3 dim: -1 } }
    shape [3, -1] does not hold 10 values
Reshape | 2x5 | 1 | reshape_param { shape { dim: 3 dim: 4 } }
    shape [3, 4] does not hold 10 values
Reshape | 2x5 | 1 | reshape_param { shape { dim: -1 dim: -1 } }
    shape [-1, -1] may have one -1, and nothing below it
Reshape | 2x5 | 1 | reshape_param { shape { dim: 0 dim: -1 dim: 0 } }
    shape [0, -1, 0] copies an axis that its bottom does not have
Reshape | 2x5 | 1 | reshape_param { shape { dim: 0 } axis: 3 }
    axis 3 and num_axes -1 go beyond the 2 axes of its bottom
Tile | 2x5 | 1 |
    tiles must be set and positive
Reduction | 2x5 | 1 | reduction_param { axis: 2 }
    axis 2 does not exist in a blob of 2 axes
Reduction | 2x5 | 1 | reduction_param { operation: LOGSUM }
    operation LOGSUM is not supported
Eltwise | 2x5 2x4 | 1 |
    its bottoms must have one shape
Eltwise | 2x5 2x5 | 1 | eltwise_param { coeff: 1 }
    has 2 bottoms but 1 coeff: give none, or one for each
Eltwise | 2x5 2x5 | 1 | eltwise_param { coeff: 1 coeff: 1 operation: PROD }
    coeff goes with the operation SUM, not PROD
Eltwise | 2x5 2x5 | 1 | eltwise_param { operation: STOCHASTIC_SUM }
    operation STOCHASTIC_SUM is not supported
Eltwise | 2x5 | 1 |
    has 1 bottoms where it takes at least 2
Scale | 2x5 4 | 1 |
    its second bottom 4 does not lie along the first from axis 1 on
Scale | 2x5 | 1 | scale_param { num_axes: 3 }
    num_axes 3 from axis 1 on goes beyond the 2 axes of its bottom
Scale | 2 | 1 | scale_param { num_axes: 0 }
    axis 1 does not exist in a blob of 1 axes
Scale | 2x5 | 1 | scale_param { num_axes: -2 }
    num_axes -2 from axis 1 on goes beyond the 2 axes of its bottom
Bias | 2x5 4 | 1 |
    its second bottom 4 does not lie along the first from axis 1 on
LRN | 2x5x2x2 | 1 | lrn_param { local_size: 4 }
    local_size must be odd, not 4
LRN | 2x5 | 1 |
    its bottom needs 4 axes, N x C x H x W
PReLU | 2 | 1 |
    its bottom needs at least 2 axes, N x C
Dropout | 2 | 1 | dropout_param { dropout_ratio: 1 }
    dropout_ratio must be at least 0 and below 1, not 1
Exp | 2 | 1 | exp_param { base: -2 }
    base must be positive, or -1 for e, not -2
Log | 2 | 1 | log_param { base: 0 }
    base must be positive and not 1, or -1 for e, not 0
Clip | 2 | 1 | clip_param { min: 2 max: 1 }
    min 2 lies above max 1
Clip | 2 | 1 |
    clip_param needs both min and max
LSTM | 4x2x3 4x3 | 1 | recurrent_param { num_output: 3 }
    x must be T x N x any, and cont T x N, not 4x3
LSTM | 4x2 4x2 | 1 | recurrent_param { num_output: 3 }
    x must be T x N x any, and cont T x N, not 4x2
LSTM | 4x2x3 4x2 | 1 |
    num_output must be set and positive
LSTM | 4x2x3 4x2 1x2x3 | 1 | recurrent_param { num_output: 3 expose_hidden: true }
    takes x, cont, perhaps a static input, and 2 first states
LSTM | 4x2x3 4x2 1x2x3 1x2x3 | 1 | recurrent_param { num_output: 3 expose_hidden: true }
    makes 3 tops, not 1
LSTMUnit | 4x2x3 4x2 1x2x3 | 2 |
    its bottoms must be 1 x N x D, 1 x N x 4D and 1 x N
Filter | 4x3 3 | 1 |
    its bottoms must have the same number of items
Filter | 4x3 4x2 | 1 |
    its selector 4x2 must have one value an item
Filter | 4x3 4 | 2 |
    has 2 bottoms but 2 tops: one fewer is needed
BatchReindex | 4x3 4x1 | 1 |
    its second bottom, the indices, needs 1 axis
SPP | 1x1x3x3 | 1 | spp_param { pyramid_height: 3 }
    4 bins do not fit into 3 pixels
SPP | 1x1x5x5 | 1 | spp_param { pyramid_height: 2 pool: STOCHASTIC }
    2 bins need padding around 5x5 pixels, which goes with MAX and AVE only
SPP | 1x1x3x3 | 1 |
    pyramid_height must be at least 1
SPP | 1x3x3 | 1 | spp_param { pyramid_height: 1 }
    its bottom needs 4 axes, N x C x H x W
Parameter |  | 1 | parameter_param { shape { dim: 0 } }
    shape 0 must be positive
HDF5Output | 4x3 4x1 | 0 |
    hdf5_output_param needs file_name
HDF5Output | 4x3 4x0 | 0 | hdf5_output_param { file_name: "o.h5" }
    its bottoms need 1 to 4 axes, and values in each item
HDF5Output | 4x3x1x1x1 4 | 0 | hdf5_output_param { file_name: "o.h5" }
    its bottoms need 1 to 4 axes, and values in each item
HDF5Output | 4x3 5x1 | 0 | hdf5_output_param { file_name: "o.h5" }
    its bottoms hold 4 and 5 items
Split | 4x3 | 0 |
    has 0 tops where it takes at least 1
Silence | 4x3 | 1 |
    has 1 tops where it takes 0
Silence |  | 0 |
    has 0 bottoms where it takes at least 1
BatchNorm | 4 | 1 |
    its bottom needs at least 2 axes, N x C
BatchNorm | 4x2 | 1 | param { lr_mult: 1 }
    its blobs are statistics, which no rate applies to: leave out param, or set lr_mult: 0
BatchNorm | 4x2 | 1 | param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 }
    has 3 blobs but 4 param blocks
Python | 4x3 | 1 | python_param { layer: "X" }
    python_param needs module and layer
Python | 4x3 | 1 | python_param { module: "nope" layer: "X" }
    its module 'nope' cannot be imported: No module named 'nope'; add its folder to PYTHONPATH
Python | 4x3 | 1 | python_param { module: "data.nope" layer: "X" }
    its module 'data.nope' cannot be imported: No module named 'data.nope'
Python | 4x3 | 1 | python_param { module: "tests.nets.user_layers" layer: "X" }
    module 'tests.nets.user_layers' has no class 'X'
Python | 4x3 4x3 | 1 | python_param { module: "tests.nets.user_layers" layer: "Scaled" param_str: '{"factor": 2}' }
    Scaled.setup raised ValueError: one bottom, please
"""

# type, bottoms, the message. The values show only while the net runs.
REFUSED_VALUES = [
    ("SoftmaxWithLoss", (torch.zeros(1, 0).tolist(), [0.0]), "label 0 is out of range: there are 0 classes"),
    ("SoftmaxWithLoss", ([[0.0, 1]], [2.0]), "label 2 is out of range: there are 2 classes, counted from 0"),
    ("SoftmaxWithLoss", ([[0.0, 1]], [-1.0]), "label -1 is out of range: there are 2 classes, counted from 0"),
    ("SoftmaxWithLossOHEM", ([[0.0, 1]], [2.0]), "label 2 is out of range: there are 2 classes, counted from 0"),
    ("InfogainLoss", ([[0.0, 1]], [2.0], [[1.0, 0], [0, 1]]), "label 2 is out of range"),
    ("MultinomialLogisticLoss", ([[0.5, 0.5]], [2.0]), "label 2 is out of range"),
    ("HingeLoss", ([[0.5, 0.5]], [-3.0]), "label -3 is out of range"),
    ("CenterLoss", ([[0.5, 0.5]], [3.0]), "label 3 is out of range: there are 3 classes"),
    ("MarginInnerProduct", ([[0.5, 0.5]], [3.0]), "label 3 is out of range: there are 3 classes"),
    ("Accuracy", ([[0.5, 0.5]], [5.0]), "label 5 is out of range"),
    ("BatchReindex", ([[1.0], [2]], [0.0, 2]), "index 2 is out of range: there are 2 items"),
    ("CtcLoss", ([[[0.0, 1]]], [[2.0]]), "label 2 is out of range: there are 2 classes, counted from 0"),
    ("Upsample", ([[[[1.0]]]], [[[[4.0]]]]), "place 4 of its mask is out of range: the top, 2x2, has 4 places"),
    ("Embed", ([7.0],), "index 7 is out of range: input_dim is 6"),
    ("Python", ([1.0],), "Broken.forward raised KeyError: 'no such thing'"),
]
OPTIONS = {
    "CenterLoss": "center_loss_param { num_output: 3 }",
    "CtcLoss": "ctc_loss_param { alphabet_size: 2 time_step: 1 }",
    "Embed": "embed_param { input_dim: 6 num_output: 2 }",
    "MarginInnerProduct": 'margin_inner_product_param { num_output: 3 weight_filler { type: "xavier" } }',
    "Python": 'python_param { module: "tests.nets.user_layers" layer: "Broken" }',
}

# type, bottoms, the index of the bottom that takes no gradient
NO_GRADIENT = [
    ("SoftmaxWithLoss", ((2, 3), (2,)), 1),
    ("HingeLoss", ((2, 3), (2,)), 1),
    ("MultinomialLogisticLoss", ((2, 3), (2,)), 1),
    ("SigmoidCrossEntropyLoss", ((2, 3), (2, 3)), 1),
    ("InfogainLoss", ((2, 2), (2,), (2, 2)), 1),
    ("InfogainLoss", ((2, 2), (2,), (2, 2)), 2),
    ("ContrastiveLoss", ((2, 2), (2, 2), (2,)), 2),
    ("BatchReindex", ((2, 2), (2,)), 1),
    ("CtcLoss", ((1, 2, 2), (2, 1)), 1),
    ("Upsample", ((1, 1, 2, 2), (1, 1, 2, 2)), 1),
    ("Embed", ((2, 2),), 0),
]


def source(kind: str, shapes: list[tuple[int, ...]], tops: int, options: str) -> str:
    """A net of one layer, l, on inputs x0, x1, ... with tops y0, y1, ..."""
    inputs = "".join(
        f'layer {{ name: "in{i}" type: "Input" top: "x{i}" input_param {{ shape {{ '
        + " ".join(f"dim: {size}" for size in shape)
        + " } } }\n"
        for i, shape in enumerate(shapes)
    )
    ends = "".join(f'bottom: "x{i}" ' for i in range(len(shapes))) + "".join(f'top: "y{i}" ' for i in range(tops))
    return f'name: "n"\n{inputs}layer {{ name: "l" type: "{kind}" {ends} {options} }}'


def load(kind: str, shapes: list[tuple[int, ...]], tops: int = 1, options: str = "") -> nets.Net:
    return nets.load(text.parse_net(source(kind, shapes, tops, options)), phase="TRAIN", allow_python=True)


def refused() -> list[tuple[str, str, str]]:
    tables = (REFUSED, refused_forks.REFUSED, refused_lasagne.REFUSED)
    lines = "\n".join(table.strip() for table in tables).splitlines()
    return [
        (case.split(" | ")[0].strip(), case, said.strip()) for case, said in zip(lines[::2], lines[1::2], strict=True)
    ]


def test_a_label_that_is_no_class_where_labels_are_counted():
    net = load("SoftmaxWithLoss", [(1, 2), (1,)], 1, "loss_param { weight_by_label_freqs: true }")
    with pytest.raises(NetError, match="label 2 is out of range: there are 2 classes"):
        net(x0=torch.zeros(1, 2), x1=torch.tensor([2.0]))


@pytest.mark.parametrize(("kind", "case", "message"), refused())
def test_a_layer_that_does_not_fit_is_refused(kind, case, message):
    _, shapes, tops, options = (part.strip() for part in f"{case} ".split("|"))
    sizes = [tuple(map(int, shape.split("x"))) for shape in shapes.split()]
    with pytest.raises(NetError) as caught:
        load(kind, sizes, int(tops), options)
    said = str(caught.value)
    assert f"layer 'l' ({kind})" in said
    assert message in said
    if " with bottoms " in said:
        assert f" with bottoms {', '.join(f'x{i} {s}' for i, s in enumerate(shapes.split()))}: {message}" in said
    assert "\n" not in said


def test_beside_the_label_that_is_ignored_none_is_out_of_range():
    for kind in ("SoftmaxWithLoss", "InfogainLoss", "Accuracy"):
        matrix = [(2, 2)] * (kind == "InfogainLoss")
        options = {"Accuracy": "accuracy_param { ignore_label: 255 }"}.get(kind, "loss_param { ignore_label: 255 }")
        net = load(kind, [(2, 2), (2,), *matrix], 1, options)
        bottoms = [torch.zeros(2, 2), torch.tensor([255.0, 7]), *(torch.eye(2) for _ in matrix)]
        with pytest.raises(NetError, match="label 7 is out of range: there are 2 classes"):
            net(*bottoms)
        bottoms[1][1] = 1
        assert net(*bottoms)["y0"].isfinite()


@pytest.mark.parametrize("kind", ["MultinomialLogisticLoss", "CenterLoss", "MarginInnerProduct", "Accuracy"])
def test_labels_of_more_items_than_there_are_name_the_layer_and_the_shapes(kind):
    net = load(kind, [(2, 4), (2,)], 1, OPTIONS.get(kind, ""))
    with pytest.raises(NetError, match=rf"layer 'l' \({kind}\) with bottoms x0 2x4, x1 3"):
        net(torch.full((2, 4), 0.25), torch.zeros(3))


@pytest.mark.parametrize(("kind", "values", "message"), REFUSED_VALUES)
def test_a_value_out_of_range_is_refused(kind, values, message):
    tensors = [torch.tensor(value) for value in values]
    net = load(kind, [tuple(x.shape) for x in tensors], 1, OPTIONS.get(kind, ""))
    with pytest.raises(NetError, match="layer 'l'") as caught:
        net(*tensors)
    assert message in str(caught.value)


@pytest.mark.parametrize(("kind", "shapes", "which"), NO_GRADIENT)
def test_a_gradient_into_labels_is_refused(kind, shapes, which):
    net = load(kind, shapes, 1, OPTIONS.get(kind, ""))
    tensors = [torch.zeros(shape).requires_grad_(i == which) for i, shape in enumerate(shapes)]
    with pytest.raises(NetError, match=rf"layer 'l' \({kind}\) .*no gradient can flow back into its bottom 'x{which}'"):
        net(*tensors)


def test_a_gradient_into_a_selector_is_refused():
    net = load("Filter", [(2, 3), (2,)])
    with pytest.raises(NetError, match="no gradient can flow back into its bottom 'x1'"):
        net(torch.zeros(2, 3), torch.ones(2, requires_grad=True))


@pytest.mark.parametrize(
    "kind",
    ["AbsVal", "Flatten", "Interp", "Reorg", "Reshape", "ResizeBilinear", "Reverse", "ShuffleChannel", "Squeeze"],
)
def test_what_cannot_work_in_place_is_refused(kind):
    net = source(kind, [(2, 3)], 1, "").replace('top: "y0"', 'top: "x0"')
    with pytest.raises(NetError, match="does not work in place: give its top a name of its own"):
        nets.load(text.parse_net(net))


ENDED = {
    "LRN": ("", [(2, 6, 4, 4)]),
    "MVN": ("", [(2, 6, 4, 4)]),
    "Normalize": ("norm_param { channel_shared: false }", [(2, 6, 4, 4)]),
    "CenterLoss": ("center_loss_param { num_output: 4 }", [(2, 6), (2,)]),
    "MarginInnerProduct": ("margin_inner_product_param { num_output: 4 }", [(2, 6), (2,)]),
}


@pytest.mark.parametrize("kind", ENDED)
def test_a_gradient_in_closed_form_is_no_constant_to_a_second_one(kind):
    options, shapes = ENDED[kind]
    net = load(kind, shapes, 1, options)
    x, *labels = torch.rand(shapes[0], requires_grad=True), *(torch.zeros(shape) for shape in shapes[1:])
    top = net(x, *labels)["y0"]
    (gradient,) = torch.autograd.grad(top, x, torch.ones_like(top), create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(gradient.square().sum() + x.sum(), x)
