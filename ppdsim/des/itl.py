"""Gaps between tokens, rebuilt from each node's step log. No event per token was needed for them.

A turn's tokens are its first one and the ends of the steps in which it decoded, late where the host was launching a
forward then. Its gaps are differences of these, but for the first gap of each spell (after the first token, after a
retraction), which starts elsewhere, for the token that a prefill gives to a retracted stream, and for its last token,
which is never late: the stream has left. A mixed forward is a step. Tokens that D had before the router hands on the
first one come together with it, at no gap.

Turns are taken in groups as they end, and steps that no stream can need any more are forgotten, so that memory does not
grow with the steps of the run.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim.des.decode_node import AbstractDecodeNode
from ppdsim.des.gap_histogram import GapHistogram
from ppdsim.des.turns import Turns

Array = NDArray[np.float64]
P99 = 0.99
GROUP_TURNS = 2048
"""Turns of a node whose steps are rebuilt together."""
TABLE_TURNS = 64
"""Turns whose gaps are sorted in one table, as wide as the longest of them."""


class TokenGaps:
    """Gaps of the turns that have ended: per-turn percentiles [s], and all gaps of the run (`every`).

    `p99_s` and `max_s` are by turn, NaN for answers of one token and for turns without an end.
    """

    __slots__ = ("_ended", "_nodes", "_turns", "_withheld", "every", "max_s", "p99_s")

    def __init__(self, turns: Turns, nodes: Mapping[int, AbstractDecodeNode]) -> None:
        self._turns, self._nodes = turns, nodes
        self._ended = {node: array("l") for node in nodes}
        self._withheld: dict[int, set[int]] = {node: set() for node in nodes}
        self.every = GapHistogram()
        self.p99_s, self.max_s = np.full(turns.count, np.nan), np.full(turns.count, np.nan)

    def ended(self, turn: int) -> None:
        """Take a turn of at least two tokens whose last one has just come."""
        node = self._turns.decode_node[turn]
        if self._withheld[node]:
            self._withheld[node].discard(turn)
        ended = self._ended[node]
        ended.append(turn)
        if len(ended) >= GROUP_TURNS:
            self._rebuild(node)

    def withhold(self, turn: int) -> None:
        """Keep the steps of a turn that D is done with, until the client has its tokens."""
        self._withheld[self._turns.decode_node[turn]].add(turn)

    def close(self) -> None:
        """Take what has ended since."""
        for node, ended in self._ended.items():
            if ended:
                self._rebuild(node)

    def _rebuild(self, number: int) -> None:
        """Find the gaps of the turns that have ended on a node."""
        turns, node = self._turns, self._nodes[number]
        rows = np.array(self._ended[number])
        self._ended[number] = array("l")
        first, last = _rows_of(turns.start_step, rows), _rows_of(turns.finish_step, rows)
        base, until = int(first.min()), int(last.max())
        late = node.log.late_s(base, until)
        ends = node.log.ends_s(base, until) + late
        steps = _Steps(
            base=base,
            ends=ends,
            late=late,
            gaps=np.diff(ends, prepend=np.nan),
            felt=np.zeros(len(ends) + 2),
        )
        first, last = first - base, last - base
        t_first = _rows_of(turns.t_first, rows)
        whole = np.arange(len(rows))
        if turns.pauses:
            whole = np.flatnonzero([turn not in turns.pauses for turn in rows.tolist()])
        # Turns of about the same length are looked at together.
        whole = whole[np.argsort((last - first)[whole], kind="stable")]
        own = [np.zeros(0)]
        for at in range(0, len(whole), TABLE_TURNS):
            some = whole[at : at + TABLE_TURNS]
            self.p99_s[rows[some]], self.max_s[rows[some]], gaps = _gaps_of(
                steps, first[some], last[some], t_first[some]
            )
            own.append(gaps)
        mine: list[float] = []
        for turn in rows.tolist() if turns.pauses else ():
            if turn in turns.pauses:
                gaps = _gaps_of_retracted(turns, turn, steps, mine)
                gaps.sort()
                self.max_s[turn] = gaps[-1]
                self.p99_s[turn] = _p99(gaps[None, :], np.array([len(gaps)]))[0]
        self.every.add(steps.gaps, np.cumsum(steps.felt)[: len(ends)])
        every_own = np.concatenate([*own, mine])
        self.every.add(every_own, np.ones(len(every_own)))
        node.log.forget(min([node.oldest_step(), *(turns.start_step[turn] for turn in self._withheld[number])]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steps:
    """Steps of a node from `base` on, an entry each.

    When its tokens came (`ends`), how long after its end that was (`late`), their gap to those before [s]; `felt`
    counts the streams that felt the whole gap, as differences from step to step.
    """

    base: int
    ends: Array
    late: Array
    gaps: Array
    felt: Array


def _rows_of(column: array[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    return np.array([column[row] for row in rows.tolist()])


def _p99(gaps: Array, count: NDArray[np.int64]) -> Array:
    """Return the 99th percentile of the last `count` entries of each row, which are in order."""
    at = P99 * (count - 1)
    low = at.astype(np.int64)
    high = np.minimum(low + 1, count - 1)
    row, skipped = np.arange(len(gaps)), gaps.shape[1] - count
    below = gaps[row, skipped + low]
    percentile: Array = below + (at - low) * (gaps[row, skipped + high] - below)
    return percentile


def _gaps_of(
    steps: _Steps, first: NDArray[np.int64], last: NDArray[np.int64], t_first: Array
) -> tuple[Array, Array, Array]:
    """Return P99 and maximum of the gaps of turns that were not retracted, and the gaps that are no whole step.

    `first` and `last` are rows of `steps`: a turn has a token at the end of each step after `first` up to `last`. Whole
    steps are booked in `steps.felt`.
    """
    count = last - first
    longest = int(count.max())
    # Tokens up to the end of the step `begun` come together with the first one. Step 0 has no end.
    begun = np.minimum(np.maximum(np.searchsorted(steps.ends[1:], t_first, "right"), first), last)
    # Each row ends with a turn's last gap. What stands before its first one is of no turn, and comes first when sorted.
    at = last[:, None] + np.arange(1 - longest, 1)
    none, together = at <= first[:, None], at <= begun[:, None]
    gaps = steps.gaps[np.where(none, 0, at)]
    gaps[together] = 0.0
    gaps[none] = -np.inf
    some = np.flatnonzero(begun < last)
    head = longest - (last - begun)[some]
    gaps[some, head] = steps.ends[begun[some] + 1] - t_first[some]
    gaps[some, -1] -= steps.late[last[some]]
    # The last gap is a whole step, unless it is the first one too or its token was not as late as the others'.
    cut = (steps.late[last] != 0.0) & (last - begun > 1)
    np.add.at(steps.felt, begun[some] + 2, 1.0)
    np.add.at(steps.felt, (last + 1 - cut)[some], -1.0)
    own = np.concatenate([np.zeros(int((begun - first).sum())), gaps[some, head], gaps[cut, -1]])
    gaps.sort(axis=1)
    return _p99(gaps, count), gaps[:, -1], own


def _gaps_of_retracted(turns: Turns, turn: int, steps: _Steps, own: list[float]) -> Array:
    """Return the gaps of a turn that was retracted.

    Whole steps are booked in `steps.felt`, gaps of its own in `own`.
    """
    ends, late, felt = steps.ends, steps.late, steps.felt
    first, last = turns.start_step[turn] - steps.base, turns.finish_step[turn] - steps.base
    pauses = [(before - steps.base, resumed - steps.base, token_s) for before, resumed, token_s in turns.pauses[turn]]
    times: list[Array | list[float]] = [[turns.t_first[turn]]]
    heads: list[int] = []  # gaps that are no whole step
    spells: list[tuple[int, int]] = []
    count, a = 0, first
    for b, resumed, token_s in (*pauses, (last, last, np.nan)):
        if b > a:
            times.append(ends[a + 1 : b + 1])
            spells.append((a, b))
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
    if tokens[1] < tokens[0]:
        mine: Array = np.diff(np.maximum(tokens, tokens[0]))
        own.extend(mine.tolist())
        return mine
    for a, b in spells:
        felt[a + 2] += 1.0
        felt[b + 1] -= 1.0
    mine = np.diff(tokens)
    if late[last] and last - again > 1:
        own.append(float(mine[-1]))
        felt[last] -= 1.0
        felt[last + 1] += 1.0
    own.extend(mine[heads].tolist())
    return mine
