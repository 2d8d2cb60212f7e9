"""The learning rate at an iteration, after ``lr_policy`` of a solver.

=============  ==========================================================================================
fixed          base_lr
step           base_lr * gamma ** floor(iteration / stepsize)
exp            base_lr * gamma ** iteration
inv            base_lr * (1 + gamma * iteration) ** -power
multistep      base_lr * gamma ** (number of stepvalues passed)
poly           (base_lr - min_lr) * (1 - iteration / max_iter) ** power + min_lr; that past max_iter (the original:
               NaN); min_lr is NVIDIA's
sigmoid        base_lr / (1 + exp(-gamma * (iteration - stepsize)))
multifixed     stagelr[i] for the first i with iteration <= stageiter[i], then the last (Intel)
plateau        base_lr * gamma ** (windows without a new minimum of the loss): ``Plateau`` (SSD)
=============  ==========================================================================================

Of the forks, each under any policy: ``warmup_iter`` (the rate rises linearly from ``warmup_start_lr`` to
base_lr; Intel), ``rampup_interval`` (from ``rampup_lr``, with the square of the fraction done; NVIDIA 0.17)
and ``min_lr`` (also a floor; NVIDIA).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from protos.errors import CaffeError, listing
from protos.registry import Registry, suggest
from protos.schema import SolverParameter

REPEATED = {field.name for field in SolverParameter.DESCRIPTOR.fields if field.is_repeated}
NO_LOSS = 3.4028234663852886e38  # the largest float: any loss is a new minimum


class Policy(NamedTuple):
    """The fields without which a policy has no meaning, and its formula: (solver, iteration) -> rate."""

    needs: tuple[str, ...]
    rate: Callable[[SolverParameter, int], float]


POLICIES: Registry[Policy] = Registry("lr_policy")


def _policy(name: str, *needs: str) -> Callable[[Callable[[SolverParameter, int], float]], None]:
    def register(function: Callable[[SolverParameter, int], float]) -> None:
        POLICIES(name)(Policy(needs, function))

    return register


def rate(param: SolverParameter, iteration: int) -> float:
    """The rate before ``lr_mult``, for the update that ends *iteration* (the first is 0).

    Raises CaffeError as ``check`` does; for plateau, which has a memory, ask ``Plateau.rate``.
    """
    return _bounded(param, iteration, _checked(param).rate)


def check(param: SolverParameter) -> None:
    """Raise CaffeError where ``lr_policy`` is missing or unknown, or a field that it needs is not set."""
    _checked(param)


def step_index(param: SolverParameter, iteration: int) -> int:
    """How many steps of the policies step and multistep lie behind at *iteration*; 0 for others."""
    if iteration < 0:
        return 0
    if param.lr_policy == "step":
        return iteration // param.stepsize
    return _steps_passed(param, iteration) if param.lr_policy == "multistep" else 0


@dataclass
class Plateau:
    """What the policy plateau remembers; the fields go into a snapshot and back.

    ``step`` windows have passed without a loss below ``minimum_loss``; ``last_event`` is the iteration at
    which that loss was seen or the last window ended.
    """

    step: int = 0
    last_event: int = 0
    minimum_loss: float = NO_LOSS

    def rate(self, param: SolverParameter, iteration: int, loss: float) -> float:
        """The rate at *iteration*, given the training *loss* smoothed over ``average_loss`` iterations.

        Call it once an iteration. During a warm-up the loss is not looked at.
        """
        _checked(param)
        return _bounded(param, iteration, lambda param, iteration: self._advance(param, iteration, loss))

    def _advance(self, param: SolverParameter, iteration: int, loss: float) -> float:
        if loss < self.minimum_loss:
            self.minimum_loss, self.last_event = loss, iteration
        windows = param.plateau_winsize
        if self.step < len(windows) and iteration >= self.last_event + windows[self.step]:
            self.step, self.last_event = self.step + 1, iteration
        return float(param.base_lr * param.gamma**self.step)


def _checked(param: SolverParameter) -> Policy:
    name = param.lr_policy
    if name not in POLICIES:
        hint = suggest(name, POLICIES) if name else ': set it, for example to "fixed"'
        raise CaffeError(f"solver: {f'unknown lr_policy {name!r}' if name else 'lr_policy is missing'}{hint}")
    policy = POLICIES[name]
    problems = [f"needs {field}" for field in policy.needs if not _is_set(param, field)]
    if name == "step" and param.HasField("stepsize") and param.stepsize <= 0:
        problems.append(f"needs a stepsize above 0, not {param.stepsize}")
    if len(param.stageiter) != len(param.stagelr):
        problems.append(f"has {len(param.stageiter)} stageiter but {len(param.stagelr)} stagelr")
    if problems:
        raise CaffeError(f"solver: lr_policy '{name}' {listing(problems)}")
    return policy


def _is_set(param: SolverParameter, field: str) -> bool:
    return len(getattr(param, field)) > 0 if field in REPEATED else param.HasField(field)


def _bounded(param: SolverParameter, iteration: int, policy: Callable[[SolverParameter, int], float]) -> float:
    if iteration < param.warmup_iter:
        start, done = param.warmup_start_lr, iteration / param.warmup_iter
        return start + (param.base_lr - start) * done
    if iteration < param.rampup_interval:
        start, done = param.rampup_lr, iteration / param.rampup_interval
        value = start + (param.base_lr - start) * done * done
    else:
        value = policy(param, iteration)
    return max(value, param.min_lr)


@_policy("fixed", "base_lr")
def _fixed(param: SolverParameter, iteration: int) -> float:
    return param.base_lr


@_policy("step", "base_lr", "gamma", "stepsize")
def _step(param: SolverParameter, iteration: int) -> float:
    return float(param.base_lr * param.gamma ** (iteration // param.stepsize))


@_policy("exp", "base_lr", "gamma")
def _exp(param: SolverParameter, iteration: int) -> float:
    return float(param.base_lr * param.gamma**iteration)


@_policy("inv", "base_lr", "gamma", "power")
def _inv(param: SolverParameter, iteration: int) -> float:
    return float(param.base_lr * (1 + param.gamma * iteration) ** -param.power)


@_policy("multistep", "base_lr", "gamma", "stepvalue")
def _multistep(param: SolverParameter, iteration: int) -> float:
    return float(param.base_lr * param.gamma ** _steps_passed(param, iteration))


@_policy("poly", "base_lr", "power", "max_iter")
def _poly(param: SolverParameter, iteration: int) -> float:
    left = 1 - iteration / param.max_iter if param.max_iter else 0.0
    return float((param.base_lr - param.min_lr) * max(left, 0.0) ** param.power + param.min_lr)


@_policy("sigmoid", "base_lr", "gamma", "stepsize")
def _sigmoid(param: SolverParameter, iteration: int) -> float:
    x = param.gamma * (iteration - param.stepsize)
    return param.base_lr * (1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x)))


@_policy("multifixed", "stagelr", "stageiter")
def _multifixed(param: SolverParameter, iteration: int) -> float:
    for until, value in zip(param.stageiter, param.stagelr, strict=True):
        if iteration <= until:
            return value
    return param.stagelr[-1]


@_policy("plateau", "base_lr", "gamma", "plateau_winsize")
def _plateau(param: SolverParameter, iteration: int) -> float:
    raise CaffeError("lr_policy 'plateau' depends on the loss: ask Plateau.rate")


def _steps_passed(param: SolverParameter, iteration: int) -> int:
    """At most one stepvalue is passed an iteration, in the file's order: it matters where two are equal."""
    passed, reached = 0, -1
    for value in param.stepvalue:
        reached = max(value, reached + 1)
        if reached > iteration:
            break
        passed += 1
    return passed
