"""``theano.scan`` and its relatives: loops whose steps are expressions."""

import contextlib
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from converters.lasagne.theano.config import config
from converters.lasagne.theano.shared import Alias, SharedVariable
from converters.lasagne.theano.updates import OrderedUpdates
from converters.lasagne.theano.variable import (
    Apply,
    Constant,
    Input,
    Variable,
    ancestors,
    apply,
    as_int,
    as_tensor,
    evaluate,
    probe,
)
from nets.layers.clipping import Clipped


class until:  # Theano's name
    """What a step returns, or appends, to end the loop once *condition* holds."""

    def __init__(self, condition: Any) -> None:
        self.condition = condition


class _Tapped:
    """A sequence or an output of the loop: its variable, and the places around the step that the function sees."""

    def __init__(self, given: Any, key: str, default: Sequence[int]) -> None:
        options = given if isinstance(given, Mapping) else {key: given}
        value = options.get(key)
        self.value = None if value is None else value if isinstance(value, Variable) else Constant(value)
        taps = options.get("taps", default if self.value is not None else ())
        self.taps = [taps] if isinstance(taps, int) else list(taps or ())

    def start(self, value: Tensor) -> list[Tensor]:
        """The values in front of the first step, the latest last."""
        return [value] if self.taps == [-1] else list(value)

    def inputs(self, axes: int) -> list[Input]:
        """Stand-ins for what the function sees, of so many axes."""
        value = Constant(0.0) if self.value is None else self.value
        kind = getattr(value, "dtype", None) or config.floatX
        made = [Input(kind, (False,) * axes) for _ in self.taps]
        with contextlib.suppress(RuntimeError, ValueError, IndexError):  # stand-ins may not fit what they meet
            like = as_tensor(probe(value))
            for one in made:
                one.sizes = tuple(like.shape[like.ndim - axes :])
        return made


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def scan(
    fn: Any,
    sequences: Any = None,
    outputs_info: Any = None,
    non_sequences: Any = None,
    n_steps: Any = None,
    truncate_gradient: int = -1,
    go_backwards: bool = False,
    mode: Any = None,
    name: str | None = None,
    profile: bool = False,
    allow_gc: bool | None = None,
    strict: bool = False,
    return_list: bool = False,
) -> tuple[Any, Any]:
    """(outputs, updates) of the loop that *fn* describes, a step at a time, as Theano's.

    *sequences* are run over along their first axis (dicts with ``taps`` see other steps too), *outputs_info* are the
    values in front of the first step, None for outputs that no step reads; *non_sequences* are handed on as they are.
    Gradients go back through the last *truncate_gradient* steps, through all by default.
    """
    inputs = [_Tapped(one, "input", [0]) for one in _listed(sequences)]
    states = [_Tapped(one, "initial", [-1]) for one in (_listed(outputs_info) if outputs_info is not None else [])]
    seen_inputs = [one.inputs(one.value.ndim - 1) for one in inputs if one.value is not None]
    seen_states = [one.inputs(one.value.ndim - (one.taps != [-1])) if one.value is not None else [] for one in states]
    flat = [var for group in (*seen_inputs, *seen_states) for var in group]
    made, updates, stop = _parts(fn(*flat, *_listed(non_sequences)))
    if states and len(states) != len(made):
        raise ValueError(f"theano.scan: the function gives {len(made)} outputs, outputs_info has {len(states)}")
    states = states or [_Tapped(None, "initial", ()) for _ in made]
    loop = _Loop(inputs, states, seen_inputs, seen_states or [[] for _ in made], made, updates, stop)
    loop.backwards = go_backwards
    loop.keep = int(truncate_gradient)
    if stop is not None and loop.keep > 0:
        raise NotImplementedError("theano.scan: truncate_gradient is not supported here for loops that `until` ends: "
                                  "give n_steps")  # fmt: skip
    whole = loop.node(n_steps)
    outputs = [apply(itemgetter(i), whole) for i in range(len(made))]
    for output, value in zip(outputs, made, strict=True):
        output.ndim_ = value.ndim + 1
    last = OrderedUpdates((target, apply(itemgetter(i), whole)) for i, target in enumerate(updates, len(made)))
    return (outputs if return_list or len(outputs) != 1 else outputs[0]), last


