"""Caffe's six update rules, as optimizers of PyTorch.

Each takes the learnable blobs of a net, in their order, and does with the gradients what the original does,
in its order: it scales all of them together so that their L2 norm is at most ``clip``, divides them by
``iter_size``, adds the weight decay (``decay`` * ``decay_mult`` * w, or * sign(w) for L1), and applies the
rule. With g the result, r = rate * ``lr_mult`` and h a history that starts at zero:

=========  ==================================================================================
SGD        h = momentum h + r g;   w -= h
Nesterov   h' = momentum h + r g;  w -= (1 + momentum) h' - momentum h
AdaGrad    h += g^2;   w -= r g / (sqrt(h) + delta)
RMSProp    h = rms_decay h + (1 - rms_decay) g^2;   w -= r g / (sqrt(h) + delta)
AdaDelta   h = momentum h + (1 - momentum) g^2;   v = g sqrt((h2 + delta) / (h + delta))
           h2 = momentum h2 + (1 - momentum) v^2;   w -= r v
Adam       h = momentum h + (1 - momentum) g;   h2 = momentum2 h2 + (1 - momentum2) g^2
           w -= r sqrt(1 - momentum2^t) / (1 - momentum^t) h / (sqrt(h2) + delta)
=========  ==================================================================================

The rate stands inside the history, unlike torch.optim.SGD: a change of rate does not act on the momentum so
far.

The rate is a number, or a 0-dim tensor on the device of the blobs: then a step reads nothing back, so that
it can be captured in a CUDA graph and replayed with other rates. A step works on all blobs of one
``lr_mult`` and ``decay_mult`` at once, in one fused pass where PyTorch has one whose formula can be made to
fit; it uses up the gradients.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import torch
from numpy.typing import NDArray
from torch import Tensor

from nets import larc, schedule
from nets.layer import shape_text
from nets.net import Blob
from protos.errors import CaffeError, WeightsError, listing
from protos.registry import Registry, suggest
from protos.schema import SolverParameter

Rate = float | Tensor
REGULARIZATIONS = ("L1", "L2")
HISTORIES = ("history", "history2", "history3")
TINY = 1e-38  # keeps a norm of zero out of a denominator

# Options of forks that change an update: a rule honours those that it names in ``of_forks``.
OF_FORKS = (
    "adabelief",
    "amsgrad",
    "clamp_weights_lower",
    "clamp_weights_upper",
    "clip_weights",
    "larc",
    "larc_turbo",
    "local_lr_auto",
    "lookahead",
    "lr_dropout",
    "momentum_policy",
)

UPDATES: Registry[type["Update"]] = Registry("solver type")


class Block(NamedTuple):
    """The blobs of one parameter group, with their histories and the memory layout that both have."""

    group: dict[str, Any]
    params: list[Tensor]
    strides: list[tuple[int, ...]]
    histories: list[list[Tensor]]


class Update(torch.optim.Optimizer):
    """The base of the update rules; it takes the learnable blobs of a net, in their order.

    A blob with an ``lr_mult`` of 0 stays as it is; where it has a gradient (``force_backward``), the norm counts it.
    ``norm`` is the L2 norm of all gradients of the last step before they were clipped, where they are.
    ``decay`` is the solver's weight_decay, ``l1`` chooses its kind, a negative ``clip`` means none. A
    parameter group has all blobs of one lr_mult and decay_mult.
    """

    histories: ClassVar[int] = 1
    options: ClassVar[tuple[str, ...]] = ()
    of_forks: ClassVar[tuple[str, ...]] = ()
    norm: Tensor | None = None
    _filled: tuple[Tensor, float] | None = None  # the tensor that holds the rate, and what was last put there

    def __init__(
        self,
        blobs: Sequence[Blob],
        rate: Rate,
        *,
        decay: float = 0.0,
        l1: bool = False,
        clip: float = -1.0,
        iter_size: int = 1,
        **options: Any,
    ) -> None:
        groups: dict[tuple[float, float], dict[str, Any]] = {}
        for blob in blobs:
            if blob.lr_mult != 0 or (clip >= 0 and blob.tensor.requires_grad):
                key = (blob.lr_mult, blob.decay_mult)
                mults = {"lr_mult": blob.lr_mult, "decay_mult": blob.decay_mult, "decay": decay * blob.decay_mult}
                groups.setdefault(key, {"params": [], **mults})["params"].append(blob.tensor)
        self._tensors = [blob.tensor for blob in blobs]
        defaults = {"lr": rate, "lr_mult": 1.0, "decay_mult": 1.0, "decay": 0.0}
        defaults |= {"l1": l1, "clip": clip, "iter_size": iter_size}
        super().__init__(list(groups.values()) or [{"params": []}], {**defaults, **options})
        self._collect()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's, without its wrapper, which first loads PyTorch's compiler to keep that out: it takes a second."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    @classmethod
    def from_proto(cls, param: SolverParameter, blobs: Sequence[Blob], rate: Rate) -> Self:
        """The rule with the options of *param*. Raises CaffeError as ``examine`` does."""
        cls.examine(param)
        return cls(
            blobs,
            rate,
            decay=param.weight_decay,
            l1=param.regularization_type == "L1",
            clip=param.clip_gradients,
            iter_size=param.iter_size,
            **{name: getattr(param, name) for name in cls.options},
        )

    @classmethod
    def examine(cls, param: SolverParameter) -> None:
        """Raise CaffeError where this rule cannot honour an option of *param*."""
        problems = [*_unsupported(param, cls.of_forks), *schedule.check(param), *cls.check(param)]
        if problems:
            raise CaffeError(f"solver of type '{param.type}': {listing(problems)}")

    @classmethod
    def check(cls, param: SolverParameter) -> Iterator[str]:
        """Problems of *param* that are this rule's own, a line each."""
        yield from ()

    # ---- a step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the blobs, as ``update`` does; *closure* works out the gradients first, and its value comes back."""
        loss = closure() if closure is not None else None
        self.update()
        return loss

    @torch.no_grad()
    def update(self) -> None:
        """Update the blobs by their gradients, which are used up; without a gradient it counts as zero."""
        grads = [self._gradients(block) for block in self._blocks]
        self._scale(
            [grad for part in grads for grad in part], [blob.grad for blob in self._frozen if blob.grad is not None]
        )
        rate = self._corrected(self.rate)
        for block, part in zip(self._blocks, grads, strict=True):
            if part:
                mult = block.group["lr_mult"]
                self._apply(block, part, rate if mult == 1 else rate * mult)

    @property
    def tensors(self) -> list[Tensor]:
        """The blobs whose gradients it takes."""
        return [*(param for block in self._blocks for param in block.params), *self._frozen]

    def clear(self) -> None:
        """Forget the gradients."""
        for blob in self.tensors:
            blob.grad = None

    def _apply(self, block: Block, grads: list[Tensor], rate: Rate) -> None:
        """The rule itself, with the gradients scaled and the rate of the block; it adds the decay."""
        raise NotImplementedError

    def _corrected(self, rate: Rate) -> Rate:
        """The rate of this step, before ``lr_mult``."""
        return rate

    def _gradients(self, block: Block) -> list[Tensor]:
        """The gradients in the layout of their blobs: a fused pass goes through memory, not by indices."""
        grads = []
        for i, (param, stride) in enumerate(zip(block.params, block.strides, strict=True)):
            if param.stride() != stride:
                block.strides[i] = param.stride()
                for name, history in zip(HISTORIES, block.histories, strict=False):
                    history[i] = self.state[param][name] = torch.empty_like(param).copy_(history[i])
            if param.grad is None:
                param.grad = torch.zeros_like(param)
            elif param.grad.stride() != param.stride():
                param.grad = torch.empty_like(param).copy_(param.grad)
            grads.append(param.grad)
        return grads

    def _scale(self, grads: list[Tensor], frozen: list[Tensor]) -> None:
        """Clip all gradients by their common L2 norm, then average them over ``iter_size`` passes."""
        clip, scale = self.defaults["clip"], 1 / self.defaults["iter_size"]
        if not grads:  # every blob is frozen
            return
        if clip >= 0:
            self.norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm([*grads, *frozen])))
            torch._foreach_mul_(grads, clip * scale / self.norm.clamp(min=max(clip, TINY)))
        elif scale != 1:
            torch._foreach_mul_(grads, scale)

    def _decay(self, block: Block, grads: list[Tensor], later: bool = False) -> float:
        """Add the weight decay to *grads*.

        L2 may be left to a fused pass *later*: then its factor is returned, in all other cases 0.
        """
        decay: float = block.group["decay"]
        if decay and block.group["l1"]:
            torch._foreach_add_(grads, torch._foreach_sign(block.params), alpha=decay)
        elif decay and later:
            return decay
        elif decay:
            torch._foreach_add_(grads, block.params, alpha=decay)
        return 0.0

    # ---- state

    @property
    def rate(self) -> Rate:
        """The rate before ``lr_mult``. Setting it to a number fills the tensor, where the rate is one."""
        return self.param_groups[0]["lr"]  # type: ignore[no-any-return]

    @rate.setter
    def rate(self, value: float) -> None:
        old = self.rate
        if not isinstance(old, Tensor):
            for group in self.param_groups:
                group["lr"] = value
        elif self._filled is None or self._filled[0] is not old or self._filled[1] != value:
            old.fill_(value)
            self._filled = old, value

    def tune(self, momentum: float, decay: float) -> None:
        """Go on with this momentum, where the rule has one, and this weight decay, before ``decay_mult``."""
        for group in self.param_groups:
            group["decay"] = decay * group["decay_mult"]
            if "momentum" in group:
                group["momentum"] = momentum

    def hold_rate(self, rate: Rate) -> None:
        """Keep the rate in this tensor from now on, or again as a number."""
        for group in self.param_groups:
            group["lr"] = rate

    @property
    def history(self) -> list[Tensor]:
        """The history as a solver state keeps it: a blob for each of the net's, zeros where none learns.

        Rules with two histories have all first ones, then all second ones.
        """
        return [
            self.state[tensor][name] if tensor in self.state else torch.zeros_like(tensor)
            for name in HISTORIES[: self.histories]
            for tensor in self._tensors
        ]

    @torch.no_grad()
    def load_history(self, history: Sequence[Tensor | NDArray[Any]], iteration: int) -> None:
        """Take over the *history* of a solver state after *iteration* updates.

        Raises WeightsError where it does not fit.
        """
        mine = self.history
        if len(history) != len(mine):
            raise WeightsError(
                f"the solver state has {len(history)} history blobs, {type(self).__name__} needs {len(mine)}"
                " for this net: it belongs to another net or solver type"
            )
        values = [blob if isinstance(blob, Tensor) else torch.as_tensor(blob) for blob in history]
        for i, (value, blob) in enumerate(zip(values, mine, strict=True)):
            if _trimmed(value) != _trimmed(blob):
                have, want = shape_text(value.shape), shape_text(blob.shape)
                raise WeightsError(f"history blob {i} of the solver state is {have}, this net needs {want}")
        for value, blob in zip(values, mine, strict=True):
            blob.copy_(value.reshape(blob.shape))
        self._resume(iteration)

    def _resume(self, iteration: int) -> None:
        """Go on after *iteration* updates."""

    def _collect(self) -> None:
        """Gather the groups and their histories into lists; the histories start at zero."""
        names = HISTORIES[: self.histories]
        groups = [group for group in self.param_groups if group["lr_mult"] != 0]
        self._frozen = [blob for group in self.param_groups if group["lr_mult"] == 0 for blob in group["params"]]
        for group in groups:
            for param in group["params"]:
                for name in names:
                    if name not in self.state[param]:
                        self.state[param][name] = torch.zeros_like(param)
        self._blocks = [
            Block(
                group,
                group["params"],
                [param.stride() for param in group["params"]],
                [[self.state[param][name] for param in group["params"]] for name in names],
            )
            for group in groups
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_tensors": self._tensors}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._collect()


@UPDATES("SGD")
class SGD(Update):
    """Stochastic gradient descent; options: ``momentum``, and of a fork those of ``nets.larc``."""

    options: ClassVar[tuple[str, ...]] = ("momentum", *larc.OPTIONS)
    of_forks: ClassVar[tuple[str, ...]] = ("larc", "momentum_policy")
    nesterov: ClassVar[bool] = False

    @classmethod
    def check(cls, param: SolverParameter) -> Iterator[str]:
        """LARC has two policies."""
        yield from larc.check(param)

    def _apply(self, block: Block, grads: list[Tensor], rate: Rate) -> None:
        momentum = block.group["momentum"]
        if block.group.get("larc"):
            rate = self.rate  # without lr_mult
            factors = larc.factors(block.group, block.params, grads, rate)
            decay = self._decay(block, grads)
            torch._foreach_mul_(grads, factors)
        else:
            decay = self._decay(block, grads, later=momentum != 0 and not isinstance(rate, Tensor))
        if momentum == 0:
            torch._foreach_mul_(grads, rate)
            torch._foreach_copy_(block.histories[0], grads)
            torch._foreach_sub_(block.params, grads)
            return
        # h = momentum h + (1 - dampening) (g + decay w);  w -= h, or h + its own next step for Nesterov.
        dampening = 0.0
        if isinstance(rate, Tensor) or self.nesterov:
            torch._foreach_mul_(grads, rate)
            decay = decay and decay * float(rate)
        else:
            dampening = 1 - rate
        torch._fused_sgd_(
            block.params,
            grads,
            block.histories[0],
            weight_decay=decay,
            momentum=momentum,
            lr=1.0,
            dampening=dampening,
            nesterov=self.nesterov,
            maximize=False,
            is_first_step=False,
        )


@UPDATES("Nesterov")
class Nesterov(SGD):
    """Nesterov's accelerated gradient; options: ``momentum``."""

    options = ("momentum",)
    of_forks = ()
    nesterov = True


class _Scaled(Update):
    """The rules that divide the gradient by the root of a history of its squares."""

    @classmethod
    def check(cls, param: SolverParameter) -> Iterator[str]:
        """Momentum has no meaning in these rules, and the original refuses it."""
        if param.momentum != 0:
            yield "takes no momentum"

    def _apply(self, block: Block, grads: list[Tensor], rate: Rate) -> None:
        self._decay(block, grads)
        self._accumulate(block.histories[0], grads, block.group)
        self._divide(grads, block.histories[0], block.group["delta"])
        descend(block.params, grads, rate)

    def _divide(self, grads: list[Tensor], history: list[Tensor], delta: float) -> None:
        roots = torch._foreach_sqrt(history)
        torch._foreach_add_(roots, delta)
        torch._foreach_div_(grads, roots)

    def _accumulate(self, history: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        raise NotImplementedError


@UPDATES("AdaGrad")
class AdaGrad(_Scaled):
    """AdaGrad; options: ``delta``."""

    options = ("delta",)

    def _accumulate(self, history: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        torch._foreach_addcmul_(history, grads, grads)


@UPDATES("RMSProp")
class RMSProp(_Scaled):
    """RMSProp; options: ``rms_decay``, ``delta``."""

    options = ("rms_decay", "delta")

    @classmethod
    def check(cls, param: SolverParameter) -> Iterator[str]:
        """Without a decay below 1 the history would never see a gradient."""
        yield from super().check(param)
        if not 0 <= param.rms_decay < 1:
            yield f"needs rms_decay from 0 to below 1, not {param.rms_decay:g}"

    def _accumulate(self, history: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        _average_squares(history, grads, group["rms_decay"])


@UPDATES("AdaDelta")
class AdaDelta(Update):
    """AdaDelta; options: ``momentum`` (the decay of both histories), ``delta``."""

    histories = 2
    options = ("momentum", "delta")

    def _apply(self, block: Block, grads: list[Tensor], rate: Rate) -> None:
        self._decay(block, grads)
        momentum, delta = block.group["momentum"], block.group["delta"]
        squares, updates = block.histories
        _average_squares(squares, grads, momentum)
        ratios = torch._foreach_add(updates, delta)
        torch._foreach_div_(ratios, torch._foreach_add(squares, delta))
        torch._foreach_sqrt_(ratios)
        torch._foreach_mul_(grads, ratios)
        _average_squares(updates, grads, momentum)
        descend(block.params, grads, rate)


@UPDATES("Adam")
class Adam(Update):
    """Adam; options: ``momentum``, ``momentum2``, ``delta``."""

    histories = 2
    options = ("momentum", "momentum2", "delta")

    @classmethod
    def check(cls, param: SolverParameter) -> Iterator[str]:
        """Its correction of the rate divides by 1 - momentum ** t."""
        for name in ("momentum", "momentum2"):
            if not 0 <= getattr(param, name) < 1:
                yield f"needs {name} from 0 to below 1, not {getattr(param, name):g}"

    def __init__(self, blobs: Sequence[Blob], rate: Rate, **options: Any) -> None:
        done: float | Tensor = 0
        if isinstance(rate, Tensor):
            done = torch.zeros((), dtype=torch.float64, device=rate.device)
        super().__init__(blobs, rate, iteration=done, **options)

    def _collect(self) -> None:
        super()._collect()
        # Far beyond any step the fused pass corrects nothing by itself: the rate does it, as in the original.
        self._late = torch.tensor(torch.inf, device=self._tensors[0].device if self._tensors else None)

    def hold_rate(self, rate: Rate) -> None:
        """Keep the rate, and with it the number of steps done, in a tensor (for a CUDA graph) or as plain numbers."""
        super().hold_rate(rate)
        done = int(self.param_groups[0]["iteration"])
        held = torch.tensor(done, dtype=torch.float64, device=rate.device) if isinstance(rate, Tensor) else done
        self.param_groups[0]["iteration"] = held

    def _resume(self, iteration: int) -> None:
        done = self.param_groups[0]["iteration"]
        self.param_groups[0]["iteration"] = done.fill_(iteration) if isinstance(done, Tensor) else iteration

    def _corrected(self, rate: Rate) -> Rate:
        group = self.param_groups[0]
        group["iteration"] += 1
        t = group["iteration"]
        factor = self._factor(group, t)
        return (rate * factor).float() if isinstance(rate, Tensor) else rate * float(factor)

    def _factor(self, group: dict[str, Any], t: Any) -> Any:
        """What the rate is corrected by in step *t*."""
        return (1 - group["momentum2"] ** t) ** 0.5 / (1 - group["momentum"] ** t)

    def _apply(self, block: Block, grads: list[Tensor], rate: Any) -> None:
        decay = self._decay(block, grads, later=True)
        means, squares = block.histories
        torch._fused_adam_(
            block.params,
            grads,
            means,
            squares,
            [],
            [self._late] * len(grads),
            lr=rate,
            beta1=block.group["momentum"],
            beta2=block.group["momentum2"],
            weight_decay=decay,
            eps=block.group["delta"],
            amsgrad=False,
            maximize=False,
        )


def _average_squares(history: list[Tensor], values: list[Tensor], decay: float) -> None:
    torch._foreach_mul_(history, decay)
    torch._foreach_addcmul_(history, values, values, value=1 - decay)


def descend(params: list[Tensor], updates: list[Tensor], rate: Rate) -> None:
    """params -= rate * updates; *updates* are used up."""
    if isinstance(rate, Tensor):
        torch._foreach_mul_(updates, rate)
        torch._foreach_sub_(params, updates)
    else:
        torch._foreach_add_(params, updates, alpha=-rate)


def _unsupported(param: SolverParameter, honoured: Sequence[str]) -> Iterator[str]:
    known = SolverParameter.DESCRIPTOR.fields_by_name
    for name in OF_FORKS:
        if name not in honoured and getattr(param, name) != known[name].default_value:
            yield f"option {name} is not supported"
    kind = param.regularization_type
    if param.weight_decay != 0 and kind not in REGULARIZATIONS:
        yield f"unknown regularization_type '{kind}'{suggest(kind, REGULARIZATIONS) or ': L1 or L2'}"


def _trimmed(blob: Tensor) -> tuple[int, ...]:
    """The shape without leading ones, which old solver states have more of."""
    shape = list(blob.shape)
    while shape and shape[0] == 1:
        shape.pop(0)
    return tuple(shape)
