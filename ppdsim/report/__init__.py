"""The report: one offline HTML file that draws a :class:`~ppdsim.answers.CrossoverAnswer` and nothing else."""

from ppdsim.report.page import write_report

__all__ = ["write_report"]
