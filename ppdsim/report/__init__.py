"""The reports: offline HTML files that draw an answer of ``ppdsim crossover`` or a validation, and nothing else."""

from ppdsim.report.accuracy_page import write_accuracy_report
from ppdsim.report.page import write_report

__all__ = ["write_accuracy_report", "write_report"]
