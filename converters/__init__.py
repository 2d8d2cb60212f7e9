"""In and out of Caffe's formats: everything that knows a net and another way to write it down."""

import importlib
from typing import TYPE_CHECKING, Any

import converters.packages  # noqa: F401  # in front of all that imports from them
from converters.weights import load_weights, save_weights

if TYPE_CHECKING:
    from converters.caffemodel import export_caffe
    from converters.onnx import export_onnx
    from converters.pytorch import export_pytorch

__all__ = ["export_caffe", "export_onnx", "export_pytorch", "load_weights", "save_weights"]
_LATE = {
    "export_caffe": "converters.caffemodel",
    "export_onnx": "converters.onnx",
    "export_pytorch": "converters.pytorch",
}


def __getattr__(name: str) -> Any:
    """The exporters, when they are asked for: weights need neither the ONNX library nor torch's exporter."""
    if name not in _LATE:
        raise AttributeError(f"module 'converters' has no attribute '{name}'")
    return getattr(importlib.import_module(_LATE[name]), name)