def _parts(returned: Any) -> tuple[list[Variable], dict[Any, Any], Any]:
    """The outputs, the updates and the end of what a step's function returned."""
    outputs: list[Any] = []
    updates: dict[Any, Any] = {}
    stop: Any = None
    for part in returned if isinstance(returned, tuple) else (returned,):
        if isinstance(part, until):
            stop = part.condition
        elif isinstance(part, dict) or (
            isinstance(part, list) and part and all(isinstance(one, tuple) for one in part)
        ):
            updates.update(part)
        elif part is not None:
            outputs += part if isinstance(part, list | tuple) else [part]
    return [one if isinstance(one, Variable) else Constant(one) for one in outputs], updates, stop


class _Loop:
    """The step as a graph, and how it is run."""

    backwards = False
    keep = -1  # how many steps gradients go back through

    def __init__(self, inputs: Any, states: Any, seen_inputs: Any, seen_states: Any, made: Any, updates: Any, stop: Any):  # fmt: skip  # noqa: E501
        self.inputs, self.states, self.made, self.stop = inputs, states, made, stop
        self.seen_inputs, self.seen_states = seen_inputs, seen_states
        self.shared: list[SharedVariable] = list(updates)
        self.wanted = [*made, *updates.values(), *([] if stop is None else [stop])]
        inner = {var for group in (*seen_inputs, *seen_states) for var in group} | set(self.shared)
        self.outer = _outside(self.wanted, inner)

    def node(self, n_steps: Any) -> Apply:
        """The loop as a variable: a tuple of the stacked outputs, then of the last values of what it updates."""
        given = [[one.value for one in group if one.value is not None] for group in (self.inputs, self.states)]
        return Apply(self.run, [*given, list(self.outer), list(self.shared), n_steps], {})

    def run(self, sequences: Any, initial: Any, outer: Any, shared: Any, n_steps: Any) -> tuple[Tensor, ...]:
        """All steps."""
        known = dict(zip(self.outer, outer, strict=True))
        updated: dict[Variable, Any] = dict(zip(self.shared, shared, strict=True))
        first = iter(initial)
        past: list[list[Tensor] | None] = [None if one.value is None else one.start(next(first)) for one in self.states]
        found: list[list[Tensor]] = [[] for _ in self.made]
        order = self._order(sequences, n_steps)
        for done, t in enumerate(order):
            if 0 < self.keep == len(order) - done < len(order):
                past = [None if kept is None else _held(kept) for kept in past]
                found = [_held(values) for values in found]
            step = self._given(t, sequences, past)
            values = [as_tensor(v) for v in evaluate(self.wanted, {**known, **updated, **step}, torch.is_grad_enabled())]  # fmt: skip  # noqa: E501
            for i in range(len(self.made)):
                found[i].append(values[i])
                kept = past[i]
                if kept is not None:
                    kept.append(values[i])
            news = values[len(self.made) : len(self.made) + len(self.shared)]
            updated.update(zip(self.shared, news, strict=True))
            if self.stop is not None and bool(values[-1]):
                break
        return (*(torch.stack(values) for values in found), *(as_tensor(updated[one]) for one in self.shared))

    def _order(self, sequences: Any, n_steps: Any) -> list[int]:
        taps = [tap for one in self.inputs for tap in one.taps]
        ahead, behind = max([0, *taps]), -min([0, *taps])
        lengths = [len(value) - ahead - behind for value in sequences]
        steps = int(as_int(n_steps)) if n_steps is not None else min(lengths)
        if lengths and steps > min(lengths):
            raise ValueError(f"theano.scan: n_steps {steps} is more than the sequences have, {min(lengths)}")
        backwards = self.backwards or steps < 0
        end = min(lengths) if lengths else abs(steps)
        order = range(behind, behind + end)
        return list(reversed(order) if backwards else order)[: abs(steps)]

    def _given(self, t: int, sequences: Any, past: Any) -> dict[Variable, Tensor]:
        step: dict[Variable, Tensor] = {}
        for one, seen, value in zip(self.inputs, self.seen_inputs, sequences, strict=True):
            step.update(zip(seen, (value[t + tap] for tap in one.taps), strict=True))
        for one, seen, values in zip(self.states, self.seen_states, past, strict=True):
            step.update(zip(seen, (values[tap] for tap in one.taps), strict=True))
        return step


