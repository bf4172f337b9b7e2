"""The figures of the report, in the order in which the page shows them.

A figure is a function from an answer to a ``plotly.graph_objects.Figure``. It neither shows nor writes anything. Each
has a pure ``<name>_data`` beside it, which holds the numbers that are drawn and is what the tests look at.

What a reader may choose is a keyword of the function with a default. ``layout.meta["choices"]`` names these keywords
with their values, and the page offers them.
"""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go

from ppdsim.registry import Registry
from ppdsim.report.figures.plot_alternative_cdfs import plot_alternative_cdfs
from ppdsim.report.figures.plot_breakeven_lines import plot_breakeven_lines
from ppdsim.report.figures.plot_breakeven_map import plot_breakeven_map
from ppdsim.report.figures.plot_candidates import plot_candidates
from ppdsim.report.figures.plot_capacity import plot_capacity
from ppdsim.report.figures.plot_costs import plot_costs
from ppdsim.report.figures.plot_goodput import plot_goodput
from ppdsim.report.figures.plot_latencies import plot_latencies
from ppdsim.report.figures.plot_load_cdfs import plot_load_cdfs
from ppdsim.report.figures.plot_load_quantiles import plot_load_quantiles
from ppdsim.report.figures.plot_parity import plot_parity
from ppdsim.report.figures.plot_profile_quality import plot_profile_quality
from ppdsim.report.figures.plot_residuals import plot_residuals
from ppdsim.report.figures.plot_sweep_lines import plot_sweep_lines
from ppdsim.report.figures.plot_sweep_map import plot_sweep_map

FIGURES: Registry[Callable[..., go.Figure]] = Registry(
    "figure",
    {
        "costs": plot_costs,
        "breakeven-map": plot_breakeven_map,
        "breakeven-lines": plot_breakeven_lines,
        "latencies": plot_latencies,
        "profile-quality": plot_profile_quality,
    },
)

ACCURACY_FIGURES: Registry[Callable[..., go.Figure]] = Registry(
    "figure",
    {
        "parity": plot_parity,
        "residuals": plot_residuals,
        "candidates": plot_candidates,
        "load-cdfs": plot_load_cdfs,
        "load-quantiles": plot_load_quantiles,
    },
)
"""The same of the accuracy report: functions of a `Validation`."""

ALTERNATIVE_FIGURES: Registry[Callable[..., go.Figure]] = Registry(
    "figure", {"goodput": plot_goodput, "alternative-cdfs": plot_alternative_cdfs}
)
"""The same of a what-if's report: functions of a `Comparison`."""

SWEEP_FIGURES: Registry[Callable[..., go.Figure]] = Registry(
    "figure", {"sweep-lines": plot_sweep_lines, "sweep-map": plot_sweep_map}
)
"""The same of a sweep's report: functions of a `SweepAnswer`."""

CAPACITY_FIGURES: Registry[Callable[..., go.Figure]] = Registry("figure", {"capacity": plot_capacity})
"""The same of a capacity's report: functions of a `CapacityResult`."""
