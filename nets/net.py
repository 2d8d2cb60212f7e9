"""The net as a PyTorch module: it builds the layers of a graph, runs them, and knows their learnable blobs."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nets.aliases import lost_gradients, overwritten, read_elsewhere
from nets.eager import eager
from nets.graph import Graph, Node
from nets.layer import LAYERS, Layer, Shape, shape_text
from nets.layers.layout import laid_last
from nets.layers.plain import is_plain
from nets.reread import Reread, joined
from nets.runs import Run, join, release
from protos.errors import CaffeError, NetError, listing
from protos.registry import suggest
from protos.schema import TRAIN, NetParameter, ParamSpec

log = logging.getLogger("caffe")


@dataclass(frozen=True)
class Blob:
    """A learnable blob of the net: what Caffe keeps in ``learnable_params``, in its order.

    ``key`` is its name in ``state_dict``. A blob shared by several layers stands here once, under its first owner.
    Statistics that a layer keeps by itself are here too, with an ``lr_mult`` of 0.
    """

    key: str
    tensor: Tensor
    lr_mult: float
    decay_mult: float


class Net(nn.Module):
    """A Caffe net. ``net(data=x)`` gives ``{top: tensor}`` of the tops that nobody consumes, in Caffe's order.

    An ordinary module: its children are the layers under their Caffe names, ``state_dict`` keys are ``conv1.weight``.
    A TRAIN net is in training mode, a TEST net in evaluation mode; ``train()`` and ``eval()`` switch it as usual.
    ``overwritten``: by the places of layers whose tops others overwrite before the backward pass, the blob that holds
    them then. ``detached``: by the names of layers that hold gradients back, for each bottom whether its gradient goes
    on.

    Raises NetError where shapes do not fit, naming the layer, its type and the shapes of its bottoms.
    """

    def __init__(self, graph: Graph, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.graph = graph
        self.shapes: dict[str, Shape] = _known_shapes(graph)
        self._plan: list[tuple[Node, Layer]] = []
        self._axes: list[int] = []  # of each layer's first bottom
        with torch.device("meta"):
            for node in graph.layers:
                self._append(node)
        self._allocate()
        for node, layer in self._plan:
            _reset(node, layer, generator)
        self._facts = _Sharing(self._plan).facts
        for line in read_elsewhere(self._plan):
            log.warning("%s", line)
        self.overwritten = overwritten(self._plan)
        self._joined = eager(joined) if self.overwritten else joined
        self.detached = self._find_detached()
        self._straight = _straight(self._plan, self.overwritten, self.detached)
        self._apart = [Run(i, node, layer, node.tops) for i, (node, layer) in enumerate(self._plan)]
        alone = [
            i
            for i, (node, _) in enumerate(self._plan)
            if any(node.loss_weights) or i in self.overwritten or node.name in self.detached
        ]
        kept = {*graph.outputs, *self.overwritten.values()}
        self._joint = release(join(self._apart, self._axes, alone, graph.outputs), kept)
        self._pairs = [run for run in self._joint if run.absorbed is not None]
        self._turned_at: dict[int, frozenset[int]] = {}  # by the size of a batch
        self.train(graph.phase == "TRAIN")
        for blob in self.learnable:
            if blob.tensor.is_floating_point() and isinstance(blob.tensor, nn.Parameter):
                blob.tensor.requires_grad_(blob.lr_mult != 0 or graph.param.force_backward)

    # ---- building

    def _find_detached(self) -> dict[str, tuple[bool, ...]]:
        """See ``detached``."""
        found = {
            node.name: tuple(node.proto.propagate_down)
            for node, _ in self._plan
            if not all(node.proto.propagate_down) and not self.graph.param.force_backward
        }
        for lost in lost_gradients(self._plan) if self.graph.phase == "TRAIN" else ():
            reader = self._plan[lost.reader][0]
            down = found.get(reader.name, (True,) * len(reader.bottoms))
            found[reader.name] = tuple(
                keep and name != lost.blob for name, keep in zip(reader.bottoms, down, strict=True)
            )
            log.warning(
                "%s stands behind %s: as in the original, which loses the gradient there, nothing in front learns by "
                "it; a Power layer between the two mends that",
                self._plan[lost.flatten][0], self._plan[lost.maker][0],
            )  # fmt: skip
        return found

    def _append(self, node: Node) -> None:
        bottoms = [self.shapes[name] for name in node.bottoms]
        try:
            layer = LAYERS[node.type].from_proto(node.proto, bottoms)
            layer.train(_phase_of(node, self.graph.phase))
            tops = layer.top_shapes(bottoms)
        except (RuntimeError, ValueError, IndexError, ArithmeticError, MemoryError, CaffeError) as error:
            raise _misfit(node, bottoms, error) from error
        if len(tops) != len(node.tops):
            raise NetError(f"{node} makes {len(tops)} tops, but the net names {len(node.tops)}")
        self.shapes.update(zip(node.tops, tops, strict=True))
        self._plan.append((node, layer))
        self._axes.append(len(bottoms[0]) if bottoms else 0)
        # add_module refuses names that are methods of this class, and "loss" is the commonest layer name there is.
        self._modules[self._free_key(node.name)] = layer

    def _allocate(self) -> None:
        try:
            # As to_empty does it, whose empty_like of meta tensors first loads PyTorch's compiler.
            self._apply(lambda blob: torch.empty(blob.shape, dtype=blob.dtype, device="cpu"))  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            needed = {f"{node}": sum(blob.nbytes for blob in layer.blobs) for node, layer in self._plan}
            most = max(needed, key=lambda node: needed[node])
            raise NetError(
                f"net '{self.graph.name}': there is no memory for its blobs, {sum(needed.values()) / 1e9:,.1f} GB, "
                f"{needed[most] / 1e9:,.1f} GB of it for {most}"
            ) from error

    def _free_key(self, name: str) -> str:
        stem = name.replace(".", "_")  # a dot would be a level in the keys of state_dict
        key, copies = stem, 1
        while key in self._modules:
            copies += 1
            key = f"{stem}#{copies}"
        return key

    def train(self, mode: bool = True) -> "Net":
        """Set training or evaluation mode; a layer that declares its own ``phase`` keeps that."""
        super().train(mode)
        for node, layer in self._plan:
            if node.proto.HasField("phase"):
                layer.train(node.proto.phase == TRAIN)
        return self

    # ---- running

    def forward(self, *args: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """Run the net on inputs by blob name (or in the order of ``graph.inputs``): ``{top: tensor}``.

        On a CPU its convolutions compute channels last where that is faster, unless hooks watch a layer.
        """
        blobs = self._bind(args, inputs)
        turned = self._turned(blobs)
        self._run(blobs, self.runs(), turned)
        if turned:
            return {name: blobs[name].contiguous() for name in self.graph.outputs}
        return {name: blobs[name] for name in self.graph.outputs}

    def activations(self, *args: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """Run the net and give every blob by name; a blob changed in place has its last value."""
        blobs = self._bind(args, inputs)
        self._run(blobs, self._apart)
        return blobs

    def forward_with_loss(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """``(outputs, loss)``: as ``forward``, and the sum of loss_weight * top over all tops, consumed or not."""
        blobs = self._bind((), inputs)
        loss = self._run(blobs, self.runs())
        return {name: blobs[name] for name in self.graph.outputs}, loss

    def loss(self, out: Mapping[str, Tensor]) -> Tensor:
        """The sum of loss_weight * top (a scalar) over *out*, which is what ``forward`` or ``activations`` gave."""
        total: Tensor | None = None
        for node, _ in self._plan:
            for top, weight in zip(node.tops, node.loss_weights, strict=True):
                if weight != 0:
                    if top not in out:
                        raise NetError(
                            f"loss '{top}' of {node} is consumed by another layer: give net.activations(...)"
                        )
                    total = _add(total, weight, out[top])
        return torch.zeros(()) if total is None else total

    def _bind(self, args: tuple[Tensor, ...], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = list(self.graph.inputs)
        blobs = {**dict(zip(names[: len(args)], args[: len(names)], strict=True)), **inputs}
        if blobs.keys() != self.graph.inputs.keys() or len(args) + len(inputs) != len(blobs):
            raise NetError(_wrong_inputs(names, len(args), list(inputs)))
        return blobs

    def runs(self) -> list[Run]:
        """What is run, in order, to no more than the outputs: a BatchNorm and the Scale behind it at once, unless
        someone watches either."""
        if torch.compiler.is_compiling():  # it joins them itself, and more than them
            return self._apart
        return self._apart if any(run.is_watched for run in self._pairs) else self._joint

    def _turned(self, blobs: Mapping[str, Tensor]) -> frozenset[int]:
        """The layers in front of which the blobs are laid out channels last: the rest follows of itself."""
        images = [x for x in blobs.values() if x.dim() == 4]
        if not images or not is_plain(*images):
            return frozenset()
        batch = images[0].shape[0]
        if batch not in self._turned_at:
            self._turned_at[batch] = frozenset(
                i
                for i in self._straight
                if self._axes[i] == 4
                and self._plan[i][1].likes_channels_last((batch, *self.shapes[self._plan[i][0].bottoms[0]][1:]))
            )
        turned = self._turned_at[batch]
        return frozenset() if turned and any(run.is_watched for run in self._apart) else turned

    def _run(self, blobs: dict[str, Tensor], runs: list[Run], turned: frozenset[int] = frozenset()) -> Tensor:
        loss: Tensor | None = None
        reread: list[Reread] = []
        for run in runs:
            if run.number in self._straight:  # a small net's time goes into looking what else there is to do
                bottoms = run.bottoms(blobs)
                if run.number in turned and bottoms[0].is_contiguous():
                    bottoms[0] = laid_last(bottoms[0])
                top = self.run_layer(run.node, run.layer, bottoms)
                blobs[run.tops[0]] = top[0] if isinstance(top, tuple) else top
            else:
                loss = self._run_one(run, blobs, reread, loss)
            for name in run.done:
                del blobs[name]
        for later in reread:
            later.final = blobs[later.blob].detach()
        return torch.zeros(()) if loss is None else loss

    def _run_one(self, run: Run, blobs: dict[str, Tensor], reread: list[Reread], loss: Tensor | None) -> Tensor | None:
        """Run what may have a loss, which is added to *loss*, or needs to be looked at later."""
        node, bottoms = run.node, run.bottoms(blobs)
        tops = self._call(node, run.layer, bottoms)
        if run.number in self.overwritten and tops[0].requires_grad:
            reread.append(Reread(run.layer, self.overwritten[run.number], node.tops[0] == node.bottoms[0]))
            tops = (self._joined(bottoms[0], tops[0], reread[-1]),)
        for top, weight, value in zip(run.tops, node.loss_weights, tops, strict=True):
            blobs[top] = value
            if weight:
                loss = _add(loss, weight, value)
        return loss

    def _call(self, node: Node, layer: Layer, bottoms: list[Tensor]) -> tuple[Tensor, ...]:
        if node.name in self.detached:
            down = self.detached[node.name]
            bottoms = [x if keep else x.detach() for x, keep in zip(bottoms, down, strict=True)]
        for i in layer.labels:
            if i < len(bottoms) and bottoms[i].requires_grad:
                error = NetError(f"no gradient can flow back into its bottom '{node.bottoms[i]}'")
                raise _misfit(node, [tuple(x.shape) for x in bottoms], error)
        if layer.fp32 and bottoms and torch.is_autocast_enabled(bottoms[0].device.type):
            with torch.autocast(bottoms[0].device.type, enabled=False):
                tops = self.run_layer(node, layer, [x.float() if x.is_floating_point() else x for x in bottoms])
        else:
            tops = self.run_layer(node, layer, bottoms)
        return tops if isinstance(tops, tuple) else (tops,)

    def run_layer(self, node: Node, layer: Layer, bottoms: list[Tensor]) -> Any:
        """What *layer* makes of *bottoms*. Raises NetError that names it where it cannot."""
        try:
            return layer(*bottoms)
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except (RuntimeError, IndexError, NetError) as error:
            raise _misfit(node, [tuple(x.shape) for x in bottoms[: len(node.bottoms)]], error) from error

    # ---- looking

    def layer(self, name: str) -> Layer:
        """The layer *name*; its blobs are ``net.layer(name).blobs``. Raises NetError with near matches."""
        for node, layer in self._plan:
            if node.name == name:
                return layer
        raise NetError(f"the net has no layer '{name}'{suggest(name, (node.name for node, _ in self._plan))}")

    @property
    def nodes(self) -> list[tuple[Node, Layer]]:
        """The layers in the order in which they run, each with its place in the graph."""
        return list(self._plan)

    @property
    def learnable(self) -> list[Blob]:
        """All blobs of the net in Caffe's order, each once, with its rates."""
        keys = list(self._modules)
        return [
            Blob(
                f"{keys[fact.node]}.{fact.name}",
                getattr(self._plan[fact.node][1], fact.name),
                fact.lr_mult,
                fact.decay_mult,
            )
            for fact in self._facts
        ]

    @property
    def replaced(self) -> list[Tensor]:
        """The blobs whose gradients the original does not add up over several passes, see ``Layer.replaces``."""
        found = [
            (layer, name)
            for node, layer in self._plan
            for name in layer.replaces([self.shapes[bottom] for bottom in node.bottoms])
        ]
        return [getattr(layer, name) for layer, name in found]

    def forget(self) -> None:
        """Begin anew: let go of the states that LSTM and RNN layers carry from one pass to the next."""
        for _, layer in self._plan:
            layer.carried = ()

    def to_proto(self, weights: bool = False) -> NetParameter:
        """The net as a message: the layers of its phase as they were declared; with *weights*, their blobs too."""
        param = NetParameter()
        param.CopyFrom(self.graph.param)
        if weights:
            layers = {node.name: layer for node, layer in reversed(self._plan)}
            for proto in param.layer:
                del proto.blobs[:]
                for blob in layers[proto.name].blobs if proto.name in layers else ():
                    message = proto.blobs.add()
                    message.shape.dim[:] = blob.shape
                    message.data[:] = blob.detach().float().flatten().tolist()
        return param


