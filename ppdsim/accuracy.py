"""The nouns of ``ppdsim validate``: what was predicted, what was measured, and which gates hold. Printed, saved, drawn.

Plain data in SI units; shares, not per cent. A scope says what the prediction had not seen: `LEFT_OUT` a cell of the
profile's own run that a refit did without, `HELD_OUT` a cell of that run that no fit ever saw, `ANOTHER_RUN` a cell of
a run that the profile was not fitted to, and `ANCHORED` the same with the launch floor that probes of that run show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LEFT_OUT = "leave-one-out"
HELD_OUT = "held-out cells"
ANOTHER_RUN = "another run"
ANCHORED = "the same, anchored"
SYMBOLS: Mapping[str, str] = {"streams": "N*", "new_tokens": "m*", "r": "r*"}
"""What crosses along each axis of a `CrossingCheck`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPoint:
    """One cell: where it is, what was measured and predicted [s], the 90 % interval, and the repeat noise [share]."""

    kind: str
    cached_tokens: float
    new_tokens: float
    batch: float
    context_tokens: float
    measured_s: float
    predicted_s: float
    low_s: float
    high_s: float
    inside: bool
    noise: float

    @property
    def error(self) -> float:
        """Return predicted over measured less 1."""
        return self.predicted_s / self.measured_s - 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A column that an error may go with: a value for each point of a kind, in their order.

    `rank_correlation` is Spearman's with the signed error, `chance` the probability of one so far from 0 if there were
    none; both None for too few cells.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    rank_correlation: float | None
    chance: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellErrors:
    """The cells of one kind (and arm and transport) in one scope: |relative error|, bias, noise and coverage [share].

    `cells` counts distinct cells; `coverage_p` is the two-sided binomial probability of so odd a coverage if the 90 %
    interval were right. `worst` says where the largest error sits. Targets are None where none is set.
    """

    scope: str
    measurements: str
    kind: str
    cells: int
    median: float
    p90: float
    maximum: float
    bias: float
    noise: float | None
    coverage: float
    coverage_p: float
    worst: str
    target_median: float | None
    target_p90: float | None
    points: tuple[CellPoint, ...]
    candidates: tuple[Candidate, ...]

    @property
    def meets_target(self) -> bool | None:
        """Return whether both targets are met; None without targets."""
        if self.target_median is None or self.target_p90 is None:
            return None
        return self.median <= self.target_median and self.p90 <= self.target_p90


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """Two arms compared at every measured (L, m), price and batch: was the arm with the lower measured J predicted.

    `decided` are those whose measured difference of J exceeds repeat noise and drift; `right` and `right_decided` are
    counts. Regrets are of the wrong ones [s of J].
    """

    scope: str
    measurements: str
    first: str
    second: str
    compared: int
    right: int
    decided: int
    right_decided: int
    regret_mean_s: float
    regret_max_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossingCheck:
    """Where two arms cost the same, predicted with its 90 % interval beside the one from measured cells.

    By `axis`: ``new_tokens`` is m* at `fixed_tokens` cached, ``r`` is r* at a prompt of `fixed_tokens`, both for
    `residents` streams; ``streams`` is N* of `new_tokens` on `fixed_tokens` cached. `measured` and its interval come
    from the cells, interpolated for a line, repeat noise resampled; None: no crossing, or no positive finite N*.
    """

    scope: str
    measurements: str
    against: str
    axis: str
    fixed_tokens: int
    new_tokens: int | None = None
    residents: int | None = None
    predicted: float | None = None
    predicted_low: float | None = None
    predicted_high: float | None = None
    measured: float | None = None
    measured_low: float | None = None
    measured_high: float | None = None

    @property
    def intervals_meet(self) -> bool:
        """Return whether the predicted and the measured interval share a value.

        What is known without a spread (repeats without noise, draws that are all equal) is its value alone.
        """
        ends = []
        for value, low, high in (
            (self.predicted, self.predicted_low, self.predicted_high),
            (self.measured, self.measured_low, self.measured_high),
        ):
            if value is None:
                return False
            ends.append((value, value) if low is None or high is None else (low, high))
        return max(low for low, _ in ends) <= min(high for _, high in ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCell:
    """J = TTFT + N stall_s at one cache rate of a fixed prompt, beside `residents` streams, by one arm [s].

    `ttft_s` and `stall_s` are measured; `low_s` and `high_s` bound the predicted J (90 %).
    """

    scope: str
    measurements: str
    total_tokens: int
    residents: int
    cache_rate: float
    arm: str
    ttft_s: float
    stall_s: float
    measured_s: float
    predicted_s: float
    low_s: float
    high_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadErrors:
    """One quantity of one class of turns of a load, measured and simulated: percentiles [s] and the whole distribution.

    `measured_s` and `predicted_s` hold the same quantiles (`QUANTILE_GRID`); `ks` is the Kolmogorov-Smirnov distance
    and `ks_p` its probability under equal distributions. `busiest` is the place nearest to saturation and `utilisation`
    the share of it in use, as simulated. `gated` is False below 100 turns and near saturation.
    """

    measurements: str
    load: str
    arm: str
    anchored: bool
    turn_class: str
    quantity: str
    turns: int
    measured_p50_s: float
    measured_p90_s: float
    measured_p99_s: float
    predicted_p50_s: float
    predicted_p90_s: float
    predicted_p99_s: float
    ks: float
    ks_p: float
    busiest: str
    utilisation: float
    gated: bool
    target_p50: float | None
    target_p90: float | None
    measured_s: tuple[float, ...]
    predicted_s: tuple[float, ...]

    @property
    def load_key(self) -> tuple[str, str, str, bool]:
        """Return what tells one replayed load from another: run, load, arm and whose floor. Runs share load names."""
        return self.measurements, self.load, self.arm, self.anchored

    @property
    def p50_error(self) -> float:
        """Return the relative error of the median."""
        return self.predicted_p50_s / self.measured_p50_s - 1.0

    @property
    def p90_error(self) -> float:
        """Return the relative error of the 90th percentile."""
        return self.predicted_p90_s / self.measured_p90_s - 1.0

    @property
    def p99_error(self) -> float:
        """Return the relative error of the 99th percentile."""
        return self.predicted_p99_s / self.measured_p99_s - 1.0

    @property
    def meets_target(self) -> bool | None:
        """Return whether both targets are met; None without targets."""
        if self.target_p50 is None or self.target_p90 is None:
            return None
        return abs(self.p50_error) <= self.target_p50 and abs(self.p90_error) <= self.target_p90


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Arms of one load from fastest to slowest by the median of a quantity, as measured and as simulated."""

    measurements: str
    load: str
    quantity: str
    measured: tuple[str, ...]
    predicted: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One thing that must hold, what was found, and whether it does; only a `required` gate fails a run."""

    name: str
    found: str
    passed: bool
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Everything ``ppdsim validate`` found about one profile; `derivation` says if its machine is unmeasured."""

    schema: str = "ppdsim/validation/1"
    profile: str
    derivation: str | None
    measurements: tuple[str, ...]
    cells: tuple[CellErrors, ...]
    decisions: tuple[Decisions, ...]
    crossings: tuple[CrossingCheck, ...]
    rates: tuple[RateCell, ...]
    rate_crossings: tuple[CrossingCheck, ...]
    loads: tuple[LoadErrors, ...]
    rankings: tuple[Ranking, ...]
    leaked: tuple[str, ...]
    gates: tuple[Gate, ...]
    notes: tuple[str, ...]

    @property
    def failed(self) -> tuple[Gate, ...]:
        """Return the required gates that do not hold."""
        return tuple(gate for gate in self.gates if gate.required and not gate.passed)
