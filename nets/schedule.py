"""A momentum and a weight decay that change with the iteration, as NVIDIA's fork has them (0.17).

=======================  =========================================================================================
momentum_policy poly     momentum + (max_momentum - momentum) * (iteration / max_iter) ** momentum_power
momentum_policy opt      (1 - sqrt(rate) / 2) ** 2, with the rate of the iteration; at most max_momentum, where set
weight_decay_policy poly weight_decay + (max_weight_decay - weight_decay) * (iteration / max_iter) ** weight_decay_power
=======================  =========================================================================================

Either is ``fixed`` where nothing else is said.
"""

from collections.abc import Iterator

from nets import lr_policy
from protos.registry import suggest
from protos.schema import SolverParameter

POLICIES = {"momentum_policy": ("fixed", "poly", "opt"), "weight_decay_policy": ("fixed", "poly")}


def check(param: SolverParameter) -> Iterator[str]:
    """Problems of the policies of *param*, a line each."""
    for field, policies in POLICIES.items():
        name = getattr(param, field)
        if name not in policies:
            yield f"unknown {field} '{name}'{suggest(name, policies) or ': ' + ', '.join(policies)}"
        elif name == "poly" and param.max_iter <= 0:
            yield f"{field} 'poly' needs max_iter"
        elif name == "opt" and param.lr_policy == "plateau":
            yield f"{field} 'opt' does not go with lr_policy 'plateau'"


def is_fixed(param: SolverParameter) -> bool:
    """Whether both stay as they are."""
    return param.momentum_policy == param.weight_decay_policy == "fixed"


def momentum(param: SolverParameter, iteration: int) -> float:
    """The momentum of the update that ends *iteration* (the first is 0)."""
    if param.momentum_policy == "poly":
        return _poly(param.momentum, param.max_momentum, iteration / param.max_iter, param.momentum_power)
    if param.momentum_policy == "opt":
        value = float((1 - lr_policy.rate(param, iteration) ** 0.5 / 2) ** 2)
        return min(value, param.max_momentum) if param.HasField("max_momentum") else value
    return param.momentum


def weight_decay(param: SolverParameter, iteration: int) -> float:
    """The weight decay of the update that ends *iteration*, before ``decay_mult``."""
    if param.weight_decay_policy == "poly":
        done = iteration / param.max_iter
        return _poly(param.weight_decay, param.max_weight_decay, done, param.weight_decay_power)
    return param.weight_decay


def _poly(start: float, end: float, done: float, power: float) -> float:
    return float(start + (end - start) * done**power)
