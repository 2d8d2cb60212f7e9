"""How well boxes are found: average precision by class, from the rows of DetectionEvaluate."""

from array import array
from collections.abc import Mapping

import torch
from torch import Tensor

from nets.layers.evaluation import DetectionEvaluate
from nets.net import Net

VERSIONS = ("11point", "MaxIntegral", "Integral")


class Precision:
    """Gathers the rows of DetectionEvaluate (... x 5) over batches, in one block of memory (see ``nets.trace``)."""

    def __init__(self) -> None:
        self._rows = array("d")

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, rows: Tensor) -> None:
        """Add the rows of a batch."""
        self._rows.frombytes(rows.detach().double().cpu().numpy().tobytes())

    def by_class(self, version: str) -> dict[int, float]:
        """The average precision of each class, 0 where it has no ground truth or nothing was found of it."""
        rows = torch.frombuffer(self._rows, dtype=torch.float64).reshape(-1, 5)
        counts, boxes = rows[rows[:, 0] == -1], rows[rows[:, 0] != -1]
        found = {}
        for label in torch.unique(counts[:, 1]).tolist():
            count = counts[counts[:, 1] == label, 2].sum().item()
            own = boxes[boxes[:, 1] == label]
            order = own[:, 2].sort(descending=True, stable=True).indices
            right, wrong = own[order, 3].cumsum(0), own[order, 4].cumsum(0)
            precision, recall = right / (right + wrong).clamp(min=1), right / max(count, 1)
            found[int(label)] = average(precision, recall, version) if count and len(own) else 0.0
        return found


def mean(by_class: Mapping[int, float]) -> Tensor:
    """The mean over the classes; 0 without any."""
    return torch.tensor(sum(by_class.values()) / max(1, len(by_class)))


def average(precision: Tensor, recall: Tensor, version: str) -> float:
    """The average *precision* over *recall*, both of the best boxes so far.

    11point: the mean, over recalls of 0, 0.1 to 1, of the greatest precision from there on; MaxIntegral: the area under
    that; Integral: the area under the precision itself.
    """
    if version == "11point":
        points = torch.arange(11, dtype=recall.dtype) / 10
        reached = recall.float().double() >= points[:, None]  # of 7 in 10 a float32 is just below 0.7
        return torch.where(reached, precision, 0.0).max(1).values.mean().item()
    if version == "MaxIntegral":
        precision = precision.flip(0).cummax(0).values.flip(0)
    return (precision * torch.diff(recall, prepend=recall.new_zeros(1))).sum().item()


def judges(net: Net) -> dict[str, Precision]:
    """A Precision for the top of each DetectionEvaluate layer of *net*."""
    return {top: Precision() for node, layer in net.nodes if isinstance(layer, DetectionEvaluate) for top in node.tops}
