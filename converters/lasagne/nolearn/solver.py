"""``NeuralNet.to_solver``: the training of a NeuralNet as a SolverParameter."""

import os
from typing import Any

from converters.lasagne import objectives, updates
from converters.lasagne.nolearn.structure import options_for
from converters.lasagne.translate import to_net
from protos import files, text
from protos.errors import NetError
from protos.schema import SolverParameter

DEFAULTS: dict[Any, dict[str, float]] = {
    updates.sgd: {},
    updates.momentum: {"momentum": 0.9},
    updates.nesterov_momentum: {"momentum": 0.9},
    updates.adam: {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
}
TYPES = {updates.sgd: "SGD", updates.momentum: "SGD", updates.nesterov_momentum: "Nesterov", updates.adam: "Adam"}


def to_solver(net: Any, prefix: str | os.PathLike[str] | None = None) -> SolverParameter:
    """The solver of *net*. Raises NetError for an update or a loss whose formula Caffe does not have."""
    if net.update not in TYPES:
        name = getattr(net.update, "__name__", "update")
        raise NetError(f"update {name}: no solver has its formula (adagrad, rmsprop and adadelta have epsilon "
                       "inside the root here): train with fit(), or use sgd, momentum, nesterov_momentum or adam")  # fmt: skip  # noqa: E501
    given = options_for("update", {key: getattr(net, key) for key in net._more})
    figures = {**DEFAULTS[net.update], **{key: _figure(value) for key, value in given.items()}}
    solver = SolverParameter(type=TYPES[net.update], base_lr=figures["learning_rate"], lr_policy="fixed")
    solver.momentum = figures.get("momentum", figures.get("beta1", 0.0))
    if "beta2" in figures:
        solver.momentum2, solver.delta = figures["beta2"], figures["epsilon"]
    objective = options_for("objective", {key: getattr(net, key) for key in net._more})
    if set(objective) - {"l2"}:
        raise NetError(f"objective_{', objective_'.join(set(objective) - {'l2'})} has no place in a solver")
    loss = net.objective_loss_function or (
        objectives.squared_error if net.regression else objectives.categorical_crossentropy
    )
    model = to_net(net.output_layers(), loss=loss, batch_size=net.batch_iterator_train.batch_size)
    if objective.get("l2"):
        solver.weight_decay = 2 * float(objective["l2"])  # the gradient of l2 * sum(w^2) is 2 l2 w
    if prefix is None:
        solver.net_param.CopyFrom(model)
        return solver
    base = os.fspath(prefix)
    with files.replacing(f"{base}.caffemodel") as file:
        file.write(model.SerializeToString(deterministic=True))
    for layer in model.layer:
        del layer.blobs[:]
    solver.net = f"{base}_train_val.prototxt"
    for path, message in ((solver.net, model), (f"{base}_solver.prototxt", solver)):
        with files.replacing(path) as file:
            file.write(text.to_text(message).encode())
    return solver


def _figure(value: Any) -> float:
    return float(value.get_value() if hasattr(value, "get_value") else value)
