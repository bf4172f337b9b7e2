"""Whether the profile would have chosen the arm that was cheaper when it was measured.

At every (L, m) that two arms share, for each price gamma and batch N::

    J = TTFT + gamma N stall_s

with TTFT and stall from measured cells on one side and from the profile on the other. A comparison is decided where the
measured difference exceeds the repeat noise of both arms and what drift between runs does to the predicted difference
(half the width of its 90 % range), in squares. Cells of the profile's own run are predicted by refits without their L.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ppdsim import compose
from ppdsim.accuracy import ANOTHER_RUN, LEFT_OUT, Decisions
from ppdsim.analytical.breakeven import break_even
from ppdsim.analytical.question import Question
from ppdsim.calibrate.cells import Cells, Grid, grid
from ppdsim.calibrate.crossval import left_out_fits, name_of
from ppdsim.calibrate.fit import fitter
from ppdsim.calibrate.split import is_own_run
from ppdsim.cost.base import Array
from ppdsim.measurements import Measurements
from ppdsim.profile import Profile
from ppdsim.turn import TurnModel
from ppdsim.types import Arm
from ppdsim.validate.stalls import MeasuredStalls, measured_stalls

GAMMAS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Prices of a stalled stream-second [s of TTFT] that decisions are looked at for."""
BATCHES = (1, 8, 32)
"""Decoding streams likewise."""


@dataclass(slots=True)
class _Tally:
    compared: int = 0
    right: int = 0
    decided: int = 0
    right_decided: int = 0


def decisions(profile: Profile, measured: Measurements) -> tuple[Decisions, ...]:
    """Return one row a pair of arms that were measured at the same places."""
    cells = grid(measured)
    stalls = measured_stalls(measured, cells)
    own = is_own_run(profile, measured)
    middle, cloud = compose.central(profile), compose.cloud(profile, another_run=True)
    without = (
        {value: model for column, value, model in left_out_fits(cells, fitter(measured)) if column == "cached_tokens"}
        if own
        else {}
    )
    known = {(c.arm, c.transport) for c in cells.handoffs} & set(middle.handoffs)
    groups = [cells.append, *(c for c in cells.handoffs if (c.arm, c.transport) in known)]
    return tuple(
        _pair(first, second, stalls, middle, cloud, without, measured.manifest.id, LEFT_OUT if own else ANOTHER_RUN)
        for first, second in combinations(groups, 2)
        if shared(first, second)
    )


def shared(first: Cells, second: Cells) -> list[tuple[int, int]]:
    """Return the positions of cells of two arms at the same (L, m)."""
    places = {at: i for i, at in enumerate(zip(second.cached_tokens, second.new_tokens, strict=True))}
    found = ((i, places.get(at)) for i, at in enumerate(zip(first.cached_tokens, first.new_tokens, strict=True)))
    return [(i, j) for i, j in found if j is not None]


def _stall(model: TurnModel, cells: Cells, at: int, streams: float, context: float) -> Array:
    return np.asarray(model.stall_s(cells.arm, cells.cached_tokens[[at]], cells.new_tokens[[at]], streams, context))


def _ttft(model: TurnModel, cells: Cells, at: int) -> Array:
    on_p = cells.prefill_cached_tokens[[at]]
    return np.asarray(model.ttft_s(cells.arm, cells.transport, cells.cached_tokens[[at]], cells.new_tokens[[at]], on_p))


