"""One training iteration: the gradients of its micro-batches, then the update. Eager, a script, or a CUDA graph."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from nets import schedule
from nets.debug import DebugInfo
from nets.script import Passes, Repeated
from nets.updates import Update
from protos.errors import CaffeError
from protos.registry import suggest
from protos.schema import SolverParameter

log = logging.getLogger("caffe")

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
EAGER_FIRST = 3  # iterations before a capture: libraries set themselves up in them
# Their passes are not the same for all numbers, or write to learnt blobs.
UNREPEATABLE = {
    "Python", "Filter", "LSTM", "Lstm", "RNN", "HDF5Output", "DetectionOutput", "DetectionEvaluate", "Proposal",
    "MultiBoxLoss", "YoloDetectionOutput", "Yolov3DetectionOutput", "MarginInnerProduct", "ROIPooling",
}  # fmt: skip

FAILED_CAPTURE = (RuntimeError, CaffeError)  # the latter where a layer named itself

Rate = Callable[[Tensor | None], float]  # the rate, given the mean loss of the iteration where that is known


@dataclass(frozen=True)
class Options:
    """How to compute. ``precision``: one of fp32, tf32, bf16 and fp16, the last two by autocast.

    ``compile``: through torch.compile; ``deterministic``: only algorithms that give the same bits each time;
    ``graph``: where that can be, replay the iteration as one CUDA graph on a GPU, its passes as a script on a CPU;
    ``diffs``: leave in each blob's gradient what the update took from it, as the original does.
    """

    precision: str = "fp32"
    compile: bool = False
    deterministic: bool = False
    graph: bool = True
    diffs: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise CaffeError(f"unknown precision '{self.precision}'{suggest(self.precision, PRECISIONS)}")

    def apply(self, device: torch.device) -> None:
        """Set what PyTorch keeps for the whole process."""
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is refused
            torch.use_deterministic_algorithms(True)
        if device.type == "cuda":
            if device.index is not None:
                torch.cuda.set_device(device)  # a graph is captured on the current one
            torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")
            torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
            torch.backends.cudnn.benchmark = not self.deterministic

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """The context in which the net runs."""
        dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
        if self.precision not in dtypes:
            return nullcontext()
        return torch.autocast(device.type, dtypes[self.precision])


class Result(NamedTuple):
    """The outputs and the loss of the last micro-batch, the mean loss over all of them, and the rate of the update."""

    outputs: dict[str, Tensor]
    loss: Tensor
    mean_loss: Tensor
    rate: float


class Layered(Protocol):
    """What a step asks of a net: which layers it has, and how their gradients come together."""

    @property
    def nodes(self) -> Sequence[Any]:
        """Pairs of a layer's place in the graph and the layer."""

    @property
    def replaced(self) -> Sequence[Tensor]:
        """The blobs whose gradients are not added up over several passes."""


class Batches(Protocol):
    """What a step asks of the inputs, see ``nets.inputs.Inputs``."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of a batch, by blob."""

    def next(self) -> Mapping[str, Tensor]:
        """The next batch."""


