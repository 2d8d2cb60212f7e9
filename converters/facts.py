"""What an exported model says of itself: the files it came from, and what its pixels went through."""

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from nets.net import Net
from protos import files, text
from protos.errors import CaffeError
from protos.schema import TransformationParameter

Path_ = str | os.PathLike[str]

# Sources by transform_param.
PICTURES = ("AnnotatedData", "Data", "DenseImageData", "ImageData", "ImageSegData", "MemoryData")


def origin(net: Net, sources: Sequence[Path_]) -> dict[str, str]:
    """Names and hashes of the files that the net came from; without any, the hash of its layers as text."""
    about = {"caffe.net": net.graph.name, "caffe.phase": net.graph.phase}
    for kind, path in zip(("model", "weights"), sources, strict=False):
        about[f"caffe.{kind}"] = Path(path).name
        about[f"caffe.{kind}.sha256"] = _sha256(path)
    if not sources:
        about["caffe.prototxt.sha256"] = hashlib.sha256(text.to_text(net.graph.param).encode()).hexdigest()
    return about


def _sha256(path: Path_) -> str:
    try:
        with files.find(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CaffeError(f"{os.fspath(path)}: cannot be read: {(error.strerror or str(error)).lower()}") from error


def preprocessing(net: Net, inputs: Collection[str]) -> dict[str, str]:
    """What the data layers did to pixels before they became the inputs, one entry a fact."""
    about: dict[str, str] = {}
    for source in net.graph.sources:
        top = source.top[0]
        if top in inputs and source.type in PICTURES:
            shape = net.shapes[top]
            about |= {f"{top}.{key}": said for key, said in _transform(source.transform_param, shape)}
    return about


def _transform(param: TransformationParameter, shape: Sequence[int]) -> Iterator[tuple[str, str]]:
    yield "layout", "N x C x H x W"
    if len(shape) > 1 and shape[1] == 3:
        yield "channel_order", "BGR"
    yield "range", "pixels are 0 to 255 before mean and scale"
    yield "formula", "(pixel - mean) * scale"
    yield "scale", f"{param.scale:.9g}"
    if param.mean_value:
        yield "mean_value", ",".join(f"{value:.9g}" for value in param.mean_value)
    if param.mean_file:
        yield "mean_file", Path(param.mean_file).name
        if Path(param.mean_file).is_file():
            yield "mean_file.sha256", _sha256(param.mean_file)
    if param.crop_size:
        yield "crop_size", f"{param.crop_size}"
        yield "crop", "from the centre"
