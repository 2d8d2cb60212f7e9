"""What ``debug_info`` logs: the mean magnitude of every blob and gradient, as each layer makes them."""

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from nets.graph import Node
from nets.layer import Layer
from nets.net import Net

log = logging.getLogger("caffe")


class DebugInfo:
    """Watches *net* within a ``with`` block around a forward and a backward pass; then ``report`` logs gradients."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._handles: list[RemovableHandle] = []
        self._diffs: dict[Layer, list[str]] = {}

    def __enter__(self) -> Self:
        for node, layer in self._net.nodes:
            self._handles.append(layer.register_forward_hook(_forward_hook(node)))
            self._handles.append(layer.register_forward_pre_hook(self._watched(node)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _watched(self, node: Node) -> Callable[[Layer, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        def aliases(layer: Layer, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            # A layer's own alias of its bottom has the gradient that comes from this layer alone.
            own = tuple(x.view_as(x) for x in bottoms)
            for name, x in zip(node.bottoms, own, strict=True):
                if x.requires_grad:
                    x.register_hook(self._note(node, layer, name))  # type: ignore[no-untyped-call]
            return own

        return aliases

    def _note(self, node: Node, layer: Layer, bottom: str) -> Callable[[Tensor], None]:
        def note(diff: Tensor) -> None:
            line = f"    [Backward] Layer {node.name}, bottom blob {bottom} diff: {_mean(diff):g}"
            self._diffs.setdefault(layer, []).append(line)

        return note

    def report(self) -> None:
        """Log the gradients of the pass: of bottoms and blobs, the last layer first, then the norms over all blobs."""
        for node, layer in reversed(self._net.nodes):
            lines = self._diffs.pop(layer, [])
            for i, blob in enumerate(layer.blobs):
                if blob.grad is not None:
                    name = _blob_name(node, i)
                    lines.append(f"    [Backward] Layer {node.name}, param blob {name} diff: {_mean(blob.grad):g}")
            for line in lines:
                log.info("%s", line)
        learnable = [blob.tensor.detach() for blob in self._net.learnable]
        diffs = [blob.tensor.grad for blob in self._net.learnable if blob.tensor.grad is not None]
        log.info(
            "    [Backward] All net params (data, diff): L1 norm = (%g, %g); L2 norm = (%g, %g)",
            _norm(learnable, 1), _norm(diffs, 1), _norm(learnable, 2), _norm(diffs, 2),
        )  # fmt: skip


def _forward_hook(node: Node) -> Callable[[Layer, Any, Any], None]:
    def note(layer: Layer, bottoms: object, tops: Tensor | tuple[Tensor, ...]) -> None:
        for name, top in zip(node.tops, tops if isinstance(tops, tuple) else (tops,), strict=True):
            log.info("    [Forward] Layer %s, top blob %s data: %g", node.name, name, _mean(top))
        for i, blob in enumerate(layer.blobs):
            log.info("    [Forward] Layer %s, param blob %s data: %g", node.name, _blob_name(node, i), _mean(blob))

    return note


def _blob_name(node: Node, i: int) -> str:
    return node.proto.param[i].name if i < len(node.proto.param) and node.proto.param[i].name else str(i)


def _mean(values: Tensor) -> float:
    return float(values.detach().abs().mean()) if values.numel() else 0.0


def _norm(tensors: list[Tensor], order: int) -> float:
    if not tensors:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(t, order) for t in tensors]), order))
