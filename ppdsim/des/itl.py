"""Gaps between tokens, rebuilt after the run from each node's step log. No event per token was needed for them.

A turn's tokens are its first one and the ends of the steps in which it decoded, late where the host was launching a
forward then. Its gaps are differences of these, but for the first gap of each spell (after the first token, after a
retraction), which starts elsewhere, for the token that a prefill gives to a retracted stream, and for its last token,
which is never late: the stream has left. A mixed forward is a step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ppdsim.des.step_log import StepLog
from ppdsim.des.turns import OK, Turns

Array = NDArray[np.float64]
P99 = 0.99


class Itl(NamedTuple):
    """Per-turn percentiles [s], and all gaps of the run with how many streams felt each."""

    p99_s: Array
    max_s: Array
    gaps_s: Array
    counts: Array


def rebuild(turns: Turns, logs: dict[int, StepLog]) -> Itl:
    """Return the gaps of all finished turns; NaN for answers of one token."""
    p99, largest = np.full(turns.count, np.nan), np.full(turns.count, np.nan)
    gaps: list[Array] = []
    counts: list[Array] = []
    by_node: dict[int, list[int]] = {node: [] for node in logs}
    for turn in range(turns.count):
        if turns.status[turn] == OK and turns.output[turn] > 1:
            by_node[turns.decode_node[turn]].append(turn)
    for node, log in logs.items():
        late = log.late_s()
        ends = log.ends_s() + late
        steps = np.diff(ends, prepend=np.nan)  # entry s: gap between the ends of steps s - 1 and s
        felt = np.zeros(len(ends) + 1)
        own: list[float] = []
        for turn in by_node[node]:
            mine = _gaps_of(turns, turn, ends, late, steps, felt, own)
            mine.sort()
            largest[turn] = mine[-1]
            at = P99 * (len(mine) - 1)
            low = int(at)
            high = low + 1 if low + 1 < len(mine) else low
            p99[turn] = mine[low] + (at - low) * (mine[high] - mine[low])
        gaps += [steps, np.array(own)]
        counts += [np.cumsum(felt)[:-1], np.ones(len(own))]
    return Itl(p99, largest, _joined(gaps), _joined(counts))


def _gaps_of(turns: Turns, turn: int, ends: Array, late: Array, steps: Array, felt: Array, own: list[float]) -> Array:
    """Return a turn's gaps, and book them: whole steps in `felt` (as differences), gaps of its own in `own`."""
    first, last = turns.start_step[turn], turns.finish_step[turn]
    pauses = turns.pauses.get(turn)
    if pauses is None:
        mine = steps[first + 1 : last + 1].copy()
        mine[0] = ends[first + 1] - turns.t_first[turn]
        mine[-1] -= late[last]
        own.append(float(mine[0]))
        whole = last
        if late[last] and last > first + 1:
            own.append(float(mine[-1]))
            whole = last - 1
        felt[first + 2] += 1.0
        felt[whole + 1] -= 1.0
        return mine
    times: list[Array | list[float]] = [[turns.t_first[turn]]]
    heads: list[int] = []  # gaps that are no whole step
    count, a = 0, first
    for b, resumed, token_s in (*pauses, (last, last, np.nan)):
        if b > a:
            times.append(ends[a + 1 : b + 1])
            felt[a + 2] += 1.0
            felt[b + 1] -= 1.0
            heads.append(count)
            count += b - a
        if not np.isnan(token_s):
            times.append([token_s])
            heads.append(count)
            count += 1
        a = resumed
    tokens = np.concatenate(times)
    again = pauses[-1][1]
    if last > again:
        tokens[-1] -= late[last]
    mine = np.diff(tokens)
    if late[last] and last - again > 1:
        own.append(float(mine[-1]))
        felt[last] -= 1.0
        felt[last + 1] += 1.0
    own.extend(mine[heads].tolist())
    return mine


def _joined(parts: list[Array]) -> Array:
    return np.concatenate(parts) if parts else np.zeros(0)
