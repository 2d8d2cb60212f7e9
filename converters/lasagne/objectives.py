"""``lasagne.objectives``: losses of variables and tensors alike; ``aggregate`` joins the items."""

import warnings
from typing import Any

import torch
from torch import Tensor

from converters.lasagne.theano.tensor import nnet
from converters.lasagne.theano.tensor.calls import lazy
from converters.lasagne.theano.tensor.ops import largest
from converters.lasagne.theano.variable import as_tensor


def align_targets(predictions: Any, targets: Any) -> tuple[Any, Any]:
    """A vector of targets as a column where the predictions are one."""
    return predictions, _aligned(predictions, targets)


def _align(predictions: Tensor, targets: Tensor) -> Tensor:
    return targets[:, None] if targets.ndim == 1 and predictions.shape == (len(targets), 1) else targets


@lazy
def _aligned(predictions: Any, targets: Any) -> Any:
    return _align(as_tensor(predictions), as_tensor(targets))


def binary_crossentropy(predictions: Any, targets: Any) -> Any:
    """-(t log p + (1 - t) log(1 - p)), without clipping."""
    predictions, targets = align_targets(predictions, targets)
    return nnet.binary_crossentropy(predictions, targets)


def categorical_crossentropy(predictions: Any, targets: Any) -> Any:
    """-log p of the true class of each row, without clipping; targets are classes (N,) or probabilities (N, C)."""
    return nnet.categorical_crossentropy(predictions, targets)


def squared_error(a: Any, b: Any) -> Any:
    """(a - b) squared."""
    a, b = align_targets(a, b)
    return _squared(a, b)


@lazy
def _squared(a: Any, b: Any) -> Any:
    return (as_tensor(a) - as_tensor(b)) ** 2


@lazy
def aggregate(loss: Any, weights: Any = None, mode: str = "mean") -> Any:
    """One value: the "mean" or "sum" of loss * weights, or "normalized_sum", divided by the sum of the weights."""
    values = as_tensor(loss)
    if weights is not None:
        values = values * weights
    if mode == "mean":
        return values.mean()
    if mode == "sum":
        return values.sum()
    if mode == "normalized_sum":
        if weights is None:
            raise ValueError("mode 'normalized_sum' needs weights")
        return values.sum() / as_tensor(weights).sum()
    raise ValueError(f"mode must be 'mean', 'sum' or 'normalized_sum', not {mode!r}")


def binary_hinge_loss(
    predictions: Any, targets: Any, delta: float = 1, log_odds: bool | None = None, binary: bool = True
) -> Any:
    """max(0, delta - p * t), with targets 0 and 1 unless *binary* is false. *log_odds*: p is no probability."""
    if log_odds is None:
        warnings.warn("binary_hinge_loss: log_odds will change its default to False; say which", FutureWarning, 2)
        log_odds = True
    predictions, targets = align_targets(predictions, targets)
    return _binary_hinge(predictions, targets, delta, log_odds, binary)


@lazy
def _binary_hinge(predictions: Any, targets: Any, delta: float, log_odds: bool, binary: bool) -> Any:
    p, t = as_tensor(predictions), as_tensor(targets)
    if not log_odds:
        p = torch.log(p / (1 - p))
    if binary:
        t = 2 * t - 1
    return nnet.relu(delta - p * t)


@lazy
def multiclass_hinge_loss(predictions: Any, targets: Any, delta: float = 1) -> Any:
    """max(0, the best other prediction - that of the true class + delta), for each row."""
    p, t = as_tensor(predictions), as_tensor(targets)
    if t.ndim == p.ndim - 1:
        t = torch.nn.functional.one_hot(t.long(), p.shape[1])
    elif t.ndim != p.ndim:
        raise TypeError("rank mismatch between targets and predictions")
    chosen = t.bool()
    right = p[chosen]
    rest = largest(p[~chosen].reshape(-1, p.shape[1] - 1), [1])
    return nnet.relu(rest - right + delta)


def huber_loss(predictions: Any, targets: Any, delta: float = 1) -> Any:
    """d^2 / 2 where |d| is at most *delta*, delta * (|d| - delta / 2) beyond."""
    predictions, targets = align_targets(predictions, targets)
    return _huber(predictions, targets, delta)


@lazy
def _huber(predictions: Any, targets: Any, delta: float) -> Any:
    size = torch.abs(as_tensor(targets) - as_tensor(predictions))
    return torch.where(size <= delta, 0.5 * size**2, delta * (size - delta / 2.0))


def binary_accuracy(predictions: Any, targets: Any, threshold: float = 0.5) -> Any:
    """Whether a prediction is on the same side of *threshold* as its target."""
    predictions, targets = align_targets(predictions, targets)
    return _binary_accuracy(predictions, targets, threshold)


@lazy
def _binary_accuracy(predictions: Any, targets: Any, threshold: float) -> Any:
    return (as_tensor(predictions) >= threshold) == as_tensor(targets)


@lazy
def categorical_accuracy(predictions: Any, targets: Any, top_k: int = 1) -> Any:
    """Whether the true class is the most likely, or among the *top_k*."""
    p, t = as_tensor(predictions), as_tensor(targets)
    if t.ndim == p.ndim:
        t = t.argmax(-1)
    elif t.ndim != p.ndim - 1:
        raise TypeError("rank mismatch between targets and predictions")
    if top_k == 1:
        return p.argmax(-1) == t
    best = torch.argsort(p, dim=-1, stable=True)[..., -top_k:]
    return (best == t[..., None]).any(-1)
