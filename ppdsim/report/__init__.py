"""The reports: offline HTML files that draw an answer of ``ppdsim crossover``, a validation or a sweep."""

from ppdsim.report.accuracy_page import write_accuracy_report
from ppdsim.report.page import write_report
from ppdsim.report.sweep_page import write_sweep_report

__all__ = ["write_accuracy_report", "write_report", "write_sweep_report"]
