"""What a test net says on average: the means of its tops over batches, and the precision of the boxes it finds."""

import logging
from collections.abc import Mapping

from torch import Tensor

from nets.net import Net
from nets.precision import judges, mean

log = logging.getLogger("caffe")


class Averages:
    """Gathers the outputs of *net* over batches. The tops of DetectionEvaluate (``judged``) have a mean average
    precision, those whose shape changes from batch to batch no mean."""

    def __init__(self, net: Net) -> None:
        self.judged = judges(net)
        self._sums: dict[str, Tensor] = {}
        self._uneven: set[str] = set()
        self._batches = 0

    def add(self, outputs: Mapping[str, Tensor]) -> None:
        """Add the outputs of a batch."""
        self._batches += 1
        for top, value in outputs.items():
            if top in self.judged:
                self.judged[top].add(value)
            elif top not in self._sums:
                self._sums[top] = value.clone()
            elif self._sums[top].shape == value.shape:
                self._sums[top] = self._sums[top] + value
            else:
                self._uneven.add(top)

    def means(self, ap_version: str, show_classes: bool = False) -> dict[str, Tensor]:
        """The averages by top, in Caffe's order; with *show_classes* a line for the precision of each class."""
        means = {top: total / self._batches for top, total in self._sums.items() if top not in self._uneven}
        for top, judged in self.judged.items():
            if judged:
                found = judged.by_class(ap_version)
                if show_classes:
                    for label, value in found.items():
                        log.info("class%d: %g", label, value)
                means[top] = mean(found)
        for top in sorted(self._uneven):
            log.info("Test net output %s has another shape in each batch, and no mean", top)
        return dict(sorted(means.items()))
