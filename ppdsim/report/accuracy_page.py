"""The accuracy report: a :class:`~ppdsim.accuracy.Validation` as one offline HTML file, made like the crossover's."""

from __future__ import annotations

from collections.abc import Iterable

from ppdsim.accuracy import SYMBOLS, CellErrors, CrossingCheck, Decisions, Validation
from ppdsim.metrics import is_known
from ppdsim.report.figures import ACCURACY_FIGURES
from ppdsim.report.page import fill
from ppdsim.report.tables import Cell, Table
from ppdsim.units import MS_PER_S


def render_accuracy(found: Validation, card: str) -> str:
    """Return the page as HTML."""
    missed = [
        f"{'failed' if gate.required else 'missed'}: {gate.name}; found {gate.found}"
        for gate in found.gates
        if not gate.passed
    ]
    return fill(
        "accuracy.html",
        ACCURACY_FIGURES,
        found,
        found=found,
        headline=headline(found),
        missed=missed,
        card=card,
        tables={
            "cells": _table(CELL_CAPTION, CELL_COLUMNS, map(_cells, found.cells)),
            "decisions": _table(
                "Decisions: was the cheaper arm predicted", DECISION_COLUMNS, map(_decision_row, found.decisions)
            ),
            "crossings": _table(
                "N* and level lines at gamma = 1, with 90 % intervals", CROSSING_COLUMNS, map(_line, found.crossings)
            ),
        },
    )


def headline(found: Validation) -> str:
    """Return the first line: the median errors of unseen cells, worst kind last."""
    parts = [
        f"{row.kind} {100 * row.median:.1f} % ({row.scope})" for row in sorted(found.cells, key=lambda r: r.median)
    ]
    return f"{found.profile}: median error on unseen cells: {', '.join(parts) or 'nothing was compared'}"


CELL_CAPTION = "Cells: absolute relative error [%] and coverage; p90 in brackets: of fewer than 10 cells"
CELL_COLUMNS = ("run", "kind", "unseen as", "cells", "median", "p90", "max", "bias", "noise", "inside", "largest at")
DECISION_COLUMNS = ("run", "arms", "unseen as", "right", "compared", "right of decided", "decided", "mean regret [ms]")
CROSSING_COLUMNS = ("run", "line", "against", "fixed [tokens]", "N [streams]", "unseen as", "predicted", "measured")


def _table(caption: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    return Table(
        caption=caption,
        columns=columns,
        rows=tuple(tuple(Cell(text=text) for text in row) for row in rows),
    )


def _cells(row: CellErrors) -> tuple[str, ...]:
    shares = (row.maximum, row.bias, row.noise, row.coverage)
    high = f"{100 * row.p90:.1f}"
    return (
        row.measurements,
        row.kind,
        row.scope,
        str(row.cells),
        f"{100 * row.median:.1f}",
        high if is_known(0.9, row.cells) else f"({high})",
        *("-" if share is None else f"{100 * share:.1f}" for share in shares),
        row.worst,
    )


def _decision_row(row: Decisions) -> tuple[str, ...]:
    arms = f"{row.first} or {row.second}"
    counts = (row.right, row.compared, row.right_decided, row.decided)
    return (row.measurements, arms, row.scope, *map(str, counts), f"{MS_PER_S * row.regret_mean_s:.1f}")


def _line(row: CrossingCheck) -> tuple[str, ...]:
    digits = {"r": 3, "new_tokens": 0, "streams": 1}[row.axis]

    def text(value: float | None, low: float | None, high: float | None) -> str:
        if value is None:
            return "no crossing"
        span = "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"
        return f"{value:.{digits}f}{span}"

    return (
        row.measurements,
        SYMBOLS[row.axis],
        row.against,
        str(row.fixed_tokens) if row.new_tokens is None else f"L = {row.fixed_tokens}, m = {row.new_tokens}",
        "-" if row.residents is None else str(row.residents),
        row.scope,
        text(row.predicted, row.predicted_low, row.predicted_high),
        text(row.measured, row.measured_low, row.measured_high),
    )
