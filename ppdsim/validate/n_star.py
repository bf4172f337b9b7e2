"""N*, the headline's number, at measured cells: predicted with its interval beside the one that cells and stalls give.

At gamma = 1 and every (L, m) that an append and a hand-off share::

    N* = (TTFT_P - TTFT_D) / (S_D(N*) - S_P)

The predicted interval is the 90 % range over the profile's draws (drift included for another run), the measured one
over draws of the repeat noise of both cells and of the gaps that the stalls come from. As everywhere, the draws of N*
leave out the misfit of the curves: where the intervals seldom meet, that is what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ppdsim import compose
from ppdsim.accuracy import ANOTHER_RUN, CrossingCheck
from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.analytical.breakeven import break_even, break_even_streams
from ppdsim.fit.cells import Cells
from ppdsim.fit.crossval import name_of
from ppdsim.measurements import Measurements
from ppdsim.metrics import interval_90
from ppdsim.profile import Profile
from ppdsim.turn import TurnModel
from ppdsim.validate.stalls import MeasuredStalls, resampled, resampled_stalls
from ppdsim.validate.unseen import Unseen, shared

SEED = 20261127


def n_star_checks(profile: Profile, measured: Measurements, parts: Sequence[Unseen]) -> tuple[CrossingCheck, ...]:
    """Return N* at every shared cell where the measured or the predicted one is positive and finite."""
    central, rng = compose.central(profile), np.random.default_rng(SEED)
    stalls = resampled_stalls(measured, rng)
    found = (
        check
        for part in parts
        for handoff in part.handoffs
        for check in _of_pair(
            part,
            handoff,
            stalls,
            central,
            compose.samples(profile, another_run=part.scope == ANOTHER_RUN),
            measured.manifest.id,
            rng,
        )
    )
    return tuple(check for check in found if check.measured is not None or check.predicted is not None)


def _of_pair(
    part: Unseen,
    handoff: Cells,
    stalls: Sequence[MeasuredStalls],
    central: TurnModel,
    samples: TurnModel,
    measurements: str,
    rng: np.random.Generator,
) -> Iterator[CrossingCheck]:
    append = part.append
    context = round(stalls[0].context_tokens)
    comparison = ArmComparison(arm=handoff.arm, transport=handoff.transport, resident_context_tokens=context)
    for i, j in shared(append, handoff):
        cached, new = float(append.cached_tokens[i]), float(append.new_tokens[i])
        if stalls[0].append_s(cached, new, 1.0) is None:
            continue
        guess = break_even(part.model(cached, central), comparison, cached, new).streams
        draws = break_even_streams(samples, comparison, np.array([cached]), np.array([new]))
        predicted = guess if 0.0 < guess < float("inf") else None
        gains = resampled(handoff.seconds[j], handoff.noise[j], rng) - resampled(
            append.seconds[i], append.noise[i], rng
        )
        truth, *around = (solve(*given, cached, new) for given in zip(stalls, gains.tolist(), strict=True))
        # Draws may be infinite: an append that costs the residents nothing.
        low, high = map(float, interval_90(draws[:, 0]))
        below, above = map(float, interval_90([streams or 0.0 for streams in around]))
        yield CrossingCheck(
            scope=part.scope,
            measurements=measurements,
            against=name_of(handoff),
            axis="streams",
            fixed_tokens=int(cached),
            new_tokens=int(new),
            predicted=predicted,
            predicted_low=None if predicted is None else low,
            predicted_high=None if predicted is None else high,
            measured=truth,
            measured_low=None if truth is None else below,
            measured_high=None if truth is None else above,
        )


def solve(stalls: MeasuredStalls, gain_s: float, cached_tokens: float, new_tokens: float) -> float | None:
    """Return N* [streams] of an append that gains `gain_s` of TTFT, by measured stalls; None: not positive, finite."""
    streams = 1.0
    for _ in range(4):  # S_D is known for a few batches only: settle on the one nearest to N*
        lost = stalls.append_s(cached_tokens, new_tokens, streams)
        if lost is None or lost <= stalls.handoff_s or gain_s <= 0:
            return None
        streams = gain_s / (lost - stalls.handoff_s)
    return streams
