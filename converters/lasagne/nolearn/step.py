"""How a NeuralNet trains: by ``nets.step.Step``, as a Solver does, eager or as a replayed CUDA graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from converters.lasagne.optimizers import RULES, figure, figures, optimizer
from converters.lasagne.theano.config import config
from converters.lasagne.theano.variable import Input, Variable, as_tensor, evaluate, kind_of
from data.allocation import keep_freed_memory
from nets.step import Options, Step
from protos.schema import SolverParameter

Shapes = tuple[tuple[int, ...], ...]
GRAPHS = (torch.float32,)  # what the buffers of a CUDA graph hold


class _Batch:
    """The batch at hand, as a Step asks for it."""

    nodes: Sequence[Any] = ()  # of layers that no CUDA graph can hold there are none
    replaced: Sequence[Tensor] = ()  # each batch is one pass

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of its tensors."""
        return {name: tuple(value.shape) for name, value in self.values.items()}

    def next(self) -> dict[str, Tensor]:
        """Its tensors."""
        return self.values


class TrainStep:
    """Calling it with a batch gives the loss and the *scores* of it, as tensors, and moves *params* by *update*.

    *options* are those of the update; shared variables among them are looked at in each step.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        loss: Variable,
        scores: Sequence[Variable],
        params: Sequence[Any],
        update: Any,
        options: Mapping[str, Any],
    ) -> None:
        self._inputs = inputs
        self._wanted = [loss, *scores]
        self._rate, self._figures = figures(update, options)
        self._update = optimizer(update, params, **options)
        self._batch = _Batch()
        self._steps: dict[Shapes, Step] = {}
        self._device = torch.device(config.torch_device)
        self._graphs = all(param.tensor.dtype in GRAPHS for param in params)
        Options().apply(self._device)
        if self._device.type == "cpu":
            keep_freed_memory()

    def __call__(self, *values: Any) -> list[Tensor]:
        pairs = list(zip(self._inputs, values, strict=True))
        self._batch.values = {str(i): _placed(value, self._device) for i, (_, value) in enumerate(pairs)}
        self._look_at_options()
        result = self._step()(lambda loss: figure(self._rate))
        return [value.clone() for value in result.outputs.values()]

    def _step(self) -> Step:
        """The step for batches of this shape; the first shape there is may become a CUDA graph, odd rests do not."""
        shapes = tuple(self._batch.shapes.values())
        if shapes not in self._steps:
            options = Options(graph=self._graphs and not self._steps)
            param = SolverParameter(lr_policy="fixed")
            self._steps[shapes] = Step(self._batch, self._run, self._batch, self._update, param, self._device, options)
        return self._steps[shapes]

    def _look_at_options(self) -> None:
        """Take over what shared variables say now; a CUDA graph is captured anew."""
        for name, value in self._figures.items():
            now = figure(value)
            if any(group[name] != now for group in self._update.param_groups):
                self._steps.clear()
                for group in self._update.param_groups:
                    group[name] = now

    def _run(self, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        known: dict[Variable, Tensor] = {
            var: batch[str(i)].to(kind_of(var.dtype)) for i, var in enumerate(self._inputs)
        }
        found = [as_tensor(value) for value in evaluate(self._wanted, known, gradients=True)]
        return {str(i): value for i, value in enumerate(found)}, found[0]


def _placed(value: Any, device: torch.device) -> Tensor:
    return as_tensor(value).to(device, non_blocking=True)


def can_step(update: Any, params: Sequence[Any]) -> bool:
    """Whether *update* is one of Lasagne's whose rule is known, for parameters that an optimizer takes."""
    return update in RULES and all(param.tensor.dtype in (torch.float32, torch.float64) for param in params)
