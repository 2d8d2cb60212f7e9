"""Losses: bottoms to one number. They compute in float32 under autocast; their labels take no gradient."""

from collections.abc import Iterable, Sequence
from math import log, prod
from typing import ClassVar, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from data.transform import read_blob
from nets.emitter import Emitter, Value
from nets.layer import LAYERS, Layer, Shape, canonical_axis, check_indices, shape_text
from nets.layers.layout import ABREAST, led_back, pixels, softmax
from nets.layers.likelihood import MANY, Likelihood
from nets.layers.plain import applied, is_plain
from protos.errors import CaffeError, NetError
from protos.schema import HingeLossParameter, LayerParameter, LossParameter

# The original takes the logarithm of no probability below the smallest normal float: a loss of 87.3365 says "diverged".
MOST_SURPRISED = -log(torch.finfo(torch.float32).tiny)
LOSS_OPTIONS = frozenset({"ignore_label", "normalization", "normalize"})
NO_LABEL = -(2**40)  # stands for "no label is ignored": torch's own -100 could be one
# The floor of probabilities in MultinomialLogisticLoss and InfogainLoss.
LOG_THRESHOLD = 1e-20


class Loss(Layer):
    """Base of the losses: the first top is the loss, a scalar with a loss weight of 1 unless the net says otherwise."""

    is_loss = True
    fp32 = True
    bottoms = (2, 2)
    predicted: ClassVar[int] = 1  # how many of its first bottoms are predictions
    activates: ClassVar[bool] = False  # whether it takes logits: then ``predict`` makes predictions of them

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [()]

    def predict(self, x: Tensor) -> Tensor:
        """What the loss takes its first bottom for."""
        return x


def normalization(param: LossParameter, default: str) -> str:
    """What a sum of losses is divided by: "FULL", "VALID", "BATCH_SIZE" or "NONE", old ``normalize`` included."""
    if param.HasField("normalization"):
        name = LossParameter.NormalizationMode.Name(param.normalization)
        if name not in ("FULL", "VALID", "BATCH_SIZE", "NONE"):
            raise NetError(f"normalization {name} is not supported")
        return name
    if param.HasField("normalize"):
        return "VALID" if param.normalize else "BATCH_SIZE"
    return default


def unsupported(param: LossParameter, known: frozenset[str] = LOSS_OPTIONS) -> Iterable[str]:
    """Options of loss_param that are not among those *known*."""
    for field, value in param.ListFields():
        if field.name not in known and (field.is_repeated or value != field.default_value):
            yield f"option loss_param.{field.name} is not supported"


def ignored(param: LossParameter) -> int | None:
    """The label that does not count, None for none."""
    return param.ignore_label if param.HasField("ignore_label") else None


def check_labels(label: Tensor, classes: int, ignore: int | None) -> None:
    """Raise NetError where a label of a CPU tensor is no class; on a GPU that is left to the device's own assertion."""
    check_indices(label, classes, "label {} is out of range: there are {} classes, counted from 0", ignore)


def scores_of(rows: Tensor, index: Tensor, ignore: int | None = None) -> Tensor:
    """The scores (N x 1) of the labels *index* (N x 1) in *rows* (N x C), that of class 0 for the label *ignore*.

    Raises NetError where a label of a CPU tensor is no class, or there are not as many labels as rows.
    """
    check_items(rows.shape, index.shape)
    try:
        return rows.gather(1, index if ignore is None else index.where(index != ignore, 0))
    except (IndexError, RuntimeError):
        check_labels(index, rows.shape[1], ignore)
        raise


def check_items(x: Sequence[int], label: Sequence[int]) -> None:
    """Raise NetError unless the first axes of *x* and *label* are of one size."""
    if tuple(x[:1]) != tuple(label[:1]):
        raise NetError("its bottoms must have the same number of items")


def check_alike(bottoms: Sequence[Shape]) -> None:
    """Raise NetError unless all *bottoms* have as many items and values as the first, and it has items."""
    if not bottoms[0]:
        raise NetError("its bottoms need at least 1 axis")
    for shape in bottoms[1:]:
        check_items(bottoms[0], shape)
        if torch.Size(shape).numel() != torch.Size(bottoms[0]).numel():
            raise NetError("its bottoms must have as many values")


