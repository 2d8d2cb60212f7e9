"""Weights files of Lasagne and nolearn: .npz, pickles of the model zoo, of nolearn, and of whole objects."""

import io
import math
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.lasagne.layers.helper import get_all_layers, get_all_params
from converters.lasagne.unpickling import Stub, arrays_in, is_countable, read_pickle, unpickle
from protos.errors import WeightsError, listing

Array = NDArray[Any]
Stored = list[Array] | dict[str, list[Array]]  # in the order of get_all_params, or by layer
Path_ = str | os.PathLike[str]
NPY = b"\x93NUMPY"


def read(path: Path_) -> Stored:
    """The arrays of the file, as a list, or for nolearn's files by layer. Raises WeightsError for anything else."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(6)
    except OSError as error:
        raise WeightsError(f"{os.fspath(path)}: cannot be read: {error.strerror}") from None
    if start.startswith(b"PK"):
        return _npz(path)
    value = _npy(Path(path).read_bytes(), os.fspath(path)) if start == NPY else read_pickle(path)
    try:
        found = _arranged(value.tolist() if isinstance(value, np.ndarray) and value.dtype == object else value)
    except (
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:  # odd containers
        raise WeightsError(f"{os.fspath(path)}: no weights in it ({' '.join(str(error).split())})") from None
    if found is None:
        raise WeightsError(f"{os.fspath(path)}: no weights in it: neither a list of arrays nor 'param values', "
                           "layers or a net")  # fmt: skip
    return found


def _npz(path: Path_) -> Stored:
    where = os.fspath(path)
    try:
        with zipfile.ZipFile(path) as stored:
            names = sorted(stored.namelist(), key=lambda name: (len(name), name))
            values = [_npy(stored.read(name), f"{where}: {name}") for name in names]
    except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise WeightsError(f"{where}: cannot be read: {error}") from None
    if len(values) == 1 and values[0].dtype == object:  # a list of arrays, saved as one
        found = _arranged(values[0].tolist())
        if found is not None:
            return found
    if any(value.dtype == object for value in values):
        raise WeightsError(f"{where}: it holds objects where arrays are expected")
    return values


def _npy(content: bytes, where: str) -> Array:
    """The array in a .npy; one of objects by the restricted unpickler."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        if dtype.hasobject:
            found: Array = unpickle(content[file.tell() :], where)
            if not isinstance(found, np.ndarray):
                raise WeightsError(f"{where}: it holds objects where arrays are expected")
            return found.reshape(shape)
        if math.prod(shape) * dtype.itemsize > len(content) - file.tell():
            raise WeightsError(f"{where}: cannot be read: it is cut off")
        return np.load(io.BytesIO(content), allow_pickle=False)  # type: ignore[no-any-return]  # an array, as looked at
    except (ValueError, EOFError, SyntaxError, OverflowError) as error:
        raise WeightsError(f"{where}: cannot be read: {' '.join(str(error).split())}") from None


def _arranged(value: Any) -> Stored | None:
    if isinstance(value, dict):
        for key in ("param values", "params", "param_values", "values"):
            if key in value:
                return _arranged(value[key])
        by_layer = {str(name): _values(params) for name, params in value.items()}
        return by_layer if all(isinstance(v, list) for v in value.values()) else None
    if isinstance(value, list | tuple):
        return _values(value)
    return _of_object(value) if isinstance(value, Stub) else None


def _values(params: Any) -> list[Array]:
    """One array for each parameter: itself, or the first that its variable holds."""
    found = [param if isinstance(param, np.ndarray) else next(arrays_in(param), param) for param in params]
    for value in found:
        if not is_countable(value):
            raise WeightsError("lists of more values than parameters have stand where an array is expected")
        if isinstance(value, Stub) or not np.issubdtype(np.asarray(value).dtype, np.number):
            said = value.kind if isinstance(value, Stub) else type(value).__name__
            raise WeightsError(f"{said} stands where an array of numbers is expected")
    return [np.asarray(value) for value in found]


def _of_object(value: Stub) -> Stored | None:
    """The parameters of a pickled net or layer."""
    layers = value.field("layers_")
    if layers is not None:
        items = layers.items if isinstance(layers, Stub) else layers
        return {str(name): _values(_params(layer)) for name, layer in dict(items).items()}
    if value.field("params") is None and value.field("input_layer") is None:
        return None
    found: dict[int, Any] = {}
    for layer in _before(value):
        for param in _params(layer):
            found.setdefault(id(param), param)
    return _values(list(found.values()))


def _params(layer: Any) -> list[Any]:
    if isinstance(layer, list):
        return layer
    params = layer.field("params") if isinstance(layer, Stub) else None
    return list(params.items if isinstance(params, Stub) else params or {})


def _before(layer: Any) -> list[Any]:
    """A stub of a layer and those in front of it, in the order of get_all_layers."""
    done: dict[int, Any] = {}
    queue, seen = [layer], set()
    while queue:
        node = queue[0]
        if not isinstance(node, Stub) or id(node) in done:
            queue.pop(0)
        elif id(node) in seen:
            done[id(queue.pop(0))] = node
        else:
            seen.add(id(node))
            queue[:0] = list(node.field("input_layers") or [node.field("input_layer")])
    return list(done.values())


def load_layers(layer: Any, path: Path_) -> None:
    """Set the parameters of the Lasagne net that ends in *layer* from the file.

    Raises WeightsError that lists every parameter that does not fit; then nothing is set.
    """
    stored = read(path)
    pairs = _by_name(layer, stored, path) if isinstance(stored, dict) else _in_order(layer, stored, path)
    problems = [
        f"{what}: {tuple(value.shape)} in the file, {tuple(param.get_value(borrow=True).shape)} in the net"
        for what, param, value in pairs
        if param.get_value(borrow=True).shape != value.shape
    ]
    if problems:
        raise WeightsError(f"{os.fspath(path)}: {listing(problems)}")
    for _, param, value in pairs:
        param.set_value(value)


Pairs = list[tuple[str, Any, Array]]


def _in_order(layer: Any, values: Sequence[Array], path: Path_) -> Pairs:
    params = get_all_params(layer)
    names = [
        f"layer '{one.name or type(one).__name__}' parameter {p.name}"
        for one in get_all_layers(layer) for p in one.get_params()
    ]  # fmt: skip
    if len(params) != len(values):
        have = ", ".join(str(tuple(v.shape)) for v in values)
        want = ", ".join(f"{p.name} {tuple(p.get_value(borrow=True).shape)}" for p in params)
        raise WeightsError(f"{os.fspath(path)}: {len(values)} arrays in the file, {len(params)} parameters in the net: "
                           f"the file has {have}; the net has {want}")  # fmt: skip
    return list(zip(names, params, values, strict=False))


def _by_name(layer: Any, stored: Mapping[str, list[Array]], path: Path_) -> Pairs:
    own = {one.name or str(i): one.get_params() for i, one in enumerate(get_all_layers(layer))}
    problems = [f"layer '{name}' is not in the net" for name, values in stored.items() if values and name not in own]
    problems += [f"layer '{name}' is not in the file" for name, params in own.items() if params and name not in stored]
    problems += [
        f"layer '{name}' has {len(values)} arrays in the file, {len(own[name])} in the net"
        for name, values in stored.items()
        if name in own and len(values) != len(own[name])
    ]
    if problems:
        raise WeightsError(f"{os.fspath(path)}: {listing(problems)}")
    return [
        (f"layer '{name}' parameter {i}", param, value)
        for name, values in stored.items()
        for i, (param, value) in enumerate(zip(own.get(name, []), values, strict=False))
    ]