def _straight(
    plan: list[tuple[Node, Layer]], overwritten: Mapping[int, str], detached: Mapping[str, object]
) -> frozenset[int]:
    """The layers that only make a top: no loss, no label to look at, no gradient to stop or to keep."""
    return frozenset(
        i
        for i, (node, layer) in enumerate(plan)
        if len(node.tops) == 1 and not any(node.loss_weights) and not layer.labels and not layer.fp32
        if i not in overwritten and node.name not in detached
    )


@dataclass
class _Fact:
    """A blob that is not shared from an earlier layer: the index of its layer, its name there, and its rates."""

    node: int
    name: str
    lr_mult: float
    decay_mult: float
    specs: list[ParamSpec]


class _Sharing:
    """Blobs that layers share by the name in their ``param``: one tensor if STRICT, one memory if PERMISSIVE."""

    def __init__(self, plan: list[tuple[Node, Layer]]) -> None:
        self.facts: list[_Fact] = []
        self._owners: dict[str, _Fact] = {}
        self._plan = plan
        if crowded := [
            f"{node} has {len(layer.blob_items)} blobs but {len(node.proto.param)} param blocks"
            for node, layer in plan
            if len(node.proto.param) > len(layer.blob_items)
        ]:
            raise NetError(listing(crowded))
        for i, (node, layer) in enumerate(plan):
            items, specs = layer.blob_items, list(node.proto.param)
            specs += [ParamSpec() for _ in items[len(specs) :]]
            for (name, blob), spec in zip(items, specs, strict=True):
                if spec.name in self._owners:
                    self._share(i, name, blob, spec)
                else:
                    self._own(i, name, blob, spec)

    def _own(self, i: int, name: str, blob: Tensor, spec: ParamSpec) -> None:
        learns = isinstance(blob, nn.Parameter)
        fact = _Fact(i, name, spec.lr_mult if learns else 0.0, spec.decay_mult if learns else 0.0, [spec])
        self.facts.append(fact)
        if spec.name:
            self._owners[spec.name] = fact

    def _share(self, i: int, name: str, blob: Tensor, spec: ParamSpec) -> None:
        fact = self._owners[spec.name]
        (owner_node, owner), (node, layer) = self._plan[fact.node], self._plan[i]
        source = getattr(owner, fact.name)
        what = (
            f"param '{spec.name}' of {node} ({shape_text(blob.shape)}) and of {owner_node} ({shape_text(source.shape)})"
        )
        permissive = spec.share_mode == ParamSpec.PERMISSIVE
        if source.numel() != blob.numel() or (source.shape != blob.shape and not permissive):
            raise NetError(f"shared {what} differ in {'count' if permissive else 'shape'}")
        fact.lr_mult = _agreed("lr_mult", fact.lr_mult, spec, fact.specs, what)
        fact.decay_mult = _agreed("decay_mult", fact.decay_mult, spec, fact.specs, what)
        fact.specs.append(spec)
        if source.shape == blob.shape:
            setattr(layer, name, source)
        else:
            layer.share_blob(name, owner, fact.name)


