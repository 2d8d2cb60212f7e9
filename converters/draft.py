"""A net on its way to another prototxt: a list of layers, whose bottoms are the very values that others make.

Passes take layers away and put others in their place; in the end names are given back. That a layer works in place
shows only then: as two values of one name.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nets.graph import INPUT
from nets.layer import LAYERS, Layer, Shape
from nets.net import Net
from protos.schema import LayerParameter, NetParameter


@dataclass(eq=False)
class Value:
    """What a layer makes, of this *shape*, under the *name* that it will have."""

    name: str
    shape: Shape


@dataclass(eq=False)
class Part:
    """A layer: its message, whose bottoms and tops count for nothing, and its blobs in Caffe's order and shape."""

    proto: LayerParameter
    bottoms: list[Value]
    tops: list[Value]
    blobs: list[Tensor] = field(default_factory=list)

    def __str__(self) -> str:
        return f"layer '{self.proto.name}' ({self.proto.type})"

    def message(self) -> LayerParameter:
        """The layer with the names of its bottoms and tops."""
        made = LayerParameter()
        made.CopyFrom(self.proto)
        made.bottom[:] = [value.name for value in self.bottoms]
        made.top[:] = [value.name for value in self.tops]
        return made

    @torch.no_grad()
    def layer(self) -> Layer:
        """The layer with its blobs, as it works in testing."""
        made = LAYERS[self.proto.type].from_proto(self.message(), [value.shape for value in self.bottoms]).eval()
        for own, blob in zip(made.blobs, self.blobs, strict=True):
            own.copy_(blob)
        return made


@dataclass
class Draft:
    """The layers of the net *name* in their order, Input layers first; ``outputs``: name -> the value."""

    name: str
    parts: list[Part] = field(default_factory=list)
    outputs: dict[str, Value] = field(default_factory=dict)

    def readers(self) -> Counter[Value]:
        """How many bottoms, and outputs, each value is."""
        found = Counter(value for part in self.parts for value in part.bottoms)
        found.update(self.outputs.values())
        return found

    def maker(self, value: Value) -> Part:
        """The layer that makes *value*."""
        return next(part for part in self.parts if value in part.tops)

    def free_name(self, stem: str) -> str:
        """A name, *stem* if it can be, that no layer and no value has."""
        taken = {part.proto.name for part in self.parts} | {top.name for part in self.parts for top in part.tops}
        name, copies = stem, 1
        while name in taken:
            copies += 1
            name = f"{stem}_{copies}"
        return name

    def is_alone(self, part: Part) -> bool:
        """Whether nothing but *part* reads its first bottom."""
        return self.readers()[part.bottoms[0]] == 1

    def join(self, part: Part) -> None:
        """Take away *part*, whose work the layer in front of it does as well: that makes its top."""
        bottom = part.bottoms[0]
        tops = self.maker(bottom).tops
        tops[tops.index(bottom)] = part.tops[0]
        self.parts.remove(part)

    def replace(self, part: Part, others: Sequence[Part]) -> None:
        """Put *others* in the place of *part*."""
        at = self.parts.index(part)
        self.parts[at : at + 1] = others

    def bypass(self, part: Part) -> None:
        """Take away *part*, which hands on its bottom, unless a blob would lose its name by that."""
        (bottom,), (top,) = part.bottoms, part.tops
        if self.is_alone(part) and self.maker(bottom).proto.type != INPUT:
            self.join(part)
            return
        if top in self.outputs.values() or self._overwritten(top):
            return
        for other in self.parts:
            other.bottoms = [bottom if value is top else value for value in other.bottoms]
        self.parts.remove(part)

    def _overwritten(self, value: Value) -> bool:
        readers = (part for part in self.parts if value in part.bottoms)
        return any(top.name == value.name for part in readers for top in part.tops)

    def prune(self) -> None:
        """Take away what no output needs; a Silence swallows what is made on the way and nobody reads."""
        needed = {*self.outputs.values()}
        for part in [*reversed(self.parts)]:
            if needed.isdisjoint(part.tops):
                self.parts.remove(part)
            else:
                needed.update(part.bottoms)
        loose = [top for part in self.parts for top in part.tops if top not in needed]
        if loose:
            self.parts.append(Part(LayerParameter(name=self.free_name("silence"), type="Silence"), loose, []))

    def to_proto(self) -> NetParameter:
        """The net as a message, without its blobs."""
        return NetParameter(name=self.name, layer=[part.message() for part in self.parts])

    @torch.no_grad()
    def fill(self, net: Net) -> None:
        """Give *net*, which was built of the message, the blobs."""
        parts = (part for part in self.parts if part.proto.type != INPUT)
        for part, (_, layer) in zip(parts, net.nodes, strict=True):
            for own, blob in zip(layer.blobs, part.blobs, strict=True):
                own.copy_(blob)
