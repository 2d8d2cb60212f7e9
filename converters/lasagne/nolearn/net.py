"""``NeuralNet``: a net of Lasagne layers with training, prediction and scikit-learn's manners."""

import contextlib
import copy
import itertools
import logging
import os
import pickle
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from converters.lasagne import objectives
from converters.lasagne.layers import InputLayer, get_all_params, get_output
from converters.lasagne.nolearn.batches import BatchIterator, length
from converters.lasagne.nolearn.handlers import PrintLayerInfo, PrintLog
from converters.lasagne.nolearn.objective import objective as default_objective
from converters.lasagne.nolearn.split import LegacySplit, TrainSplit
from converters.lasagne.nolearn.step import TrainStep, can_step
from converters.lasagne.nolearn.structure import ArgumentError, build, options_for
from converters.lasagne.optimizers import figures
from converters.lasagne.theano.config import config
from converters.lasagne.theano.function import function
from converters.lasagne.theano.tensor import ops
from converters.lasagne.theano.variable import Input
from converters.lasagne.updates import nesterov_momentum
from converters.lasagne.weights_file import load_layers, read
from nets.trace import lasting
from protos import files
from protos.errors import NetError

log = logging.getLogger("caffe")
Array = NDArray[Any]
Path_ = str | os.PathLike[str]
ALLOWED = ("update", "objective", "batch_iterator_train", "batch_iterator_test")


