"""Gaps between tokens, rebuilt after the run from each node's step log. No event per token was needed for them.

A turn's tokens are its first one and the ends of the steps in which it decoded, late where the host was launching a
forward then. Its gaps are differences of these, but for the first gap of each spell (after the first token, after a
retraction), which starts elsewhere, and for its last token, which is never late: the stream has left.

Turns are taken in groups in the order in which they ended, so that only the steps of a group are in memory at a time.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ppdsim.des.gap_histogram import GapHistogram
from ppdsim.des.step_log import StepLog
from ppdsim.des.turns import OK, Turns

Array = NDArray[np.float64]
P99 = 0.99
GROUP_TURNS = 2048
"""Turns whose steps are rebuilt together."""


class Itl(NamedTuple):
    """Per-turn percentiles [s], and all gaps of the run with how many streams felt each (`gap_histogram`)."""

    p99_s: Array
    max_s: Array
    gaps_s: Array
    counts: Array


def rebuild(turns: Turns, logs: dict[int, StepLog]) -> Itl:
    """Return the gaps of all finished turns, NaN for answers of one token; empties the logs, which are large."""
    p99, largest = np.full(turns.count, np.nan), np.full(turns.count, np.nan)
    every = GapHistogram()
    if turns.count:
        ended = (np.frombuffer(turns.status, dtype=np.uint8) == OK) & (_view(turns.output) > 1)
        node, last = _view(turns.decode_node), _view(turns.finish_step)
        for number, log in logs.items():
            rows = np.flatnonzero(ended & (node == number))
            rows = rows[np.argsort(last[rows], kind="stable")]
            for begin in range(0, len(rows), GROUP_TURNS):
                _rebuild_group(turns, rows[begin : begin + GROUP_TURNS], log, every, p99, largest)
            log.clear()
    return Itl(p99, largest, *every.columns())


def _rebuild_group(
    turns: Turns, rows: NDArray[np.int64], log: StepLog, every: GapHistogram, p99: Array, largest: Array
) -> None:
    """Find the gaps of some turns of a node."""
    base, until = int(_view(turns.start_step)[rows].min()), int(_view(turns.finish_step)[rows].max())
    late = log.late_s(base, until)
    ends = log.ends_s(base, until) + late
    steps = np.diff(ends, prepend=np.nan)  # entry s: gap between the ends of steps base + s - 1 and base + s
    felt = np.zeros(len(ends) + 2)
    own: list[float] = []
    for turn in rows.tolist():
        mine = _gaps_of(turns, turn, base, ends, late, steps, felt, own)
        mine.sort()
        largest[turn] = mine[-1]
        at = P99 * (len(mine) - 1)
        low = int(at)
        high = low + 1 if low + 1 < len(mine) else low
        p99[turn] = mine[low] + (at - low) * (mine[high] - mine[low])
    every.add(steps, np.cumsum(felt)[: len(steps)])
    every.add(np.array(own), np.ones(len(own)))


def _gaps_of(
    turns: Turns, turn: int, base: int, ends: Array, late: Array, steps: Array, felt: Array, own: list[float]
) -> Array:
    """Return a turn's gaps, and book them: whole steps in `felt` (as differences), gaps of its own in `own`.

    Entry 0 of the arrays is step `base`.
    """
    first, last = turns.start_step[turn] - base, turns.finish_step[turn] - base
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
    borders = [first, *(border - base for pause in pauses for border in pause), last]
    spells = [(a, b) for a, b in zip(borders[::2], borders[1::2], strict=True) if b > a]
    times = np.concatenate([[turns.t_first[turn]], *(ends[a + 1 : b + 1] for a, b in spells)])
    times[-1] -= late[last]
    mine = np.diff(times)
    if late[last] and spells[-1][1] - spells[-1][0] > 1:
        own.append(float(mine[-1]))
        felt[last] -= 1.0
        felt[last + 1] += 1.0
    for a, b in spells:
        felt[a + 2] += 1.0
        felt[b + 1] -= 1.0
    heads = np.cumsum([0, *(b - a for a, b in spells)])[:-1]
    own.extend(mine[heads].tolist())
    return mine


def _view(column: array[int]) -> NDArray[np.int64]:
    return np.frombuffer(column, dtype=np.dtype("l"))