def _pair(
    first: Cells,
    second: Cells,
    stalls: MeasuredStalls,
    middle: TurnModel,
    cloud: TurnModel,
    without: dict[float, TurnModel],
    measurements: str,
    scope: str,
) -> Decisions:
    tally = _Tally()
    regrets: list[float] = []
    n_star: list[float] = []
    for i, j in shared(first, second):
        model = without.get(float(first.cached_tokens[i]), middle)
        noise = np.hypot(*(np.nan_to_num(c.noise[k]) * c.seconds[k] for c, k in ((first, i), (second, j))))
        faster = first.seconds[i] - second.seconds[j]
        # Two hand-offs take the same from decoding streams: neither price nor batch tells them apart.
        append = first.arm is Arm.APPEND_D
        for streams in BATCHES if append else BATCHES[:1]:
            losses = [measured_loss(stalls, c, k, streams) for c, k in ((first, i), (second, j))]
            if losses[0] is None or losses[1] is None:
                continue
            lost = losses[0] - losses[1]

            def gap(of: TurnModel, price: float, i: int = i, j: int = j, streams: float = streams) -> Array:
                ttft = _ttft(of, first, i) - _ttft(of, second, j)
                context = stalls.context_tokens
                stall = _stall(of, first, i, streams, context) - _stall(of, second, j, streams, context)
                return np.asarray(ttft + price * streams * stall)

            for gamma in GAMMAS if append else GAMMAS[:1]:
                truth = faster + gamma * streams * lost
                guess = float(gap(model, gamma).ravel()[0])
                drift = 0.5 * float(np.diff(np.quantile(gap(cloud, gamma), [0.05, 0.95]))[0])
                right = bool((truth < 0) == (guess < 0))
                tally.compared += 1
                tally.right += right
                if not right:
                    regrets.append(float(abs(truth)))
                if abs(truth) > np.hypot(noise, drift):
                    tally.decided += 1
                    tally.right_decided += right
        if first.arm is Arm.APPEND_D:
            n_star += _n_star_error(model, first, i, second, j, stalls)
    return Decisions(
        scope=scope,
        measurements=measurements,
        first=name_of(first),
        second=name_of(second),
        compared=tally.compared,
        right=tally.right,
        decided=tally.decided,
        right_decided=tally.right_decided,
        regret_mean_s=float(np.mean(regrets)) if regrets else 0.0,
        regret_max_s=max(regrets, default=0.0),
        n_star_cells=len(n_star),
        n_star_error=float(np.median(n_star)) if n_star else None,
    )


def measured_loss(stalls: MeasuredStalls, cells: Cells, at: int, streams: float) -> float | None:
    """Return the measured stall_s of one arm's cell for each of `streams` streams [s]; None: nothing was measured."""
    if cells.arm is not Arm.APPEND_D:
        return stalls.handoff_s
    return stalls.append_s(float(cells.cached_tokens[at]), float(cells.new_tokens[at]), streams)


def measured_n_star(stalls: MeasuredStalls, append: Cells, i: int, handoff: Cells, j: int) -> float | None:
    """Return N* of measured cells at gamma = 1 [streams]; None where it is not positive and finite."""
    gain = float(handoff.seconds[j] - append.seconds[i])
    streams = 1.0
    for _ in range(4):  # S_D is known for a few batches only: settle on the one nearest to N*
        lost = stalls.append_s(float(append.cached_tokens[i]), float(append.new_tokens[i]), streams)
        if lost is None or lost <= stalls.handoff_s or gain <= 0:
            return None
        streams = gain / (lost - stalls.handoff_s)
    return streams


def _n_star_error(
    model: TurnModel, append: Cells, i: int, handoff: Cells, j: int, stalls: MeasuredStalls
) -> Iterator[float]:
    truth = measured_n_star(stalls, append, i, handoff, j)
    if truth is None:
        return
    question = Question(
        arm=handoff.arm, transport=handoff.transport, resident_context_tokens=round(stalls.context_tokens)
    )
    found = break_even(model, question, float(append.cached_tokens[i]), float(append.new_tokens[i])).streams
    if 0 < found < float("inf"):
        yield abs(found / truth - 1.0)


def prefill_pairs(cells: Grid) -> Iterator[tuple[Cells, Cells]]:
    """Yield the append cells with each hand-off's, for level lines."""
    for group in cells.handoffs:
        yield cells.append, group
