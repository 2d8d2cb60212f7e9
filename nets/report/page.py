"""The page as a whole: its head, its contents, its sections."""

import os

from nets.report.contents import Report
from nets.report.html import element
from protos import files


def write_report(report: Report, path: str | os.PathLike[str]) -> None:
    """Write *report* as one HTML file to *path*. Raises CaffeError where a file it names cannot be read."""
    with files.replacing(path) as file:
        file.write(str(element("h1", report.title)).encode())