def _held(values: Sequence[Tensor]) -> list[Tensor]:
    """The *values*, behind which all gradients are 0."""
    return [Clipped.apply(t, 0.0, 0.0) if t.requires_grad else t for t in values]  # type: ignore[no-untyped-call]  # torch's


def _outside(wanted: Sequence[Variable], inner: set[Variable]) -> list[Variable]:
    """What the step's expressions need and the loop does not change: worked out once, in front of it.

    Random variables are drawn in each step.
    """
    changing = set(inner)
    every = ancestors(wanted)
    for node in every:
        if getattr(node, "is_random", False) or any(parent in changing for parent in node.parents):
            changing.add(node)
    needed = {parent for node in every if node in changing for parent in node.parents} | set(wanted)
    return [node for node in every if node in needed and node not in changing]


class _Replaced:
    """The values of *wanted*, as a function of those of *targets*, which stand for others, and of all the rest."""

    def __init__(self, wanted: Sequence[Variable], targets: Sequence[Variable]) -> None:
        self.wanted = wanted
        self.targets = targets
        self.outer = _outside(wanted, set(targets))

    def __call__(self, new: Sequence[Any], rest: Sequence[Any]) -> Any:
        known = dict(zip([*self.outer, *self.targets], [*rest, *new], strict=True))
        return tuple(evaluate(self.wanted, known, torch.is_grad_enabled()))


def map(fn: Any, sequences: Any, non_sequences: Any = None, truncate_gradient: int = -1, go_backwards: bool = False, mode: Any = None, name: str | None = None) -> tuple[Any, Any]:  # fmt: skip  # noqa: E501
    """*fn* of each item of *sequences*."""
    return scan(fn, sequences, None, non_sequences, None, truncate_gradient, go_backwards)


def reduce(fn: Any, sequences: Any, outputs_info: Any, non_sequences: Any = None, go_backwards: bool = False, mode: Any = None, name: str | None = None) -> tuple[Any, Any]:  # fmt: skip  # noqa: E501
    """The last output of the loop, as a left fold."""
    outputs, updates = scan(fn, sequences, outputs_info, non_sequences, None, -1, go_backwards)
    if isinstance(outputs, list):
        return [output[-1] for output in outputs], updates
    return outputs[-1], updates


def foldl(fn: Any, sequences: Any, outputs_info: Any, non_sequences: Any = None, mode: Any = None, name: str | None = None) -> tuple[Any, Any]:  # fmt: skip  # noqa: E501
    """``reduce`` from the first item."""
    return reduce(fn, sequences, outputs_info, non_sequences)


def foldr(fn: Any, sequences: Any, outputs_info: Any, non_sequences: Any = None, mode: Any = None, name: str | None = None) -> tuple[Any, Any]:  # fmt: skip  # noqa: E501
    """``reduce`` from the last item."""
    return reduce(fn, sequences, outputs_info, non_sequences, go_backwards=True)


def clone(output: Any, replace: Any = None, strict: bool = True, share_inputs: bool = True, **ignored: Any) -> Any:
    """*output* with variables replaced: a dict, or pairs, of what and by what.

    A shared variable that is not to be shared (*share_inputs* False) becomes another one of the same value.
    """
    if isinstance(output, SharedVariable) and not share_inputs and not replace:
        return Alias(output)
    pairs = dict(replace or {})
    targets, values = list(pairs), [v if isinstance(v, Variable) else Constant(v) for v in pairs.values()]
    many = isinstance(output, list | tuple)
    wanted = list(output) if many else [output]
    run = _Replaced(wanted, targets)
    whole = Apply(run, [values, list(run.outer)], {})
    parts = [apply(itemgetter(i), whole) for i in range(len(wanted))]
    return parts if many else parts[0]
