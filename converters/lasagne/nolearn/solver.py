"""``NeuralNet.to_solver``: the training of a NeuralNet as a SolverParameter."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from converters.lasagne import objectives
from converters.lasagne.nolearn.batches import BatchIterator
from converters.lasagne.nolearn.objective import objective as default_objective
from converters.lasagne.nolearn.solver_data import feed
from converters.lasagne.nolearn.structure import options_for
from converters.lasagne.optimizers import RULES, figure, figures
from converters.lasagne.theano.config import config
from converters.lasagne.translate import Path, to_net
from protos import files, text
from protos.errors import NetError
from protos.schema import SolverParameter

log = logging.getLogger("caffe")

PENALTIES = {"l1": "L1", "l2": "L2"}  # what of objective_... has a place in a solver


def to_solver(net: Any, prefix: Path | None = None, X: Any = None, y: Any = None) -> SolverParameter:
    """The solver of *net*; see ``NeuralNet.to_solver``.

    What is Python stays behind, and a warning names it: handlers, batch iterators with an order or a transform of
    their own, scores. Raises NetError for an update, an objective or a loss that a solver does not have.
    """
    if net.update not in RULES:
        raise NetError(f"update {getattr(net.update, '__name__', net.update)}: no solver has its formula: "
                       "train with fit(), or use one of lasagne.updates")  # fmt: skip
    given = options_for("update", {key: getattr(net, key) for key in net._more})
    rate, named = figures(net.update, given)
    solver = SolverParameter(type=RULES[net.update].type, base_lr=figure(rate), lr_policy="fixed")
    for field, value in named.items():
        setattr(solver, field, figure(value))
    if net.objective is not default_objective:
        name = getattr(net.objective, "__name__", net.objective)
        raise NetError(f"objective {name}: a solver has that of nolearn only")
    _warn(net)
    _add_penalty(solver, options_for("objective", {key: getattr(net, key) for key in net._more}))
    loss = net.objective_loss_function or (
        objectives.squared_error if net.regression else objectives.categorical_crossentropy
    )
    model = to_net(net.output_layers(), loss=loss, batch_size=net.batch_iterator_train.batch_size)
    if config.torch_device == "cpu":
        solver.solver_mode = SolverParameter.CPU
    if prefix is None:
        solver.net_param.CopyFrom(model)
        return solver
    base = os.fspath(prefix)
    with files.replacing(f"{base}.caffemodel") as file:
        file.write(model.SerializeToString(deterministic=True))
    for layer in model.layer:
        del layer.blobs[:]
    if X is not None:
        feed(net, solver, model, base, X, y)
    solver.net = f"{base}_train_val.prototxt"
    solver.weights.append(f"{base}.caffemodel")
    for path, message in ((solver.net, model), (f"{base}_solver.prototxt", solver)):
        with files.replacing(path) as file:
            file.write(text.to_text(message).encode())
    return solver


def _add_penalty(solver: SolverParameter, objective: Mapping[str, Any]) -> None:
    """The gradient of l2 * sum(w^2) is 2 l2 w, that of l1 * sum|w| l1 sign(w)."""
    if set(objective) - PENALTIES.keys():
        raise NetError(f"objective_{', objective_'.join(set(objective) - PENALTIES.keys())} has no place in a solver")
    given = {kind: float(factor) for kind, factor in objective.items() if factor}
    if len(given) > 1:
        raise NetError("objective_l1 and objective_l2: a solver has one of them")
    for kind, factor in given.items():
        solver.regularization_type = PENALTIES[kind]
        solver.weight_decay = factor if kind == "l1" else 2 * factor


def _warn(net: Any) -> None:
    """Name what a solver cannot take along."""
    left = [name for name in ("on_batch_finished", "on_epoch_finished", "on_training_started", "on_training_finished",
                              "scores_train", "scores_valid", "custom_scores") if getattr(net, name)]  # fmt: skip
    batches = net.batch_iterator_train
    if type(batches) is not BatchIterator or batches.shuffle:
        left.append("batch_iterator_train")
    if left:
        log.warning("to_solver: %s stay in Python, the solver does not have them", ", ".join(left))
