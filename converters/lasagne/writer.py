"""What writes a net layer by layer into a NetParameter, with names for all of them and their weights as blobs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from converters.lasagne.nonlinearities import (
    SELU,
    LeakyRectify,
    ScaledTanH,
    elu,
    identity,
    rectify,
    sigmoid,
    softmax,
    softplus,
    tanh,
)
from converters.lasagne.theano.shared import SharedVariable
from converters.lasagne.theano.tensor import nnet
from converters.lasagne.theano.variable import as_tensor
from converters.lasagne.utils import collect_shared_vars
from protos.errors import NetError
from protos.schema import LayerParameter, NetParameter

IN_PLACE = {"ReLU", "Sigmoid", "TanH", "ELU"}  # the original's gradient of these needs the top alone
PLAIN = {
    rectify: "ReLU", nnet.relu: "ReLU", sigmoid: "Sigmoid", tanh: "TanH", softmax: "Softmax", softplus: "BNLL",
    elu: "ELU", nnet.elu: "ELU",
}  # fmt: skip


Array = NDArray[Any]
Shape = tuple[Any, ...]


@dataclass(frozen=True)
class Blob:
    """The *values* of a blob, and the parameters of *layer* that they come from: these say whether it learns."""

    layer: Any
    params: tuple[Any, ...]
    values: Array

    @classmethod
    def of(cls, layer: Any, *names: str, join: Callable[[list[Array]], Array] | None = None) -> "Blob":
        """The parameters of these names; *join* makes one array of theirs."""
        params = tuple(getattr(layer, name) for name in names)
        arrays = [weights(param) for param in params]
        return cls(layer, params, arrays[0] if join is None else join(arrays))

    def tags(self) -> list[set[str]]:
        """The tags of the parameters; a recurrent layer's may be those of its inner layers."""
        inner = [getattr(self.layer, name, None) for name in ("input_to_hidden", "hidden_to_hidden")]
        known = {param: has for one in (*inner, self.layer) if one is not None for param, has in one.params.items()}
        return [known.get(param, set()) for param in self.params]


