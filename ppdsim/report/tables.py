"""The tables of the report as rows of words: level lines, break-even points, quality of the curves, parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ppdsim.answers import (
    ANALYTICAL,
    SIMULATED,
    WITH_WAITS,
    BreakEvenPoint,
    Crossing,
    CrossoverAnswer,
    CurveCard,
    HostInterval,
    ParameterCard,
)
from ppdsim.metrics import is_known
from ppdsim.report import wording
from ppdsim.units import MS_PER_S, format_quantity

R = TypeVar("R")

FEW = "of fewer than 10 cells"
"""What stands below a 90th percentile that few cells show."""
OUTSIDE = "extrapolated"
"""Class of a cell that is extrapolated or unmeasured; the page marks it."""
SOURCES = {ANALYTICAL: "formula, idle", WITH_WAITS: "formula, with waits", SIMULATED: "simulated"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a cell says, the lines below it in small print, and its class."""

    text: str
    notes: tuple[str, ...] = ()
    css: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with its caption; every row has one cell a column."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @classmethod
    def of(cls, caption: str, rows: Iterable[R], columns: Mapping[str, Callable[[R], Cell | str]]) -> Table:
        """Return a table with a row for each of `rows`; `columns` has what each column says of one, by its head."""
        return cls(
            caption=caption,
            columns=tuple(columns),
            rows=tuple(tuple(_cell(say(row)) for say in columns.values()) for row in rows),
        )


def crossings_table(answer: CrossoverAnswer, axis: str) -> Table:
    """Return r* (axis ``r``) or m* (axis ``new_tokens``): a row a question, a column a source and assumed S_P."""
    found = [c for c in answer.crossings if c.axis == axis]
    sources = sorted({(list(SOURCES).index(c.source), c.handoff_stall_s) for c in found})
    several_stalls = len({stall for _, stall in sources}) > 1
    by_question: dict[tuple[str, int, int, str], dict[tuple[int, float], Crossing]] = {}
    for crossing in found:
        key = crossing.against.label, crossing.fixed_tokens, crossing.previous_output_tokens, crossing.prefill_cache
        place = list(SOURCES).index(crossing.source), crossing.handoff_stall_s
        by_question.setdefault(key, {})[place] = crossing
    names = [
        list(SOURCES.values())[source] + (f", S_P = {stall * MS_PER_S:g} ms" if several_stalls else "")
        for source, stall in sources
    ]
    fixed = "prompt S [tokens]" if axis == "r" else "cached L [tokens]"
    caption = (
        "r*: the cache rate above which the append on D is the cheaper arm, at a fixed prompt S"
        if axis == "r"
        else "m*: the longest append [tokens] that is cheaper on D, at a fixed cached prefix L"
    )
    ordered = sorted(by_question.items(), key=lambda item: (item[0][1], item[0][2]))
    return Table(
        caption=caption,
        columns=("against", fixed, "previous answer o [tokens]", *names),
        rows=tuple(
            (
                Cell(text=label + (", P cold" if cache == "cold" else "")),
                Cell(text=wording.tokens(tokens)),
                Cell(text=wording.tokens(previous)),
                *(_crossing(cells.get(place)) for place in sources),
            )
            for (label, tokens, previous, cache), cells in ordered
        ),
    )


def points_table(answer: CrossoverAnswer) -> Table:
    """Return N* and gamma* of the headline's turn, analytical beside simulated."""

    def outside(point: BreakEvenPoint) -> str:
        return OUTSIDE if point.extrapolated else ""

    return Table.of(
        "Break-even of the headline's turn on this host, and median with 90 % interval on another host of this "
        f"kind: N* at gamma = {answer.gamma:g}, gamma* at N = {answer.residents}",
        answer.points,
        {
            "against": lambda point: point.against.label + (", P cold" if point.prefill_cache == "cold" else ""),
            "cached L [tokens]": lambda point: wording.tokens(point.cached_tokens),
            "new m [tokens]": lambda point: wording.tokens(point.new_tokens),
            "previous answer o [tokens]": lambda point: wording.tokens(point.previous_output_tokens),
            "assumed S_P [ms]": lambda point: f"{point.handoff_stall_s * MS_PER_S:g}",
            "N* formula [streams]": lambda point: _both_hosts(point.n_star, wording.streams, css=outside(point)),
            "N* simulated [streams]": lambda point: _both_hosts(point.simulated_n_star, wording.streams),
            "gamma* formula [1]": lambda point: _both_hosts(point.gamma_star, wording.price, css=outside(point)),
            "gamma* simulated [1]": lambda point: _both_hosts(point.simulated_gamma_star, wording.price),
            "how to read N*": lambda point: Cell(text=point.case, css="words"),
        },
    )


def quality_table(cards: Sequence[CurveCard]) -> Table:
    """Return how well each kind of measurement is reproduced."""

    def tail(card: CurveCard, share: float) -> Cell:
        return Cell(text=wording.percent(share), notes=() if is_known(0.9, card.cells) else (FEW,))

    return Table.of(
        "Absolute relative error by kind of measurement; left out: leave-one-out over cached and new tokens",
        cards,
        {
            "kind": lambda card: card.kind,
            "cells": lambda card: str(card.cells),
            "in sample, median": lambda card: wording.percent(card.in_sample_median),
            "in sample, p90": lambda card: tail(card, card.in_sample_p90),
            "left out, median": lambda card: wording.percent(card.left_out_median),
            "left out, p90": lambda card: tail(card, card.left_out_p90),
            "repeat noise, median": lambda card: wording.percent(card.repeat_noise_median),
            "left-out cells inside the 90 % interval": lambda card: wording.percent(card.coverage_within_run),
        },
    )


def parameters_table(answer: CrossoverAnswer) -> Table:
    """Return every fitted number with its interval, where it comes from, and whether its bound holds it."""

    def value(found: ParameterCard) -> Cell:
        low, high = (format_quantity(end, found.unit) for end in (found.low, found.high))
        notes = () if low == high else (f"{low} to {high}",)
        return Cell(text=format_quantity(found.value, found.unit), notes=notes)

    return Table.of(
        "Every number of the cost curves",
        answer.profile.parameters,
        {
            "curve": lambda found: found.curve,
            "parameter": lambda found: found.name,
            "value (90 % interval)": value,
            "SI unit": lambda found: found.unit,
            "where from": lambda found: Cell(text=found.tag, css="" if found.tag == "measured" else "tagged"),
            "meaning": lambda found: found.meaning,
            "flag": lambda found: Cell(text="at its bound", css="tagged") if found.at_bound else "",
        },
    )


def _cell(said: Cell | str) -> Cell:
    return Cell(text=said) if isinstance(said, str) else said


def _crossing(crossing: Crossing | None) -> Cell:
    if crossing is None:
        return Cell(text="-")
    text, notes = wording.crossing_cell(crossing)
    return Cell(text=text, notes=notes, css=OUTSIDE if crossing.extrapolated else "")


def _both_hosts(found: HostInterval | None, show: Callable[[float], str], *, css: str = "") -> Cell:
    if found is None:
        return Cell(text="-")
    return Cell(text=show(found.this_host), notes=(wording.another_host(found, show),), css=css)
