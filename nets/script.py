"""The passes over a small net on a CPU, forward and backward, as a script of PyTorch's operators.

In a small net most of the time goes to Python and to autograd, between the operators. A script holds the operators of
one pass that was recorded, in their order: the same operators on the same numbers give the same bits.
"""

import logging
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from nets.recording import recording

Passes = Callable[[Mapping[str, Tensor]], tuple[dict[str, Tensor], Tensor]]
Run = Callable[..., list[Tensor]]
AFTER = 100  # passes before a script is recorded, which takes as long as a thousand of them
BELOW = 0.02  # seconds; in a longer pass what a script saves does not show
log = logging.getLogger("caffe")


class ScriptError(Exception):
    """A pass that no script can stand for; the message says why."""


class Passed(NamedTuple):
    """The outputs and the loss of a pass, and the gradient of each blob, None for none."""

    outputs: dict[str, Tensor]
    loss: Tensor
    grads: list[Tensor | None]

    def tensors(self) -> list[Tensor]:
        """All that a pass gives: the loss, the outputs, the gradients."""
        return [self.loss, *self.outputs.values(), *(grad for grad in self.grads if grad is not None)]


class Script:
    """The script of *passes*, recorded on *batch*: forward and backward, which leave the gradients in *blobs*.

    *state*: the tensors that a pass changes by itself, such as statistics. They and the random state are left as they
    were, the gradients empty. Raises ScriptError where recording fails or the script gives other bits than *passes*.
    """

    def __init__(
        self, passes: Passes, blobs: Sequence[Tensor], state: Sequence[Tensor], batch: Mapping[str, Tensor]
    ) -> None:
        self._layouts = {name: _layout(value) for name, value in batch.items()}
        before = _State(state, blobs)
        try:
            with recording():
                recorded, program = _record(passes, blobs, batch)
            self._tops = list(recorded.outputs)
            self._learns = [grad is not None for grad in recorded.grads]
            before.restore()
            self._run, self._constants = program.compiled()
            mine = [*self(batch).tensors(), *before.now()]
            before.restore()
            theirs = [*_passed(passes, blobs, batch).tensors(), *before.now()]
        except Exception as error:  # whatever it is: if the passes are at fault, they will say so themselves
            raise ScriptError(str(error).strip().partition("\n")[0] or type(error).__name__) from error
        finally:
            before.restore()
        if not all(map(torch.equal, mine, theirs)):
            raise ScriptError("its numbers differ")

    def fits(self, batch: Mapping[str, Tensor]) -> bool:
        """Whether *batch* has the shapes that were recorded."""
        return all(_layout(value) == self._layouts[name] for name, value in batch.items())

    def __call__(self, batch: Mapping[str, Tensor]) -> Passed:
        """Run the passes on *batch*; the gradients are only returned. Raises RuntimeError as an operator does."""
        with torch.no_grad(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]  # as recorded, without rewriting sums
            found = iter(self._run(*batch.values(), *self._constants))
        loss = next(found)
        outputs = {top: next(found) for top in self._tops}
        return Passed(outputs, loss, [next(found) if learns else None for learns in self._learns])