class Writer:
    """A net in the making, to be trained or not. ``tops``: the blob of each Lasagne layer that has been written,
    ``shapes``: the shape of each, with the sizes that ``to_net`` was given."""

    def __init__(self, name: str, training: bool = False, shapes: Mapping[Any, Shape] | None = None) -> None:
        self.training = training
        self.shapes = dict(shapes or {})
        self._owners: dict[tuple[Any, ...], tuple[LayerParameter, int]] = {}
        self.net = NetParameter(name=name)
        self.tops: dict[Any, str] = {}
        self.names: dict[Any, str] = {}
        self.taken: set[str] = set()

    def name(self, layer: Any) -> str:
        """The name of a Lasagne layer: its own, or its kind and a number."""
        if layer not in self.names:
            self.names[layer] = self.free(layer.name or type(layer).__name__.removesuffix("Layer").lower())
        return self.names[layer]

    def free(self, stem: str) -> str:
        """*stem*, with a number behind it where it is taken."""
        name, count = stem, 1
        while name in self.taken:
            count += 1
            name = f"{stem}_{count}"
        self.taken.add(name)
        return name

    def add(self, kind: str, name: str, bottoms: Sequence[str], top: str | None = None, blobs: Sequence[Any] = ()) -> LayerParameter:  # fmt: skip  # noqa: E501
        """A layer of this *kind*; its top is called like itself unless *top* says otherwise."""
        layer: LayerParameter = self.net.layer.add(name=name, type=kind)
        layer.bottom.extend(bottoms)
        layer.top.append(top or name)
        for i, blob in enumerate(blobs):
            values = np.array(blob.values if isinstance(blob, Blob) else blob, np.float32)
            message = layer.blobs.add()
            message.shape.dim.extend(values.shape)
            message.data.extend(values.ravel().tolist())
            if self.training:
                self._rate(layer, i, blob)
        return layer

    def _rate(self, made: LayerParameter, i: int, blob: Any) -> None:
        """How blob *i* learns: not at all without the tag "trainable" or a parameter, and together where shared."""
        spec = made.param.add()
        tags = blob.tags() if isinstance(blob, Blob) else [set()]
        learns, decays = (all(tag in has for has in tags) for tag in ("trainable", "regularizable"))
        if not learns and any("trainable" in has for has in tags):
            raise NetError(f"{blob.layer}: some parameters of a blob are trainable, others are not: "
                           "a net has one rate for the whole blob")  # fmt: skip
        if not learns:
            spec.lr_mult = 0
        if not decays:
            spec.decay_mult = 0
        if not learns:
            return
        if any(not isinstance(param, SharedVariable) and collect_shared_vars([param]) for param in blob.params):
            raise NetError(f"{blob.layer}: a parameter is an expression of others, which a net cannot train: "
                           "train it in Python, or give the layer parameters of its own")  # fmt: skip
        self._share(made, i, blob)

    def _share(self, made: LayerParameter, i: int, blob: Blob) -> None:
        for param in blob.params:
            for seen, (owner, place) in self._owners.items():
                if param not in seen:
                    continue
                same = seen == blob.params and owner.type == made.type
                if not same or owner.blobs[place].SerializeToString() != made.blobs[i].SerializeToString():
                    raise NetError(f"{blob.layer}: it shares {param} with layer '{owner.name}' in another layout; "
                                   "in a net they would be trained apart")  # fmt: skip
                owner.param[place].name = made.param[i].name = owner.param[place].name or f"{owner.name}_{place}"
                return
        self._owners[blob.params] = (made, i)

    def before(self, layer: Any) -> list[Shape]:
        """The shapes of *layer*'s inputs."""
        above = getattr(layer, "input_layers", None) or [layer.input_layer]
        return [tuple(self.shapes[one]) for one in above]

    def shape(self, layer: Any) -> Shape:
        """The shape of *layer*'s output."""
        return tuple(self.shapes[layer])

    def main(self, layer: Any, kind: str, bottoms: Sequence[str], blobs: Sequence[Any] = ()) -> LayerParameter:
        """The layer that carries *layer*'s name, with room for its nonlinearity behind it."""
        name = self.name(layer)
        return self.add(kind, name, bottoms, self.linear_top(layer), blobs)

    def linear_top(self, layer: Any) -> str:
        """The blob in front of *layer*'s nonlinearity."""
        name = self.name(layer)
        function = getattr(layer, "nonlinearity", identity)
        return name if not _steps(function, layer) or self._fits_in_place(function, layer) else self.free(f"{name}_in")

    def _fits_in_place(self, function: Any, layer: Any) -> bool:
        steps = _steps(function, layer)
        return len(steps) == 1 and steps[0][0] in IN_PLACE

    def activate(self, layer: Any, bottom: str) -> str:
        """*layer*'s nonlinearity of the blob *bottom*; the blob that carries the layer's name."""
        name = self.name(layer)
        steps = _steps(getattr(layer, "nonlinearity", identity), layer)
        for i, (kind, options) in enumerate(steps):
            top = name if i == len(steps) - 1 else self.free(f"{name}_{kind.lower()}")
            made = self.add(kind, self.free(f"{name}_{kind.lower()}"), [bottom], top)
            for field, figures in options.items():
                for key, figure in figures.items():
                    setattr(getattr(made, field), key, figure)
            bottom = top
        return bottom


Steps = list[tuple[str, dict[str, dict[str, float]]]]


def _steps(function: Any, layer: Any) -> Steps:
    """The Caffe layers that make up a nonlinearity. Raises NetError where there are none."""
    if function is None or function is identity:
        return []
    if isinstance(function, LeakyRectify):
        return [("ReLU", {"relu_param": {"negative_slope": function.leakiness}})]
    if isinstance(function, ScaledTanH):
        return [*_scaled(function.scale_in), ("TanH", {}), *_scaled(function.scale_out)]
    if isinstance(function, SELU):
        return [("ELU", {"elu_param": {"alpha": function.scale_neg}}), *_scaled(function.scale)]
    kind = PLAIN.get(function)
    if kind is None:
        name = getattr(function, "__name__", type(function).__name__)
        raise NetError(f"{layer}: nonlinearity {name} has no counterpart in a graph: use one of lasagne.nonlinearities")
    return [(kind, {})]


def _scaled(scale: float) -> Steps:
    return [] if scale == 1 else [("Power", {"power_param": {"scale": scale}})]


def weights(param: Any) -> Any:
    """A parameter as an array."""
    return as_tensor(param).detach().cpu().to(torch.float64).numpy()
