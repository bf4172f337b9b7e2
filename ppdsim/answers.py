"""The nouns of the answer: intervals, crossings, curves per arm, break-even maps. Filled by analysis, drawn.

Everything is plain data: numpy-free tuples of floats in SI units, which `to_json` writes and a test can compare. A
missing crossing is an ordinary value (`CrossingKind`), never an exception.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

import orjson

ANALYTICAL = "analytical"
"""Source of a crossing: the formula, idle machines."""
WITH_WAITS = "analytical with waits"
"""Source of a crossing: the formula with the mean waits of the simulated load."""
SIMULATED = "simulated"
"""Source of a crossing: the simulator under load."""


class CrossingKind(str, Enum):
    """What a search for a crossing found.

    "Always" is said of an axis on which both arms carry every point. Where an arm is overloaded it has no J: the arms
    are then compared where both are carried, and where that is nowhere the arm that is not carried is named
    (OVERLOADED: neither is, or each somewhere else).
    """

    VALUE = "value"
    ALWAYS_D = "always D"
    ALWAYS_P = "always P"
    SEVERAL = "several"
    D_WHERE_BOTH = "D where both are carried"
    P_WHERE_BOTH = "P where both are carried"
    D_NOT_CARRIED = "D not carried"
    P_NOT_CARRIED = "P not carried"
    OVERLOADED = "OVERLOADED"
    NO_ROOM = "no room in the KV pool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A central value and its 90 % interval, of one distribution; infinities are allowed (N* without any stall)."""

    value: float
    low: float
    high: float


