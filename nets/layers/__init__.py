"""All layer types. Importing this package registers them in ``nets.layer.LAYERS``."""

from nets.layers import (
    activation,
    convolution,
    dense,
    elementwise,
    io,
    loss,
    metrics,
    normalization,
    pooling,
    python,
    recurrent,
    regions,
    sequence,
    shape,
    spatial,
    windows,
)

__all__ = [
    "activation",
    "convolution",
    "dense",
    "elementwise",
    "io",
    "loss",
    "metrics",
    "normalization",
    "pooling",
    "python",
    "recurrent",
    "regions",
    "sequence",
    "shape",
    "spatial",
    "windows",
]
