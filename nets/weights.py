"""Weights of a net, from and to files: ``.caffemodel`` and HDF5, by layer name.

Reading finds out the kind of a file from its content: a binary net of any age, HDF5, or a net in text
format. Layers match by name, as in the original:

- a layer of the file that the net does not have is ignored, a layer of the net that the file does not have
  keeps its values; both are logged;
- a layer that both have must have the same number of blobs, and each the same shape. A blob with the four
  axes of old files (num, channels, height, width) fits where leading ones make up the difference.

Nothing is copied before everything fits.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets import hdf5_weights
from nets.layer import shape_text
from nets.net import Net
from protos import files, lens, text
from protos.errors import CaffeError, CaffeWarning, WeightsError, listing
from protos.schema import LayerParameter

log = logging.getLogger("caffe")

Path_ = str | os.PathLike[str]

HDF5_SUFFIXES = (".h5", ".hdf5")
LARGEST_MESSAGE = 2**31 - 1  # what protobuf reads, and so the original


StoredBlob = lens.Blob | hdf5_weights.Blob
Stored = Mapping[str, Mapping[int, StoredBlob]]  # layer name -> blob index -> blob


@dataclass(frozen=True)
class Report:
    """What ``load_weights`` did, by layer names.

    ``missing`` are those of the net that kept their values, ``unused`` those of the files that the net does
    not have.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]


@dataclass(frozen=True)
class _Target:
    """The blobs of a layer of the net, for each whether it belongs to an earlier layer; whether axes of 1 count."""

    blobs: tuple[Tensor, ...] = ()
    shared: tuple[bool, ...] = ()
    any_ones: bool = False


# ---- reading


def load_weights(net: Net, path: Path_ | Sequence[Path_], any_names: bool = False) -> Report:
    """Copy the blobs in the file at *path* into the layers of *net* of the same names.

    Several files, as a sequence or as "a,b", are applied in their order. Values are converted to the type
    and device of the net's. Raises WeightsError where a file cannot be read, does not fit, or holds no
    layer of the net; with *any_names* that is only a warning.
    """
    targets: dict[str, _Target] = {}
    for name, target in _targets(net):
        targets.setdefault(name, target)
    paths = weights_paths(path)
    with contextlib.ExitStack() as stack:
        stored = [stack.enter_context(_opened(file)) for file in paths]
        plans = [_matched(file, layers, targets, any_names) for file, layers in zip(paths, stored, strict=True)]
        for file, plan in zip(paths, plans, strict=True):
            with _explained(file):
                for blob, tensor in plan:
                    _copy(blob, tensor)
    names = dict.fromkeys(name for layers in stored for name, blobs in layers.items() if blobs)
    report = Report(
        loaded=tuple(name for name in names if name in targets),
        missing=tuple(name for name, target in targets.items() if target.blobs and name not in names),
        unused=tuple(name for name in names if name not in targets),
    )
    _log(", ".join(os.fspath(file) for file in paths), report)
    return report


def weights_paths(path: Path_ | Sequence[Path_]) -> list[Path_]:
    """The files that *path* names, as a sequence or as "a,b"; a file whose own name has commas is one."""
    if not isinstance(path, str | os.PathLike):
        return list(path)
    parts = [part.strip() for part in os.fspath(path).split(",")]
    return [path] if len(parts) == 1 or Path(path).exists() else list(filter(None, parts))


def _targets(net: Net) -> list[tuple[str, _Target]]:
    seen: set[int] = set()
    targets = []
    for node, layer in net.nodes:
        blobs = tuple(layer.blobs)
        shared = tuple(blob.numel() > 0 and blob.data_ptr() in seen for blob in blobs)
        seen.update(blob.data_ptr() for blob in blobs)
        targets.append((node.name, _Target(blobs, shared, layer.any_ones)))
    return targets


@contextlib.contextmanager
def _opened(path: Path_) -> Iterator[Stored]:
    with _explained(path):
        start = _start(path)
    if not start:
        raise WeightsError(f"{os.fspath(path)}: the file is empty")
    if start.startswith(hdf5_weights.SIGNATURE):
        with _explained(path), hdf5_weights.opened(path) as layers:
            yield layers
        return
    with _explained(path):
        buffer = _binary(path) if _is_text(start) else lens.open_buffer(path)
        found = {layer.name: dict(enumerate(layer.blobs)) for layer in lens.layers(buffer)}
    yield found


@contextlib.contextmanager
def _explained(path: Path_) -> Iterator[None]:
    """Turn what reading *path* raises into a WeightsError that names it."""
    shown = os.fspath(path)
    try:
        yield
    except WeightsError:
        raise
    except CaffeError as error:
        raise WeightsError(str(error) if shown in str(error) else f"{shown}: {error}") from error
    except OSError as error:
        raise WeightsError(f"{shown}: cannot be read: {files.reason(error)}") from error
    except ValueError as error:  # of a path with a zero byte
        raise WeightsError(f"{shown!r}: cannot be read: {error}") from error


def _start(path: Path_) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(4096)


def _binary(path: Path_) -> bytes:
    return text.read_net(Path(path), allow_unknown=True).SerializeToString()


def _is_text(start: bytes) -> bool:
    """The tags and lengths of a binary net are control characters; text has none but white space."""
    return not set(start) & (set(range(32)) - set(b"\t\n\r\f\v") | {127})


