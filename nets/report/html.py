"""HTML as text: what comes from outside is escaped, what is markup already stays."""

from collections.abc import Iterable
from html import escape

EMPTY = {"img", "meta", "br"}

Content = str | Iterable["Content"]


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def markup(content: Content) -> Markup:
    """*content* as markup; plain text in it is escaped.

    >>> markup(["a < b", Markup("<br>")])
    'a &lt; b<br>'
    """
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return Markup(escape(content))
    return Markup("".join(markup(part) for part in content))


def element(tag: str, content: Content = "", /, **attributes: object) -> Markup:
    """An element; ``_`` ends a name that Python keeps for itself, and stands for ``-`` elsewhere in it.

    An attribute of None or False is left out, and True stands without a value.

    >>> element("td", "1 < 2", class_="n", data_x=3)
    '<td class="n" data-x="3">1 &lt; 2</td>'
    """
    said = ""
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        plain = name.rstrip("_").replace("_", "-")
        said += f" {plain}" if value is True else f' {plain}="{escape(str(value))}"'
    return Markup(f"<{tag}{said}>" if tag in EMPTY else f"<{tag}{said}>{markup(content)}</{tag}>")


def table(header: Iterable[Content], rows: Iterable[Iterable[Content]], **attributes: object) -> Markup:
    """A table that scrolls in a box of its own where it is too wide; the first cell of each row heads it."""
    head = element("tr", [element("th", cell, scope="col") for cell in header])
    body = []
    for row in rows:
        first, *others = row
        body.append(element("tr", [element("th", first, scope="row"), *(element("td", cell) for cell in others)]))
    made = element("table", [element("thead", head), element("tbody", body)], **attributes)
    return element("div", made, class_="scroll", tabindex=0)