def check_positions(x: Sequence[int], label: Sequence[int], axis: int) -> None:
    """Raise NetError unless *label* has one value for each position of *x* outside of its class axis."""
    positions = prod((*x[:axis], *x[axis + 1 :]))
    if torch.Size(label).numel() != positions:
        raise NetError(
            f"needs {positions} labels, one for each position outside of axis {axis}, not {shape_text(label)}"
        )


class SoftmaxLoss(Loss):
    """What the losses with a softmax inside share. Logits are brought to (outer, classes, any)."""

    activates = True
    tops = (1, 2)
    loss_options = LOSS_OPTIONS

    def __init__(self, axis: int, normalization: str, ignore_label: int | None, with_prob: bool) -> None:
        super().__init__()
        self.axis = axis
        self.normalization = normalization
        self.ignore_label = ignore_label
        self.with_prob = with_prob

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        if proto.softmaxloss_param.ListFields():  # what an upgrade has left of it
            yield "of softmaxloss_param one ignore_label is read, and no weight_source"
        yield from unsupported(proto.loss_param, cls.loss_options)

    @classmethod
    def checked(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> tuple[int, int | None]:
        """The axis of softmax_param and the label that is ignored. Raises NetError where the bottoms do not fit."""
        x, label = bottoms
        axis = canonical_axis(proto.softmax_param.axis, len(x))
        check_items(x, label)
        check_positions(x, label, axis)
        return axis, ignored(proto.loss_param)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(), bottoms[0]] if self.with_prob else [()]

    def logits(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """*x* as (outer, classes, any) and *label* as whole numbers (outer, any)."""
        if self.axis != 1:
            x = x.reshape(x.shape[: self.axis].numel(), x.shape[self.axis], -1)
        shape = x.shape[:1] + x.shape[2:]
        return x, (label if label.shape == shape else label.reshape(shape)).long()

    def divisor(self, index: Tensor) -> int | Tensor:
        """What ``normalization`` divides the sum of the losses by, at least 1."""
        if self.normalization == "NONE":
            return 1
        if self.normalization == "VALID" and self.ignore_label is not None:
            return (index != self.ignore_label).sum().clamp(min=1)
        return max(1, index.shape[0] if self.normalization == "BATCH_SIZE" else index.numel())

    def outputs(self, loss: Tensor, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The loss, and the probabilities where there is a second top for them."""
        return (loss, softmax(x, self.axis)) if self.with_prob else loss

    def predict(self, x: Tensor) -> Tensor:
        return softmax(x, self.axis)

    def emit(self, g: Emitter, x: Value, *labels: Value) -> Value:
        return g.op("Softmax", x, axis=self.axis)


def floored(x: Tensor, least: float) -> Tensor:
    """*x*, probabilities or their logarithms, none below *least*; the gradient goes on as if nothing was done.

    It is done in place, which takes less than to look whether it is needed: the backward pass of the softmax that made
    them takes next to nothing for next to nothing then.
    """
    if torch.compiler.is_compiling():  # which does not follow what happens behind the back of autograd
        return x + (x.clamp(min=least) - x).detach()
    x.data.clamp_(min=least)
    return x


@LAYERS("SoftmaxWithLoss")
class SoftmaxWithLoss(SoftmaxLoss):
    """-log softmax(x)[label], summed and normalised. bottoms: N x C x any, labels N x any (whole numbers below C);
    tops: scalar, and the probabilities if there is a second one.

    Options: softmax_param.axis (1); loss_param.ignore_label (none), normalization (VALID: by the labels that count;
    FULL: by all, BATCH_SIZE: by N, NONE), normalize (old: VALID or BATCH_SIZE). The divisor is at least 1, a single
    loss at most 87.34. torch's cross_entropy has neither. Of SegNet's fork: weight_by_label_freqs (false), by which the
    losses of each of the C labels count by class_weighting, or where that is not set by one over how many of the
    batch's labels are this one; the divisor stays that of the unweighted.
    """

    message = "softmax_param"
    options = frozenset({"axis"})
    hints = frozenset({"engine"})
    labels = (1,)
    loss_options = LOSS_OPTIONS | {"weight_by_label_freqs", "class_weighting"}
    weights: Tensor | None

    def __init__(
        self,
        axis: int,
        normalization: str,
        ignore_label: int | None,
        with_prob: bool,
        weights: Sequence[float] = (),
        by_counts: bool = False,
    ) -> None:
        super().__init__(axis, normalization, ignore_label, with_prob)
        self._given = weights
        self.by_counts = by_counts
        self._skip = NO_LABEL if ignore_label is None else ignore_label
        self._weighted = by_counts or bool(weights)
        self._by_labels = ignore_label is None and not self._weighted and normalization in ("VALID", "FULL")
        self.register_buffer("weights", torch.empty(len(weights)) if weights else None, persistent=False)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        axis, ignore = cls.checked(proto, bottoms)
        weights = list(proto.loss_param.class_weighting)
        weighted = proto.loss_param.weight_by_label_freqs
        if weights and len(weights) != (bottoms[0][axis] if weighted else 0):
            raise NetError(f"has {len(weights)} class_weighting: weight_by_label_freqs takes one for each class")
        mode = normalization(proto.loss_param, "VALID")
        return cls(axis, mode, ignore, len(proto.top) == 2, weights, weighted and not weights)

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Put the weights of the classes in their place."""
        if self.weights is not None:
            self.weights.copy_(torch.tensor(self._given))

    def forward(self, x: Tensor, label: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        rows, index = self.logits(x, label)
        together = pixels(rows)
        rows, wanted = (led_back(rows), index) if together is None else (together, index.flatten())
        try:
            return self.outputs(self._loss(rows, wanted, self.divisor(index)), x)
        except (IndexError, RuntimeError):
            check_labels(index, rows.shape[1], self.ignore_label)
            raise

    def _loss(self, rows: Tensor, index: Tensor, divisor: int | Tensor) -> Tensor:
        each = self.ignore_label is None and not self._weighted
        if each and index.numel() >= MANY and rows.shape[1] >= ABREAST and is_plain(rows):
            return cast(Tensor, applied(Likelihood, rows, index, divisor)[0])
        logs = floored(torch.log_softmax(rows, 1), -MOST_SURPRISED)
        weights = self._weights_for(logs, index) if self._weighted else None
        mean = self._by_labels and index.numel() > 0
        loss = F.nll_loss(logs, index, weights, ignore_index=self._skip, reduction="mean" if mean else "sum")
        return loss if mean else loss / divisor

    def _weights_for(self, logs: Tensor, index: Tensor) -> Tensor:
        """The weights of the classes that were given, or one over how many labels each has."""
        if not self.by_counts:
            assert self.weights is not None
            return self.weights
        label = index.flatten()
        counts = torch.ones_like(label, dtype=logs.dtype)
        if self.ignore_label is not None:
            kept = label != self.ignore_label
            label, counts = label.where(kept, 0), kept.to(logs.dtype)
        return 1 / logs.new_zeros(logs.shape[1]).index_add(0, label, counts).clamp(min=1)


@LAYERS("InfogainLoss")
class InfogainLoss(SoftmaxLoss):
    """-sum over k of H[label, k] log softmax(x)[k], normalised. bottoms: N x C x any, labels N x any, and H
    (C x C values) unless it is in a file; tops: scalar, and the probabilities if there is a second one.

    Options: infogain_loss_param.source (a binaryproto with H), axis (1); loss_param as SoftmaxWithLoss, without
    normalize. No probability counts as less than 1e-20.
    """

    message = "infogain_loss_param"
    options = frozenset({"source", "axis"})
    bottoms = (2, 3)
    labels = (1, 2)
    matrix: Tensor | None

    def __init__(
        self, axis: int, normalization: str, ignore_label: int | None, with_prob: bool, matrix: Tensor | None = None
    ) -> None:
        super().__init__(axis, normalization, ignore_label, with_prob)
        self._source = matrix
        self.register_buffer("matrix", None if matrix is None else torch.empty(matrix.shape), persistent=False)

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        yield from super().check(proto)
        if proto.loss_param.HasField("normalize"):
            yield "takes no loss_param.normalize, which is old: use normalization, VALID for true, BATCH_SIZE for false"

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p, x = proto.infogain_loss_param, bottoms[0]
        axis = canonical_axis(p.axis, len(x))
        check_items(x, bottoms[1])
        check_positions(x, bottoms[1], axis)
        matrix = None
        if len(bottoms) == 2:
            if not p.source:
                raise NetError("needs infogain_loss_param.source, or the matrix as a third bottom")
            with torch.device("cpu"):
                matrix = _read_matrix(p.source)
        count = torch.Size(bottoms[2]).numel() if matrix is None else matrix.numel()
        if count != x[axis] ** 2:
            raise NetError(f"its matrix has {count} values where {x[axis]} classes need {x[axis] ** 2}")
        mode = normalization(proto.loss_param, "VALID")
        return cls(axis, mode, ignored(proto.loss_param), len(proto.top) == 2, matrix)

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Put the file's matrix in its place."""
        if self.matrix is not None and self._source is not None:
            self.matrix.copy_(self._source)

    def forward(self, x: Tensor, label: Tensor, matrix: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        rows, index = self.logits(x, label)
        classes = rows.shape[1]
        given = self.matrix if matrix is None else matrix
        if given is None:
            raise NetError("needs its matrix")
        gains = given.reshape(classes, classes)
        counts = None if self.ignore_label is None else index != self.ignore_label
        try:
            gains = F.embedding(index if counts is None else index.where(counts, 0), gains)
        except IndexError:
            check_labels(index, classes, self.ignore_label)
            raise
        if counts is not None:
            gains = gains * counts[..., None]
        logs = floored(torch.log_softmax(rows, 1), log(LOG_THRESHOLD))
        total = -(gains.movedim(-1, 1) * logs).sum()
        return self.outputs(total / self.divisor(index), x)


def _read_matrix(path: str) -> Tensor:
    try:
        return torch.from_numpy(read_blob(path))
    except CaffeError as error:
        raise NetError(f"infogain_loss_param.source: {error}") from error


def _rows(x: Tensor) -> Tensor:
    """*x* as N x C, all axes behind the first being one; a bottom of one axis has one class."""
    return x.flatten(1) if x.dim() > 1 else x[:, None]


@LAYERS("MultinomialLogisticLoss")
class MultinomialLogisticLoss(Loss):
    """-log x[label], averaged over N; x are probabilities, at least 1e-20. bottoms: N x C, N; top: scalar.

    torch's nll_loss takes logarithms.
    """

    labels = (1,)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        _one_label_an_item(bottoms)
        return cls()

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        picked = floored(scores_of(_rows(x), label.reshape(-1, 1).long()), LOG_THRESHOLD)
        return picked.log().sum() / -x.shape[0]


@LAYERS("HingeLoss")
class HingeLoss(Loss):
    """The sum of max(0, 1 - d x) (L1) or of its square (L2) over all classes, by N; d is 1 for the label, else -1.

    bottoms: N x C (all axes behind the first count as one), N; top: scalar. Options: norm (L1; L2).
    torch's multi_margin_loss compares with the label's score instead.
    """

    message = "hinge_loss_param"
    options = frozenset({"norm"})
    labels = (1,)

    def __init__(self, squared: bool = False) -> None:
        super().__init__()
        self.squared = squared

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        _one_label_an_item(bottoms)
        return cls(proto.hinge_loss_param.norm == HingeLossParameter.L2)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        rows = _rows(x)
        index = label.reshape(-1).long()
        check_items(rows.shape, index.shape)
        check_labels(index, rows.shape[1], None)
        signs = torch.ones_like(rows).scatter_(1, index[:, None], -1.0)
        margins = F.relu(torch.addcmul(rows.new_ones(()), signs, rows))
        return (margins * margins if self.squared else margins).sum() / x.shape[0]


def _one_label_an_item(bottoms: Sequence[Shape]) -> None:
    x, label = bottoms
    if not x or label[:1] != x[:1] or torch.Size(label).numel() != x[0]:
        raise NetError("needs one label for each item")


@LAYERS("ContrastiveLoss")
class ContrastiveLoss(Loss):
    """The sum of y d^2 + (1 - y) max(margin - d, 0)^2, by 2N; d is the distance of a and b.

    bottoms: a and b (N x C), y (N; 1: similar, 0: not); top: scalar. legacy_version takes max(margin - d^2, 0).
    The gradient of dissimilar pairs has the original's 1e-4 in its divisor.
    Options: margin (1), legacy_version (false).
    """

    message = "contrastive_loss_param"
    options = frozenset({"margin", "legacy_version"})
    predicted = 2
    bottoms = (3, 3)
    labels = (2,)

    def __init__(self, margin: float = 1.0, legacy: bool = False) -> None:
        super().__init__()
        self.margin = margin
        self.legacy = legacy

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        a, b, similar = bottoms
        if len(a) < 2 or a[:2] != b[:2] or torch.Size(a[2:] + b[2:]).numel() != 1:
            raise NetError("its first two bottoms must both be N x C")
        if similar[:1] != a[:1] or torch.Size(similar).numel() != a[0]:
            raise NetError("its third bottom needs one value for each pair")
        p = proto.contrastive_loss_param
        return cls(p.margin, p.legacy_version)

    def forward(self, a: Tensor, b: Tensor, similar: Tensor) -> Tensor:
        squared = (a.flatten(1) - b.flatten(1)).square().sum(1)
        if self.legacy:
            apart = F.relu(self.margin - squared)
        else:
            distance = squared.detach().sqrt()
            gap = F.relu(self.margin - distance)
            slope = gap / (distance + 1e-4)
            apart = gap * gap - slope * (squared - squared.detach())
        return torch.where(similar.reshape(-1) != 0, squared, apart).sum() / (2 * a.shape[0])


@LAYERS("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(Loss):
    """-t log s - (1 - t) log(1 - s), s = sigmoid(x), summed and normalised. bottoms: x and t in [0, 1], as many values.

    Options: loss_param.ignore_label (none), normalization (BATCH_SIZE; FULL, VALID, NONE), normalize (old: VALID or
    BATCH_SIZE). torch's binary_cross_entropy_with_logits divides by the values.
    """

    activates = True
    labels = (1,)
    loss_options = LOSS_OPTIONS

    def __init__(self, normalization: str = "BATCH_SIZE", ignore_label: int | None = None) -> None:
        super().__init__()
        self.normalization = normalization
        self.ignore_label = ignore_label

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        return unsupported(proto.loss_param)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        check_alike(bottoms)
        return cls(normalization(proto.loss_param, "BATCH_SIZE"), ignored(proto.loss_param))

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        t = target.reshape(x.shape).to(x.dtype)
        if self.ignore_label is None:
            total = F.binary_cross_entropy_with_logits(x, t, reduction="sum")
        else:
            losses = F.binary_cross_entropy_with_logits(x, t, reduction="none")
            total = losses.masked_fill(t == self.ignore_label, 0.0).sum()
        if self.normalization == "NONE":
            return total
        if self.normalization == "VALID" and self.ignore_label is not None:
            return total / (t != self.ignore_label).sum().clamp(min=1)
        return total / max(1, x.shape[0] if self.normalization == "BATCH_SIZE" else x.numel())

    def predict(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def emit(self, g: Emitter, x: Value, target: Value) -> Value:
        return g.op("Sigmoid", x)


@LAYERS("Softmax")
class Softmax(Layer):
    """y = exp(x) / sum of exp(x) along an axis. bottom, top: any shape, equal. Options: axis (1)."""

    alike = True
    rereads = True
    message = "softmax_param"
    options = frozenset({"axis"})
    hints = frozenset({"engine"})
    fp32 = True

    def __init__(self, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        return cls(canonical_axis(proto.softmax_param.axis, len(bottoms[0])))

    def forward(self, x: Tensor) -> Tensor:
        return softmax(x, self.axis)

    def emit(self, g: Emitter, x: Value) -> Value:
        return g.op("Softmax", x, axis=self.axis)

    def gradient(self, x: Tensor, seen: Tensor, y: Tensor, upstream: Tensor) -> Tensor:
        return (upstream - (upstream * y).sum(self.axis, keepdim=True)) * y
