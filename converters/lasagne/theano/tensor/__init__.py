"""``theano.tensor``: input variables and functions of them."""

from types import ModuleType
from typing import Any

from converters.lasagne.theano.elemwise import Elemwise
from converters.lasagne.theano.gradient import Lop, Rop, grad, hessian, jacobian
from converters.lasagne.theano.tensor import (
    extra_ops,
    form,
    kinds,
    more,
    nlinalg,
    nnet,
    ops,
    shared_randomstreams,
    signal,
)
from converters.lasagne.theano.tensor.kinds import TensorType, as_tensor_variable, constructors
from converters.lasagne.theano.tensor.var import TensorConstant, TensorVariable
from converters.lasagne.theano.variable import Variable

_RENAMED = {
    "sum": "sum_", "max": "max_", "min": "min_", "all": "all_", "any": "any_", "round": "round_", "abs": "abs_",
    "where": "switch", "pow": "power", "square": "sqr", "div": "true_div", "largest": "largest_",
}  # fmt: skip


def _functions(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if not name.startswith("_") and callable(value)}


_found = _functions(more) | _functions(form) | _functions(ops)
globals().update(constructors() | _found | {name: _found[own] for name, own in _RENAMED.items()})
for _name in ("cumprod", "diagonal", "fill", "nonzero_values", "ones_like", "ptp", "take", "zeros_like"):
    setattr(Variable, _name, _found[_name])
setattr(Variable, "type", property(lambda self: TensorType(self.dtype, self.broadcastable)))  # noqa: B010  # for mypy
for _name in ("conj", "conjugate", "copy"):
    setattr(Variable, _name, lambda self: self)
discrete_dtypes = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
float_dtypes = ("float16", "float32", "float64")
constant = as_tensor_variable


def __getattr__(name: str) -> Any:
    raise AttributeError(f"theano.tensor.{name} is not supported here: write it with the functions that are")


__all__ = [
    "Elemwise",
    "Lop", "Rop", "TensorConstant", "TensorType", "TensorVariable", "as_tensor_variable", "constant", "extra_ops",
    "grad", "hessian", "jacobian", "kinds", "nlinalg", "nnet", "shared_randomstreams", "signal",
]  # fmt: skip
