"""In and out of Caffe's formats: everything that knows a net and another way to write it down."""

from converters.caffemodel import load_weights, save_weights

__all__ = ["load_weights", "save_weights"]
