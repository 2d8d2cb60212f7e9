"""The curves of training logs, and the table of their tests."""

from bisect import bisect_right
from math import ceil
from pathlib import Path

from nets.plot import Curves, Points, read_log
from nets.report.chart import Line, Point, lines, number
from nets.report.html import Markup, element, table

DRAWN = 300  # points of a curve; of more, means are drawn
OPEN = 12  # rows of a table that is there without unfolding


def show_log(label: str, path: Path, epoch: int) -> list[Markup]:
    """A log's charts by iteration, or by epoch of *epoch* iterations where that is not 0, and its tests as a table."""
    log = read_log(path)
    losses = {name: points for name, points in log.tests.items() if "loss" in name.lower()}
    scores = {name: points for name, points in log.tests.items() if name not in losses}
    per = epoch or 1
    unit = f"epoch ({epoch:,} iterations)" if epoch else "iteration"

    def line(name: str, points: Points) -> Line:
        return Line(name, [(at / per, value) for at, value in _thin(points)])

    step = ceil(len(log.loss) / DRAWN)
    charts = [
        lines(
            [line("training", log.loss), *(line(f"test {name}", points) for name, points in losses.items())],
            "loss", unit, note=f"training: means of {step} values" if step > 1 else "",
        ),
        lines([line(f"test {name}", points) for name, points in scores.items()], "test score", unit),
    ]  # fmt: skip
    constant = len({value for _, value in log.rate}) < 2
    charts += [] if constant else [lines([line("", log.rate)], "learning rate", unit)]
    said = [element("h3", label), element("div", charts, class_="charts")]
    if log.rate and constant:
        said.append(element("p", f"The learning rate was {number(log.rate[0][1])} throughout."))
    return [*said, _table(log, epoch)] if log.tests else said


def _thin(points: Points) -> list[Point]:
    """At most ``DRAWN`` points: the means of neighbours."""
    step = ceil(len(points) / DRAWN)
    if step <= 1:
        return list(points)
    parts = [points[i : i + step] for i in range(0, len(points), step)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def _table(log: Curves, epoch: int) -> Markup:
    """A row for each test: the last training loss said before it, and the outputs."""
    tests = {name: dict(points) for name, points in log.tests.items()}
    said = sorted({at for points in tests.values() for at in points})
    trained = [at for at, _ in log.loss]
    rows = []
    for at in said:
        before = bisect_right(trained, at)
        loss = _figure(log.loss[before - 1][1]) if before else ""
        values = [_figure(points[at]) if at in points else "" for points in tests.values()]
        rows.append([f"{at:,}", *([_epochs(at, epoch)] if epoch else []), loss, *values])
    header = ["iteration", *(["epoch"] if epoch else []), "training loss", *(f"test {name}" for name in tests)]
    summary = element("summary", f"Table of the {len(rows)} tests")
    return element("details", [summary, table(header, rows, class_="figures")], open=len(rows) <= OPEN)


def _epochs(at: int, epoch: int) -> str:
    return f"{at / epoch:.2f}" if at % epoch else str(at // epoch)


def _figure(value: float) -> str:
    """A loss or a score; figures of a column have as many decimals, so that they can be compared."""
    return f"{value:.4f}" if abs(value) < 1000 else number(value)