class Repeated:
    """*passes*, and from the hundredth call on their ``Script``, if they are short. *blobs*, *state*: as there.

    Where no script can be made, or it fails, or a batch has another shape, *passes* themselves run.
    """

    def __init__(self, passes: Passes, blobs: Sequence[Tensor], state: Sequence[Tensor]) -> None:
        self._passes = passes
        self._blobs = blobs
        self._state = state
        self._left: int | None = AFTER
        self._took: list[float] = []
        self.script: Script | None = None

    def __call__(self, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """The outputs and the loss of *batch*; adds to the gradients of the blobs."""
        if self._left is not None:
            return self._watched(batch, self._left)
        if self.script is None or not self.script.fits(batch):
            return self._passes(batch)
        try:
            outputs, loss, grads = self.script(batch)
        except RuntimeError as error:
            return self._eagerly(batch, error)
        for blob, grad in zip(self._blobs, grads, strict=True):
            if grad is not None:
                blob.grad = grad if blob.grad is None else blob.grad.add_(grad)
        return outputs, loss

    def _watched(self, batch: Mapping[str, Tensor], left: int) -> tuple[dict[str, Tensor], Tensor]:
        """One of the first passes, *left* to go; then, at the start of an iteration, the script."""
        if left:
            start = time.perf_counter()
            found = self._passes(batch)
            self._took.append(time.perf_counter() - start)
            self._left = left - 1
            return found
        if any(blob.grad is not None for blob in self._blobs):
            return self._passes(batch)
        self._left = None
        try:
            if min(self._took, default=0.0) <= BELOW:  # the machine may have been busy with other things
                self.script = Script(self._passes, self._blobs, self._state, batch)
        except ScriptError as error:
            return self._eagerly(batch, error)
        return self(batch)

    def _eagerly(self, batch: Mapping[str, Tensor], error: Exception) -> tuple[dict[str, Tensor], Tensor]:
        """The passes themselves, now and from now on; where they are at fault their own error names the layer."""
        found = self._passes(batch)
        self.script = None
        reason = str(error).strip().rpartition("\n")[2]  # TorchScript's comes behind its own traceback
        log.info("Running without a script, because recording or running one failed: %s", reason)
        return found


def _layout(value: Tensor) -> tuple[Any, ...]:
    return value.shape, value.stride(), value.dtype


def _passed(passes: Passes, blobs: Sequence[Tensor], batch: Mapping[str, Tensor]) -> Passed:
    return Passed(*passes(batch), [blob.grad for blob in blobs])


class _State:
    """What a pass changes: the tensors of a *state*, the gradients of *blobs*, the random state."""

    def __init__(self, state: Sequence[Tensor], blobs: Sequence[Tensor]) -> None:
        self._tensors = state
        self._blobs = blobs
        self._before = self.now()

    def now(self) -> list[Tensor]:
        """A copy of the tensors, and the random state."""
        return [*(tensor.detach().clone() for tensor in self._tensors), torch.get_rng_state()]

    def restore(self) -> None:
        """Put all back; there were no gradients."""
        with torch.no_grad():
            for tensor, copy in zip(self._tensors, self._before[:-1], strict=True):
                tensor.copy_(copy)
        torch.set_rng_state(self._before[-1])
        for blob in self._blobs:
            blob.grad = None


def _record(passes: Passes, blobs: Sequence[Tensor], batch: Mapping[str, Tensor]) -> tuple[Passed, "_Program"]:
    forms: list[Passed] = []

    def flat(*values: Tensor) -> list[Tensor]:
        forms.append(_passed(passes, blobs, dict(zip(batch, values, strict=True))))
        return forms[0].tensors()

    module = make_fx(flat)(*batch.values())
    _simplify(module)
    return forms[0], _Program(module)


def _simplify(module: fx.GraphModule) -> None:
    """Let a matrix that is transposed twice be itself, and what a loss's own gradient starts with a constant."""
    ops = torch.ops.aten
    for node in module.graph.nodes:
        source = node.args[0] if node.args else None
        if node.target is ops.t.default and isinstance(source, fx.Node) and source.target is ops.t.default:
            node.replace_all_uses_with(source.args[0])
        elif node.target is ops.ones_like.default and not any(map(_shares, node.users)):
            value = node.meta.get("val")
            if isinstance(value, Tensor) and value.dim() == 0:
                name = f"_one{len(module._buffers)}"
                module.register_buffer(name, torch.ones((), dtype=value.dtype, device=value.device))
                with module.graph.inserting_before(node):
                    node.replace_all_uses_with(module.graph.get_attr(name))


class _Program:
    """The operators of a recorded pass as text of TorchScript; ``constants`` are the tensors that it does not make."""

    def __init__(self, module: fx.GraphModule) -> None:
        self._names: dict[fx.Node, str] = {}
        self._inputs: list[str] = []
        self._lines: list[str] = []
        self.constants: list[Tensor] = []
        needed = _needed(module.graph)
        for node in module.graph.nodes:
            if node.op == "placeholder":
                self._inputs.insert(len(self._inputs) - len(self.constants), self._name(node))
            elif node.op == "get_attr":
                self._inputs.append(self._name(node))
                self.constants.append(operator.attrgetter(str(node.target))(module))
            elif node.op == "output":
                self._lines.append(f"return [{', '.join(self._names[one] for one in node.args[0])}]")
            elif node in needed:
                self._call(node)

    def compiled(self) -> tuple[Run, list[Tensor]]:
        """The function, and the tensors that it takes behind those of the batch."""
        head = f"def run({', '.join(f'{name}: Tensor' for name in self._inputs)}) -> List[Tensor]:"
        unit = torch.jit.CompilationUnit("\n    ".join([head, *self._lines]) + "\n")
        run: Run = unit.run
        return run, self.constants

    def _name(self, node: fx.Node) -> str:
        return self._names.setdefault(node, f"v{len(self._names)}")

    def _call(self, node: fx.Node) -> None:
        if node.target is operator.getitem:
            self._lines.append(f"{self._name(node)} = {self._names[node.args[0]]}[{node.args[1]}]")  # type: ignore[index]
        elif not isinstance(node.target, torch._ops.OpOverload):
            raise NotImplementedError(f"{node.target} is no operator")
        elif node.target is torch.ops.aten.detach.default:
            self._names[node] = self._names[node.args[0]]  # type: ignore[index]
        else:
            schema = node.target._schema
            kinds = {argument.name: argument.type for argument in schema.arguments}
            given = [self._text(value, kind) for value, kind in zip(node.args, kinds.values(), strict=False)]
            given += [f"{name}={self._text(value, kinds[name])}" for name, value in node.kwargs.items()]
            space, name = schema.name.split("::")
            self._lines.append(f"{self._name(node)} = torch.ops.{space}.{name}({', '.join(given)})")

    def _text(self, value: Any, kind: Any) -> str:
        """An argument of an operator as TorchScript spells it."""
        if isinstance(value, fx.Node):
            return self._names[value]
        if isinstance(value, list | tuple):
            inside = ", ".join(self._text(one, None) for one in value)
            return f"torch.jit.annotate({kind.annotation_str}, [{inside}])"
        if isinstance(value, torch.device):
            return f"torch.device({str(value)!r})"
        if isinstance(value, float):
            return repr(value) if isfinite(value) else f"float({str(value)!r})"
        if value is None or isinstance(value, bool | int | str):
            return repr(value)
        if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
            return str(value)
        raise NotImplementedError(f"an argument {value!r}")


def _needed(graph: fx.Graph) -> set[fx.Node]:
    """The nodes that the outputs come from, that change a tensor, or that draw a random number."""
    needed: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op == "output" or node in needed or _acts(node):
            needed.add(node)
            needed.update(node.all_input_nodes)
    return needed


def _shares(node: fx.Node) -> bool:
    """Whether the node changes a tensor that it is given, or gives a view of it."""
    target = node.target
    return not isinstance(target, torch._ops.OpOverload) or any(
        value.alias_info is not None for value in (*target._schema.arguments, *target._schema.returns)
    )


def _acts(node: fx.Node) -> bool:
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return False
    draws = torch.Tag.nondeterministic_seeded in target.tags
    return bool(target._schema.is_mutable) or draws or target is torch.ops.aten._assert_async.msg
