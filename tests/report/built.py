"""A small answer built by hand: two prompts, two P arms, every odd case of a figure, numbers easy to check."""

from __future__ import annotations

from dataclasses import replace

from ppdsim.answers import (
    ANALYTICAL,
    SIMULATED,
    ArmChoice,
    ArmCurve,
    BreakevenMap,
    BreakEvenPoint,
    Crossing,
    CrossingKind,
    CrossoverAnswer,
    CurveCard,
    HostInterval,
    Interval,
    ParameterCard,
    ProfileCard,
    SliderTable,
)

APPEND = ArmChoice(arm="append-d", transport="none")
NVLINK = ArmChoice(arm="p-full", transport="nvlink")
TCP = ArmChoice(arm="p-full", transport="tcp")
RATES = (0.1, 0.4, 0.5, 0.75, 0.9)
TOTALS = (1000, 4000)
PREVIOUS = (0, 100)
GAMMAS = (0.0, 1.0, 3.0)
RESIDENTS = (0, 2, 8)
INFINITE, UNKNOWN = float("inf"), float("nan")


def curve(arm: ArmChoice, total: int, previous: int, *, simulated: bool = True) -> ArmCurve:
    """Return an arm: TTFT falls with r, the append stalls (10 + N) (1 - r) ms, first and last r are extrapolated."""
    append = arm == APPEND
    base = {APPEND: 0.020, NVLINK: 0.030, TCP: 0.090}[arm] + previous * 1e-5
    ttft = tuple(base + total * 1e-5 * (1 - rate) for rate in RATES)

    def stall(streams: int) -> tuple[float, ...]:
        return tuple((0.010 + 0.001 * streams) * (1 - rate) if append else 0.0 for rate in RATES)

    def times(values: tuple[float, ...], factor: float) -> tuple[float, ...]:
        return tuple(value * factor for value in values)

    found = ArmCurve(
        arm=arm,
        total_tokens=total,
        previous_output_tokens=previous,
        prefill_cache="warm",
        cache_rate=RATES,
        cached_tokens=tuple(round(rate * total) for rate in RATES),
        new_tokens=tuple(total - round(rate * total) for rate in RATES),
        extrapolated=(True, False, False, False, True),
        ttft_s=ttft,
        ttft_low_s=times(ttft, 0.9),
        ttft_high_s=times(ttft, 1.2),
        stall_s=stall(2),
        stall_low_s=times(stall(2), 0.8),
        stall_high_s=times(stall(2), 1.3),
        wait_s=(0.001,) * len(RATES),
        j_s=tuple(t + 0.001 + 2 * s for t, s in zip(ttft, stall(2), strict=True)),
        slider_residents=RESIDENTS,
        slider_stall_s=tuple(stall(n) for n in RESIDENTS),
        slider_stall_low_s=tuple(times(stall(n), 0.8) for n in RESIDENTS),
        slider_stall_high_s=tuple(times(stall(n), 1.3) for n in RESIDENTS),
    )
    if not simulated:
        return found
    played = times(found.j_s, 1.1)
    return replace(
        found,
        simulated_ttft_s=times(ttft, 1.1),
        simulated_tpot_s=(0.005, UNKNOWN, 0.005, 0.005, 0.005),
        simulated_e2e_s=times(ttft, 9.0),
        simulated_kv_transfer_s=(0.0 if append else 0.004,) * len(RATES),
        simulated_lost_s=times(stall(2), 2.0),
        simulated_j_s=played,
        simulated_j_low_s=times(played, 0.5),
        simulated_j_high_s=times(played, 2.0),
    )


def slider_table(against: ArmChoice, total: int, previous: int) -> SliderTable:
    """Return a table whose r* can be told from its place, with every kind of result in it."""
    places = [[0.2 + 0.2 * g + 0.1 * n + total * 1e-5 + previous * 1e-4 for n in range(3)] for g in range(3)]
    kind = [["always D", "value", "value"], ["value", "value", "several"], ["value", "value", "always P"]]
    single: list[list[float | None]] = [
        [r if kind[g][n] in ("value", "several") else None for n, r in enumerate(row)] for g, row in enumerate(places)
    ]

    def moved(by: float) -> tuple[tuple[float | None, ...], ...]:
        return tuple(tuple(None if r is None else r + by for r in row) for row in single)

    return SliderTable(
        against=against,
        total_tokens=total,
        previous_output_tokens=previous,
        gammas=GAMMAS,
        residents=RESIDENTS,
        r_star=moved(0.0),
        r_star_median=moved(0.01),
        r_star_low=moved(-0.05),
        r_star_high=moved(0.04),
        kind=tuple(tuple(row) for row in kind),
    )


