"""m* and r* from measured cells, by interpolation, beside the predicted ones with their intervals.

The measured gain J_P - J_D is known at the cells that both arms share. m* at a cached prefix runs over the measured m
of that L (linear in log m between them); r* at a prompt S runs along L + m = S through the triangulated cells (in log L
and log m). The measured interval is the 90 % range over draws of the repeat noise of cells and stall gaps.
For the profile's own run the predicted m* comes from a refit without that L; r* crosses all L and is in sample, as its
scope says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from scipy.interpolate import LinearNDInterpolator

from ppdsim import compose
from ppdsim.accuracy import HELD_OUT, LEFT_OUT, CrossingCheck
from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.analytical.crossing import CrossingResult, cache_rate_crossing, new_tokens_crossing, sampled_crossing
from ppdsim.cost.base import Array
from ppdsim.fit.cells import Cells
from ppdsim.fit.crossval import name_of
from ppdsim.measurements import Measurements
from ppdsim.profile import Profile
from ppdsim.turn import TurnModel
from ppdsim.validate.decisions import BATCHES, measured_loss
from ppdsim.validate.stalls import MeasuredStalls, resampled, resampled_stalls
from ppdsim.validate.unseen import Unseen, shared

PROMPTS = (4096, 8192, 16_384)
"""Prompts that r* is looked for at [tokens]."""
SEED = 20260823
IN_SAMPLE = "in sample"
FEWEST = 3
"""Cells below which nothing is interpolated."""


def crossing_checks(profile: Profile, measured: Measurements, parts: Sequence[Unseen]) -> tuple[CrossingCheck, ...]:
    """Return every r* and m*, at gamma = 1, where the measured gain changes sign or the predicted one does.

    Held-out cells of the profile's own run are few and scattered: they make no lines.
    """
    # One stream for all: pairs whose noise was drawn alike would all be off to the same side.
    rng = np.random.default_rng(SEED)
    stalls = resampled_stalls(measured, rng)
    part = next(part for part in parts if part.scope != HELD_OUT)
    own = part.scope == LEFT_OUT
    central, samples = compose.central(profile), compose.samples(profile, another_run=not own)
    out: list[CrossingCheck] = []
    for handoff in part.handoffs:
        for streams in BATCHES:
            comparison = ArmComparison(
                arm=handoff.arm,
                transport=handoff.transport,
                residents=streams,
                resident_context_tokens=round(stalls[0].context_tokens),
            )
            gains = _Gains.measure(part.append, handoff, stalls, streams, rng)
            blank = CrossingCheck(
                scope=part.scope,
                measurements=measured.manifest.id,
                against=name_of(handoff),
                axis="new_tokens",
                fixed_tokens=0,
                residents=streams,
            )
            out += _of_question(gains, comparison, central, samples, part, blank)
    return tuple(check for check in out if check.measured is not None or check.predicted is not None)


class _Gains:
    """The measured gain J_P - J_D [s] at shared cells, and draws of it."""

    def __init__(self, cached: Array, new: Array, draws: Array) -> None:
        self.cached, self.new, self.draws = cached, new, draws

    @staticmethod
    def measure(
        append: Cells, handoff: Cells, stalls: Sequence[MeasuredStalls], streams: int, rng: np.random.Generator
    ) -> _Gains:
        rows: list[tuple[float, float, Array]] = []
        for i, j in shared(append, handoff):
            found = [measured_loss(each, append, i, streams) for each in stalls]
            lost = [loss for loss in found if loss is not None]
            if len(lost) < len(stalls):
                continue
            sides = [resampled(c.seconds[k], c.noise[k], rng) for c, k in ((handoff, j), (append, i))]
            gain = sides[0] - sides[1] - streams * (np.array(lost) - [each.handoff_s for each in stalls])
            rows.append((float(append.cached_tokens[i]), float(append.new_tokens[i]), gain))
        table = np.array([gain for _, _, gain in rows]).T if rows else np.zeros((len(stalls), 0))
        return _Gains(np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), table)

    def along_new(self, cached: float) -> CrossingResult | None:
        here = np.flatnonzero(self.cached == cached)
        here = here[np.argsort(self.new[here])]
        if len(here) < FEWEST:
            return None
        return sampled_crossing(np.log2(self.new[here]), self.draws[0, here], self.draws[1:, here])

    @cached_property
    def _surface(self) -> LinearNDInterpolator:
        return LinearNDInterpolator(_logs(self.cached, self.new), self.draws.T)

    def along_rate(self, total: int) -> CrossingResult | None:
        if len(self.cached) < FEWEST or len(np.unique(self.cached)) < 2 or len(np.unique(self.new)) < 2:
            return None
        new = np.geomspace(max(self.new.min(), 1.0), total, 200)[::-1]
        gains = np.asarray(self._surface(_logs(total - new, new)))
        inside = np.isfinite(gains[:, 0])
        if inside.sum() < FEWEST:
            return None
        return sampled_crossing(1.0 - new[inside] / total, gains[inside, 0], gains[inside, 1:].T)


def _logs(cached: Array, new: Array) -> Array:
    return np.stack([np.log2(cached + 512.0), np.log2(new)], axis=-1)


def _of_question(
    gains: _Gains,
    comparison: ArmComparison,
    central: TurnModel,
    samples: TurnModel,
    part: Unseen,
    blank: CrossingCheck,
) -> Iterator[CrossingCheck]:
    for cached in np.unique(gains.cached):
        truth = gains.along_new(float(cached))
        if truth is not None:
            guess = new_tokens_crossing(part.model(float(cached), central), samples, comparison, int(cached))
            largest = float(gains.new[gains.cached == cached].max())
            yield _check(
                replace(blank, scope=part.scope, fixed_tokens=int(cached)),
                truth,
                guess,
                log_axis=True,
                reach=(float(gains.new[gains.cached == cached].min()), largest),
            )
    for total in PROMPTS:
        truth = gains.along_rate(total)
        if truth is not None:
            guess = cache_rate_crossing(central, samples, comparison, total)
            yield _check(
                replace(blank, scope=IN_SAMPLE if part.scope == LEFT_OUT else part.scope, axis="r", fixed_tokens=total),
                truth,
                guess,
                log_axis=False,
                reach=(0.0, 1.0),
            )


def _check(
    blank: CrossingCheck, truth: CrossingResult, guess: CrossingResult, *, log_axis: bool, reach: tuple[float, float]
) -> CrossingCheck:
    def axis_value(value: float) -> float:
        return float(2.0**value) if log_axis else value

    # A predicted crossing beyond the measured cells has nothing to be compared with.
    predicted = guess.values[-1] if guess.values and reach[0] <= guess.values[-1] <= reach[1] else None
    return replace(
        blank,
        predicted=predicted,
        predicted_low=None if guess.interval is None or predicted is None else guess.interval.low,
        predicted_high=None if guess.interval is None or predicted is None else guess.interval.high,
        measured=axis_value(truth.values[-1]) if truth.values else None,
        measured_low=axis_value(truth.interval.low) if truth.values and truth.interval else None,
        measured_high=axis_value(truth.interval.high) if truth.values and truth.interval else None,
    )