class Step:
    """Runs iterations of *net* on *inputs*, and updates its blobs by *update*.

    With ``debug`` set, that watches the passes. *run* maps a batch to the outputs and the loss of the net; it is the
    net itself, compiled or spread over processes.
    """

    def __init__(
        self,
        net: Layered,
        run: Passes,
        inputs: Batches,
        update: Update,
        param: SolverParameter,
        device: torch.device,
        options: Options,
    ) -> None:
        if param.iter_size < 1:
            raise CaffeError("solver: iter_size must be at least 1")
        self._inputs = inputs
        self._update = update
        self._iter_size = param.iter_size
        self._replaced = net.replaced if param.iter_size > 1 else ()
        self._device = device
        self._options = options
        self._run = run
        self._keeps_diffs = param.snapshot_diff or options.diffs
        scaled = options.precision == "fp16" and device.type == "cuda"
        self._scaler = torch.amp.GradScaler(device.type) if scaled else None
        self._eager_left = EAGER_FIRST if self._can_capture(net, param) else None
        self._graph: _Graph | None = None
        self._passes = self._repeated(net) if device.type == "cpu" else self._forward_backward
        self.debug: DebugInfo | None = None

    def _can_capture(self, net: Layered, param: SolverParameter) -> bool:
        if self._device.type != "cuda" or not self._options.graph:
            return False
        held = {node.type for node, _ in net.nodes} & UNREPEATABLE
        reasons = [f"of its {', '.join(sorted(held))} layers"] if held else []
        reasons += ["iter_size is above 1"] if self._iter_size > 1 else []
        reasons += ["snapshot_diff keeps the updates"] if self._keeps_diffs else []
        reasons += ["debug_info reads every blob"] if param.debug_info else []
        reasons += ["its rate waits for the loss"] if param.lr_policy == "plateau" else []
        reasons += [] if schedule.is_fixed(param) else ["its momentum or weight decay changes"]
        reasons += ["of fp16's loss scaling"] if self._scaler is not None else []
        if reasons:
            log.info("Running without a CUDA graph, because %s", " and ".join(reasons))
        return not reasons

    def _repeated(self, net: Layered) -> Passes:
        held = {node.type for node, _ in net.nodes} & UNREPEATABLE
        if held or self._options.compile or not self._options.graph or not isinstance(net, nn.Module):
            return self._forward_backward
        return Repeated(self._forward_backward, self._update.tensors, list(net.buffers()))

    def __call__(self, rate: Rate) -> Result:
        """Run one iteration; *rate* is asked for between the gradients and the update."""
        if self._eager_left == 0:
            self._eager_left = None
            self._graph = self._captured(rate(None))
        batch = self._inputs.next()
        if self._graph is not None:
            if self._graph.takes(batch):
                return self._graph.replay(batch, rate(None))
            log.info("Running without a CUDA graph from now on, because the shapes of the batches change")
            self._graph = None
            self._update.hold_rate(rate(None))
            self._update.clear()
        if self._eager_left is None:
            return self._eagerly(batch, rate)
        self._eager_left -= 1
        return self._beside(batch, rate)

    def _beside(self, batch: Mapping[str, Tensor], rate: Rate) -> Result:
        """An eager iteration on a stream of its own, as a capture wants those before it."""
        here, beside = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        beside.wait_stream(here)
        with torch.cuda.stream(beside):
            result = self._eagerly(batch, rate)
        here.wait_stream(beside)
        return result

    def _eagerly(self, batch: Mapping[str, Tensor], rate: Rate) -> Result:
        """An iteration whose first micro-batch is *batch*."""
        self._update.clear()
        outputs, loss = self._pass(batch)
        total = loss
        for _ in range(1, self._iter_size):
            for blob in self._replaced:
                blob.grad = None
            outputs, loss = self._pass(self._inputs.next())
            total = total + loss
        mean = total if self._iter_size == 1 else total / self._iter_size
        used = rate(mean)
        self.update(used)
        return Result(outputs, loss, mean, used)

    def update(self, rate: float) -> None:
        """Update the blobs by the gradients that they hold."""
        self._update.rate = rate
        blobs = self._update.tensors if self._keeps_diffs else []
        before = [blob.detach().clone() for blob in blobs]
        self._apply()
        for blob, old in zip(blobs, before, strict=True):
            blob.grad = old - blob.detach()  # what the original leaves in the diff, for its snapshots

    def _pass(self, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        if self.debug is None:
            return self._passes(batch)
        with self.debug.watching(batch):
            found = self._forward_backward(batch)
        self.debug.report()
        return found

    def _apply(self) -> None:
        if self._scaler is None:
            self._update.update()
        else:
            self._scaler.unscale_(self._update)
            self._scaler.step(self._update)
            self._scaler.update()

    def _forward_backward(self, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        with self._options.autocast(self._device):
            outputs, loss = self._run(batch)
        scaled = loss if self._scaler is None else self._scaler.scale(loss)
        if scaled.requires_grad:
            scaled.backward()  # type: ignore[no-untyped-call]
        return {top: value.detach() for top, value in outputs.items()}, loss.detach()

    def _captured(self, rate: float) -> "_Graph | None":
        try:
            return _Graph(self._forward_backward, self._inputs, self._update, rate, self._device)
        except FAILED_CAPTURE as error:
            # Ending a capture that went wrong is an error of its own, behind which the cause stands.
            reason = error if isinstance(error, CaffeError) else error.__context__ or error
            log.warning("Running without a CUDA graph, because capturing one failed: %s", str(reason).splitlines()[0])
            return None


class _Graph:
    """An iteration as a CUDA graph: fixed input buffers, the rate in a tensor."""

    def __init__(
        self,
        forward_backward: Callable[[Mapping[str, Tensor]], tuple[dict[str, Tensor], Tensor]],
        inputs: Batches,
        update: Update,
        rate: float,
        device: torch.device,
    ) -> None:
        self._buffers = {top: torch.zeros(shape, device=device) for top, shape in inputs.shapes.items()}
        self._update = update
        update.hold_rate(torch.tensor(rate, device=device))
        self._graph = torch.cuda.CUDAGraph()
        update.clear()
        stream = torch.cuda.current_stream(device)
        try:
            with torch.cuda.graph(self._graph):
                self._outputs, self._loss = forward_backward(self._buffers)
                update.update()
        except FAILED_CAPTURE:
            update.hold_rate(rate)
            update.clear()
            _leave_capture(self._graph, stream)
            raise

    def takes(self, batch: Mapping[str, Tensor]) -> bool:
        """Whether *batch* has the shapes of the batches that this was captured for."""
        return all(buffer.shape == batch[top].shape for top, buffer in self._buffers.items())

    def replay(self, batch: Mapping[str, Tensor], rate: float) -> Result:
        """Run the iteration on *batch*."""
        for top, buffer in self._buffers.items():
            buffer.copy_(batch[top], non_blocking=True)
        self._update.rate = rate
        self._graph.replay()
        loss = self._loss.clone()
        return Result(self._outputs, loss, loss, rate)


def _leave_capture(graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream) -> None:
    """Go back to *stream* after a capture that failed: PyTorch stays on the one that it captured.

    In some versions its generator, too, takes all later draws for part of the capture (its issue 171263).
    """
    torch.cuda.set_stream(stream)
    graph.reset()
    generator = torch.cuda.default_generators[stream.device_index]
    generator.graphsafe_set_state(generator.clone_state())