def breakeven_map(against: ArmChoice, previous: int) -> BreakevenMap:
    """Return a map with an infinite, a zero and an unknown N*, and an extrapolated row and column."""
    n_star = ((2.0, 1.0, 0.5), (INFINITE, 4.0, 0.0), (8.0, UNKNOWN, 0.25))
    return BreakevenMap(
        against=against,
        previous_output_tokens=previous,
        prefill_cache="warm",
        cached_tokens=(0, 1024, 65_536),
        new_tokens=(16, 256, 4096),
        n_star=n_star,
        n_star_low=tuple(tuple(0.5 * value for value in row) for row in n_star),
        n_star_high=tuple(tuple(2.0 * value for value in row) for row in n_star),
        extrapolated=((True, False, False), (True, False, False), (True, True, True)),
    )


def crossing(against: ArmChoice, **changes: object) -> Crossing:
    """Return an r* at 1000 tokens, or what the changes make of it."""
    found = Crossing(
        against=against,
        axis="r",
        fixed_tokens=1000,
        previous_output_tokens=0,
        prefill_cache="warm",
        gamma=1.0,
        residents=2,
        handoff_stall_s=0.0,
        kind=CrossingKind.VALUE,
        values=(0.6,),
        interval=Interval(value=0.6, low=0.5, high=0.7),
        share_without=0.0,
        extrapolated=False,
        source=ANALYTICAL,
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def built_answer(**changes: object) -> CrossoverAnswer:
    """Return the answer, with some of its fields changed."""
    handoffs = (NVLINK, TCP)
    curves = [curve(APPEND, total, 0) for total in TOTALS]
    curves += [curve(arm, total, o) for arm in handoffs for total in TOTALS for o in PREVIOUS]
    answer = CrossoverAnswer(
        headline="Appending 256 tokens is cheaper while fewer than 3.3 (2.6 to 4.1) streams decode on D.",
        scenario="built",
        question="Does it draw?",
        gamma=1.0,
        residents=2,
        resident_context_tokens=2048,
        settings=(("seed", "0"),),
        profile=ProfileCard(
            id="built",
            machine="a machine",
            model="a model",
            engine="an engine",
            link="a link",
            date="2026-01-02",
            cards=(
                CurveCard(
                    kind="append-d",
                    cells=30,
                    in_sample_median=0.01,
                    in_sample_p90=0.03,
                    left_out_median=0.02,
                    left_out_p90=0.05,
                    repeat_noise_median=UNKNOWN,
                    coverage_within_run=0.9,
                ),
            ),
            parameters=(
                ParameterCard(
                    curve="prefill",
                    name="floor_s",
                    value=0.008,
                    low=0.0079,
                    high=0.0081,
                    unit="s",
                    tag="measured",
                    meaning="launch",
                    at_bound=True,
                ),
            ),
            notes=("a note",),
            left_out_rows=("row 7: negative time",),
        ),
        curves=tuple(curves),
        crossings=(
            crossing(NVLINK),
            crossing(NVLINK, source=SIMULATED, values=(0.3, 0.65), kind=CrossingKind.SEVERAL, extrapolated=True),
            crossing(TCP, kind=CrossingKind.ALWAYS_D, values=(), interval=None, share_without=0.8),
            crossing(NVLINK, handoff_stall_s=0.002, values=(0.55,)),
            crossing(NVLINK, axis="new_tokens", fixed_tokens=4096, values=(240.4,), interval=None),
        ),
        maps=tuple(breakeven_map(arm, o) for arm in handoffs for o in PREVIOUS),
        sliders=tuple(slider_table(arm, total, o) for arm in handoffs for total in TOTALS for o in PREVIOUS),
        points=(
            BreakEvenPoint(
                against=NVLINK,
                cached_tokens=4096,
                new_tokens=256,
                previous_output_tokens=0,
                prefill_cache="cold",
                handoff_stall_s=0.002,
                case="D wins while fewer than N* streams decode on D",
                n_star=HostInterval(this_host=3.3, value=4.1, low=2.6, high=INFINITE),
                gamma_star=HostInterval(this_host=1.65, value=1.9, low=1.3, high=INFINITE),
                simulated_n_star=None,
                simulated_gamma_star=HostInterval(this_host=1.5, value=1.6, low=1.55, high=1.9),
                extrapolated=False,
            ),
        ),
        findings=("a finding",),
        differences=("a difference",),
        caveats=("a caveat",),
        provenance=(("profile", "built"),),
    )
    return replace(answer, **changes)  # type: ignore[arg-type]
