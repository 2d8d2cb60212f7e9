"""The table of layer types, generated from the classes: ``python -m nets.layers`` prints it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.sources import SOURCES
from nets.layer import LAYERS, Layer
from protos.errors import CaffeError
from protos.files import read, replacing
from protos.schema import LayerParameter

ORDINALS = ("first", "second", "third", "fourth")
BEGIN, END = "<!-- layers -->", "<!-- /layers -->"
HEAD = "| type | what it computes | options (and their defaults) | TRAIN and TEST | gradient |\n|---|---|---|---|---|"


def markdown() -> str:
    """The table, a row a type, in alphabetical order.

    >>> print(next(row for row in markdown().splitlines() if "| ELU |" in row))
    | ELU | y = x where x > 0, alpha \\* (exp(x) - 1) elsewhere | alpha (1) | | yes |
    """
    rows = {name: _layer_row(LAYERS[name]) for name in LAYERS} | {name: _source_row(name) for name in SOURCES}
    rows["Input"] = ("Inputs of the net, each of the shape it declares", "shape", "", "")
    return "\n".join([HEAD, *(_line(name, *cells) for name, cells in sorted(rows.items()))])


def replaced(text: str) -> str:
    """*text* with the table put between its markers. Raises CaffeError where it has none."""
    if BEGIN not in text or END not in text:
        raise CaffeError(f"there are no markers {BEGIN} and {END} for the table")
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{markdown()}\n{END}{rest.split(END, 1)[1]}"


def write(path: Path) -> None:
    """Put the table between the markers of the file at *path*."""
    text = replaced(read(path).decode())
    with replacing(path) as file:
        file.write(text.encode())


def _line(*cells: str) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


Row = tuple[str, str, str, str]


def _layer_row(cls: type[Layer]) -> Row:
    options = [*_options(cls.message, cls.options), *sorted(cls.loss_options)]
    return _cell(_first_sentence(cls)), ", ".join(options), cls.phases, _gradient(cls)


def _source_row(name: str) -> Row:
    message = SOURCES[name].message or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() + "_param"
    return _cell(_first_sentence(SOURCES[name]).removeprefix(f"{name}: ")), f"those of {message}", "", ""


def _options(message: str, names: frozenset[str]) -> Iterator[str]:
    """The options *names* of a message in its order, those without another default as they are."""
    if not message:
        return
    for field in LayerParameter.DESCRIPTOR.fields_by_name[message].message_type.fields:  # type: ignore[union-attr]
        if field.name in names:
            yield f"{field.name} ({_default(field)})" if _default(field) else field.name


def _default(field: Any) -> str:
    if not field.has_default_value:
        return ""
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[field.default_value].name)
    value = field.default_value
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _gradient(cls: type[Layer]) -> str:
    if not cls.differentiable:
        return "none"
    if not cls.labels:
        return "yes"
    return "not to the " + " and ".join("last" if i < 0 else ORDINALS[i] for i in cls.labels) + " bottom"


def _first_sentence(cls: type) -> str:
    text = " ".join((cls.__doc__ or "").split())
    return re.split(r"(?<=[^.])\.(?=\s|$)|;? (?:bottoms?, top|bottoms?|tops?):", text)[0].rstrip(".;: ")


def _cell(text: str) -> str:
    text = text.replace("|", "\\|").replace("*", "\\*").replace(":meth:", "").replace("``", "`")
    return text[:1].upper() + text[1:] if text[1:2].islower() else text
