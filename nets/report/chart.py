"""Small charts as inline SVG, in the page's own colours, light or dark: lines, bars, and their axes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from nets.plot import spans_decades
from nets.report.html import Markup, element

WIDTH, HEIGHT = 440, 260  # of the view box; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 10, 46
DIGIT = 10  # the width of one, at most
MARKED = 60  # points; more have no marker each
COLOURS = 6

Point = tuple[float, float]
Span = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A curve by its *name* in the legend, if it has one; a *dashed* one is only there to compare with."""

    name: str
    points: Sequence[Point]
    dashed: bool = False

    @property
    def finite(self) -> list[Point]:
        """The points that are numbers."""
        return [(x, y) for x, y in self.points if isfinite(x) and isfinite(y)]


@dataclass(frozen=True)
class Axis:
    """Values from *low* to *high* onto pixels from *start* to *end*, in steps or in powers of ten."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The pixel of *value*."""
        low, high, value = (log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Round values, about *most*, between the ends."""
        if self.logarithmic:
            powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            for steps in ((1, 2, 5), (1, 3), (1,)):
                found = [step * 10.0**power for power in powers for step in steps]
                found = [value for value in found if self.low <= value <= self.high]
                if len(found) <= most + 1:
                    break
            return found[:: ceil(len(found) / (most + 1))]
        step = _step(self.high - self.low, most)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)]


def _step(span: float, most: int) -> float:
    """1, 2 or 5 times a power of ten that divides *span* into at most *most* parts."""
    power = 10.0 ** floor(log10(span / most))
    return next(k * power for k in (1, 2, 5, 10) if k * power * most >= span * (1 - 1e-9))


def number(value: float) -> str:
    """A figure of an axis or a legend, short.

    >>> number(25000), number(0.1 + 0.2), number(1e-7), number(1200000), number(0)
    ('25,000', '0.3', '1e-07', '1.2 M', '0')
    """
    if not isfinite(value):
        return str(value)
    if abs(value) >= 1e6:
        return f"{value / 1e6:.4g} M" if abs(value) < 1e12 else f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _padded(values: Sequence[float]) -> Span:
    """The least and the greatest, with a little room, and never the same."""
    low, high = min(values), max(values)
    room = 0.04 * (high - low) or max(abs(high), 1.0) * 0.1
    return low - room if low < 0 or low - room > 0 else 0.0, high + room


def _log_span(values: Sequence[float]) -> Span:
    return min(values) / 1.15, max(values) * 1.15


def lines(
    curves: Iterable[Line], title: str, x_label: str, x: Span | None = None, y: Span | None = None, note: str = ""
) -> Markup:
    """A figure of *curves* with its legend; *x* and *y* are the ends of the axes, else those of the points."""
    shown = [curve for curve in curves if curve.finite]
    if not shown:
        return Markup()
    values = [value for curve in shown for _, value in curve.finite]
    decades = y is None and spans_decades(values)
    across = Axis(*(x or _ends([at for curve in shown for at, _ in curve.finite])), LEFT, WIDTH - RIGHT)
    up = Axis(*(y or (_log_span if decades else _padded)(values)), HEIGHT - BOTTOM, TOP, decades)
    drawn = [_curve(curve, across, up, f"s{i % COLOURS}") for i, curve in enumerate(shown)]
    lost = sum(len(curve.points) - len(curve.finite) for curve in shown)
    notes = [note] if note else []
    notes += ["logarithmic axis"] if decades else []
    notes += [f"{lost} values are no numbers (nan or infinite) and are left out"] if lost else []
    legend = [
        element("li", [element("span", class_=f"key s{i % COLOURS}{' dashed' if curve.dashed else ''}"), curve.name])
        for i, curve in enumerate(shown)
        if curve.name
    ]
    return _figure(title, f"{title} by {x_label}", [_axes(across, up, x_label), *drawn], legend, notes)


def _ends(values: Sequence[float]) -> Span:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _curve(curve: Line, across: Axis, up: Axis, colour: str) -> Markup:
    """A line broken where a value is no number, with markers where there are few."""
    parts: list[list[str]] = [[]]
    marks = []
    for x, y in curve.points:
        if not (isfinite(x) and isfinite(y)):
            parts.append([])
            continue
        at = f"{across.at(x):.1f},{up.at(y):.1f}"
        parts[-1].append(at)
        if len(curve.points) <= MARKED and not curve.dashed:
            cx, cy = at.split(",")
            tip = element("title", f"{curve.name} {number(y)} at {number(x)}".strip())
            marks.append(element("circle", tip, cx=cx, cy=cy, r=2.6))
    strokes = [element("polyline", points=" ".join(part)) for part in parts if len(part) > 1]
    return element("g", [*strokes, *marks], class_=f"{colour}{' dashed' if curve.dashed else ''}")


def bars(
    edges: Sequence[float], heights: Sequence[float], title: str, x_label: str, y: Span | None = None,
    x: Span | None = None, over: Sequence[Line] = (), note: str = ""
) -> Markup:  # fmt: skip
    """A figure of bars of *heights* between neighbouring *edges*, with lines drawn *over* them."""
    across = Axis(*(x or (edges[0], edges[-1])), LEFT, WIDTH - RIGHT)
    up = Axis(*(y or (0.0, 1.08 * max(*heights, 1e-9))), HEIGHT - BOTTOM, TOP)
    rectangles = []
    for left, right, height in zip(edges, edges[1:], heights, strict=False):
        if height > 0:
            tip = element("title", f"{number(left)} to {number(right)}: {number(height)}")
            start, top = across.at(left), up.at(height)
            size = {"width": f"{max(across.at(right) - start - 1, 0.7):.1f}", "height": f"{up.start - top:.1f}"}
            rectangles.append(element("rect", tip, x=f"{start + 0.5:.1f}", y=f"{top:.1f}", **size))
    content = [_axes(across, up, x_label), element("g", rectangles, class_="s0 bars")]
    content += [_curve(line, across, up, f"s{i + 1}") for i, line in enumerate(over)]
    return _figure(title, f"{title} by {x_label}", content, [], [note] if note else [])


def _axes(across: Axis, up: Axis, x_label: str) -> Markup:
    parts = []
    floor_at = up.start
    for value in up.ticks(5):
        y = up.at(value)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
        parts.append(element("text", number(value), x=LEFT - 6, y=f"{y + 5:.1f}", text_anchor="end"))
    for value in across.ticks(5):
        x = across.at(value)
        parts.append(element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=floor_at, y2=floor_at + 4, class_="axis"))
        label = number(value)
        inside = min(x, WIDTH - DIGIT / 2 * len(label))  # the last one is not cut
        parts.append(element("text", label, x=f"{inside:.1f}", y=floor_at + 19, text_anchor="middle"))
    parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=floor_at, y2=floor_at, class_="axis"))
    parts.append(element("text", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle"))
    return element("g", parts, class_="axes")


def _figure(title: str, label: str, content: list[Markup], legend: list[Markup], notes: list[str]) -> Markup:
    svg = element("svg", content, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label)
    said = [element("figcaption", [element("strong", title), *(f" ({note})" for note in notes)])]
    said += [element("ul", legend, class_="legend")] if legend else []
    return element("figure", [*said, svg], class_="chart")
