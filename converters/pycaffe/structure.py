"""What there is in a net: its layers and blobs by their names and numbers."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

from converters.pycaffe.blob import Blob, BlobVec
from converters.pycaffe.steps import Step
from nets.layers.python import Python, UserLayer
from nets.net import Net as Module


@dataclass(frozen=True)
class LayerView:
    """A layer of ``net.layers``: its ``type`` and its ``blobs``."""

    type: str
    blobs: BlobVec


class Structure:
    """The names in ``module``, whose layers are ``_steps``; ``blobs`` and ``params`` are what they compute with.

    A blob's number is its place in ``blobs``, a layer's that in ``layers``.
    """

    module: Module
    blobs: "OrderedDict[str, Blob]"
    params: "OrderedDict[str, BlobVec]"
    _steps: list[Step]

    @cached_property
    def inputs(self) -> list[str]:
        """The blobs that no data layer fills."""
        fed = {top for source in self.module.graph.sources for top in source.top}
        return [name for name in self.module.graph.inputs if name not in fed]

    @cached_property
    def outputs(self) -> list[str]:
        """The tops that nobody takes."""
        return list(self.module.graph.outputs)

    @cached_property
    def layers(self) -> list[LayerView | UserLayer]:
        """All layers in their order; of a Python layer the script's own object."""
        return [
            step.layer.user if isinstance(step.layer, Python) else LayerView(step.type, self._blobs_of(step))
            for step in self._steps
        ]

    def _blobs_of(self, step: Step) -> BlobVec:
        return self.params.get(step.name, BlobVec())

    @cached_property
    def layer_dict(self) -> "OrderedDict[str, LayerView | UserLayer]":
        """All layers by their names."""
        return OrderedDict(zip(self._layer_names, self.layers, strict=True))

    @cached_property
    def top_names(self) -> "OrderedDict[str, list[str]]":
        """Layer to the names of its tops."""
        return OrderedDict((step.name, list(step.tops)) for step in self._steps)

    @cached_property
    def bottom_names(self) -> "OrderedDict[str, list[str]]":
        """Layer to the names of its bottoms."""
        return OrderedDict((step.name, list(step.bottoms)) for step in self._steps)

    @property
    def blob_loss_weights(self) -> "OrderedDict[str, float]":
        """Blob to its weight in the loss."""
        weights = OrderedDict.fromkeys(self.blobs, 0.0)
        for step in self._steps:
            if step.node is not None:
                weights.update({top: w for top, w in zip(step.tops, step.node.loss_weights, strict=True) if w})
        return weights

    # ---- by number

    @cached_property
    def _layer_names(self) -> list[str]:
        return [step.name for step in self._steps]

    @property
    def _blob_names(self) -> list[str]:
        return list(self.blobs)

    @property
    def _blobs(self) -> BlobVec:
        return BlobVec(self.blobs.values())

    @property
    def _blob_loss_weights(self) -> list[float]:
        return list(self.blob_loss_weights.values())

    @property
    def _inputs(self) -> list[int]:
        return self._numbers(self.inputs)

    @property
    def _outputs(self) -> list[int]:
        return self._numbers(self.outputs)

    def _top_ids(self, layer: int) -> list[int]:
        return self._numbers(self._steps[layer].tops)

    def _bottom_ids(self, layer: int) -> list[int]:
        return self._numbers(self._steps[layer].bottoms)

    def _numbers(self, names: "list[str] | tuple[str, ...]") -> list[int]:
        numbers = {name: i for i, name in enumerate(self.blobs)}
        return [numbers[name] for name in names]
