"""``load_weights``: whatever kind of file the weights are in, Caffe's or Lasagne's, into a net or a Lasagne net."""

import os
import re
from collections.abc import Sequence
from typing import Any

from nets import weights
from nets.net import Net
from nets.weights import Report, save_weights

Path_ = str | os.PathLike[str]

# How pickles (of any protocol), zip files, gzip and NumPy's files begin; a binary net begins with a tag of protobuf.
PICKLED = re.compile(rb"PK\x03|\x80[\x02-\x05]|\x1f\x8b|\x93NUMPY|[(\]})]|c[A-Za-z_][\w.]*\r?\n")


def load_weights(net: Any, path: Path_ | Sequence[Path_], **options: Any) -> Report | None:
    """Copy the weights in the file at *path* into *net*, a ``nets.Net``, or a layer or NeuralNet of Lasagne's.

    The files: ``.caffemodel`` and HDF5 as ``nets.weights.load_weights`` reads them; Lasagne's ``.npz``, the pickles of
    the model zoo and of nolearn, and pickled objects (``converters.lasagne.into_net`` says how, and takes *options*).
    No code of a file is run. Raises WeightsError where it cannot be read or does not fit.
    """
    if isinstance(net, Net):
        if isinstance(path, str | os.PathLike) and _is_pickled(path):
            from converters.lasagne.into_net import load_net  # noqa: PLC0415  # nets of Caffe need nothing of Lasagne

            return load_net(net, path, **options)
        return weights.load_weights(net, path)
    from converters.lasagne.weights_file import load_layers  # noqa: PLC0415

    if not isinstance(path, str | os.PathLike):
        raise TypeError("a Lasagne net takes one file")
    load_layers(net.output_layers() if hasattr(net, "output_layers") else net, path)
    return None


def _is_pickled(path: Path_) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # a path of any kind
            return PICKLED.match(file.read(64)) is not None
    except OSError:
        return False


__all__ = ["load_weights", "save_weights"]
