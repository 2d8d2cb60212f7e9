"""Handlers: what a NeuralNet calls when training starts, after each epoch and at the end."""

import math
import pickle
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from converters.lasagne.layers import count_params
from converters.lasagne.nolearn.coverage import LEGEND, conv_table, is_conv2d
from converters.lasagne.nolearn.tables import epoch_row, table
from protos import files


class PrintLog:
    """Prints a line an epoch, the first one below headers; new best losses are coloured."""

    def __init__(self) -> None:
        self.first_iteration = True

    def __call__(self, nn: Any, train_history: Sequence[Any]) -> None:
        print(self.table(nn, train_history), flush=True)

    def table(self, nn: Any, train_history: Sequence[Any]) -> str:
        """The text for the last epoch."""
        row = epoch_row(train_history[-1], nn.regression, nn.score_names())
        lines = table(list(row), [list(row.values())])
        wanted = lines if self.first_iteration else lines[-1:]
        self.first_iteration = False
        return "\n".join(wanted)


class PrintLayerInfo:
    """Prints the number of parameters, and the layers with the sizes of their outputs."""

    def __call__(self, nn: Any, train_history: Any = None) -> None:
        if nn.verbose:
            print(self.message(nn))

    def message(self, nn: Any) -> str:
        """The text."""
        count = count_params(nn.output_layers(), trainable=True)
        lines = [f"# Neural Network with {count} learnable parameters", "", "## Layer information", ""]
        every = list(nn.layers_.values())
        if nn.verbose > 1 and any(is_conv2d(layer) for layer in every):
            return "\n".join([*lines, *conv_table(every, detailed=nn.verbose > 2), LEGEND, ""])
        rows = [
            [str(i), name, "x".join(map(str, layer.output_shape[1:]))]
            for i, (name, layer) in enumerate(nn.layers_.items())
        ]
        return "\n".join([*lines, *table(["#", "name", "size"], rows), ""])


class RememberBestWeights:
    """Keeps the parameters of the epoch with the lowest *key*."""

    def __init__(self, key: str = "valid_loss", verbose: int = 0) -> None:
        self.key = key
        self.verbose = verbose
        self.score = self.loss = "loss"
        self.best_weights: Any = None
        self.best_weights_loss = math.inf
        self.best_weights_epoch: int | None = None

    def __call__(self, nn: Any, train_history: Sequence[Any]) -> None:
        current = train_history[-1][self.key]
        if current < self.best_weights_loss:
            self.best_weights = nn.get_all_params_values()
            self.best_weights_loss = current
            self.best_weights_epoch = train_history[-1]["epoch"]

    def restore(self, nn: Any, train_history: Sequence[Any]) -> None:
        """Put the parameters of that epoch back: a handler for the end of the training."""
        nn.load_params_from(self.best_weights)
        if self.verbose:
            epoch, loss = self.best_weights_epoch, self.best_weights_loss
            print(f"Loaded best weights from epoch {epoch} where {self.key} was {loss}")


class RestoreBestWeights:
    """Puts back what a RememberBestWeights kept, as its ``restore``."""

    def __init__(self, remember: RememberBestWeights) -> None:
        self.remember = remember

    def __call__(self, nn: Any, train_history: Sequence[Any]) -> None:
        self.remember.restore(nn, train_history)


class SaveWeights:
    """Saves the parameters, or with *pickle* the net, every so many epochs.

    {epoch}, {loss} and {timestamp} in *path* are filled in.
    """

    def __init__(
        self, path: str, every_n_epochs: int = 1, only_best: bool = False, pickle: bool = False, verbose: int = 0
    ) -> None:
        self.path = path
        self.every_n_epochs = every_n_epochs
        self.only_best = only_best
        self.pickle = pickle
        self.verbose = verbose

    def __call__(self, nn: Any, train_history: Sequence[Any]) -> None:
        if self.only_best:
            losses = [info["valid_loss"] for info in train_history]
            if losses[-1] > min(losses):  # a loss that is no number is no worse, as in the original
                return
        if len(train_history) % self.every_n_epochs == 0:
            now = datetime.now().isoformat()
            loss = train_history[-1]["valid_loss"]
            path = self.path.format(epoch=f"{len(train_history):04d}", loss=loss, timestamp=now)
            if self.verbose:
                print(f"Writing {path}")
            if not self.pickle:
                nn.save_params_to(path)
                return
            with files.replacing(path) as file:
                file.write(pickle.dumps(nn, -1))
