"""``caffe.Net``: a net that runs layer by layer, forwards and backwards, on blobs that scripts read and write."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from converters.layout import top_shapes
from converters.pycaffe import mode
from converters.pycaffe.batches import Whole, batches, count_of
from converters.pycaffe.blob import Array, Blob, BlobVec, Learnable
from converters.pycaffe.early import Early
from converters.pycaffe.held import Held
from converters.pycaffe.steps import Step, differentiated, steps_of
from converters.pycaffe.thrown import AsRaised
from converters.pycaffe.watched import Watched
from data.memory import MemoryData
from nets.inputs import Inputs
from nets.layer import Shape, shape_text
from nets.layers.python import Python
from nets.model import load
from nets.net import Net as Module
from nets.placement import place
from nets.reread import Reread, joined
from nets.solver import share_blobs
from nets.weights import load_weights, save_weights
from protos.errors import CaffeError, NetError
from protos.registry import suggest
from protos.schema import TEST, TRAIN

Path_ = str | bytes | os.PathLike[str]


class Net(Early, Watched):
    """``Net(prototxt, weights, phase)`` or ``Net(prototxt, phase, level=0, stages=(), weights=None)``, with phase
    ``caffe.TRAIN`` or ``caffe.TEST``.

    ``blobs`` and ``params`` are ordered dicts of name to blob, and to list of blobs. ``module`` is the `nets.Net` that
    computes. There are no Split layers and none of their blobs: a blob has one name for all who take it. Python layers
    run their code, as they did.
    """

    def __init__(
        self,
        network_file: Path_,
        *arguments: Any,
        phase: int | None = None,
        weights: Path_ | None = None,
        level: int = 0,
        stages: Iterable[str] | None = None,
    ) -> None:
        file, said, more = _constructed(arguments, phase)
        given = dict(zip(("level", "stages", "weights"), more, strict=False))
        name = "TRAIN" if said == TRAIN else "TEST"
        level, stages = given.get("level", level), given.get("stages", stages) or ()
        with AsRaised():
            module = load(os.fsdecode(network_file), None, name, level, stages, allow_python=True)
        self._take(place(module, mode.device()), None, None)
        for path in (file, given.get("weights", weights)):
            if path is not None:
                self.copy_from(path)

    def move(self) -> None:
        """Go where the mode says; the blobs are new ones there."""
        if self._device != mode.device():
            self._take(place(self.module, mode.device()), None, None)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise CaffeError("a caffe.Net is not copied or pickled: save its weights, and make it anew from its prototxt")

    @classmethod
    def around(cls, module: Module, inputs: Inputs, held: Held) -> "Net":
        """The net that *module* is, which draws its batches from *inputs*, some of which are *held*."""
        made = cls.__new__(cls)
        made._take(module, inputs, held)
        return made

    def _take(self, module: Module, inputs: Inputs | None, held: Held | None) -> None:
        self.module = module
        self._feeding = inputs
        self._steps = steps_of(module)
        self._tape: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        self._reread: dict[int, Reread] = {}
        self._overwritten = {module.nodes[i][0].name: blob for i, blob in module.overwritten.items()}
        self._callbacks = {}
        own = next(chain(module.parameters(), module.buffers()), None)
        self._device = mode.device() if own is None else own.device
        self.blobs: OrderedDict[str, Blob] = OrderedDict()
        for step in self._steps:
            for top in step.tops:
                self.blobs.setdefault(top, Blob(torch.zeros(module.shapes[top], device=self._device)))
        self.params: OrderedDict[str, BlobVec] = OrderedDict()
        shown: dict[int, Blob] = {}  # layers that share a tensor share what a script sees of it
        for step in self._steps:
            if step.layer is not None and step.layer.blobs:
                seen = [shown.setdefault(id(x), Learnable(x)) for x in step.layer.blobs]
                self.params[step.name] = BlobVec(seen, step.layer, self._tape.clear)
        self._held = Held(module.graph, self._device) if held is None else held
        self._held.blobs = self.blobs
        for name, values in self._held.constants.items():
            self.blobs[name].values.put(values.clone())
        self._share_with_users()
        self._prepare_losses()
        self._gets = differentiated(self._steps, self.module.graph.param.force_backward)

    def _share_with_users(self) -> None:
        """Let the blobs of a Python layer be those that the script sees in ``params``, too."""
        for step in self._steps:
            if isinstance(step.layer, Python):
                for shown, own in zip(self.params.get(step.name, ()), step.layer.user.blobs, strict=True):
                    own.data = shown.data

    def _prepare_losses(self) -> None:
        """Put the weight of each loss in its diff, where the backward pass begins."""
        for step in self._steps:
            if step.node is not None:
                for top, weight in zip(step.tops, step.node.loss_weights, strict=True):
                    if weight:
                        self.blobs[top].gradient.values().fill_(weight)

    # ---- forwards

    def forward(
        self, blobs: Sequence[str] | None = None, start: str | None = None, end: str | None = None, **kwargs: Any
    ) -> dict[str, Array]:
        """Run the layers from *start* to *end*, both included, on the inputs in *kwargs*: {blob: data}.

        Without *kwargs* the inputs are what their blobs hold. The blobs given back are the outputs, or the tops of
        *end*, and *blobs*.
        """
        self._fill(kwargs, self.inputs, "Input blob arguments do not match net inputs.")
        first, last = self._place(start, 0), self._place(end, len(self._steps) - 1)
        self._run_through(first, last)
        wanted = self.outputs if end is None else list(self._steps[last].tops)
        return {name: self._blob(name).data for name in dict.fromkeys([*wanted, *(blobs or ())])}

    def _fill(self, given: Mapping[str, Any], names: Iterable[str], complaint: str) -> None:
        if not given:
            return
        if set(given) != set(names):
            raise NetError(f"{complaint[:-1]}: given {', '.join(sorted(given))}; there are {', '.join(names)}")
        for name, values in given.items():
            blob = self.blobs[name]
            if len(values) != blob.shape[0]:
                raise NetError(f"Input is not batch sized: '{name}' has {len(values)} items, its blob {blob.shape[0]}")
            blob.data[...] = values

    def _place(self, name: str | None, default: int) -> int:
        if name is None:
            return default
        if name not in self._layer_names:
            raise NetError(f"the net has no layer '{name}'{suggest(name, self._layer_names)}")
        return self._layer_names.index(name)

    def _blob(self, name: str) -> Blob:
        if name not in self.blobs:
            raise NetError(f"the net has no blob '{name}'{suggest(name, self.blobs)}")
        return self.blobs[name]

    def _forward(self, start: int, end: int) -> float:
        """Run these layers, by their numbers: the loss that they make."""
        self._run_through(start, end)
        losses = [
            weight * float(self.blobs[top].values.values().sum())
            for step in self._steps[start : end + 1]
            if step.node is not None
            for top, weight in zip(step.tops, step.node.loss_weights, strict=True)
            if weight
        ]
        return sum(losses, 0.0)

    @torch.no_grad()
    def _run_through(self, first: int, last: int) -> None:
        self.bring_parameters()
        with AsRaised():
            for i in range(first, last + 1):
                self._call_back("before_forward", i)
                self._run(i)
                self._call_back("after_forward", i)

    def bring_parameters(self) -> None:
        """Let the module see what was written to the arrays of its blobs; on a CPU both are one memory."""
        if self._device.type == "cpu":
            return
        for blobs in self.params.values():
            for blob in blobs:
                blob.values.values()

    def _run(self, i: int) -> None:
        step = self._steps[i]
        if step.layer is None or step.node is None:
            if step.type != "Input":
                self._take_batch(step)
            return
        if self._gets[i].any:
            bottoms, tops = self._tape[i] = self._taped(i)
        else:
            bottoms, tops = self._ran(step, [self.blobs[name].values.values() for name in step.bottoms])
        for name, top in zip(step.tops, tops, strict=True):
            memory = self.blobs[name].values
            memory.put(top if memory.is_shown or name in step.bottoms else _own(top, bottoms))

    def _ran(self, step: Step, bottoms: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        if step.node is None or step.layer is None:
            return [], []
        tops = self.module.run_layer(step.node, step.layer, bottoms)
        return bottoms, list(tops) if isinstance(tops, tuple) else [tops]

    def _taped(self, i: int) -> tuple[list[Tensor], list[Tensor]]:
        """The bottoms of a layer, and what it makes of them, of which the gradient can be asked."""
        step = self._steps[i]
        wanted = zip(step.bottoms, self._gets[i].bottoms, strict=True)
        leaves = [self._leaf(name, name in step.tops).requires_grad_(want) for name, want in wanted]
        with torch.enable_grad():
            _, tops = self._ran(step, leaves)
            if step.name in self._overwritten and tops[0].requires_grad and step.layer is not None:
                self._reread[i] = Reread(step.layer, self._overwritten[step.name], step.tops == step.bottoms)
                tops = [joined(leaves[0], tops[0], self._reread[i])]
        return leaves, tops

    def _leaf(self, name: str, in_place: bool) -> Tensor:
        """The values of a blob for a layer to keep; what works in place would overwrite them in the script's array."""
        memory = self.blobs[name].values
        return memory.values().clone() if in_place and memory.is_shown else memory.values()

    def _take_batch(self, step: Step) -> None:
        source = [source.name for source in self.module.graph.sources].index(step.name)
        for top, values in self._feed().sources[source].next().items():
            if top not in self._held.constants:
                self.blobs[top].values.put(values.clone())  # it may be a view of all that the source holds

    def _feed(self) -> Inputs:
        """What feeds the net, opened when it is first needed."""
        if self._feeding is None:
            self._feeding = Inputs(self.module.graph, self._device, None, held=self._held)
        return self._feeding

    def forward_all(self, blobs: Sequence[str] | None = None, **kwargs: Any) -> dict[str, Array]:
        """``forward`` on inputs of any number of items, batch by batch: {blob: data of all items}."""
        found = Whole(count_of(kwargs))
        for batch in self._batch(kwargs):
            found.add(self.forward(blobs=blobs, **batch))
        return found.arrays

    def forward_backward_all(
        self, blobs: Sequence[str] | None = None, diffs: Sequence[str] | None = None, **kwargs: Any
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """``forward`` and ``backward``, batch by batch; *kwargs* are inputs, and diffs of the outputs."""
        inputs = {name: kwargs[name] for name in self.inputs if name in kwargs}
        gradients = {name: kwargs[name] for name in self.outputs if name in kwargs}
        found, back = Whole(count_of(inputs)), Whole(count_of(inputs))
        none: dict[str, Any] = {}
        for batch, of_tops in zip_longest(self._batch(inputs), self._batch(gradients), fillvalue=none):
            found.add(self.forward(blobs=blobs, **batch))
            back.add(self.backward(diffs=diffs, **of_tops))
        return found.arrays, back.arrays

    def _batch(self, arrays: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        return batches(arrays, self.blobs[next(iter(arrays))].shape[0] if arrays else 1)

    # ---- backwards

    def backward(
        self, diffs: Sequence[str] | None = None, start: str | None = None, end: str | None = None, **kwargs: Any
    ) -> dict[str, Array]:
        """Run the layers backwards from *start* to *end*, both included: {blob: diff}.

        It begins with the diffs of the tops of *start*, those in *kwargs* or else those that the blobs hold; a loss
        holds its weight. The diffs of learnable blobs are added to what they hold, all others are replaced. The blobs
        given back are the inputs, or the bottoms of *end*, and *diffs*.
        """
        if kwargs:
            self._fill_diffs(kwargs)
        first, last = self._place(start, len(self._steps) - 1), self._place(end, 0)
        self._backward(first, last)
        wanted = self.inputs if end is None else list(self._steps[last].bottoms)
        return {name: self._blob(name).diff for name in dict.fromkeys([*wanted, *(diffs or ())])}

    def _fill_diffs(self, given: Mapping[str, Any]) -> None:
        if set(given) != set(self.outputs):
            names = f"given {', '.join(sorted(given))}; there are {', '.join(self.outputs)}"
            raise NetError(f"Top diff arguments do not match net outputs: {names}")
        for name, values in given.items():
            blob = self.blobs[name]
            if np.ndim(values) and len(values) != (blob.shape or (1,))[0]:
                raise NetError(f"Diff is not batch sized: '{name}' has {len(values)} items, its blob {blob.shape[0]}")
            blob.diff[...] = values

    def _backward(self, first: int, last: int) -> None:
        renewed: set[str] = set()
        with AsRaised():
            for i in range(first, last - 1, -1):
                self._call_back("before_backward", i)
                if self._gets[i].any:
                    self._run_back(i, renewed)
                self._call_back("after_backward", i)

    def _run_back(self, i: int, renewed: set[str]) -> None:
        """The diffs of a layer's bottoms and blobs; *renewed*: the bottoms that got theirs in this pass."""
        step, layer = self._steps[i], self._steps[i].layer
        if layer is None:
            return
        if not self._fits(i):  # the layer has not run, or not on this shape: go back from what the blobs hold
            self.bring_parameters()
            self._tape[i] = self._taped(i)
        leaves, tops = self._tape[i]
        for name, top in zip(step.tops, tops, strict=True):
            if self.blobs[name].shape != tuple(top.shape):
                made = f"is {shape_text(self.blobs[name].shape)}, and the layer makes {shape_text(tuple(top.shape))}"
                raise NetError(
                    f"layer '{step.name}' ({step.type}): blob '{name}' {made}; call net.reshape() or forward"
                )
        if i in self._reread:
            self._reread[i].final = self.blobs[self._reread[i].blob].values.values()
        ends = [(top, self.blobs[name].gradient.values()) for name, top in zip(step.tops, tops, strict=True)]
        ends = [(top, gradient.to(top.dtype)) for top, gradient in ends if top.requires_grad]
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        learned = [blob for blob in layer.blobs if blob.requires_grad]
        sources = [*wanted, *learned]
        given = [gradient for _, gradient in ends]
        found = torch.autograd.grad([top for top, _ in ends], sources, given, retain_graph=True, allow_unused=True)
        by_source = {id(x): g for x, g in zip(sources, found, strict=True) if g is not None}
        self._store_bottoms(step, leaves, by_source, renewed)
        replaced = layer.replaces([self.blobs[name].shape for name in step.bottoms])
        for (name, blob), shown in zip(layer.blob_items, self.params.get(step.name, ()), strict=True):
            if id(blob) in by_source:
                gradient = by_source[id(blob)]
                shown.gradient.put(gradient.clone() if name in replaced else shown.gradient.values() + gradient)

    def _fits(self, i: int) -> bool:
        """Whether a layer ran on bottoms of the shapes that they have now."""
        shapes = [self.blobs[name].shape for name in self._steps[i].bottoms]
        return i in self._tape and [tuple(leaf.shape) for leaf in self._tape[i][0]] == shapes

    def _store_bottoms(
        self, step: Step, leaves: list[Tensor], by_source: Mapping[int, Tensor], renewed: set[str]
    ) -> None:
        renewed -= {*step.tops}  # in place, or a new blob: what comes now is all that there is
        for name, leaf in zip(step.bottoms, leaves, strict=True):
            if leaf.requires_grad:
                gradient = by_source.get(id(leaf), torch.zeros_like(leaf)).detach()
                memory = self.blobs[name].gradient
                memory.put(memory.values() + gradient if name in renewed else gradient.clone())
                renewed.add(name)

    def clear_param_diffs(self) -> None:
        """Set the diffs of all learnable blobs to zero."""
        for blobs in self.params.values():
            for blob in blobs:
                blob.gradient.put(torch.zeros_like(blob.gradient.values()))

    # ---- shapes, inputs, files

    def reshape(self) -> None:
        """Give all blobs the shapes that follow from those of the inputs, as ``forward`` does by itself."""
        inputs = {name: self.blobs[name].shape for name in self.module.graph.inputs}
        shapes: dict[str, Shape] = {}
        for (node, _), made in zip(self.module.nodes, top_shapes(self.module, inputs), strict=True):
            shapes.update(zip(node.tops, made, strict=True))
        for name, shape in shapes.items():
            if self.blobs[name].shape != shape:
                self.blobs[name].reshape(*shape)

    def set_input_arrays(self, data: Array, labels: Array) -> None:
        """Let the MemoryData layer go round in *data* (B x C x H x W) and *labels* (B)."""
        for source in self._feed().sources if self.module.graph.sources else ():
            if isinstance(source, MemoryData):
                source.set_arrays(data, labels)
                return
        raise NetError("set_input_arrays: the net has no MemoryData layer")

    _set_input_arrays = set_input_arrays

    def copy_from(self, path: Path_) -> None:
        """Take the blobs of the layers that the weights file at *path* has, by their names."""
        load_weights(self.module, os.fsdecode(path), any_names=True)
        self.show({}, {})

    def show(self, values: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> None:
        """Let the blobs have these *values* and *gradients*, and the learnable ones what the module's tensors hold."""
        for name, x in values.items():
            self.blobs[name].values.put(x.clone() if name in self.module.graph.inputs else x)
        for name, x in gradients.items():
            self.blobs[name].gradient.put(x.clone())
        for tensor, blob in self._learnable():
            blob.values.put(tensor)
            if tensor.grad is not None:
                blob.gradient.put(tensor.grad)

    def bring_gradients(self) -> None:
        """Let the module's tensors have the diffs of their blobs as gradients."""
        for tensor, blob in self._learnable():
            if tensor.requires_grad:
                tensor.grad = blob.gradient.values().clone().reshape(tensor.shape)

    def _learnable(self) -> Iterator[tuple[Tensor, Blob]]:
        for step in self._steps:
            if step.layer is not None:
                yield from zip(step.layer.blobs, self.params.get(step.name, ()), strict=True)

    load_hdf5 = copy_from

    def save(self, path: Path_) -> None:
        """Write the weights as a ``.caffemodel``."""
        self.bring_parameters()
        save_weights(self.module, os.fsdecode(path))

    def save_hdf5(self, path: Path_) -> None:
        """Write the weights as HDF5."""
        self.bring_parameters()
        save_weights(self.module, os.fsdecode(path), hdf5=True)

    def share_with(self, other: "Net") -> None:
        """Use the learnable blobs of *other*'s layers of the same names."""
        share_blobs(self.module, other.module)
        self.show_blobs_of(other)

    def show_blobs_of(self, other: "Net") -> None:
        """Let the learnable blobs of layers that share them with *other* be the same to a script, too."""
        shown = {id(tensor): blob for tensor, blob in other._learnable()}
        for step in self._steps:
            if step.name in self.params and step.layer is not None:
                own = zip(step.layer.blobs, self.params[step.name], strict=True)
                self.params[step.name].show([shown.get(id(tensor), blob) for tensor, blob in own])
        self._share_with_users()
        self._tape.clear()


def _own(top: Tensor, bottoms: list[Tensor]) -> Tensor:
    """*top*, or a copy of it where it lies in the memory of a bottom."""
    place = top.untyped_storage().data_ptr()
    for bottom in bottoms:
        if bottom.untyped_storage().data_ptr() == place:
            return top.detach().clone()
    return top


def _constructed(arguments: tuple[Any, ...], phase: int | None) -> tuple[Path_ | None, int, tuple[Any, ...]]:
    """The weights file, the phase, and what follows it, from the two orders in which they are given."""
    if phase is None and 1 <= len(arguments) <= 4 and isinstance(arguments[0], int):
        return None, arguments[0], arguments[1:]
    if phase is None and len(arguments) == 1 and Path(os.fsdecode(arguments[0])).exists():
        return arguments[0], TEST, ()  # as in 2014, when nets had no phase of their own
    if phase is None and len(arguments) == 2 and isinstance(arguments[1], int):
        return arguments[0], arguments[1], ()
    if len(arguments) <= 1 and phase is not None:
        return (arguments[0] if arguments else None), phase, ()
    raise CaffeError("caffe.Net takes a prototxt, perhaps a weights file, and a phase: caffe.TRAIN or caffe.TEST")


__all__ = ["TEST", "TRAIN", "Net"]
