"""What ``debug_info`` logs: the mean magnitude of every blob and gradient, as each layer makes them.

Where several layers take a blob, the original has a Split layer that copies it; here is none, but its lines are.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nets.layer import Layer
from nets.net import Net
from protos.schema import LayerParameter

log = logging.getLogger("caffe")

Place = tuple[int, int]  # the index of a layer among those of the net, data layers included, and of its bottom or top


@dataclass(frozen=True)
class _Split:
    """A layer that the original inserts behind the top at some Place: who takes which of its tops."""

    name: str
    blob: str
    takers: tuple[Place, ...]
    loss_weight: float  # of the top; where it is not 0, the first copy is the loss

    @property
    def tops(self) -> list[str]:
        """The names of the copies."""
        return [f"{self.name}_{i}" for i in range(len(self.takers) + bool(self.loss_weight))]


def splits(layers: list[LayerParameter]) -> dict[Place, _Split]:
    """The Split layers that the original has among *layers*, by the tops that they copy."""
    makers: dict[str, Place] = {}
    takers: defaultdict[Place, list[Place]] = defaultdict(list)
    for i, layer in enumerate(layers):
        for j, bottom in enumerate(layer.bottom):
            takers[makers[bottom]].append((i, j))
        makers |= {top: (i, j) for j, top in enumerate(layer.top)}
    found = {}
    for (i, j), users in takers.items():
        layer = layers[i]
        weight = layer.loss_weight[j] if j < len(layer.loss_weight) else 0.0
        if len(users) + bool(weight) > 1:
            found[i, j] = _Split(f"{layer.top[j]}_{layer.name}_{j}_split", layer.top[j], tuple(users), weight)
    return found


class DebugInfo:
    """Logs the passes of *net*: the forward pass within ``watching``, then the backward pass by ``report``."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._protos = list(net.graph.param.layer)
        self._splits = splits(self._protos)
        self._names = {
            taker: name
            for split in self._splits.values()
            for taker, name in zip(reversed(split.takers), reversed(split.tops), strict=False)
        }
        sources = {source.name for source in net.graph.sources}
        own = [i for i, proto in enumerate(self._protos) if proto.name not in sources]
        self._layers: dict[int, Layer] = {i: layer for i, (_, layer) in zip(own, net.nodes, strict=True)}
        self._batch: Mapping[str, Tensor] = {}
        self._next = 0  # the first layer that has not been logged
        self._bottoms: dict[Place, Tensor] = {}
        self._blobs: dict[Place, float] = {}
        self._sums: dict[int, Tensor] = {}  # of gradients so far, by the blob they belong to

    @contextmanager
    def watching(self, batch: Mapping[str, Tensor]) -> Iterator[None]:
        """Log the forward pass on *batch* within the block, and note the gradients of a backward pass."""
        self._batch, self._next = batch, 0
        self._bottoms, self._blobs = {}, {}
        learnable = [one.tensor for one in self._net.learnable if one.tensor.grad is not None]
        self._sums = {id(blob): blob.grad.clone() for blob in learnable if blob.grad is not None}
        parameters = [(layer, dict(layer._parameters)) for layer in self._layers.values()]
        handles = [
            handle
            for i, layer in self._layers.items()
            for handle in (
                layer.register_forward_pre_hook(partial(self._begin, i)),
                layer.register_forward_hook(partial(self._end, i)),
            )
        ]
        try:
            yield
            self._log_sources(len(self._protos))
        finally:
            for handle in handles:
                handle.remove()
            for layer, before in parameters:
                layer._parameters.update(before)

    def report(self) -> None:
        """Log the gradients of the pass: of bottoms and blobs, the last layer first, then the norms over all blobs."""
        for i in reversed(range(len(self._protos))):
            proto = self._protos[i]
            for j in reversed(range(len(proto.top))):
                self._log_split(i, j)
            for j, bottom in enumerate(proto.bottom):
                if (i, j) in self._bottoms:
                    self._log_diff(proto.name, "bottom", self._names.get((i, j), bottom), _mean(self._bottoms[i, j]))
            for j in range(len(self._layers[i].blobs) if i in self._layers else 0):
                if (i, j) in self._blobs:
                    self._log_diff(proto.name, "param", str(j), self._blobs[i, j])
        learnable = [one.tensor.detach() for one in self._net.learnable]
        diffs = [one.tensor.grad for one in self._net.learnable if one.tensor.grad is not None]
        log.info(
            "    [Backward] All net params (data, diff): L1 norm = (%g, %g); L2 norm = (%g, %g)",
            _norm(learnable, 1), _norm(diffs, 1), _norm(learnable, 2), _norm(diffs, 2),
        )  # fmt: skip

    # ---- forward

    def _begin(self, i: int, layer: Layer, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Before a layer runs: it gets aliases, whose gradients are those that come from this layer alone."""
        self._log_sources(i)
        own = tuple(x.view_as(x) for x in bottoms)
        for j, (x, alias) in enumerate(zip(bottoms, own, strict=True)):
            if alias.requires_grad:
                alias.register_hook(partial(self._note_bottom, i, j, True))  # type: ignore[no-untyped-call]
                if layer.rereads:  # the net may go around the layer, see nets.reread
                    x.register_hook(partial(self._note_bottom, i, j, False))  # type: ignore[no-untyped-call]
        for j, (name, blob) in enumerate(layer.blob_items):
            if blob.requires_grad and name in layer._parameters:
                alias = blob.view_as(blob)
                alias.register_hook(partial(self._note_blob, i, j, blob))  # type: ignore[no-untyped-call]
                layer._parameters[name] = alias  # type: ignore[assignment]  # until the pass is over
        return own

    def _end(self, i: int, layer: Layer, bottoms: object, tops: Tensor | tuple[Tensor, ...]) -> None:
        self._log_tops(i, tops if isinstance(tops, tuple) else (tops,))

    def _log_sources(self, before: int) -> None:
        """Log the data layers that come *before* the layer of this index."""
        for i in range(self._next, before):
            if i not in self._layers:
                self._log_tops(i, tuple(self._batch[top] for top in self._protos[i].top))
        self._next = before

    def _log_tops(self, i: int, tops: tuple[Tensor, ...]) -> None:
        name = self._protos[i].name
        means = [_mean(top) for top in tops]
        names = list(self._protos[i].top) or [name]  # a loss without a top has one of its own
        for top, mean in zip(names, means, strict=False):
            log.info("    [Forward] Layer %s, top blob %s data: %g", name, top, mean)
        if i in self._layers:
            for j, blob in enumerate(self._layers[i].blobs):
                log.info("    [Forward] Layer %s, param blob %s data: %g", name, self._blob_name(i, j), _mean(blob))
        for j, mean in enumerate(means):
            split = self._splits.get((i, j))
            for top in split.tops if split else ():
                log.info("    [Forward] Layer %s, top blob %s data: %g", split.name if split else "", top, mean)

    def _blob_name(self, i: int, j: int) -> str:
        param = self._protos[i].param
        return param[j].name if j < len(param) and param[j].name else str(j)

    # ---- backward

    def _note_bottom(self, i: int, j: int, alone: bool, diff: Tensor) -> None:
        if alone or (i, j) not in self._bottoms:
            self._bottoms[i, j] = diff

    def _note_blob(self, i: int, j: int, blob: Tensor, diff: Tensor) -> None:
        """Add to the gradient that layers further behind, and earlier micro-batches, gave a blob."""
        before = self._sums.get(id(blob))
        self._sums[id(blob)] = total = diff if before is None else before + diff
        self._blobs[i, j] = _mean(total)

    def _log_split(self, i: int, j: int) -> None:
        split = self._splits.get((i, j))
        diffs: list[Any] = [self._bottoms[taker] for taker in split.takers if taker in self._bottoms] if split else []
        if split and diffs:
            self._log_diff(split.name, "bottom", split.blob, _mean(sum(diffs, torch.tensor(split.loss_weight))))

    def _log_diff(self, layer: str, kind: str, blob: str, mean: float) -> None:
        log.info("    [Backward] Layer %s, %s blob %s diff: %g", layer, kind, blob, mean)


def _mean(values: Tensor) -> float:
    return float(values.detach().abs().mean()) if values.numel() else 0.0


def _norm(tensors: list[Tensor], order: int) -> float:
    if not tensors:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(t, order) for t in tensors]), order))
