"""The page as a whole: its head, its contents, its sections."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

from nets.report.contents import Figure, Report
from nets.report.curves import show_log
from nets.report.html import Content, Markup, element, markup, table
from nets.report.image import data_image
from nets.report.judged import show_calibration, show_classes, show_confusion, show_pictures
from nets.report.outcome import read_outcome
from nets.report.trained import read_net, show_layers, show_weights
from protos import files

# Nothing but what is in the page itself: a browser then asks no network, whatever a text says.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
MARKS = {True: "✓ reached", False: "✗ missed"}
KINDS = {True: "right", False: "wrong"}


@dataclass(frozen=True)
class Section:
    """A part of the page: the ``key`` by which it is linked, its heading, what it says."""

    key: str
    heading: str
    content: Markup


def write_report(report: Report, path: str | os.PathLike[str]) -> None:
    """Write *report* as one HTML file to *path*. Raises CaffeError where a file it names cannot be read."""
    page = page_text(report, Path(path).parent).encode(errors="replace")  # paths may have bytes that are no text
    with files.replacing(path) as file:
        file.write(page)


def page_text(report: Report, folder: Path) -> str:
    """The page, which names files in *folder* by their paths there."""
    sections = list(_sections(report, folder))
    links = [element("li", element("a", one.heading, href=f"#{one.key}")) for one in sections]
    body = [
        element("nav", [element("strong", "Contents"), element("ul", links)], aria_label="Contents"),
        element(
            "main",
            [
                element("header", [element("h1", report.title), element("p", report.description), _verdict(report)]),
                *(element("section", [element("h2", one.heading), one.content], id=one.key) for one in sections),
            ],
        ),
    ]
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", report.title),
        element("style", Markup(package_files(__package__).joinpath("style.css").read_text())),
    ]
    return "<!DOCTYPE html>\n" + element("html", [element("head", head), element("body", body)], lang="en") + "\n"


def _sections(report: Report, folder: Path) -> Iterator[Section]:
    yield Section("figures", "Results", _figures(report))
    logs = [part for label, path in report.logs for part in show_log(label, path, report.epoch)]
    yield Section("training", "Training", markup(logs) or _absent("No training log was given."))
    yield from _on_predictions(report)
    net = None if report.weights is None else read_net(report.weights)
    layers = _absent("No model was given.") if net is None else show_layers(net)
    yield Section("net", "The net", element("div", [_graph(report), element("div", layers)], class_="net"))
    shown = _absent("No weights were given.")
    if net is not None and report.weights is not None:
        shown = show_weights(net, report.weights)
    yield Section("weights", "Weights", shown)
    yield Section("times", "Times and machine", _times(report))
    yield Section("repeat", "To repeat it", _repeat(report, folder))


def _on_predictions(report: Report) -> Iterator[Section]:
    if report.predictions is None:
        yield Section("classes", "Accuracy by class", _absent("No predictions were given."))
        return
    outcome = read_outcome(report.predictions)
    yield Section("classes", "Accuracy by class", show_classes(outcome))
    yield Section("confusion", "Confusion", show_confusion(outcome))
    if outcome.images is not None:
        yield Section("images", "Test images", show_pictures(outcome, outcome.images))
    yield Section("calibration", "Calibration", show_calibration(outcome))


def _absent(said: str) -> Markup:
    return element("p", said, class_="absent")


def _verdict(report: Report) -> Markup:
    """How many figures were reached, and which were not."""
    judged = [figure for figure in report.figures if figure.reached is not None]
    if not judged:
        return Markup()
    missed = [figure.name for figure in judged if not figure.reached]
    said = f"{len(judged) - len(missed)} of {len(judged)} figures reached"
    said += f"; missed: {', '.join(missed)}." if missed else "."
    return element("p", said, class_=f"verdict {KINDS[not missed]}")


def _figures(report: Report) -> Markup:
    if not report.figures:
        return _absent("No figures were given.")
    return table(["figure", "ours", "the tutorial's", "result"], map(_figure, report.figures), class_="results")


def _figure(figure: Figure) -> list[Content]:
    """A row; on a narrow page its cells stand below each other, with words before the figures."""
    note = figure.note or ("no reason is known" if figure.reached is False else "")
    beside = [element("span", "tutorial: ", class_="narrow"), figure.tutorial] if figure.tutorial else ""
    ours = [element("span", "ours: ", class_="narrow"), element("strong", figure.ours)]
    mark = "" if figure.reached is None else element("span", MARKS[figure.reached], class_=KINDS[figure.reached])
    return [[figure.name, element("small", note)] if note else figure.name, ours, beside, mark]


def _graph(report: Report) -> Markup:
    if report.graph_svg is None:
        return _absent(f"There is no picture of the graph: {report.graph_missing or 'none was drawn'}.")
    said = (
        "The graph of the net: boxes are layers, arrows are blobs with their shapes; the table of layers says the same."
    )
    image = data_image(files.read(report.graph_svg), "svg+xml", said)
    return element("div", image, class_="scroll graph", tabindex=0)


def _times(report: Report) -> Markup:
    parts = []
    if report.times:
        total = sum(seconds for _, seconds in report.times)
        rows = [(stage, _duration(seconds), f"{100 * seconds / (total or 1):.0f}%") for stage, seconds in report.times]
        parts.append(table(["stage", "time", "of all"], [*rows, ("all", _duration(total), "")], class_="times"))
    else:
        parts.append(_absent("No times were taken."))
    parts.append(table(["machine", ""], report.machine) if report.machine else _absent("No machine was named."))
    return element("div", parts, class_="beside")


def _duration(seconds: float) -> str:
    """A time as people say it.

    >>> _duration(0.25), _duration(75.2), _duration(7260)
    ('0.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _repeat(report: Report, folder: Path) -> Markup:
    parts = []
    if report.commands:
        parts.append(element("p", "One click selects all of it."))
        parts.append(element("pre", [_command(line) for line in report.commands]))
    else:
        parts.append(_absent("No commands were given."))
    if report.files:
        parts.append(element("h3", "Files"))
        rows = [(what, element("code", _below(path, folder)), _size(path)) for what, path in report.files]
        parts.append(table(["what", "file", "bytes"], rows, class_="files"))
    return markup(parts)


def _command(line: str) -> Markup:
    """A line of shell; where it is wrapped, a flag is not torn apart."""
    words = [element("span", word, class_="flag") if word.startswith("-") else word for word in line.split(" ")]
    return element("code", [markup([" ", word]) if i else word for i, word in enumerate(words)] + ["\n"])


def _below(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _size(path: Path) -> str:
    """The bytes of a file, or of all in a folder, such as a store."""
    if not path.exists():
        return "not there"
    inside = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    return f"{sum(part.stat().st_size for part in inside):,}"
