"""The report of an experiment: one HTML page that needs no network, for phones and for wide screens.

``write_report(report, path)`` writes it; nothing but NumPy and Pillow is needed.
"""

from nets.report.contents import Figure, Report, Weights, machine
from nets.report.page import write_report

__all__ = ["Figure", "Report", "Weights", "machine", "write_report"]