class NeuralNet:
    """nolearn's net. *layers*: (name, class) pairs with name_argument=..., (class, options) pairs, or Layer instances.

    Training: ``fit``, ``partial_fit``; then ``predict``, ``predict_proba``, ``score``. ``train_history_`` has a dict an
    epoch. Arguments that begin with a layer's name, with ``update_`` or ``objective_`` go there.
    """

    def __init__(
        self,
        layers: Any,
        update: Any = nesterov_momentum,
        loss: Any = None,
        objective: Any = default_objective,
        objective_loss_function: Any = None,
        batch_iterator_train: Any = BatchIterator(batch_size=128),  # noqa: B008  # the original's signature
        batch_iterator_test: Any = BatchIterator(batch_size=128),  # noqa: B008
        regression: bool = False,
        max_epochs: int = 100,
        train_split: Any = TrainSplit(eval_size=0.2),  # noqa: B008
        custom_scores: Any = None,
        scores_train: Any = [],  # noqa: B006
        scores_valid: Any = [],  # noqa: B006
        X_tensor_type: Any = None,
        y_tensor_type: Any = None,
        use_label_encoder: bool = False,
        on_batch_finished: Any = None,
        on_epoch_finished: Any = None,
        on_training_started: Any = None,
        on_training_finished: Any = None,
        more_params: Any = None,
        check_input: bool = True,
        verbose: int = 0,
        **kwargs: Any,
    ) -> None:
        named = {key: value for key, value in locals().items() if key not in ("self", "kwargs", "__class__")}
        named.update(_of_old(kwargs, hasattr(self, "train_test_split"), regression))
        self._names = list(named)
        self._more = list(kwargs)
        for key, value in {**named, **kwargs}.items():
            setattr(self, key, value)
        self.train_history_: list[dict[str, Any]] = []

    # ---- scikit-learn

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments, as given."""
        return {key: getattr(self, key) for key in [*self._names, *self._more]}

    def set_params(self, **params: Any) -> Self:
        """Change arguments; the net is built anew at the next ``initialize``."""
        for key, value in params.items():
            if key not in self._names and key not in self._more:
                self._more.append(key)
            setattr(self, key, value)
        self.__dict__.pop("layers_", None)
        return self

    def __sklearn_clone__(self) -> "NeuralNet":
        return type(self)(**copy.deepcopy(self.get_params()))

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags  # noqa: PLC0415  # optional

        kind = "regressor" if self.regression else "classifier"  # type: ignore[attr-defined]
        return Tags(estimator_type=kind, target_tags=TargetTags(required=True), input_tags=InputTags(),
                    classifier_tags=ClassifierTags(), regressor_tags=RegressorTags())  # fmt: skip

    @property
    def _estimator_type(self) -> str:
        return "regressor" if self.regression else "classifier"  # type: ignore[attr-defined]

    def __deepcopy__(self, memo: Any) -> "NeuralNet":
        twin = type(self)(**copy.deepcopy(self.get_params(), memo))
        if "layers_" in self.__dict__:
            twin.initialize()
            twin._take_params(self.get_all_params_values())
            twin.train_history_ = copy.deepcopy(self.train_history_, memo)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {"arguments": self.get_params(), "train_history_": self.train_history_}
        state.update({name: getattr(self, name) for name in ("classes_",) if hasattr(self, name)})
        if "layers_" in self.__dict__:
            state["layers_"] = self.get_all_params_values()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        values = state.pop("layers_", None)
        self.__init__(**state.pop("arguments"))  # type: ignore[misc]  # built anew, as it was
        self.__dict__.update(state)
        if values is not None:
            self._take_params(values)

    # ---- construction

    def initialize(self) -> None:
        """Build the layers and what trains them, unless that is done."""
        if "layers_" in self.__dict__:
            return
        given = {key: getattr(self, key) for key in self._more}
        self.layers_ = build(self.layers, given)  # type: ignore[attr-defined]
        self._check(given)
        self._compile()
        self._log = PrintLog()

    def _check(self, given: dict[str, Any]) -> None:
        known = (*self.layers_, *ALLOWED)
        unused = [key for key in given if not any(key.startswith(f"{name}_") for name in known)]
        if unused:
            raise ValueError(f"Unused kwarg: {', '.join(unused)}")

    def output_layers(self) -> Any:
        """The last layer, or the last of several as given."""
        self.initialize()
        layers = self.layers  # type: ignore[attr-defined]
        if isinstance(layers, list) and layers and hasattr(layers[0], "output_shape"):
            return layers
        return next(reversed(self.layers_.values()))

    def _compile(self) -> None:
        inputs = [layer for layer in self.layers_.values() if isinstance(layer, InputLayer)]
        self._input_names = [layer.name for layer in inputs]
        variables = [layer.input_var for layer in inputs]
        output = next(reversed(self.layers_.values()))
        kind = self.y_tensor_type  # type: ignore[attr-defined]
        regression = self.regression  # type: ignore[attr-defined]
        default = Input(config.floatX, (False,) * len(output.output_shape), "y") if regression else Input("int32", (False,), "y")  # fmt: skip  # noqa: E501
        y = default if kind is None else kind("y")
        options = options_for("objective", {key: getattr(self, key) for key in self._more})
        loss_function = self.objective_loss_function or (  # type: ignore[attr-defined]
            objectives.squared_error if regression else objectives.categorical_crossentropy
        )
        make = self.objective  # type: ignore[attr-defined]
        train = make(self.layers_, loss_function=loss_function, target=y, **options)
        valid = make(self.layers_, loss_function=loss_function, target=y, deterministic=True, **options)
        proba = get_output(output, deterministic=True)
        accuracy = valid if regression else ops.mean(ops.eq(ops.argmax(proba, axis=1), y))
        scores_train = [score(proba, y) for _, score in self.scores_train]  # type: ignore[attr-defined]
        scores_valid = [score(proba, y) for _, score in self.scores_valid]  # type: ignore[attr-defined]
        self.train_iter_ = self._trainer([*variables, y], train, scores_train)
        self.eval_iter_ = function([*variables, y], [valid, ops.mean(accuracy), proba, *scores_valid])
        self.predict_iter_ = function(variables, proba)

    def _trainer(self, inputs: Sequence[Any], loss: Any, scores: Sequence[Any]) -> Any:
        """What trains on a batch: the step of a Solver, or for updates of one's own the function of their formulas."""
        options = options_for("update", {key: getattr(self, key) for key in self._more})
        params = get_all_params(list(self.layers_.values()), trainable=True)
        update = self.update  # type: ignore[attr-defined]
        if can_step(update, params):
            try:
                figures(update, options)
            except NetError as error:
                raise ArgumentError(str(error)) from None
            return TrainStep(inputs, loss, scores, params, update, options)
        return function(inputs, [loss, *scores], updates=update(loss, params, **options))

    # ---- training

    def fit(self, X: Any, y: Any, epochs: int | None = None) -> Self:
        """Train for *epochs*, or max_epochs."""
        y = np.asarray(y)
        if self.check_input:  # type: ignore[attr-defined]
            self._check_input(X, y)
        if self.use_label_encoder:  # type: ignore[attr-defined]
            self.classes_, y = np.unique(y, return_inverse=True)
            y = y.astype(np.int32)
        elif not self.regression:  # type: ignore[attr-defined]
            self.classes_ = np.unique(y)
        self.initialize()
        with contextlib.suppress(KeyboardInterrupt):  # as the original: what is trained so far is kept
            self.train_loop(X, y, epochs)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Train for one epoch more."""
        return self.fit(X, y, epochs=1)

    def _check_input(self, X: Any, y: Array) -> None:
        if length(X) != len(y):
            raise ValueError(f"X and y have different numbers of samples: {length(X)} and {len(y)}")
        if y.dtype.kind == "f" and not self.regression and not self.use_label_encoder:  # type: ignore[attr-defined]
            raise ValueError("y holds floats: set regression=True, or give classes as whole numbers")

    def train_loop(self, X: Any, y: Any, epochs: int | None = None) -> None:
        """Epochs of training and validation, with the handlers in between; StopIteration of one of them ends it."""
        epochs = epochs or self.max_epochs  # type: ignore[attr-defined]
        X_train, X_valid, y_train, y_valid = self.train_split(X, y, self)  # type: ignore[attr-defined]
        self._call("on_training_started")
        if self.verbose and not self.train_history_:  # type: ignore[attr-defined]
            PrintLayerInfo()(self)
        for _ in range(epochs):
            started = time.time()
            info = self._train_epoch(X_train, y_train)
            info.update(self._valid_epoch(X_valid, y_valid))
            past = self.train_history_
            info["epoch"] = len(past) + 1
            info["dur"] = time.time() - started
            for key in ("train_loss", "valid_loss"):
                info[f"{key}_best"] = info[key] <= min([info[key], *(one[key] for one in past)])
            if not len(y_valid):
                info["valid_loss_best"] = float("nan")
            past.append(info)
            try:
                self._call("on_epoch_finished")
            except StopIteration:
                break  # without a line in the table, as in the original
            if self.verbose:  # type: ignore[attr-defined]
                self._log(self, past)
        self._call("on_training_finished")

    def _call(self, event: str) -> None:
        handlers = getattr(self, event) or []
        for handler in [handlers] if callable(handlers) else handlers:
            handler(self, self.train_history_)

    def _train_epoch(self, X: Any, y: Any) -> dict[str, Any]:
        found, sizes = [], []
        for xb, yb in self.batch_iterator_train(X, y):  # type: ignore[attr-defined]
            found.append([lasting(value) for value in self.train_iter_(*self._given(xb), yb)])
            sizes.append(length(xb))
            self._call("on_batch_finished")
        figures = [[float(value) for value in row] for row in found]  # late, so that no batch waits for a GPU
        loss, *scores = _averages(figures, sizes, 1 + len(self.scores_train))  # type: ignore[attr-defined]
        names = [name for name, _ in self.scores_train]  # type: ignore[attr-defined]
        return {"train_loss": loss, **dict(zip(names, scores, strict=True))}

    def _valid_epoch(self, X: Any, y: Any) -> dict[str, Any]:
        found, sizes, custom = [], [], []
        named = self.custom_scores or []  # type: ignore[attr-defined]
        for xb, yb in self.batch_iterator_test(X, y):  # type: ignore[attr-defined]
            loss, accuracy, proba, *scores = self.eval_iter_(*self._given(xb), yb)
            found.append([float(value) for value in (loss, accuracy, *scores)])
            sizes.append(length(xb))
            custom.append([float(score(yb, proba)) for _, score in named])
        loss, accuracy, *scores = _averages(found, sizes, 2 + len(self.scores_valid))  # type: ignore[attr-defined]
        names = [*(name for name, _ in self.scores_valid), *(name for name, _ in named)]  # type: ignore[attr-defined]
        scores += _averages(custom, sizes, len(named))
        return {"valid_loss": loss, "valid_accuracy": accuracy, **dict(zip(names, scores, strict=True))}

    def _given(self, X: Any) -> list[Any]:
        return [X[name] for name in self._input_names] if isinstance(X, dict) else [X]

    def score_names(self) -> list[str]:
        """The names of all scores, in the order of the table."""
        lists = (self.scores_train, self.scores_valid, self.custom_scores or [])  # type: ignore[attr-defined]
        return [name for name, _ in itertools.chain(*lists)]

    # ---- prediction

    def predict_proba(self, X: Any) -> Array:
        """The outputs of the net."""
        self.initialize()
        batches = self.batch_iterator_test(X)  # type: ignore[attr-defined]
        return np.concatenate([self.predict_iter_(*self._given(xb)) for xb, _ in batches])

    def predict(self, X: Any) -> Array:
        """The most likely classes; with regression the outputs."""
        proba = self.predict_proba(X)
        if self.regression:  # type: ignore[attr-defined]
            return proba
        best = proba.argmax(1)
        classes: Array = self.classes_[best] if self.use_label_encoder else best  # type: ignore[attr-defined]
        return classes

    def score(self, X: Any, y: Any) -> float:
        """The share of right predictions; with regression R squared, of the targets by what was predicted.

        The original hands them to scikit-learn in that order, so that R squared is not that of the predictions.
        """
        y, found = np.asarray(y), self.predict(X)
        if not self.regression:  # type: ignore[attr-defined]
            return float(np.mean(found == y))
        y = y.reshape(found.shape)
        rest, spread = ((y - found) ** 2).sum(0), ((found - found.mean(0)) ** 2).sum(0)
        return float(np.mean(1 - rest / spread))

    # ---- parameters

    def get_all_params(self, **kwargs: Any) -> list[Any]:
        """All parameters."""
        self.initialize()
        return get_all_params(list(self.layers_.values()), **kwargs)

    def get_all_params_values(self) -> "OrderedDict[str, list[Array]]":
        """The values of all parameters, by layer."""
        self.initialize()
        return OrderedDict((name, [p.get_value() for p in one.get_params()]) for name, one in self.layers_.items())

    def save_params_to(self, fname: Path_) -> None:
        """Write the values of all parameters, by layer, as the original does."""
        with files.replacing(fname) as file:
            file.write(pickle.dumps(self.get_all_params_values(), -1))

    def load_params_from(self, source: Any) -> None:
        """Take the values that fit from a file, from another NeuralNet or from a dict by layer.

        What becomes of each is printed if verbose, as in the original; otherwise one line of the log says what is left
        out. A file without names of layers has to fit as a whole.
        """
        self.initialize()
        if isinstance(source, str | os.PathLike):
            stored = read(source)
            if isinstance(stored, list):
                load_layers(list(self.layers_.values()), source)
                stored = self.get_all_params_values()  # to say what was loaded
            source = stored
        by_layer = source.get_all_params_values() if isinstance(source, NeuralNet) else dict(source)
        taken, left = self._take_params(by_layer)
        if self.verbose:  # type: ignore[attr-defined]
            print(*taken, *left, sep="\n")
        elif left:
            log.warning("%s", " ".join(left))

    def _take_params(self, by_layer: Mapping[str, Sequence[Any]]) -> tuple[list[str], list[str]]:
        """Set what fits. What there is to say of the parameters that were set, and of those that were not."""
        self.initialize()
        taken, left = [], []
        for name, values in by_layer.items():
            if values and name not in self.layers_:
                left.append(f"Could not load parameters to layer '{name}' because the net has none of that name.")
                continue
            own_params = self.layers_[name].get_params() if values else []
            for param, value in zip(own_params, values, strict=False):
                own, given = ("x".join(map(str, np.shape(v))) for v in (param.get_value(borrow=True), value))
                if own == given:
                    param.set_value(value)
                    taken.append(f"Loaded parameters to layer '{name}' (shape {own}).")
                else:
                    left.append(f"Could not load parameters to layer '{name}' because shapes did not match: "
                                f"{own} vs {given}.")  # fmt: skip
        return taken, left

    load_weights_from = load_params_from
    save_weights_to = save_params_to

    def to_solver(self, prefix: Path_ | None = None, X: Any = None, y: Any = None) -> Any:
        """The SolverParameter, with the train_val net in it, that trains the same.

        With *prefix* it is written: PREFIX_solver.prototxt, PREFIX_train_val.prototxt and PREFIX.caffemodel; given the
        samples too, these are written as HDF5, split as ``fit`` does, and ``nets.Solver`` trains what ``fit`` would.
        """
        from converters.lasagne.nolearn.solver import to_solver  # noqa: PLC0415  # it needs this module's nets

        self.initialize()
        return to_solver(self, prefix, X, y)


def _of_old(kwargs: dict[str, Any], has_split: bool, regression: bool) -> dict[str, Any]:
    """What older names among *kwargs*, which are taken out, stand for; and a ``train_test_split`` of a subclass."""
    found: dict[str, Any] = {}
    if has_split:
        found["train_split"] = LegacySplit(kwargs.pop("eval_size", 0.2))
    elif "eval_size" in kwargs:
        found["train_split"] = TrainSplit(eval_size=kwargs.pop("eval_size") or 0, stratify=not regression)
    if "custom_score" in kwargs:
        found["custom_scores"] = [kwargs.pop("custom_score")]
    return found


def _averages(rows: Sequence[Sequence[float]], sizes: Sequence[int], count: int) -> list[float]:
    """The mean of each column, weighted by the sizes of the batches; NaN without any."""
    if not rows:
        return [float("nan")] * count
    return [float(np.average(column, weights=sizes)) for column in zip(*rows, strict=True)]
