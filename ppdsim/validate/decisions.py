"""Whether the profile would have chosen the arm that was cheaper when it was measured.

At every (L, m) that two arms share, for each price gamma and batch N::

    J = TTFT + gamma N stall_s

with TTFT and stall from measured cells on one side and from the profile on the other. A comparison is decided where the
measured difference exceeds the repeat noise of both arms and what drift between runs does to the predicted difference
(half the width of its 90 % range), in squares. Which cells, and what predicts them: `unseen`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ppdsim import compose
from ppdsim.accuracy import Decisions
from ppdsim.cost.base import Array
from ppdsim.fit.cells import Cells
from ppdsim.fit.crossval import name_of
from ppdsim.measurements import Measurements
from ppdsim.metrics import interval_90
from ppdsim.profile import Profile
from ppdsim.turn import TurnModel
from ppdsim.types import Arm
from ppdsim.validate.stalls import MeasuredStalls, measured_stalls
from ppdsim.validate.unseen import Unseen, shared

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


def decisions(profile: Profile, measured: Measurements, parts: Sequence[Unseen]) -> tuple[Decisions, ...]:
    """Return one row a scope and pair of arms that were measured at the same places."""
    stalls = measured_stalls(measured)
    central, samples = compose.central(profile), compose.samples(profile, another_run=True)
    return tuple(
        _pair(first, second, stalls, central, samples, part, measured.manifest.id)
        for part in parts
        for first, second in combinations((part.append, *part.handoffs), 2)
        if shared(first, second)
    )


def _stall(model: TurnModel, cells: Cells, at: int, streams: float, context: float) -> Array:
    return np.asarray(model.stall_s(cells.arm, cells.cached_tokens[[at]], cells.new_tokens[[at]], streams, context))


def _ttft(model: TurnModel, cells: Cells, at: int) -> Array:
    on_p = cells.prefill_cached_tokens[[at]]
    return np.asarray(model.ttft_s(cells.arm, cells.transport, cells.cached_tokens[[at]], cells.new_tokens[[at]], on_p))


def _pair(
    first: Cells,
    second: Cells,
    stalls: MeasuredStalls,
    central: TurnModel,
    samples: TurnModel,
    part: Unseen,
    measurements: str,
) -> Decisions:
    tally = _Tally()
    regrets: list[float] = []
    for i, j in shared(first, second):
        model = part.model(float(first.cached_tokens[i]), central)
        noise = np.hypot(*(np.nan_to_num(c.noise[k]) * c.seconds[k] for c, k in ((first, i), (second, j))))
        faster = first.seconds[i] - second.seconds[j]
        # Two hand-offs take the same from decoding streams: neither price nor batch tells them apart.
        append = first.arm is Arm.APPEND_D
        context = stalls.context_tokens
        faster_in = [_ttft(of, first, i) - _ttft(of, second, j) for of in (model, samples)]
        for streams in BATCHES if append else BATCHES[:1]:
            losses = [measured_loss(stalls, c, k, streams) for c, k in ((first, i), (second, j))]
            if losses[0] is None or losses[1] is None:
                continue
            lost = losses[0] - losses[1]
            lost_in = [
                _stall(of, first, i, streams, context) - _stall(of, second, j, streams, context)
                for of in (model, samples)
            ]
            for gamma in GAMMAS if append else GAMMAS[:1]:
                truth = faster + gamma * streams * lost
                gaps = [np.asarray(f + gamma * streams * s) for f, s in zip(faster_in, lost_in, strict=True)]
                guess = float(gaps[0].ravel()[0])
                low, high = interval_90(gaps[1])
                drift = 0.5 * float(high - low)
                right = bool((truth < 0) == (guess < 0))
                tally.compared += 1
                tally.right += right
                if not right:
                    regrets.append(float(abs(truth)))
                if abs(truth) > np.hypot(noise, drift):
                    tally.decided += 1
                    tally.right_decided += right
    return Decisions(
        scope=part.scope,
        measurements=measurements,
        first=name_of(first),
        second=name_of(second),
        compared=tally.compared,
        right=tally.right,
        decided=tally.decided,
        right_decided=tally.right_decided,
        regret_mean_s=float(np.mean(regrets)) if regrets else 0.0,
        regret_max_s=max(regrets, default=0.0),
    )


def measured_loss(stalls: MeasuredStalls, cells: Cells, at: int, streams: float) -> float | None:
    """Return the measured stall_s of one arm's cell for each of `streams` streams [s]; None: nothing was measured."""
    if cells.arm is not Arm.APPEND_D:
        return stalls.handoff_s
    return stalls.append_s(float(cells.cached_tokens[at]), float(cells.new_tokens[at]), streams)
