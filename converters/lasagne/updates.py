"""``lasagne.updates``: what each step of training makes of the parameters, as expressions of their old values."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np

from converters.lasagne.theano.gradient import grad
from converters.lasagne.theano.shared import SharedVariable
from converters.lasagne.theano.tensor import ops
from converters.lasagne.utils import default_norm_axes, floatX

Updates = OrderedDict[Any, Any]


def get_or_compute_grads(loss_or_grads: Any, params: Iterable[Any]) -> list[Any]:
    """The gradients of a loss for *params*, or the given list of them."""
    params = list(params)
    if any(not isinstance(param, SharedVariable) for param in params):
        raise ValueError("params must contain shared variables only: get_all_params(trainable=True) gives them")
    if isinstance(loss_or_grads, list):
        if len(loss_or_grads) != len(params):
            raise ValueError(f"Got {len(loss_or_grads)} gradient expressions for {len(params)} parameters")
        return loss_or_grads
    found: list[Any] = grad(loss_or_grads, params)
    return found


def _zeros(param: SharedVariable) -> Any:
    return SharedVariable(np.zeros_like(param.get_value()), broadcastable=param.broadcastable)


def sgd(loss_or_grads: Any, params: Any, learning_rate: Any) -> Updates:
    """p - learning_rate * g."""
    grads = get_or_compute_grads(loss_or_grads, params)
    return OrderedDict((p, p - learning_rate * g) for p, g in zip(params, grads, strict=True))


def apply_momentum(updates: Any, params: Any = None, momentum: Any = 0.9) -> Updates:
    """v = momentum * v + step; p + v, where step is what *updates* would change."""
    made = OrderedDict(updates)
    for param in list(made if params is None else params):
        velocity = _zeros(param)
        x = momentum * velocity + made[param]
        made[velocity] = x - param
        made[param] = x
    return made


def momentum(loss_or_grads: Any, params: Any, learning_rate: Any, momentum: Any = 0.9) -> Updates:
    """v = momentum * v - learning_rate * g; p + v."""
    return apply_momentum(sgd(loss_or_grads, params, learning_rate), momentum=momentum)


def apply_nesterov_momentum(updates: Any, params: Any = None, momentum: Any = 0.9) -> Updates:
    """v = momentum * v + step; p + momentum * v + step."""
    made = OrderedDict(updates)
    for param in list(made if params is None else params):
        velocity = _zeros(param)
        x = momentum * velocity + made[param] - param
        made[velocity] = x
        made[param] = momentum * x + made[param]
    return made


def nesterov_momentum(loss_or_grads: Any, params: Any, learning_rate: Any, momentum: Any = 0.9) -> Updates:
    """v = momentum * v - learning_rate * g; p + momentum * v - learning_rate * g."""
    return apply_nesterov_momentum(sgd(loss_or_grads, params, learning_rate), momentum=momentum)


def adagrad(loss_or_grads: Any, params: Any, learning_rate: Any = 1.0, epsilon: float = 1e-6) -> Updates:
    """a += g^2; p - learning_rate * g / sqrt(a + epsilon)."""
    made: Updates = OrderedDict()
    for param, g in zip(params, get_or_compute_grads(loss_or_grads, params), strict=True):
        accu = _zeros(param)
        accu_new = accu + g**2
        made[accu] = accu_new
        made[param] = param - learning_rate * g / ops.sqrt(accu_new + epsilon)
    return made


def rmsprop(
    loss_or_grads: Any, params: Any, learning_rate: Any = 1.0, rho: float = 0.9, epsilon: float = 1e-6
) -> Updates:
    """a = rho * a + (1 - rho) * g^2; p - learning_rate * g / sqrt(a + epsilon)."""
    made: Updates = OrderedDict()
    for param, g in zip(params, get_or_compute_grads(loss_or_grads, params), strict=True):
        accu = _zeros(param)
        accu_new = rho * accu + (1 - rho) * g**2
        made[accu] = accu_new
        made[param] = param - learning_rate * g / ops.sqrt(accu_new + epsilon)
    return made


def adadelta(
    loss_or_grads: Any, params: Any, learning_rate: Any = 1.0, rho: float = 0.95, epsilon: float = 1e-6
) -> Updates:
    """a = rho a + (1 - rho) g^2; u = g sqrt((d + epsilon) / (a + epsilon)); p - rate u; d = rho d + (1 - rho) u^2."""
    made: Updates = OrderedDict()
    for param, g in zip(params, get_or_compute_grads(loss_or_grads, params), strict=True):
        accu, delta_accu = _zeros(param), _zeros(param)
        accu_new = rho * accu + (1 - rho) * g**2
        made[accu] = accu_new
        update = g * ops.sqrt(delta_accu + epsilon) / ops.sqrt(accu_new + epsilon)
        made[param] = param - learning_rate * update
        made[delta_accu] = rho * delta_accu + (1 - rho) * update**2
    return made


def adam(
    loss_or_grads: Any,
    params: Any,
    learning_rate: Any = 0.001,
    beta1: Any = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> Updates:
    """m, v: running means of g and g^2; p - rate sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + epsilon)."""
    made: Updates = OrderedDict()
    grads = get_or_compute_grads(loss_or_grads, params)
    t_prev: Any = SharedVariable(floatX(0.0))
    t = t_prev + 1
    rate = learning_rate * ops.sqrt(1 - beta2**t) / (1 - beta1**t)
    for param, g in zip(params, grads, strict=True):
        m_prev, v_prev = _zeros(param), _zeros(param)
        m = beta1 * m_prev + (1 - beta1) * g
        v = beta2 * v_prev + (1 - beta2) * g**2
        made[m_prev] = m
        made[v_prev] = v
        made[param] = param - rate * m / (ops.sqrt(v) + epsilon)
    made[t_prev] = t
    return made


def adamax(
    loss_or_grads: Any,
    params: Any,
    learning_rate: Any = 0.002,
    beta1: Any = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> Updates:
    """m: running mean of g; u = max(beta2 * u, |g|); p - rate / (1 - beta1^t) * m / (u + epsilon)."""
    made: Updates = OrderedDict()
    grads = get_or_compute_grads(loss_or_grads, params)
    t_prev: Any = SharedVariable(floatX(0.0))
    t = t_prev + 1
    rate = learning_rate / (1 - beta1**t)
    for param, g in zip(params, grads, strict=True):
        m_prev, u_prev = _zeros(param), _zeros(param)
        m = beta1 * m_prev + (1 - beta1) * g
        u = ops.maximum(beta2 * u_prev, abs(g))
        made[m_prev] = m
        made[u_prev] = u
        made[param] = param - rate * m / (u + epsilon)
    made[t_prev] = t
    return made


def amsgrad(
    loss_or_grads: Any,
    params: Any,
    learning_rate: Any = 0.001,
    beta1: Any = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> Updates:
    """Adam with the largest v so far in the denominator."""
    made: Updates = OrderedDict()
    grads = get_or_compute_grads(loss_or_grads, params)
    t_prev: Any = SharedVariable(floatX(0.0))
    t = t_prev + 1
    rate = learning_rate * ops.sqrt(1 - beta2**t) / (1 - beta1**t)
    for param, g in zip(params, grads, strict=True):
        m_prev, v_prev, v_hat_prev = _zeros(param), _zeros(param), _zeros(param)
        m = beta1 * m_prev + (1 - beta1) * g
        v = beta2 * v_prev + (1 - beta2) * g**2
        v_hat = ops.maximum(v_hat_prev, v)
        made[m_prev] = m
        made[v_prev] = v
        made[v_hat_prev] = v_hat
        made[param] = param - rate * m / (ops.sqrt(v_hat) + epsilon)
    made[t_prev] = t
    return made


def norm_constraint(tensor_var: Any, max_norm: float, norm_axes: Any = None, epsilon: float = 1e-7) -> Any:
    """*tensor_var* with each unit's weights scaled down to a norm of *max_norm* at most."""
    ndim = tensor_var.ndim
    axes = tuple(norm_axes) if norm_axes is not None else default_norm_axes(ndim)
    if not axes:
        raise ValueError(f"Unsupported tensor dimensionality {ndim}. Must specify `norm_axes`")
    norms = ops.sqrt(ops.sum_(ops.sqr(tensor_var), axis=axes, keepdims=True))
    return tensor_var * (ops.clip(norms, 0, max_norm) / (epsilon + norms))


def total_norm_constraint(tensor_vars: Any, max_norm: float, epsilon: float = 1e-7, return_norm: bool = False) -> Any:
    """All *tensor_vars* scaled down together, so that their joint norm is *max_norm* at most."""
    squares = [ops.sum_(ops.sqr(var)) for var in tensor_vars]
    total = ops.sqrt(ops.add(*squares))
    multiplier = ops.clip(total, 0, max_norm) / (epsilon + total)
    scaled = [step * multiplier for step in tensor_vars]
    return (scaled, total) if return_norm else scaled
