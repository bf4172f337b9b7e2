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

import numpy as np
from numpy.typing import NDArray

from ppdsim.des.decode_node import AbstractDecodeNode
from ppdsim.des.gap_histogram import GapHistogram
from ppdsim.des.turns import Turns

Array = NDArray[np.float64]
P99 = 0.99
GROUP_TURNS = 2048
"""Turns of a node whose steps are rebuilt together."""


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
        rows = self._ended[number]
        self._ended[number] = array("l")
        base, until = min(turns.start_step[turn] for turn in rows), max(turns.finish_step[turn] for turn in rows)
        late = node.log.late_s(base, until)
        ends = node.log.ends_s(base, until) + late
        steps = np.diff(ends, prepend=np.nan)  # entry s: gap between the ends of steps base + s - 1 and base + s
        felt = np.zeros(len(ends) + 2)
        own: list[float] = []
        for turn in rows:
            mine = _gaps_of(turns, turn, base, ends, late, steps, felt, own)
            mine.sort()
            self.max_s[turn] = mine[-1]
            at = P99 * (len(mine) - 1)
            low = int(at)
            high = low + 1 if low + 1 < len(mine) else low
            self.p99_s[turn] = mine[low] + (at - low) * (mine[high] - mine[low])
        self.every.add(steps, np.cumsum(felt)[: len(steps)])
        self.every.add(np.array(own), np.ones(len(own)))
        node.log.forget(min([node.oldest_step(), *(turns.start_step[turn] for turn in self._withheld[number])]))


def _gaps_of(
    turns: Turns, turn: int, base: int, ends: Array, late: Array, steps: Array, felt: Array, own: list[float]
) -> Array:
    """Return a turn's gaps, and book them: whole steps in `felt` (as differences), gaps of its own in `own`.

    Entry 0 of the arrays is step `base`.
    """
    first, last = turns.start_step[turn] - base, turns.finish_step[turn] - base
    pauses = turns.pauses.get(turn)
    if pauses is None:
        t_first = turns.t_first[turn]
        together = 0
        if ends[first + 1] <= t_first:
            together = int(np.searchsorted(ends[first + 1 : last + 1], t_first, "right"))
            own.extend([0.0] * together)
            first += together
            if first == last:
                return np.zeros(together)
        mine = steps[first + 1 : last + 1].copy()
        mine[0] = ends[first + 1] - t_first
        mine[-1] -= late[last]
        own.append(float(mine[0]))
        whole = last
        if late[last] and last > first + 1:
            own.append(float(mine[-1]))
            whole = last - 1
        felt[first + 2] += 1.0
        felt[whole + 1] -= 1.0
        return np.concatenate([np.zeros(together), mine]) if together else mine
    times: list[Array | list[float]] = [[turns.t_first[turn]]]
    heads: list[int] = []  # gaps that are no whole step
    spells: list[tuple[int, int]] = []
    count, a = 0, first
    for b, resumed, token_s in (*((b - base, c - base, t) for b, c, t in pauses), (last, last, np.nan)):
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
    again = pauses[-1][1] - base
    if last > again:
        tokens[-1] -= late[last]
    if tokens[1] < tokens[0]:
        mine = np.diff(np.maximum(tokens, tokens[0]))
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
