"""How a learnable blob gets its first values, as plain data. The draws themselves are in ``data.fillers``."""

from dataclasses import dataclass

import torch
from torch import Tensor

from data.fillers import fill
from protos.schema import FillerParameter


@dataclass(frozen=True)
class Filler:
    """One of Caffe's eight fillers with its settings; the defaults are those of FillerParameter.

    >>> Filler("constant", value=3.0).draw((2,))
    tensor([3., 3.])
    """

    type: str = "constant"
    value: float = 0.0
    min: float = 0.0
    max: float = 1.0
    mean: float = 0.0
    std: float = 1.0
    sparse: int = -1
    variance_norm: str = "FAN_IN"

    @classmethod
    def from_proto(cls, proto: FillerParameter) -> "Filler":
        """The filler that *proto* describes."""
        norm = FillerParameter.VarianceNorm.Name(proto.variance_norm)
        return cls(proto.type, proto.value, proto.min, proto.max, proto.mean, proto.std, proto.sparse, norm)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """A float32 CPU tensor of *shape*. Raises CaffeError where the type is unknown or cannot fill the shape."""
        return fill(shape, self._proto(), generator)

    def fill(self, blob: Tensor, generator: torch.Generator | None = None) -> None:
        """Fill *blob* with the values of ``draw``, without a copy of them where it is such a tensor."""
        if blob.device.type == "cpu" and blob.dtype == torch.float32 and blob.is_contiguous():
            fill(blob.shape, self._proto(), generator, out=blob)
        else:
            blob.copy_(self.draw(tuple(blob.shape), generator))

    def _proto(self) -> FillerParameter:
        return FillerParameter(
            type=self.type,
            value=self.value,
            min=self.min,
            max=self.max,
            mean=self.mean,
            std=self.std,
            sparse=self.sparse,
            variance_norm=self.variance_norm,
        )


ZERO = Filler()
ONE = Filler(value=1.0)
