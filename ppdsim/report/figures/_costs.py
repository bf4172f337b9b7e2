"""The numbers behind `plot_costs`: every arm of every view in milliseconds, and the crossings that the sliders find.

The page redraws from these numbers when a control moves, and does nothing with them but
``J = TTFT + gamma x N x stall(N)``. A batch N for which the answer has no stall is a gap, never an interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ppdsim.answers import ArmChoice, ArmCurve, CrossoverAnswer, SliderTable
from ppdsim.report import wording
from ppdsim.report.figures._series import Gapped, finite, ms
from ppdsim.report.figures._views import View, append_of, handoffs_of, views_of

QUANTITIES = {
    "j": "cost J = TTFT + gamma N stall [ms]",
    "ttft": "TTFT [ms]",
    "stall": "stall of each resident stream [ms]",
}
"""What the curves may show, with the title of its axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The line of this host, and the band of the central 90 % on another host of this kind."""

    value: Gapped
    low: Gapped
    high: Gapped


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """One arm of a panel, over 1 - r. `stall_ms` is by resident streams N.

    The loaded values have the waits of the scenario's traffic, the simulated ones were played; both are known at the
    scenario's own gamma and N only.
    """

    uncached: list[float]
    text: list[str]
    extrapolated: list[bool]
    ttft_ms: Band
    stall_ms: dict[int, Band]
    loaded_ttft_ms: Gapped
    loaded_j_ms: Gapped
    simulated_ttft_ms: Gapped
    simulated_j_ms: Gapped
    simulated_j_low_ms: Gapped
    simulated_j_high_ms: Gapped


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnCrossing:
    """The crossing at one place of the sliders: r*, its interval, the case, and the words for all of it.

    `extrapolated`: it lies where one of the lines that cross there is dashed.
    """

    kind: str
    r_star: float | None
    low: float | None
    high: float | None
    text: str
    extrapolated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPanel:
    """One P arm against the append on D. ``crossings[g][n]`` belongs to ``gammas[g]`` and ``residents[n]``."""

    against: ArmChoice
    append: CostLine
    handoff: CostLine
    gammas: list[float]
    residents: list[int]
    crossings: list[list[DrawnCrossing]]

    @property
    def uncached(self) -> list[float]:
        """Every 1 - r that the panel may have to show, wherever the sliders stand."""
        found = [1.0 - c.r_star for row in self.crossings for c in row if c.r_star is not None]
        return [*self.append.uncached, *self.handoff.uncached, *found]

    def crossing(self, gamma: float, residents: int) -> DrawnCrossing:
        """Return the crossing at a place of the sliders; one of no kind where Python computed none."""
        if gamma in self.gammas and residents in self.residents:
            return self.crossings[self.gammas.index(gamma)][self.residents.index(residents)]
        return DrawnCrossing(kind="", r_star=None, low=None, high=None, text=wording.NOT_COMPUTED, extrapolated=False)


def costs_data(answer: CrossoverAnswer) -> dict[View, list[CostPanel]]:
    """Return the panels of every view: one P arm each, in the answer's order."""
    panels: dict[View, list[CostPanel]] = {}
    for view in views_of(answer):
        append = append_of(answer, view)
        if append is not None:
            panels[view] = [_panel(answer, view, append, handoff) for handoff in handoffs_of(answer, view)]
    return panels


def plain(panel: CostPanel) -> dict[str, object]:
    """Return a panel as JSON for the page, which has no use for the arm's parts."""
    return {**asdict(panel), "against": panel.against.label}


