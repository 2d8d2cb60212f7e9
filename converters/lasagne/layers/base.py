"""The bases of all layers of ``lasagne.layers``: nodes of a graph, with parameters and their tags."""

import copy
import functools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from converters.lasagne import utils
from converters.lasagne.nonlinearities import identity
from converters.lasagne.theano.shared import SharedVariable
from converters.lasagne.theano.variable import (
    Apply,
    Constant,
    Variable,
    as_tensor,
    evaluate,
    now,
    running,
    variables_in,
)

Shape = tuple[Any, ...]

PROBES = (23, 31)  # what an open size stands for while shapes are found; primes, so that nothing fits by chance


class Layer:
    """A layer behind one other, *incoming*: a layer, or a shape in place of one.

    Scripts subclass it with ``get_output_for`` and ``get_output_shape_for``, as in the original.
    """

    def __init__(self, incoming: Any, name: str | None = None) -> None:
        if isinstance(incoming, tuple):
            self.input_shape: Any = incoming
            self.input_layer: Layer | None = None
        else:
            self.input_shape = incoming.output_shape
            self.input_layer = incoming
        self.name = name
        self.params: OrderedDict[Any, set[str]] = OrderedDict()
        self.roles: list[str] = []
        self.get_output_kwargs: list[str] = []
        if any(size is not None and size <= 0 for size in self._sizes()):
            raise ValueError(f"Cannot create Layer with a non-positive input_shape dimension: {self.input_shape}")

    def _sizes(self) -> list[Any]:
        return list(self.input_shape)

    @property
    def output_shape(self) -> Shape:
        """The shape of the output; None where it is open."""
        shape = self.get_output_shape_for(self.input_shape)
        if any(isinstance(size, Variable) for size in shape):
            raise ValueError(f"{self}: output_shape must hold numbers and None only, not {shape}")
        return tuple(shape)

    def get_params(self, unwrap_shared: bool = True, **tags: bool) -> list[Any]:
        """The parameters, in order of creation, that have (True) or have not (False) the *tags*."""
        wanted = {tag for tag, value in tags.items() if value}
        unwanted = {tag for tag, value in tags.items() if not value}
        found = [param for param, has in self.params.items() if wanted <= has and not unwanted & has]
        return utils.collect_shared_vars(found) if unwrap_shared else found

    def get_output_shape_for(self, input_shape: Any) -> Any:
        """The shape of the output for an input of this shape; here the same."""
        return input_shape

    def get_output_for(self, input: Any, **kwargs: Any) -> Any:
        """The output, from the input. Raises NotImplementedError in the base."""
        raise NotImplementedError(f"{type(self).__name__} has no get_output_for(input, **kwargs)")

    def add_param(self, spec: Any, shape: Sequence[int], name: str | None = None, **tags: bool) -> Any:
        """A parameter from *spec*, see ``utils.create_param``; trainable and regularizable unless *tags* say no."""
        self.roles += [name] if name is not None else []
        if name is not None and self.name is not None:
            name = f"{self.name}.{name}"
        param = utils.create_param(spec, shape, name)
        tags = {"trainable": True, "regularizable": True, **tags}
        self.params[param] = {tag for tag, value in tags.items() if value}
        return param

    def reads(self) -> list[Variable]:
        """The variables whose values ``forward`` looks up: the parameters, and what a script put in their places."""
        held = [getattr(self, role, None) for role in self.roles]
        return utils.unique([*self.get_params(unwrap_shared=False), *variables_in(held)])

    def __str__(self) -> str:
        return f"{type(self).__name__} '{self.name}'" if self.name else type(self).__name__


class MergeLayer(Layer):
    """A layer behind several others."""

    def __init__(self, incomings: Sequence[Any], name: str | None = None) -> None:
        self.input_shapes = [item if isinstance(item, tuple) else item.output_shape for item in incomings]
        self.input_layers = [None if isinstance(item, tuple) else item for item in incomings]
        self.name = name
        self.params = OrderedDict()
        self.roles = []
        self.get_output_kwargs = []

    @property
    def output_shape(self) -> Shape:
        """The shape of the output; None where it is open."""
        return tuple(self.get_output_shape_for(self.input_shapes))

    def get_output_shape_for(self, input_shape: Any) -> Any:
        """The shape of the output for inputs of these shapes. Raises NotImplementedError in the base."""
        raise NotImplementedError(f"{type(self).__name__} has no get_output_shape_for(input_shapes)")

    def get_output_for(self, input: Any, **kwargs: Any) -> Any:
        """The output, from the list of inputs. Raises NotImplementedError in the base."""
        raise NotImplementedError(f"{type(self).__name__} has no get_output_for(input, **kwargs)")


