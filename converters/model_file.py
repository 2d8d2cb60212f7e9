"""An ONNX model as a file, whole or not at all, its constants in it or in a file beside it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nets.emitter import Value
from protos import files, lens
from protos.errors import CaffeError, NetError
from protos.lens import header

LARGEST = 2**31 - 1  # bytes of a message that protobuf reads
INLINE = 1024  # bytes; the values of smaller constants stay in the model, where shapes can be read off them
# Numbers of fields of ModelProto, of GraphProto, and of TensorProto; a ValueInfoProto begins with its name.
GRAPH = 7
NODE, INITIALIZER, INPUT, OUTPUT = 1, 5, 11, 12
RAW_DATA = 9


def write(model: onnx.ModelProto, constants: Sequence[Value], path: str | os.PathLike[str]) -> None:
    """Check *model* with full shape inference and write it to *path* with *constants*, its initializers.

    Large ones go to ``path.data`` beside it where protobuf could not read all in one message. They are written from
    where they are: in a message of protobuf they would be in memory several times.
    """
    target = Path(path)
    if target.is_dir():
        raise CaffeError(f"{target}: is a folder: name a file in it")
    _check(model, constants, target)
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    start = rest.SerializeToString(deterministic=True)
    graph = model.graph.SerializeToString(deterministic=True)
    heads = [_head(value) for value in constants]
    size = len(graph) + sum(len(head) + _array(value).nbytes for value, head in zip(constants, heads, strict=True))
    if len(start) + len(header(GRAPH, size)) + size > LARGEST:
        _write_apart(model, constants, target)
        return
    with files.replacing(target) as file:
        file.write(start + header(GRAPH, size) + graph)
        for value, head in zip(constants, heads, strict=True):
            file.write(head)
            _write_values(file, value)


def summary(path: str | os.PathLike[str]) -> str:
    """How many nodes the model at *path* has, its inputs and its outputs; its constants stay unread.

    Raises OSError and ParseError.
    """
    buffer = lens.open_buffer(path)
    found: dict[int, list[str]] = {NODE: [], INPUT: [], OUTPUT: []}
    for field in lens.fields(buffer, 0, len(buffer)):
        inside = lens.fields(buffer, field.start, field.end) if field.number == GRAPH else ()
        for part in inside:
            if part.number in found:
                found[part.number].append(lens.text(buffer, next(lens.fields(buffer, part.start, part.end))))
    return f"{len(found[NODE])} nodes, {', '.join(found[INPUT])} -> {', '.join(found[OUTPUT])}"


def _check(model: onnx.ModelProto, constants: Sequence[Value], path: Path) -> None:
    """Check the model with inputs in the place of its large constants, whose values decide no shape."""
    checked = onnx.ModelProto()
    checked.CopyFrom(model)
    for value in constants:
        if _is_large(value):
            checked.graph.input.append(helper.make_tensor_value_info(value.name, _kind(value), _array(value).shape))
        else:
            checked.graph.initializer.append(_whole(value))
    try:
        onnx.checker.check_model(checked, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise NetError(f"{path}: the model is not valid ONNX: {' '.join(str(error).split())}") from error


def _head(value: Value) -> bytes:
    """What stands before the values of a constant that is an initializer of the graph."""
    size = _array(value).nbytes
    said = _bare(value).SerializeToString(deterministic=True) + header(RAW_DATA, size)
    return header(INITIALIZER, len(said) + size) + said


def _write_apart(model: onnx.ModelProto, constants: Sequence[Value], path: Path) -> None:
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    data = path.with_name(f"{path.name}.data")
    with files.replacing(data) as file:
        for value in constants:
            if not _is_large(value):
                whole.graph.initializer.append(_whole(value))
                continue
            tensor = _bare(value)
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": data.name, "offset": file.tell(), "length": _array(value).nbytes}
            for key, said in place.items():
                tensor.external_data.add(key=key, value=str(said))
            whole.graph.initializer.append(tensor)
            _write_values(file, value)
    with files.replacing(path) as file:
        file.write(whole.SerializeToString(deterministic=True))


def _is_large(value: Value) -> bool:
    return _array(value).nbytes > INLINE


def _bare(value: Value) -> TensorProto:
    """The constant without its values."""
    return TensorProto(dims=_array(value).shape, data_type=_kind(value), name=value.name)


def _whole(value: Value) -> TensorProto:
    return numpy_helper.from_array(_array(value), value.name)


def _write_values(file: IO[bytes], value: Value) -> None:
    array = _array(value)
    file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).data)


def _array(value: Value) -> np.ndarray:
    assert value.data is not None
    return value.data


def _kind(value: Value) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(_array(value).dtype))