def _matched(
    path: Path_, stored: Stored, targets: Mapping[str, _Target], any_names: bool
) -> list[tuple[StoredBlob, Tensor]]:
    """The pairs of blobs to copy; WeightsError with all that does not fit."""
    pairs: list[tuple[StoredBlob, Tensor]] = []
    problems: list[str] = []
    for name, blobs in stored.items():
        if name in targets:
            problems += _misfits(name, blobs, targets[name])
            pairs += [(blobs[i], tensor) for i, tensor in enumerate(targets[name].blobs) if i in blobs]
    if problems:
        raise WeightsError(f"{os.fspath(path)}: {listing(problems)}; a layer of another name keeps its own values")
    if not pairs and any(target.blobs for target in targets.values()):
        have = ", ".join(name for name, blobs in stored.items() if blobs) or "none"
        want = ", ".join(name for name, target in targets.items() if target.blobs)
        said = f"{os.fspath(path)}: no layer has weights for this net: it has {have}; the net has {want}"
        if not any_names:
            raise WeightsError(said)
        warnings.warn(said, CaffeWarning, stacklevel=2)
    return pairs


def _misfits(name: str, blobs: Mapping[int, StoredBlob], target: _Target) -> Iterator[str]:
    count = len(target.blobs)
    absent = [i for i in range(count) if i not in blobs and not target.shared[i]]
    if absent or len(blobs) > count:
        yield f"layer '{name}' has {len(blobs)} blobs in the file, {count} in the net"
        return
    for i, blob in blobs.items():
        shape = tuple(target.blobs[i].shape)
        if not _fits(blob, shape, target.any_ones):
            have, want = shape_text(blob.shape), shape_text(shape)
            yield f"layer '{name}' blob {i} is {have} in the file, {want} in the net"


def _fits(blob: StoredBlob, shape: tuple[int, ...], any_ones: bool = False) -> bool:
    if any_ones:
        return [size for size in blob.shape if size != 1] == [size for size in shape if size != 1]
    leading = len(blob.shape) - len(shape)
    return blob.shape == ((1,) * leading + shape if blob.legacy else shape)


@torch.no_grad()
def _copy(blob: StoredBlob, tensor: Tensor) -> None:
    if tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.is_contiguous():
        blob.read(tensor.detach().view(-1).numpy())
        return
    values = np.empty(tensor.numel(), np.float32)
    blob.read(values)
    tensor.copy_(torch.from_numpy(values).view(tensor.shape))


def _log(paths: str, report: Report) -> None:
    log.info("%s: read %d layers", paths, len(report.loaded))
    if report.unused:
        log.info("%s: ignored layers that the net does not have: %s", paths, ", ".join(report.unused))
    if report.missing:
        log.info("%s: layers that keep their values: %s", paths, ", ".join(report.missing))


# ---- writing


def save_weights(net: Net, path: Path_, diff: bool = False, hdf5: bool | None = None) -> None:
    """Write the blobs of all layers of *net* to *path*: as HDF5 or, without *hdf5*, as a .caffemodel.

    *hdf5* None: HDF5 where the name ends in .h5.

    Values are written as float32; with *diff* the gradients too, zeros where there are none. The original
    reads both kinds, but no .caffemodel of 2 GB. The same net gives the same bytes. Raises CaffeError where
    it cannot write.
    """
    gradients = {blob.tensor.data_ptr(): blob.tensor.grad for blob in net.learnable} if diff else None
    if os.fspath(path).endswith(HDF5_SUFFIXES) if hdf5 is None else hdf5:
        hdf5_weights.write(path, _hdf5_layers(net, gradients))
    else:
        _write_caffemodel(net, path, gradients)


def _declared(net: Net) -> Iterator[tuple[LayerParameter, _Target]]:
    """The layers in the order of the file, data layers among them, each with its blobs."""
    targets = _targets(net)
    for proto in net.graph.param.layer:
        yield proto, targets.pop(0)[1] if targets and targets[0][0] == proto.name else _Target()


def _write_caffemodel(net: Net, path: Path_, gradients: Mapping[int, Tensor | None] | None) -> None:
    with files.replacing(path) as file:
        name = net.graph.name.encode()
        file.write(lens.header(lens.NET_NAME, len(name)) + name)
        for proto, target in _declared(net):
            bare = LayerParameter()
            bare.CopyFrom(proto)
            del bare.blobs[:]
            head = bare.SerializeToString(deterministic=True)
            size = sum(lens.blob_size(lens.LAYER_BLOBS, blob.shape, gradients is not None) for blob in target.blobs)
            file.write(lens.header(lens.NET_LAYER, len(head) + size) + head)
            for blob in target.blobs:
                diffs = None if gradients is None else _gradient(blob, gradients)
                lens.write_blob(file, lens.LAYER_BLOBS, _values(blob), diffs)
        if file.tell() > LARGEST_MESSAGE:
            log.warning("%s: the original cannot read 2 GB in one message: save as .h5 for it", os.fspath(path))


def _hdf5_layers(net: Net, gradients: Mapping[int, Tensor | None] | None) -> Iterator[hdf5_weights.Layer]:
    for proto, target in _declared(net):
        own = ((i, _values(blob)) for i, blob in enumerate(target.blobs) if not target.shared[i])
        diffs = None if gradients is None else [_gradient(blob, gradients) for blob in target.blobs]
        yield hdf5_weights.Layer(proto.name, own, diffs)


def _values(blob: Tensor) -> NDArray[np.float32]:
    return blob.detach().to("cpu", torch.float32).contiguous().numpy()


def _gradient(blob: Tensor, gradients: Mapping[int, Tensor | None]) -> NDArray[np.float32]:
    found = gradients.get(blob.data_ptr())
    return np.zeros(blob.shape, np.float32) if found is None else _values(found.reshape(blob.shape))