def _agreed(
    field: Literal["lr_mult", "decay_mult"], value: float, spec: ParamSpec, others: list[ParamSpec], what: str
) -> float:
    """The rate that all layers that share a blob and state one agree on; *value* where *spec* states none."""
    if not spec.HasField(field):
        return value
    said: float = getattr(spec, field)
    if any(other.HasField(field) and getattr(other, field) != said for other in others):
        raise NetError(f"shared {what} set different {field}")
    return said


def _known_shapes(graph: Graph) -> dict[str, Shape]:
    missing = [name for name, shape in graph.inputs.items() if shape is None]
    if missing:
        names = ", ".join(f"'{name}'" for name in missing)
        raise NetError(f"net '{graph.name}': the shape of {names} is not known: name it in input_shapes")
    return {name: shape for name, shape in graph.inputs.items() if shape is not None}


def _phase_of(node: Node, phase: str) -> bool:
    return node.proto.phase == TRAIN if node.proto.HasField("phase") else phase == "TRAIN"


def _reset(node: Node, layer: Layer, generator: torch.Generator | None) -> None:
    """Fill the blobs from their fillers, or with the values that the message itself has, as the original does."""
    try:
        layer.reset(generator)
    except (RuntimeError, CaffeError) as error:
        raise NetError(f"{node}: {error}") from error
    given = node.proto.blobs
    if not given:
        return
    if len(given) != len(layer.blobs):
        raise NetError(f"{node}: the message holds {len(given)} blobs, the layer has {len(layer.blobs)}")
    for i, (message, blob) in enumerate(zip(given, layer.blobs, strict=True)):
        values = torch.tensor(message.double_data or message.data)
        if values.numel() != blob.numel():
            raise NetError(f"{node}: blob {i} of the message has {values.numel()} values, not {shape_text(blob.shape)}")
        with torch.no_grad():
            blob.copy_(values.reshape(blob.shape))


def _misfit(node: Node, bottoms: Sequence[Sequence[int]], error: Exception) -> NetError:
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    of = ", ".join(f"{name} {shape_text(shape)}" for name, shape in zip(node.bottoms, bottoms, strict=True))
    return NetError(f"{node} with {f'bottoms {of}' if of else 'no bottoms'}: {said}")


def _wrong_inputs(wanted: list[str], positional: int, given: list[str]) -> str:
    have = ", ".join([*(f"#{i}" for i in range(positional)), *given]) or "none"
    return f"the net's inputs are {', '.join(wanted) or 'none'}; given: {have}"


def _add(total: Tensor | None, weight: float, top: Tensor) -> Tensor:
    term = top if top.dim() == 0 else top.sum()
    if weight != 1:
        term = weight * term
    return term if total is None else total + term
