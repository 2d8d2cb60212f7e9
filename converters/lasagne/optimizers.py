"""``lasagne.updates`` as the update rules of this project: optimizers of torch, and solver types of a prototxt."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from converters.lasagne import updates
from converters.lasagne.theano.shared import SharedVariable
from converters.lasagne.theano.variable import as_tensor
from nets.lasagne_updates import UPDATES
from nets.net import Blob
from nets.updates import Update
from protos.errors import NetError
from protos.registry import suggest


class Rule(NamedTuple):
    """The solver type of an update, and what its arguments are called there."""

    type: str
    fields: Mapping[str, str]


_ADAM = {"beta1": "momentum", "beta2": "momentum2", "epsilon": "delta"}
RULES: dict[Any, Rule] = {
    updates.sgd: Rule("SGD", {}),
    updates.momentum: Rule("SGD", {"momentum": "momentum"}),
    updates.nesterov_momentum: Rule("Nesterov", {"momentum": "momentum"}),
    updates.adagrad: Rule("RootAdaGrad", {"epsilon": "delta"}),
    updates.rmsprop: Rule("RootRMSProp", {"rho": "rms_decay", "epsilon": "delta"}),
    updates.adadelta: Rule("AdaDelta", {"rho": "momentum", "epsilon": "delta"}),
    updates.adam: Rule("Adam", _ADAM),
    updates.adamax: Rule("AdaMax", _ADAM),
    updates.amsgrad: Rule("AMSGrad", _ADAM),
}


def figure(value: Any) -> float:
    """A number, or the value that a shared variable or expression has now."""
    return float(value) if isinstance(value, int | float) else float(as_tensor(value).detach())


def figures(update: Any, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The rate, and the options of the solver type by their names there, as given or by default."""
    rule = RULES[update]
    known = {name: p.default for name, p in inspect.signature(update).parameters.items()}
    for name in options:
        if name != "learning_rate" and name not in rule.fields:
            raise NetError(f"update {update.__name__} takes no {name}{suggest(name, ['learning_rate', *rule.fields])}")
    found = {**known, **options}
    if found["learning_rate"] is inspect.Parameter.empty:
        raise NetError(f"update {update.__name__} needs a learning_rate")
    named = {field: found[name] for name, field in rule.fields.items()}
    return found["learning_rate"], {"momentum": 0.0, **named} if rule.type == "SGD" else named


def optimizer(update: Any, params: Sequence[SharedVariable], **options: Any) -> Update:
    """The optimizer of torch for the shared variables *params* that does what *update*, of ``lasagne.updates``, does.

    *options* are the update's own. ``loss.backward()`` fills the gradients of ``param.tensor``, ``step()`` uses them
    up.
    Raises NetError for an update that is not one of Lasagne's, or an option that it does not have.
    """
    if update not in RULES:
        raise NetError(f"update {getattr(update, '__name__', update)} is none of lasagne.updates")
    rate, named = figures(update, options)
    blobs = [Blob(str(param), param.tensor, 1.0, 1.0) for param in params]
    numbers: dict[str, Any] = {name: figure(value) for name, value in named.items()}
    return UPDATES[RULES[update].type](blobs, figure(rate), **numbers)