SPREAD, ALL_EQUAL, NEARLY_EQUAL, NOT_DRAWN = "spread", "all equal", "nearly all equal", "not drawn"
"""What the draws behind a `HostInterval` were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInterval:
    """A number on the host that was measured, and what it is on another host of this kind.

    `this_host` comes from the fitted values. `value` (the median), `low` and `high` (the central 90 %) come from the
    draws for another run of such a host; `low` and `high` are None where there is no spread to state, which `draws`
    says: ``all equal``, ``nearly all equal`` (the central 90 % are) or ``not drawn``. Infinities are allowed.
    """

    this_host: float
    value: float
    low: float | None
    high: float | None
    draws: str = SPREAD


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmChoice:
    """An arm over a transport, as the results name it: ``p-full over tcp``."""

    arm: str
    transport: str

    @property
    def label(self) -> str:
        """Return the name that tables and legends print."""
        return self.arm if self.transport == "none" else f"{self.arm} over {self.transport}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Where D and P cost the same along one axis, for one P arm and one price.

    `axis` is ``r`` (cache rate at fixed `total_tokens`) or ``new_tokens`` (at fixed `cached_tokens`). `values` lists
    all crossings on this host in rising order; `interval` is that of the last one on another host of this kind (its
    `value` is the median of the draws), and None where no draw has one or all have the same. `share_without` is the
    share of draws with no crossing, `share_carried` that of the axis at which both arms are carried. `source` is one of
    the three names above.
    """

    against: ArmChoice
    axis: str
    fixed_tokens: int
    previous_output_tokens: int
    prefill_cache: str
    gamma: float
    residents: int
    handoff_stall_s: float
    kind: CrossingKind
    values: tuple[float, ...]
    interval: Interval | None
    share_without: float
    extrapolated: bool
    source: str = ANALYTICAL
    share_carried: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEvenPoint:
    """N* and gamma* of one turn against one P arm: the headline's numbers, analytical and simulated.

    `case` says how to read N* (below, above, always D, always P). gamma* is at the answer's residents. The simulated
    values are None where nothing was simulated, or an arm is not carried.
    """

    against: ArmChoice
    cached_tokens: int
    new_tokens: int
    previous_output_tokens: int
    prefill_cache: str
    handoff_stall_s: float
    case: str
    n_star: HostInterval
    gamma_star: HostInterval
    simulated_n_star: HostInterval | None
    simulated_gamma_star: HostInterval | None
    extrapolated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCurve:
    """One arm at one total prompt length, over the cache rate. All tuples have one entry a cache rate.

    ``*_low_s`` and ``*_high_s`` bound the central 90 % on another host of this kind (drift included); the line is that
    of this host and may lie outside. Where an arm is overloaded `wait_s` is infinite and `j_s` NaN. The simulated
    fields are empty when nothing was simulated; where `simulated_label` is OVERLOADED the others are NaN. `j_s` is at
    the scenario's own gamma and residents. ``slider_stall_s[n]`` is `stall_s` with ``slider_residents[n]`` streams, so
    that the report's sliders draw the J that Python computed.
    """

    arm: ArmChoice
    total_tokens: int
    previous_output_tokens: int
    prefill_cache: str
    cache_rate: tuple[float, ...]
    cached_tokens: tuple[int, ...]
    new_tokens: tuple[int, ...]
    extrapolated: tuple[bool, ...]
    ttft_s: tuple[float, ...]
    ttft_low_s: tuple[float, ...]
    ttft_high_s: tuple[float, ...]
    stall_s: tuple[float, ...]
    stall_low_s: tuple[float, ...]
    stall_high_s: tuple[float, ...]
    wait_s: tuple[float, ...]
    j_s: tuple[float, ...]
    simulated_label: tuple[str, ...] = ()
    simulated_ttft_s: tuple[float, ...] = ()
    simulated_tpot_s: tuple[float, ...] = ()
    simulated_e2e_s: tuple[float, ...] = ()
    simulated_kv_transfer_s: tuple[float, ...] = ()
    simulated_lost_s: tuple[float, ...] = ()
    simulated_j_s: tuple[float, ...] = ()
    simulated_j_low_s: tuple[float, ...] = ()
    simulated_j_high_s: tuple[float, ...] = ()
    slider_residents: tuple[int, ...] = ()
    slider_stall_s: tuple[tuple[float, ...], ...] = ()
    slider_stall_low_s: tuple[tuple[float, ...], ...] = ()
    slider_stall_high_s: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakevenMap:
    """N* over (cached_tokens, new_tokens) against one P arm; matrices are [row of cached][column of new].

    `n_star` is that of this host, the other two bound the central 90 % on another host of this kind.
    """

    against: ArmChoice
    previous_output_tokens: int
    prefill_cache: str
    cached_tokens: tuple[int, ...]
    new_tokens: tuple[int, ...]
    n_star: tuple[tuple[float, ...], ...]
    n_star_low: tuple[tuple[float, ...], ...]
    n_star_high: tuple[tuple[float, ...], ...]
    extrapolated: tuple[tuple[bool, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SliderTable:
    """r* for every (gamma, residents) of the report's sliders: Python computes, the page looks up.

    ``r_star[g][n]``, of this host, belongs to ``gammas[g]`` and ``residents[n]``; None where there is no single
    crossing, and ``kind[g][n]`` then says which case holds. The other three are of another host of this kind.
    """

    against: ArmChoice
    total_tokens: int
    previous_output_tokens: int
    gammas: tuple[float, ...]
    residents: tuple[int, ...]
    r_star: tuple[tuple[float | None, ...], ...]
    r_star_median: tuple[tuple[float | None, ...], ...]
    r_star_low: tuple[tuple[float | None, ...], ...]
    r_star_high: tuple[tuple[float | None, ...], ...]
    kind: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveCard:
    """How one kind of measurement is reproduced: leave-one-out error beside the repeat noise, shares not per cent."""

    kind: str
    cells: int
    in_sample_median: float
    in_sample_p90: float
    left_out_median: float
    left_out_p90: float
    repeat_noise_median: float
    coverage_within_run: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterCard:
    """One fitted number in words."""

    curve: str
    name: str
    value: float
    low: float
    high: float
    unit: str
    tag: str
    meaning: str
    at_bound: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileCard:
    """A profile as the report and ``ppdsim show`` print it."""

    id: str
    machine: str
    model: str
    engine: str
    link: str
    date: str
    cards: tuple[CurveCard, ...]
    parameters: tuple[ParameterCard, ...]
    notes: tuple[str, ...]
    left_out_rows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossoverAnswer:
    """Everything ``ppdsim crossover`` found; the report draws this and nothing else.

    `headline` is the answer in one sentence, `findings` what it means for the turns of a workload. `settings` are
    printable key-value pairs of the run. `differences` says, a sentence each, by how much the simulated and the
    analytical answers differ and why. `caveats` lists what is assumed, extrapolated or an unmeasured mechanism,
    `overloaded` what the traffic overloads, and what carries it.
    `unread_keys` are keys of the scenario file that a crossover does not read.
    """

    headline: str
    scenario: str
    question: str
    gamma: float
    residents: int
    resident_context_tokens: int
    settings: tuple[tuple[str, str], ...]
    profile: ProfileCard
    curves: tuple[ArmCurve, ...]
    crossings: tuple[Crossing, ...]
    maps: tuple[BreakevenMap, ...]
    sliders: tuple[SliderTable, ...]
    points: tuple[BreakEvenPoint, ...] = ()
    findings: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    overloaded: tuple[str, ...] = ()
    provenance: tuple[tuple[str, str], ...] = field(default=())
    unread_keys: tuple[str, ...] = ()


def to_json(answer: CrossoverAnswer) -> bytes:
    """Return the answer as one JSON document; what is not a number becomes null, an infinite one the text "inf"."""
    return orjson.dumps(_plain(asdict(answer)), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value
