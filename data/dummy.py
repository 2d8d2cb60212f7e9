"""DummyData: tops drawn from fillers."""

import torch
from torch import Tensor

from data import chance
from data.fillers import fill
from data.source import SOURCES, Place, Shapes, Source, check_options
from protos.errors import CaffeError, DataError
from protos.schema import FillerParameter, LayerParameter


@SOURCES("DummyData")
class DummyData(Source):
    """DummyData: each top is filled after ``data_filler`` (one for all, or one a top; default: zeros).

    Constant tops are filled once, and ``constants`` holds them; all others anew for every batch.
    """

    def __init__(self, layer: LayerParameter, phase: str, place: Place) -> None:
        super().__init__(layer, phase, place)
        self._place = place
        self.shapes = self.peek(layer, phase)
        given = list(layer.dummy_data_param.data_filler) or [FillerParameter()]
        fillers = given * len(self.tops) if len(given) == 1 else given
        self._random = {
            top: filler for top, filler in zip(self.tops, fillers, strict=True) if filler.type != "constant"
        }
        self.constants = {
            top: self._fill(top, filler).to(place.device)
            for top, filler in zip(self.tops, fillers, strict=True)
            if filler.type == "constant"
        }

    @classmethod
    def peek(cls, layer: LayerParameter, phase: str) -> Shapes:
        """See :meth:`Source.peek`."""
        param = layer.dummy_data_param
        check_options(layer, param, ("data_filler", "shape", "num", "channels", "height", "width"))
        tops = len(layer.top)
        if param.shape and (param.num or param.channels or param.height or param.width):
            raise DataError(
                f"layer {layer.name!r}: DummyData takes shape, or num, channels, height and width, not both"
            )
        shapes = [tuple(shape.dim) for shape in param.shape] or _legacy_shapes(layer)
        if len(shapes) not in (1, tops) or len(param.data_filler) not in (0, 1, tops):
            raise DataError(
                f"layer {layer.name!r}: DummyData with {tops} tops takes 1 or {tops} shapes and 0, 1"
                f" or {tops} fillers, not {len(shapes)} and {len(param.data_filler)}"
            )
        return dict(zip(layer.top, shapes * tops if len(shapes) == 1 else shapes, strict=True))

    def _batch(self, number: int) -> dict[str, Tensor]:
        out = dict(self.constants)
        if self._random:
            seed = int(chance.generator(self.seed, chance.FILL, number, self._place.rank).integers(2**63))
            generator = torch.Generator().manual_seed(seed)
            for top, filler in self._random.items():
                out[top] = self._fill(top, filler, generator).to(self._place.device)
        return {top: out[top] for top in self.tops}

    def _fill(self, top: str, filler: FillerParameter, generator: torch.Generator | None = None) -> Tensor:
        try:
            return fill(self.shapes[top], filler, generator)
        except CaffeError as error:
            raise DataError(f"layer {self.name!r}: {error}") from error


def _legacy_shapes(layer: LayerParameter) -> list[tuple[int, ...]]:
    param = layer.dummy_data_param
    axes = [list(axis) for axis in (param.num, param.channels, param.height, param.width)]
    most = max(len(axis) for axis in axes)
    if not most or any(len(axis) not in (1, most) for axis in axes):
        raise DataError(f"layer {layer.name!r}: DummyData needs a shape, or num, channels, height and width")
    return list(zip(*(axis * most if len(axis) == 1 else axis for axis in axes), strict=True))
