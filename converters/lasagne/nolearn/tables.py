"""The tables that a NeuralNet prints."""

from collections.abc import Mapping, Sequence
from typing import Any

CYAN, GREEN, MAGENTA, RED, END = "\x1b[36m", "\x1b[32m", "\x1b[35m", "\x1b[31m", "\x1b[0m"


def is_number(text: str) -> bool:
    """Whether *text* would be read as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table: headers, rules, rows. Columns of numbers are flush right, all others left."""
    columns = list(zip(*rows, strict=True)) or [()] * len(headers)
    right = [all(is_number(visible(cell)) for cell in column) for column in columns]
    widths = [max([len(h) + 2, *(len(visible(cell)) for cell in c)]) for h, c in zip(headers, columns, strict=True)]
    lines = [_line(headers, widths, right), "  ".join("-" * width for width in widths)]
    return lines + [_line(row, widths, right) for row in rows]


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = []
    for cell, width, flush in zip(cells, widths, right, strict=True):
        space = " " * (width - len(visible(cell)))
        parts.append(space + cell if flush else cell + space)
    return "  ".join(parts).rstrip()


def visible(text: str) -> str:
    """*text* without colours."""
    for code in (CYAN, GREEN, MAGENTA, RED, END):
        text = text.replace(code, "")
    return text


def epoch_row(info: Mapping[str, Any], regression: bool, scores: Sequence[str]) -> dict[str, str]:
    """The cells of an epoch, by header."""
    train, valid = f"{info['train_loss']:.5f}", f"{info['valid_loss']:.5f}"
    row = {
        "epoch": str(info["epoch"]),
        "trn loss": f"{CYAN}{train}{END}" if info["train_loss_best"] else train,
        "val loss": f"{GREEN}{valid}{END}" if info["valid_loss_best"] else valid,
        "trn/val": f"{info['train_loss'] / info['valid_loss']:.5f}" if info["valid_loss"] else "nan",
    }
    if not regression:
        row["valid acc"] = f"{info['valid_accuracy']:.5f}"
    row.update({name: f"{info[name]:.5f}" for name in scores})
    row["dur"] = f"{info['dur']:.2f}s"
    return row
