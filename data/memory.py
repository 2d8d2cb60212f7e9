"""MemoryData: batches of arrays that the caller sets."""

import numpy as np
import torch
from torch import Tensor

from data.source import SOURCES, Place, Shapes, Source, check_batch_size, check_options, check_tops
from protos.errors import DataError
from protos.schema import LayerParameter

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


@SOURCES("MemoryData")
class MemoryData(Source):
    """MemoryData: tops data (B x C x H x W) and label (B,), from :meth:`set_arrays`, round and round.

    As in the original, arrays are taken as they are: ``transform_param`` does not apply to them.
    """

    def __init__(self, layer: LayerParameter, phase: str, place: Place) -> None:
        super().__init__(layer, phase, place)
        self._device = place.device
        self.shapes = self.peek(layer, phase)
        self._arrays: tuple[Tensor, ...] = ()

    @classmethod
    def peek(cls, layer: LayerParameter, phase: str) -> Shapes:
        """See :meth:`Source.peek`."""
        param = layer.memory_data_param
        check_tops(layer, 2, 2)
        check_options(layer, param, ("batch_size", "channels", "height", "width"))
        check_batch_size(layer, param.batch_size)
        shape = (param.batch_size, param.channels, param.height, param.width)
        if 0 in shape:
            raise DataError(f"layer {layer.name!r}: MemoryData needs batch_size, channels, height and width")
        return {layer.top[0]: shape, layer.top[1]: shape[:1]}

    def set_arrays(self, data: Array | Tensor, labels: Array | Tensor) -> None:
        """Set what is given out: *data* N x C x H x W and *labels* N values, N a multiple of the batch size.

        The next batch is the first one of these arrays.
        """
        values, targets = torch.as_tensor(data), torch.as_tensor(labels)
        wanted = self.shapes[self.tops[0]]
        if tuple(values.shape[1:]) != wanted[1:] or not len(values) or len(values) % wanted[0]:
            raise DataError(f"layer {self.name!r}: data {list(values.shape)} are not whole batches of {list(wanted)}")
        if targets.numel() != len(values):
            raise DataError(f"layer {self.name!r}: {targets.numel()} labels for {len(values)} records")
        self._arrays = tuple(x.to(self._device, torch.float32) for x in (values, targets.reshape(-1)))
        self.records = len(values)
        self.batches = 0

    def _batch(self, number: int) -> dict[str, Tensor]:
        if not self._arrays:
            raise DataError(f"layer {self.name!r}: MemoryData has no data; call set_arrays(data, labels) first")
        size = self.shapes[self.tops[0]][0]
        at = number * size % len(self._arrays[0])
        return {top: array[at : at + size] for top, array in zip(self.tops, self._arrays, strict=True)}
