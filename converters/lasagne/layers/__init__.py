"""``lasagne.layers``: the layers, and the functions over nets of them."""

from converters.lasagne.layers import (
    base,
    conv,
    corrmm,
    dense,
    dnn,
    embedding,
    helper,
    input,
    local,
    merge,
    noise,
    normalization,
    pool,
    recurrent,
    shape,
    special,
    transformer,
)  # isort: skip  # Lasagne's module names
from converters.lasagne.layers.base import Layer, MergeLayer
from converters.lasagne.layers.conv import (
    BaseConvLayer,
    Conv1DLayer,
    Conv2DLayer,
    Conv3DLayer,
    Deconv2DLayer,
    Deconv3DLayer,
    DilatedConv2DLayer,
    TransposedConv2DLayer,
    TransposedConv3DLayer,
    conv_input_length,
    conv_output_length,
)
from converters.lasagne.layers.dense import DenseLayer, NINLayer
from converters.lasagne.layers.embedding import EmbeddingLayer
from converters.lasagne.layers.helper import (
    count_params,
    get_all_layers,
    get_all_param_values,
    get_all_params,
    get_output,
    get_output_shape,
    set_all_param_values,
)
from converters.lasagne.layers.input import InputLayer
from converters.lasagne.layers.local import LocallyConnected2DLayer
from converters.lasagne.layers.merge import (
    ConcatLayer,
    ElemwiseMergeLayer,
    ElemwiseSumLayer,
    autocrop,
    autocrop_array_shapes,
    concat,
)
from converters.lasagne.layers.noise import (
    DropoutLayer,
    GaussianNoiseLayer,
    dropout,
    dropout_channels,
    dropout_locations,
    spatial_dropout,
)
from converters.lasagne.layers.normalization import (
    BatchNormLayer,
    LocalResponseNormalization2DLayer,
    StandardizationLayer,
    batch_norm,
    instance_norm,
    layer_norm,
)
from converters.lasagne.layers.pool import (
    FeaturePoolLayer,
    FeatureWTALayer,
    GlobalPoolLayer,
    MaxPool1DLayer,
    MaxPool2DLayer,
    MaxPool3DLayer,
    Pool1DLayer,
    Pool2DLayer,
    Pool3DLayer,
    SpatialPyramidPoolingLayer,
    Upscale1DLayer,
    Upscale2DLayer,
    Upscale3DLayer,
    pool_2d,
    pool_3d,
    pool_output_length,
)
from converters.lasagne.layers.recurrent import CustomRecurrentLayer, Gate, GRULayer, LSTMLayer, RecurrentLayer
from converters.lasagne.layers.shape import (
    DimshuffleLayer,
    FlattenLayer,
    PadLayer,
    ReshapeLayer,
    SliceLayer,
    dimshuffle,
    flatten,
    pad,
    reshape,
)
from converters.lasagne.layers.special import (
    BiasLayer,
    ExpressionLayer,
    InverseLayer,
    NonlinearityLayer,
    ParametricRectifierLayer,
    RandomizedRectifierLayer,
    ScaleLayer,
    prelu,
    rrelu,
    standardize,
)
from converters.lasagne.layers.transformer import TPSTransformerLayer, TransformerLayer

__all__ = [
    "BaseConvLayer", "BatchNormLayer", "BiasLayer", "ConcatLayer", "Conv1DLayer", "Conv2DLayer", "Conv3DLayer",
    "CustomRecurrentLayer", "Deconv2DLayer", "Deconv3DLayer", "DenseLayer", "DilatedConv2DLayer", "DimshuffleLayer",
    "DropoutLayer", "ElemwiseMergeLayer", "ElemwiseSumLayer", "EmbeddingLayer", "ExpressionLayer", "FeaturePoolLayer",
    "FeatureWTALayer", "FlattenLayer", "GRULayer", "Gate", "GaussianNoiseLayer", "GlobalPoolLayer", "InputLayer",
    "InverseLayer", "LSTMLayer", "Layer", "LocalResponseNormalization2DLayer", "LocallyConnected2DLayer",
    "MaxPool1DLayer", "MaxPool2DLayer", "MaxPool3DLayer", "MergeLayer", "NINLayer", "NonlinearityLayer", "PadLayer",
    "ParametricRectifierLayer", "Pool1DLayer", "Pool2DLayer", "Pool3DLayer", "RandomizedRectifierLayer",
    "RecurrentLayer", "ReshapeLayer", "ScaleLayer", "SliceLayer", "SpatialPyramidPoolingLayer",
    "StandardizationLayer", "TPSTransformerLayer", "TransformerLayer", "TransposedConv2DLayer",
    "TransposedConv3DLayer", "Upscale1DLayer", "Upscale2DLayer", "Upscale3DLayer", "autocrop",
    "autocrop_array_shapes", "base", "batch_norm", "concat", "conv", "conv_input_length", "conv_output_length",
    "corrmm", "count_params", "dense", "dimshuffle", "dnn", "dropout", "dropout_channels", "dropout_locations",
    "embedding", "flatten", "get_all_layers", "get_all_param_values", "get_all_params", "get_output",
    "get_output_shape", "helper", "input", "instance_norm", "layer_norm", "local", "merge", "noise", "normalization",
    "pad", "pool", "pool_2d", "pool_3d", "pool_output_length", "prelu", "recurrent", "reshape", "rrelu",
    "set_all_param_values", "shape", "spatial_dropout", "special", "standardize", "transformer",
]  # fmt: skip
