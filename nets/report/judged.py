"""The sections on a test set: accuracy by class, which class is taken for which, pictures, calibration."""

import numpy as np
from numpy.typing import NDArray

from nets.report.chart import Line, bars
from nets.report.html import Content, Markup, element, markup, table
from nets.report.image import picture
from nets.report.outcome import Outcome
from nets.scores import MATRIX

PICTURES = 20  # right ones, and as many wrong ones
BINS = 10
DEEP = 0.8  # a cell as dark as that has white figures


def show_classes(outcome: Outcome) -> Markup:
    """The accuracy of each class, with bars."""
    matrix = outcome.scores.matrix
    right, totals = np.diag(matrix), matrix.sum(1)
    header = ["class", "accuracy", "most taken for", "right", "of"]
    if outcome.are_probabilities:
        header.append("log loss")
    rows = []
    for k, name in enumerate(outcome.names):
        if not totals[k]:
            continue
        share = right[k] / totals[k]
        bar = element("span", element("span", style=f"width:{100 * share:.1f}%"), class_="bar")
        row: list[Content] = [name, [bar, f" {100 * share:.1f}%"], _taken_for(matrix[k], k, outcome.names)]
        row += [f"{right[k]:,}", f"{totals[k]:,}"]
        if outcome.are_probabilities:
            row.append(f"{outcome.log_losses[outcome.labels == k].mean():.3f}")
        rows.append(row)
    said = f"{right.sum():,} of {totals.sum():,} are right: an accuracy of {100 * right.sum() / totals.sum():.2f}%."
    if outcome.are_probabilities:
        said += f" The multi-class log loss is {outcome.log_losses.mean():.4f}."
    return markup([element("p", said), table(header, rows, class_="classes")])


def _taken_for(row: NDArray[np.int64], label: int, names: list[str]) -> str:
    wrong = row.copy()
    wrong[label] = 0
    worst = int(wrong.argmax())
    return f"{names[worst]} ({wrong[worst]:,})" if wrong[worst] else "none"


def show_confusion(outcome: Outcome) -> Markup:
    """Each class by what it was taken for; of many classes, the commonest mistakes."""
    names, matrix = outcome.names, outcome.scores.matrix
    if len(names) > MATRIX:
        mistakes = [(names[a], names[b], f"{count:,}") for count, a, b in outcome.scores.mistakes()]
        said = f"The {len(mistakes)} commonest mistakes among {len(names)} classes."
        return markup([element("p", said), table(["true", "predicted", "how often"], mistakes)])
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    worst = np.max(shares - np.diag(np.diag(shares)), initial=0.0) or 1.0
    rows: list[list[Content]] = []
    for k, name in enumerate(names):
        cells = [_cell(int(matrix[k, j]), float(shares[k, j]), float(worst), k == j) for j in range(len(names))]
        rows.append([name, *cells])
    head = [element("span", ["predicted →", element("br"), "true ↓"]), *(element("span", name) for name in names)]
    said = (
        "A row for each true class, a column for each predicted one; the figures count test records. "
        "Blue on the diagonal is right, the more of its row the deeper; orange beside it is wrong."
    )
    return markup(
        [element("p", said), table(head, rows, class_=f"confusion{' upright' if max(map(len, names)) > 3 else ''}")]
    )


def _cell(count: int, share: float, worst: float, right: bool) -> Markup:
    """A figure on its colour, as deep as its *share* of the row; mistakes beside the *worst* of them."""
    depth = share if right else 0.6 * share / worst
    kind = f"{'right' if right else 'wrong'}{' deep' if right and depth > DEEP else ''}"
    return element("span", f"{count:,}" if count else "·", class_=kind, style=f"--v:{depth:.2f}",
                   title=f"{100 * share:.1f}% of this row")  # fmt: skip


def show_pictures(outcome: Outcome, images: NDArray[np.uint8]) -> Markup:
    """Test images with the true class and the predicted one: right ones of all classes, and the surest mistakes."""
    is_right = outcome.predicted == outcome.labels
    rank = np.zeros(len(is_right), np.int64)  # of each right one among those of its class, so that all are seen
    for k in range(len(outcome.names)):
        mine = np.flatnonzero(is_right & (outcome.labels == k))
        rank[mine] = np.arange(len(mine))
    right = np.flatnonzero(is_right)
    right = right[np.lexsort((outcome.labels[right], rank[right]))][:PICTURES]
    wrong = np.flatnonzero(~is_right)
    wrong = wrong[np.argsort(-outcome.confidence[wrong], kind="stable")][:PICTURES]
    parts = []
    for heading, chosen in (
        (f"Right: {len(right)} of {int(is_right.sum()):,}, the first of each class", right),
        (f"Wrong: {len(wrong)} of {int((~is_right).sum()):,}, those it was surest of", wrong),
    ):
        tiles = [_tile(outcome, images[i], int(i)) for i in chosen]
        parts += [element("h3", heading), element("div", tiles, class_="tiles")] if tiles else []
    return markup(parts)


def _tile(outcome: Outcome, pixels: NDArray[np.uint8], at: int) -> Markup:
    true, predicted = (outcome.names[k[at]] for k in (outcome.labels, outcome.predicted))
    sure = f" ({100 * outcome.confidence[at]:.0f}%)" if outcome.are_probabilities else ""
    if true == predicted:
        said, alt = [element("span", f"✓ {true}{sure}")], f"{true}, predicted right"
    else:
        said = [element("span", f"✗ {predicted}{sure}"), element("span", f"true: {true}")]
        alt = f"{true}, predicted {predicted}"
    kind = "right" if true == predicted else "wrong"
    return element("figure", [picture(pixels, alt), element("figcaption", said)], class_=kind)


def show_calibration(outcome: Outcome) -> Markup:
    """Whether what is said with a probability of p is right in a share of p of the cases."""
    if not outcome.are_probabilities:
        return element("p", "The outputs of this net are no probabilities, so there is no calibration to show.")
    edges = np.linspace(0, 1, BINS + 1)
    at = np.minimum((outcome.confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(at, minlength=BINS)
    least = np.maximum(counts, 1)
    shares = np.bincount(at, outcome.predicted == outcome.labels, BINS) / least
    means = np.bincount(at, outcome.confidence, BINS) / least
    error = float(np.abs(shares - means) @ counts / counts.sum())
    said = (
        f"The multi-class log loss is {outcome.log_losses.mean():.4f}. Records are sorted by the probability of the "
        f"class that was predicted. Where the bars end on the line, that probability can be trusted; the mean distance "
        f"(expected calibration error) is {100 * error:.1f} percentage points."
    )
    line = Line("as sure as right", [(0, 0), (1, 1)], dashed=True)
    x_label = "probability of the predicted class"
    note = "dashed: as sure as right"
    charts = [
        bars(edges.tolist(), shares.tolist(), "share that is right", x_label, y=(0, 1), over=[line], note=note),
        bars(edges.tolist(), counts.tolist(), "test records", x_label),
    ]
    return markup([element("p", said), element("div", charts, class_="charts")])
