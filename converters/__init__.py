"""In and out of Caffe's formats: everything that knows a net and another way to write it down."""

from typing import TYPE_CHECKING, Any

import converters.packages  # noqa: F401  # in front of all that imports from them
from converters.weights import load_weights, save_weights

if TYPE_CHECKING:
    from converters.onnx import export_onnx

__all__ = ["export_onnx", "load_weights", "save_weights"]


def __getattr__(name: str) -> Any:
    """``export_onnx``, when it is asked for: weights need no ONNX library."""
    if name != "export_onnx":
        raise AttributeError(f"module 'converters' has no attribute '{name}'")
    from converters.onnx import export_onnx  # noqa: PLC0415

    return export_onnx