def series(line: CostLine, quantity: str, gamma: float, residents: int) -> Band:
    """Return what a line shows: J, TTFT or stall [ms]. The band of J adds the bands of its two parts."""
    gaps: Gapped = [None] * len(line.uncached)
    stall = line.stall_ms.get(residents, Band(value=gaps, low=gaps, high=gaps))
    if quantity == "ttft":
        return line.ttft_ms
    if quantity == "stall":
        return stall

    def cost(ttft: Gapped, lost: Gapped) -> Gapped:
        return [None if t is None or s is None else t + gamma * residents * s for t, s in zip(ttft, lost, strict=True)]

    return Band(
        value=cost(line.ttft_ms.value, stall.value),
        low=cost(line.ttft_ms.low, stall.low),
        high=cost(line.ttft_ms.high, stall.high),
    )


def _panel(answer: CrossoverAnswer, view: View, append: ArmCurve, handoff: ArmCurve) -> CostPanel:
    table = next(
        (
            t
            for t in answer.sliders
            if t.against == handoff.arm and View(t.total_tokens, t.previous_output_tokens) == view
        ),
        None,
    )
    return CostPanel(
        against=handoff.arm,
        append=_line(answer, append),
        handoff=_line(answer, handoff),
        gammas=[] if table is None else list(table.gammas),
        residents=[] if table is None else list(table.residents),
        crossings=[] if table is None else _crossings(table, (append, handoff)),
    )


def _line(answer: CrossoverAnswer, curve: ArmCurve) -> CostLine:
    stalls = {answer.residents: _band(curve.stall_s, curve.stall_low_s, curve.stall_high_s)}
    at_batches = zip(
        curve.slider_residents,
        curve.slider_stall_s,
        curve.slider_stall_low_s,
        curve.slider_stall_high_s,
        strict=True,
    )
    stalls |= {streams: _band(value, low, high) for streams, value, low, high in at_batches}
    tokens = zip(curve.cache_rate, curve.cached_tokens, curve.new_tokens, strict=True)
    return CostLine(
        uncached=[1.0 - rate for rate in curve.cache_rate],
        text=[f"r = {wording.rate(rate)}: {cached:,} cached, {new:,} new" for rate, cached, new in tokens],
        extrapolated=list(curve.extrapolated),
        ttft_ms=_band(curve.ttft_s, curve.ttft_low_s, curve.ttft_high_s),
        stall_ms=stalls,
        loaded_ttft_ms=ms([ttft + wait for ttft, wait in zip(curve.ttft_s, curve.wait_s, strict=True)]),
        loaded_j_ms=ms(curve.j_s),
        simulated_ttft_ms=ms(curve.simulated_ttft_s),
        simulated_j_ms=ms(curve.simulated_j_s),
        simulated_j_low_ms=ms(curve.simulated_j_low_s),
        simulated_j_high_ms=ms(curve.simulated_j_high_s),
    )


def _band(value_s: Sequence[float], low_s: Sequence[float], high_s: Sequence[float]) -> Band:
    return Band(value=ms(value_s), low=ms(low_s), high=ms(high_s))


def _crossings(table: SliderTable, lines: Sequence[ArmCurve]) -> list[list[DrawnCrossing]]:
    def cell(g: int, n: int) -> DrawnCrossing:
        kind = table.kind[g][n]
        value, low, high = (finite(m[g][n]) for m in (table.r_star, table.r_star_low, table.r_star_high))
        middle = finite(table.r_star_median[g][n])
        ends = None if middle is None or low is None or high is None else (middle, low, high)
        text = wording.cache_rate_crossing(kind, value, ends)
        outside = value is not None and any(_dashed_at(line, value) for line in lines)
        return DrawnCrossing(kind=kind, r_star=value, low=low, high=high, text=text, extrapolated=outside)

    return [[cell(g, n) for n in range(len(table.residents))] for g in range(len(table.gammas))]


def _dashed_at(curve: ArmCurve, rate: float) -> bool:
    """Return whether the piece of a line at a cache rate is dashed: one of its ends is extrapolated."""
    ends = list(zip(curve.cache_rate, curve.extrapolated, strict=True))
    below = [outside for at, outside in ends if at <= rate]
    above = [outside for at, outside in ends if at >= rate]
    return any((*below[-1:], *above[:1]))
