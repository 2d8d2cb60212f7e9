"""Tables: CSV files of numbers with a label column, and .npz files of arrays."""

import csv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protos.errors import DataError


@dataclass(frozen=True)
class Table:
    """*values* N x D float32 in the order of *columns*; *labels* the cells of the label column, or None."""

    columns: list[str]
    values: NDArray[np.float32]
    labels: list[str] | None


def read_csv(path: Path, label: str | None, drop: tuple[str, ...] = ()) -> Table:
    """Read a CSV file with a header line; *label* names the label column, *drop* columns to leave out.

    Raises DataError, with line and column, for a cell that is missing, no number, NaN or infinite.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _table(path, csv.reader(file), label, drop)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file ({error})") from None


def _table(path: Path, lines: Iterator[list[str]], label: str | None, drop: tuple[str, ...]) -> Table:
    header = next(lines, [])
    missing = [name for name in (label, *drop) if name is not None and name not in header]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; it has {', '.join(header[:8])} ...")
    chosen = [at for at, name in enumerate(header) if name != label and name not in drop]
    at_label = header.index(label) if label is not None else None
    values: list[NDArray[np.float32]] = []
    labels = []
    for number, line in enumerate(lines, 2):
        if not line:
            continue
        if len(line) != len(header):
            raise DataError(f"{path}, line {number}: {len(line)} cells, but the header has {len(header)}")
        values.append(_row(path, number, line, chosen, header))
        if at_label is not None:
            labels.append(_label_cell(path, number, line[at_label]))
    if not values:
        raise DataError(f"{path}: there are no lines below the header")
    return Table([header[at] for at in chosen], np.stack(values), labels if at_label is not None else None)


def _row(path: Path, number: int, line: list[str], chosen: list[int], header: list[str]) -> NDArray[np.float32]:
    try:
        row = [float(line[at]) for at in chosen]
    except ValueError:
        row = []
    if row and all(map(isfinite, row)):
        return np.array(row, np.float32)
    bad = next(at for at in chosen if not _is_finite(line[at]))
    what = f"{line[bad]!r} is not a finite number" if line[bad].strip() else "the cell is empty"
    raise DataError(f"{path}, line {number}, column {header[bad]}: {what}")


def _label_cell(path: Path, number: int, cell: str) -> str:
    if not cell.strip():
        raise DataError(f"{path}, line {number}: the label is missing")
    return cell.strip()


def _is_finite(cell: str) -> bool:
    try:
        return isfinite(float(cell))
    except ValueError:
        return False


def to_classes(cells: list[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Labels of label cells, and the names of the classes: integers stay, other texts are numbered in order.

    >>> to_classes(["cat", "ant", "cat"])
    (array([1, 0, 1]), ['ant', 'cat'])
    >>> to_classes(["2", "0"])
    (array([2, 0]), [])
    """
    if all(cell.lstrip("+-").isdecimal() for cell in cells):
        return np.array([int(cell) for cell in cells]), []
    names = sorted(set(cells))
    number = {name: at for at, name in enumerate(names)}
    return np.array([number[cell] for cell in cells]), names


def read_npz(path: Path, data: str, label: str) -> tuple[NDArray[np.generic], NDArray[np.int64] | None]:
    """Examples N x C x H x W and labels (N,) of an ``.npz``; labels are None where there is no array *label*.

    N x D become N x D x 1 x 1, N x H x W become N x 1 x H x W; bytes stay, all else becomes float32.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if data not in file:
                raise DataError(f"{path}: no array {data!r}; it has {', '.join(file)}")
            values, labels = file[data], file.get(label)
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(f"{path}: not a readable .npz of arrays ({error})") from None
    return _examples(path, values), None if labels is None else _labels(path, labels, len(values))


def _examples(path: Path, values: NDArray[np.generic]) -> NDArray[np.generic]:
    shapes = {2: (*values.shape, 1, 1), 3: (len(values), 1, *values.shape[1:]), 4: values.shape} if values.ndim else {}
    if values.ndim not in shapes or values.dtype.kind not in "uifb":
        raise DataError(f"{path}: an array of {values.dtype} and shape {list(values.shape)} is not examples")
    out = values if values.dtype == np.uint8 else values.astype(np.float32)
    if not np.isfinite(out).all():
        raise DataError(f"{path}: example {np.argwhere(~np.isfinite(out))[0][0]} holds NaN or infinity")
    return out.reshape(shapes[values.ndim])


def _labels(path: Path, labels: NDArray[np.generic], count: int) -> NDArray[np.int64]:
    if labels.size != count or labels.dtype.kind not in "ui":
        raise DataError(f"{path}: labels are {labels.size} of {labels.dtype}, not {count} integers")
    return labels.reshape(-1).astype(np.int64)
