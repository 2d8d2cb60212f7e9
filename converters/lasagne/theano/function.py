"""``theano.function``: expressions as a function of their inputs, with updates of shared variables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from converters.lasagne.theano import elemwise as ops
from converters.lasagne.theano.config import config
from converters.lasagne.theano.shared import SharedVariable
from converters.lasagne.theano.variable import (
    Apply,
    Constant,
    Input,
    Variable,
    ancestors,
    as_tensor,
    evaluate,
    kind_of,
    to_numpy,
)

Updates = Mapping[SharedVariable, Any] | Iterable[tuple[SharedVariable, Any]]


class In:
    """An input with a default: ``theano.In(x, value=0.1)``."""

    def __init__(self, variable: Variable, name: str | None = None, value: Any = None, **ignored: Any) -> None:
        self.variable = variable
        self.name = name or variable.name
        self.value = value


class Param(In):
    """An input with a default, as older Theanos had it: ``theano.Param(x, default=0.1)``."""

    def __init__(self, variable: Variable, default: Any = None, name: str | None = None, **ignored: Any) -> None:
        super().__init__(variable, name, default)


class Out:
    """An output: ``theano.Out(y, borrow=True)``."""

    def __init__(self, variable: Any, borrow: bool = False) -> None:
        self.variable = variable


class Function:
    """Calling it takes the inputs, by place or name, and gives the outputs as arrays; then the updates are in force.

    All new values are worked out from the old ones before any is stored.
    """

    name: str | None = None

    def __init__(
        self, inputs: Sequence[Any], outputs: Any, updates: Updates | None, givens: Any, no_defaults: Any = False
    ) -> None:
        self.inputs = [item if isinstance(item, In) else In(item) for item in inputs]
        self.single = not isinstance(outputs, list | tuple | dict)
        self.keys = list(outputs) if isinstance(outputs, dict) else None
        listed = [outputs] if self.single else list(outputs.values() if self.keys is not None else outputs)
        self.outputs = [] if outputs is None else [as_variable(item) for item in listed]
        pairs = updates.items() if isinstance(updates, Mapping) else (updates or ())
        self.updates = [(target, as_variable(value)) for target, value in pairs]
        self.givens = dict(givens or {})
        if no_defaults is not True:
            self._default_updates(list(no_defaults or ()))

    def _default_updates(self, without: list[Any]) -> None:
        """Add the updates that shared variables among the expressions bring with them, and those that these bring."""
        waiting = [*self.outputs, *(new for _, new in self.updates), *map(as_variable, self.givens.values())]
        done = {target for target, _ in self.updates} | set(without)
        while waiting:
            brought = [var for var in ancestors(waiting) if isinstance(var, SharedVariable) and var not in done
                       and var.default_update is not None]  # fmt: skip
            waiting = [as_variable(var.default_update) for var in brought]
            self.updates += zip(brought, waiting, strict=True)
            done.update(brought)

    @property
    def maker(self) -> "Maker":
        """What old check scripts look into, to see whether a GPU is used: ``f.maker.fgraph.toposort()``."""
        return Maker(self)

    def __call__(self, *values: Any, **named: Any) -> Any:
        given = self._given(values, named)
        extra = [as_variable(value) for value in self.givens.values()]
        if extra:
            given.update(zip(self.givens, evaluate(extra, given), strict=True))
        found = evaluate([*self.outputs, *(value for _, value in self.updates)], given)
        results, news = found[: len(self.outputs)], found[len(self.outputs) :]
        results = [to_numpy(result.clone() if isinstance(result, Tensor) else result) for result in results]
        self._store([as_tensor(new) for new in news])
        if self.keys is not None:
            return dict(zip(self.keys, results, strict=True))
        return (results[0] if results else []) if self.single else results

    def _store(self, news: Sequence[Tensor]) -> None:
        """Put the new values into their places. What lies in one, as in ``[(a, b), (b, a)]``, is saved first."""
        places = {target.tensor.untyped_storage().data_ptr() for target, _ in self.updates}
        with torch.no_grad():
            saved = [new.clone() if new.untyped_storage().data_ptr() in places else new for new in news]
            for (target, _), new in zip(self.updates, saved, strict=True):
                target.set_value(new)

    def _given(self, values: Sequence[Any], named: Mapping[str, Any]) -> dict[Variable, Any]:
        if len(values) > len(self.inputs):
            raise TypeError(f"the function takes {len(self.inputs)} inputs, {len(values)} were given")
        places = {item.name: item for item in self.inputs if item.name}
        if unknown := [name for name in named if name not in places]:
            raise TypeError(f"the function has no input {', '.join(unknown)}; it has {', '.join(places) or 'no names'}")
        chosen = dict(zip(self.inputs, values, strict=False))
        chosen |= {places[name]: value for name, value in named.items()}
        given = {}
        for item in self.inputs:
            value = chosen.get(item, item.value)
            if value is None:
                raise TypeError(f"input {item.variable} of the function has no value")
            given[item.variable] = _fitting(item.variable, value)
        return given


def _fitting(variable: Variable, value: Any) -> Tensor:
    tensor = as_tensor(value).to(config.torch_device)
    if isinstance(variable, Input):
        if tensor.ndim != variable.ndim:
            raise TypeError(f"input {variable} has {variable.ndim} axes, the value given {tensor.ndim}")
        return tensor.to(kind_of(variable.dtype))
    return tensor


def as_variable(value: Any) -> Variable:
    """*value* if it is a variable, that of an ``Out``, else a constant."""
    value = value.variable if isinstance(value, Out) else value
    return value if isinstance(value, Variable) else Constant(value)


def function(
    inputs: Sequence[Any],
    outputs: Any = None,
    mode: Any = None,
    updates: Updates | None = None,
    givens: Any = None,
    no_default_updates: bool | Sequence[Any] = False,
    accept_inplace: bool = False,
    name: str | None = None,
    rebuild_strict: bool = True,
    allow_input_downcast: bool | None = None,
    profile: Any = None,
    on_unused_input: str | None = None,
) -> Function:
    """A callable for *outputs*, as ``theano.function``. Options of compilation have no effect."""
    made = Function(inputs, outputs, updates, givens, no_default_updates)
    made.name = name
    return made


class Maker:
    """Stands for the compiled graph: ``fgraph.toposort()`` lists the steps; those of a GPU are called Gpu..."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.fgraph = self

    def toposort(self) -> list["Node"]:
        """The steps, each with its ``op``."""
        nodes = [node for node in ancestors(self.function.outputs) if isinstance(node, Apply)]
        on_gpu = config.torch_device != "cpu"
        return [Node(ops.GpuElemwise() if on_gpu else ops.Elemwise(), str(node)) for node in nodes]


class Node:
    """A step of a compiled graph."""

    def __init__(self, op: Any, name: str) -> None:
        self.op = op
        self.name = name

    def __repr__(self) -> str:
        return f"{self.op}{{{self.name}}}"
