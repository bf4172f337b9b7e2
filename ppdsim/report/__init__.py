"""The reports: offline HTML files that draw a crossover, validation, sweep, what-if or capacity, and no more."""

from ppdsim.report.accuracy_page import render_accuracy
from ppdsim.report.alternatives_page import render_alternatives
from ppdsim.report.capacity_page import render_capacity
from ppdsim.report.page import render
from ppdsim.report.sweep_page import render_sweep

__all__ = ["render", "render_accuracy", "render_alternatives", "render_capacity", "render_sweep"]
