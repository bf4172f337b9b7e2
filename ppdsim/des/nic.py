"""Pairs that send through one NIC share it fairly, and share it again whenever one starts or ends.

Each pair of a P and a decode node is a FIFO (one worker thread sends, SGLang's transfer queues). Of k pairs that have
something to send each gets 1/k of the NIC. With the virtual time V that passes at 1/k of real time, a transfer that
takes `wire` seconds alone and reaches the head of its pair at V0 ends at V0 + wire, whoever comes or goes; so only the
next end is ever planned. By the same count, if nobody else comes, `wire` seconds that join now behind `ahead` seconds
of their own pair are late by::

    ahead + sum over the other pairs of min(what the pair still has to send, ahead + wire)

The profile's wire time is that of one pair alone, which is taken to fill the NIC.

Not modelled: the receiving side's NIC, PCIe and memory bandwidth, pairs that one thread cannot drive at full speed.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ppdsim.des.clock import Clock, Tick

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A piece of KV: seconds on the wire if it were alone, and what to call with the time at which it has arrived."""

    turn: int
    wire_s: float
    delivered: Callable[[int, float], None] | None


class SharedNic:
    """One NIC and the pairs that send through it."""

    __slots__ = ("_behind_s", "_clock", "_ends", "_order", "_planned", "_queues", "_time", "_virtual_s")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queues: dict[Pair, deque[Transfer]] = {}  # of pairs that send; the head is on the wire
        self._behind_s: dict[Pair, float] = {}  # seconds alone of what waits behind that head
        self._ends: list[tuple[float, int, Pair]] = []  # heap of (virtual end, order of start, pair)
        self._order = 0
        self._time = self._virtual_s = 0.0
        self._planned: Tick | None = None

    def send(self, pair: Pair, transfer: Transfer, time: float) -> None:
        """Queue a transfer at its pair."""
        queue = self._queues.get(pair)
        if queue is not None:
            queue.append(transfer)
            self._behind_s[pair] += transfer.wire_s
            return
        self._advance(time)
        self._queues[pair], self._behind_s[pair] = deque([transfer]), 0.0
        self._begin(pair, transfer)
        self._plan()

    def wait_s(self, pair: Pair, now: float, wire_s: float) -> float:
        """Return by how much what is on its way delays `wire_s` seconds of KV that `pair` would send now [s]."""
        left_s = self._left_s(now)
        ahead_s = left_s.pop(pair, 0.0)
        return ahead_s + sum(min(other_s, ahead_s + wire_s) for other_s in left_s.values())

    def left_s(self, now: float) -> float:
        """Return how long it still sends what it has been given [s]."""
        return sum(self._left_s(now).values())

    def _left_s(self, now: float) -> dict[Pair, float]:
        """Return the seconds alone that each pair still has to send."""
        if not self._ends:
            return {}
        passed_s = (now - self._time) / len(self._queues)
        return {
            pair: max(end_s - self._virtual_s - passed_s, 0.0) + self._behind_s[pair] for end_s, _, pair in self._ends
        }

    def _advance(self, time: float) -> None:
        if self._queues:
            self._virtual_s += (time - self._time) / len(self._queues)
        self._time = time

    def _begin(self, pair: Pair, transfer: Transfer) -> None:
        self._order += 1
        heapq.heappush(self._ends, (self._virtual_s + transfer.wire_s, self._order, pair))

    def _plan(self) -> None:
        """Plan the next end; a tick that was planned before is stale."""
        if not self._ends:
            self._planned = None
            return
        end_s, _, pair = self._ends[0]
        left_s = max(end_s - self._virtual_s, 0.0) * len(self._queues)
        self._planned = self._clock.at(self._time + left_s, self._ended, None, self._queues[pair][0].turn)

    def _ended(self, tick: Tick) -> None:
        if tick is not self._planned:
            return
        self._advance(tick.time)
        end_s, _, pair = heapq.heappop(self._ends)
        self._virtual_s = end_s  # and with it the rounding errors
        queue = self._queues[pair]
        done = queue.popleft()
        if queue:
            self._behind_s[pair] -= queue[0].wire_s
            self._begin(pair, queue[0])
        else:
            del self._queues[pair], self._behind_s[pair]
        self._plan()
        if done.delivered is not None:
            done.delivered(done.turn, tick.time)
