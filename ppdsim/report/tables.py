"""The tables of the report as rows of words: level lines, break-even points, quality of the curves, parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ppdsim.answers import ANALYTICAL, SIMULATED, WITH_WAITS, Crossing, CrossoverAnswer, CurveCard, HostInterval
from ppdsim.metrics import is_known
from ppdsim.report import wording
from ppdsim.units import MS_PER_S, format_quantity

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
    return Table(
        caption=(
            "Break-even of the headline's turn on this host, and median with 90 % interval on another host of this "
            f"kind: N* at gamma = {answer.gamma:g}, gamma* at N = {answer.residents}"
        ),
        columns=(
            "against",
            "cached L [tokens]",
            "new m [tokens]",
            "previous answer o [tokens]",
            "assumed S_P [ms]",
            "N* formula [streams]",
            "N* simulated [streams]",
            "gamma* formula [1]",
            "gamma* simulated [1]",
            "how to read N*",
        ),
        rows=tuple(
            (
                Cell(text=point.against.label + (", P cold" if point.prefill_cache == "cold" else "")),
                Cell(text=wording.tokens(point.cached_tokens)),
                Cell(text=wording.tokens(point.new_tokens)),
                Cell(text=wording.tokens(point.previous_output_tokens)),
                Cell(text=f"{point.handoff_stall_s * MS_PER_S:g}"),
                _both_hosts(point.n_star, wording.streams, css=OUTSIDE if point.extrapolated else ""),
                _both_hosts(point.simulated_n_star, wording.streams),
                _both_hosts(point.gamma_star, wording.price, css=OUTSIDE if point.extrapolated else ""),
                _both_hosts(point.simulated_gamma_star, wording.price),
                Cell(text=point.case, css="words"),
            )
            for point in answer.points
        ),
    )


def quality_table(cards: Sequence[CurveCard]) -> Table:
    """Return how well each kind of measurement is reproduced."""
    return Table(
        caption="Absolute relative error by kind of measurement; left out: leave-one-out over cached and new tokens",
        columns=(
            "kind",
            "cells",
            "in sample, median",
            "in sample, p90",
            "left out, median",
            "left out, p90",
            "repeat noise, median",
            "left-out cells inside the 90 % interval",
        ),
        rows=tuple(
            (
                Cell(text=card.kind),
                Cell(text=str(card.cells)),
                *(
                    Cell(text=wording.percent(share), notes=(FEW,) if tail and not is_known(0.9, card.cells) else ())
                    for share, tail in (
                        (card.in_sample_median, False),
                        (card.in_sample_p90, True),
                        (card.left_out_median, False),
                        (card.left_out_p90, True),
                        (card.repeat_noise_median, False),
                        (card.coverage_within_run, False),
                    )
                ),
            )
            for card in cards
        ),
    )


def parameters_table(answer: CrossoverAnswer) -> Table:
    """Return every fitted number with its interval, where it comes from, and whether its bound holds it."""

    def rows() -> Iterator[tuple[Cell, ...]]:
        for found in answer.profile.parameters:
            low, high = (format_quantity(end, found.unit) for end in (found.low, found.high))
            yield (
                Cell(text=found.curve),
                Cell(text=found.name),
                Cell(text=format_quantity(found.value, found.unit), notes=() if low == high else (f"{low} to {high}",)),
                Cell(text=found.unit),
                Cell(text=found.tag, css="" if found.tag == "measured" else "tagged"),
                Cell(text=found.meaning),
                Cell(text="at its bound" if found.at_bound else "", css="tagged" if found.at_bound else ""),
            )

    columns = ("curve", "parameter", "value (90 % interval)", "SI unit", "where from", "meaning", "flag")
    return Table(caption="Every number of the cost curves", columns=columns, rows=tuple(rows()))


def _crossing(crossing: Crossing | None) -> Cell:
    if crossing is None:
        return Cell(text="-")
    text, notes = wording.crossing_cell(crossing)
    return Cell(text=text, notes=notes, css=OUTSIDE if crossing.extrapolated else "")


def _both_hosts(found: HostInterval | None, show: Callable[[float], str], *, css: str = "") -> Cell:
    if found is None:
        return Cell(text="-")
    return Cell(text=show(found.this_host), notes=(wording.another_host(found, show),), css=css)
