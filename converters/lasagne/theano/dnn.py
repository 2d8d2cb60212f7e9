"""``theano.sandbox.cuda.dnn``: what scripts called of cuDNN. It is computed where all is computed."""

from typing import Any

from converters.lasagne import windows
from converters.lasagne.theano.tensor.calls import lazy
from converters.lasagne.theano.tensor.convolutions import conv2d, conv3d
from converters.lasagne.theano.variable import as_tensor


def dnn_available() -> bool:
    """Whether the functions of this module can be called."""
    return True


def dnn_conv(
    img: Any,
    kerns: Any,
    border_mode: Any = "valid",
    subsample: Any = (1, 1),
    conv_mode: str = "conv",
    **ignored: Any,
) -> Any:
    """The convolution of images, whose filters are turned around unless *conv_mode* is "cross"."""
    return conv2d(img, kerns, border_mode=border_mode, subsample=subsample, filter_flip=conv_mode == "conv")


def dnn_conv3d(
    img: Any,
    kerns: Any,
    border_mode: Any = "valid",
    subsample: Any = (1, 1, 1),
    conv_mode: str = "conv",
    **ignored: Any,
) -> Any:
    """The same of volumes."""
    return conv3d(img, kerns, border_mode=border_mode, subsample=subsample, filter_flip=conv_mode == "conv")


@lazy
def dnn_pool(img: Any, ws: Any, stride: Any = None, mode: str = "max", pad: Any = None) -> Any:
    """The pooled windows of the last axes, one step apart by default; windows that stick out are left out."""
    kind = "average_inc_pad" if mode == "average" else mode
    steps, borders = stride or (1,) * len(ws), pad or (0,) * len(ws)
    return windows.pool(as_tensor(img), tuple(ws), tuple(steps), tuple(borders), True, kind)