class Computed(Layer):
    """A layer that computes by ``forward``, on tensors; its shape is found by running that on shapes alone."""

    def forward(self, x: Any, **kwargs: Any) -> Any:
        """The output tensor, from the input tensor (a list of them in a merging layer)."""
        raise NotImplementedError

    def get_output_for(self, input: Any, **kwargs: Any) -> Any:
        """The output: a variable for a variable, at once for a tensor."""
        if any(True for _ in variables_in(input)):
            run = Run(self, kwargs)
            node = Apply(run, [input, run.reads], {})
            node.name = str(self)
            node.ndim_ = self._ndim()
            return node
        many = isinstance(input, list | tuple)
        return self.forward([as_tensor(x) for x in input] if many else as_tensor(input), **kwargs)

    def _ndim(self) -> int | None:
        """The number of axes of the output; None where only a run can tell."""
        try:
            return len(self.output_shape)
        except (ValueError, RuntimeError, TypeError):
            return None

    def get_output_shape_for(self, input_shape: Any) -> Any:
        """The shape of the output; sizes that follow an open size of the input are open."""
        first, second = (self._probe(input_shape, size) for size in PROBES)
        return tuple(a if a == b else None for a, b in zip(first, second, strict=True))

    def _probe(self, shapes: Any, size: int) -> tuple[int, ...]:
        filled = [_meta(shape, size) for shape in shapes] if isinstance(self, MergeLayer) else _meta(shapes, size)
        with torch.no_grad():
            return tuple(self.shape_probe(filled).shape)

    def shape_probe(self, x: Any) -> Tensor:
        """A run for the shape alone."""
        made: Tensor = self.forward(x, deterministic=True)
        return made


class ComputedMerge(Computed, MergeLayer):
    """A merging layer that computes by ``forward``."""


class Run:
    """The ``forward`` of a layer as it is now, as a function of its input and of the values of what it reads.

    What is done to the layer later, such as another W, is of no account for what was built before.
    """

    def __init__(self, layer: Computed, options: Mapping[str, Any]) -> None:
        self.layer = copy.copy(layer)
        self.options = options
        self.reads = layer.reads()

    def __call__(self, input: Any, values: Sequence[Any]) -> Any:
        with running({**now(), **dict(zip(self.reads, values, strict=True))}):
            return self.layer.forward(input, **self.options)


def _meta(shape: Sequence[Any], size: int) -> Tensor:
    return torch.empty([size if n is None else n for n in shape], device="meta", dtype=torch.float64)


def value(param: Any, like: Tensor) -> Tensor:
    """The value of a parameter, on the device of *like*; a run for the shape sees no values."""
    known = now()
    if param in known:
        tensor = as_tensor(known[param])
    elif isinstance(param, SharedVariable):
        tensor = param.tensor
    else:
        tensor = worked_out(param)
    if like.device.type == "meta":
        return tensor.detach().to("meta")
    return tensor.to(like.device)


def matched(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """All tensors in the widest of their dtypes."""
    kind = x.dtype
    for other in others:
        kind = torch.promote_types(kind, other.dtype)
    return tuple(tensor.to(kind) for tensor in (x, *others))


def with_param(x: Tensor, param: Any) -> tuple[Tensor, Tensor]:
    """*x* and the value of *param*, ready to be computed with."""
    return matched(x, value(param, x))  # type: ignore[return-value]  # two in, two out


def worked_out(found: Any) -> Tensor:
    """The tensor of *found*, a variable or a value, with gradients where those are on."""
    return as_tensor(evaluate([found], None, torch.is_grad_enabled())[0] if isinstance(found, Variable) else found)


def number(value: Any) -> float:
    """A number, or that which a variable holds now."""
    return float(worked_out(value)) if isinstance(value, Variable) else float(value)


def plain(nonlinearity: Any) -> Any:
    """*nonlinearity*, or the identity for None."""
    return identity if nonlinearity is None else nonlinearity


def call(function: Any, *values: Any, **options: Any) -> Any:
    """What *function* makes of *values*. One of the script's own is written for variables: it gets such of tensors."""
    if is_ours(function) or not any(isinstance(value, Tensor) for value in values):
        return function(*values, **options)
    return worked_out(function(*[Constant(x) if isinstance(x, Tensor) else x for x in values], **options))


def is_ours(function: Any) -> bool:
    """Whether *function* is of this package, of torch or of Python, which take tensors."""
    while isinstance(function, functools.partial):
        function = function.func
    module = getattr(function, "__module__", None) or type(function).__module__
    return str(module).split(".")[0] in ("converters", "torch", "builtins")
