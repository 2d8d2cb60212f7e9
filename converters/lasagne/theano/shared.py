"""Shared variables: values that live as long as the program, such as the parameters of layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.lasagne.theano.config import config
from converters.lasagne.theano.variable import Variable, as_tensor, dtype_name, to_numpy


class SharedVariable(Variable):
    """A variable with a value that can be read and replaced. ``tensor`` is a leaf of torch, ready for gradients."""

    def __init__(self, value: Any, name: str | None = None, broadcastable: Sequence[bool] | None = None) -> None:
        super().__init__(name)
        self.tensor: Tensor
        self.broadcastable = tuple(broadcastable or (False,) * np.ndim(value))
        self.default_update: Any = None
        self._store(as_tensor(np.array(value) if not isinstance(value, Tensor) else value))

    def _store(self, tensor: Tensor) -> None:
        tensor = tensor.detach().to(config.torch_device)
        self.tensor = tensor.requires_grad_() if tensor.is_floating_point() else tensor

    def __getstate__(self) -> dict[str, Any]:
        # A pickle made on a GPU is to be read where there is none.
        return {**self.__dict__, "tensor": to_numpy(self.tensor)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._store(as_tensor(state["tensor"]))

    @property
    def dtype(self) -> str:
        """NumPy's name of the dtype."""
        return dtype_name(self.tensor)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.tensor.ndim

    def compute(self, known: Mapping[Variable, Any]) -> Tensor:
        """The value."""
        return self.tensor

    def get_value(self, borrow: bool = False, return_internal_type: bool = False) -> Any:
        """The value as an array; a copy unless *borrow*."""
        value = to_numpy(self.tensor)
        return value if borrow else np.array(value)

    def set_value(self, new_value: Any, borrow: bool = False) -> None:
        """Replace the value; it keeps its dtype. Raises ValueError where the number of axes differs."""
        tensor = as_tensor(new_value).detach()
        if tensor.ndim != self.tensor.ndim:
            raise ValueError(f"{self} has {self.tensor.ndim} axes, the new value {tensor.ndim}")
        tensor = tensor.to(self.tensor.dtype)
        with torch.no_grad():
            if tensor.shape == self.tensor.shape:
                self.tensor.copy_(tensor)
            else:
                self._store(tensor.clone())


TensorSharedVariable = ScalarSharedVariable = SharedVariable


class Alias(SharedVariable):
    """Another variable with the same value, as ``theano.clone(x, share_inputs=False)`` makes; its update is its own."""

    def __init__(self, original: SharedVariable) -> None:
        Variable.__init__(self, original.name)
        self.original = original
        self.broadcastable = original.broadcastable
        self.default_update = None

    @property
    def tensor(self) -> Tensor:  # type: ignore[override]  # that of the other
        """The value."""
        return self.original.tensor

    def set_value(self, new_value: Any, borrow: bool = False) -> None:
        """Replace the value of both."""
        self.original.set_value(new_value, borrow)


def shared(
    value: Any,
    name: str | None = None,
    strict: bool = False,
    allow_downcast: bool | None = None,
    broadcastable: Sequence[bool] | None = None,
    borrow: bool = False,
    target: str | None = None,
) -> SharedVariable:
    """A shared variable with a copy of *value*. The options of memory and conversion have no effect."""
    return SharedVariable(value, name, broadcastable)
