"""The reports: offline HTML files that draw a crossover, validation, sweep, what-if or capacity, and no more."""

from ppdsim.report.accuracy_page import write_accuracy_report
from ppdsim.report.alternatives_page import write_alternatives_report
from ppdsim.report.capacity_page import write_capacity_report
from ppdsim.report.page import write_report
from ppdsim.report.sweep_page import write_sweep_report

__all__ = [
    "write_accuracy_report", "write_alternatives_report", "write_capacity_report", "write_report", "write_sweep_report",
]  # fmt: skip
