"""Weights files of Lasagne into a net: arrays in Lasagne's layout become blobs in Caffe's."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from converters.lasagne.weights_file import Path_, Stored, read
from nets.layer import Layer, shape_text
from nets.net import Net
from nets.weights import Report
from protos.errors import WeightsError, listing

Array = NDArray[Any]
Change = Callable[[Array], Array]
Plan = list[tuple[str, torch.Tensor, Array]]


def _same(a: Array) -> Array:
    return a


def _turned(a: Array) -> Array:
    return a.T


def _flipped(a: Array) -> Array:
    return np.flip(a, tuple(range(2, a.ndim)))


def _changes(kind: str, flip_filters: bool) -> list[Change] | None:
    flip = _flipped if flip_filters else _same
    table: dict[str, list[Change]] = {
        "InnerProduct": [_turned, _same],
        "Convolution": [lambda a: _turned(a)[..., None, None] if a.ndim == 2 else flip(a), _same],
        "Deconvolution": [_same if flip_filters else _flipped, _same],
        "Embed": [_same], "Bias": [_same], "PReLU": [_same], "Scale": [_same, _same],
        "LocallyConnected": [flip, _same],
    }  # fmt: skip
    return table.get(kind)


def load_net(net: Net, path: Path_, flip_filters: bool = True) -> Report:
    """Copy the arrays of the file at *path* into *net*, as ``to_net`` of the Lasagne net would.

    *flip_filters* is what the convolutions of the Lasagne net had: true for Conv2DLayer, false for those of ``dnn``.
    Arrays without names go to the layers in their order, BatchNorm's beta, gamma, mean and inv_std to BatchNorm and the
    Scale behind it. Raises WeightsError that lists every layer that does not fit; then nothing is copied.
    """
    stored = read(path)
    groups = [(name, layers) for name, layers in _groups(net)]
    problems: list[str] = []
    plan: Plan = []
    for name, layers, values in _matched(groups, stored, problems):
        try:
            plan += _blobs(name, layers, values, flip_filters)
        except WeightsError as error:
            problems.append(str(error))
    problems += [
        f"{what} is {shape_text(value.shape)} in the file, {shape_text(tuple(blob.shape))} in the net"
        for what, blob, value in plan
        if tuple(blob.shape) != value.shape
    ]
    if problems:
        raise WeightsError(f"{os.fspath(path)}: {listing(problems)}")
    with torch.no_grad():
        for _, blob, value in plan:
            blob.copy_(torch.from_numpy(np.array(value)))
    return Report(loaded=tuple(name for name, _ in groups), missing=(), unused=())


def _groups(net: Net) -> Iterator[tuple[str, list[tuple[str, Layer]]]]:
    """The layers with blobs; BatchNorm and its Scale together, and a convolution with its Bias."""
    waiting: tuple[str, list[tuple[str, Layer]]] | None = None
    for node, layer in net.nodes:
        if not layer.blobs:
            continue
        follows = waiting is not None and (waiting[1][-1][0], node.type) in {("BatchNorm", "Scale")}
        if waiting is not None and follows:
            waiting[1].append((node.type, layer))
            yield waiting
            waiting = None
            continue
        if waiting is not None:
            yield waiting
        waiting = (node.name, [(node.type, layer)])
    if waiting is not None:
        yield waiting


def _count(layers: Sequence[tuple[str, Layer]]) -> int:
    if layers[0][0] == "BatchNorm":
        return 2 + sum(len(layer.blobs) for kind, layer in layers if kind == "Scale")
    return sum(len(layer.blobs) for _, layer in layers)


def _matched(
    groups: list[tuple[str, list[tuple[str, Layer]]]], stored: Stored, problems: list[str]
) -> Iterator[tuple[str, list[tuple[str, Layer]], list[Array]]]:
    if isinstance(stored, dict):
        own = dict(groups)
        problems += [f"layer '{name}' is not in the net" for name, v in stored.items() if v and name not in own]
        problems += [f"layer '{name}' is not in the file" for name in own if name not in stored]
        fitting = {name: values for name, values in stored.items() if name in own}
    else:
        fitting, rest = {}, list(stored)
        for name, layers in groups:
            fitting[name], rest = rest[: _count(layers)], rest[_count(layers) :]
        if rest:
            problems.append(f"{len(rest)} arrays too many in the file: {', '.join(shape_text(v.shape) for v in rest)}")
    for name, layers in groups:
        values = fitting.get(name)
        if values is not None and len(values) != _count(layers):
            problems.append(f"layer '{name}' has {len(values)} arrays in the file, {_count(layers)} in the net")
        elif values is not None:
            yield name, layers, values


def _blobs(name: str, layers: list[tuple[str, Layer]], values: list[Array], flip_filters: bool) -> Plan:
    kind, layer = layers[0]
    if kind == "BatchNorm":
        return _batch_norm(name, layers, values)
    changes = _changes(kind, flip_filters)
    if changes is None:
        raise WeightsError(f"layer '{name}' ({kind}): load the file into the Lasagne net, and make the net of it anew "
                           "with to_net")  # fmt: skip
    pairs = zip(layer.blobs, values, changes, strict=False)
    return [(f"layer '{name}' blob {i}", blob, change(value)) for i, (blob, value, change) in enumerate(pairs)]


def _batch_norm(name: str, layers: list[tuple[str, Layer]], values: list[Array]) -> Plan:
    *own, mean, inv_std = values
    norm = layers[0][1]
    variance = 1 / inv_std.astype(np.float64) ** 2 - float(getattr(norm, "eps"))  # noqa: B009  # BatchNorm's own
    found = [(f"layer '{name}' blob {i}", blob, v) for i, (blob, v) in enumerate(
        zip(norm.blobs, (mean, variance, np.ones(1)), strict=True))]  # fmt: skip
    for _, scale in layers[1:]:
        ordered = list(reversed(own))  # Lasagne: beta, gamma; Caffe: scale, bias
        found += [
            (f"layer '{name}' scale {i}", b, v) for i, (b, v) in enumerate(zip(scale.blobs, ordered, strict=True))
        ]
    return found
