"""What each node and link did when: forwards, decode stretches, transfers, KV pages. Recorded only where asked for.

A recorder takes the place of a part that a node owns (its backlog, its step log, its links), does what that part does,
and writes a line. So a run without a timeline has no line of code more. What happens to turns stands in the columns of
the run already, and `ppdsim.des.chrome_trace` puts the two together.

KV pages are sampled when a forward starts and when a decode stretch ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ppdsim.cost.base import Quantity
from ppdsim.des.backlog import Backlog
from ppdsim.des.batching import Piece
from ppdsim.des.kv_cache import AbstractKvPool
from ppdsim.des.link import Links
from ppdsim.des.nic import Transfer
from ppdsim.des.step_log import StepLog

if TYPE_CHECKING:
    from ppdsim.des.cluster import Cluster
    from ppdsim.des.decode_node import AbstractDecodeNode
    from ppdsim.des.prefill_node import AbstractPrefillNode


class Forward(NamedTuple):
    """A prefill forward on a node [s], and the part of each turn in it."""

    node: int
    start_s: float
    end_s: float
    pieces: tuple[Piece, ...]


class Stretch(NamedTuple):
    """Decode steps without a change in the batch [s]; `first_step` counts the node's steps from 0."""

    node: int
    start_s: float
    end_s: float
    first_step: int
    steps: int
    streams: int


class Sent(NamedTuple):
    """A piece of a turn's KV on the link from a prefill to a decode node [s]."""

    prefill: int
    decode: int
    start_s: float
    end_s: float
    turn: int
    tokens: float


class Pages(NamedTuple):
    """KV pages of a node at a moment: in use, kept for later, free."""

    node: int
    time_s: float
    used: int
    kept: int
    free: int


@dataclass(slots=True, kw_only=True)
class Timeline:
    """The record of one run; hand it to the run, then to `ppdsim.des.chrome_trace.write`."""

    forwards: list[Forward] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    transfers: list[Sent] = field(default_factory=list)
    pages: list[Pages] = field(default_factory=list)
    cluster: Cluster | None = None

    def attach(self, cluster: Cluster) -> None:
        """Record a run that has not started yet."""
        self.cluster = cluster
        for number, prefill in cluster.prefill.items():
            prefill.backlog = _RecordingBacklog(prefill.backlog, self, number, prefill)
            prefill.links = _RecordingLinks(prefill.links, self)
        for number, decode in cluster.decode.items():
            decode.backlog = _RecordingBacklog(decode.backlog, self, number, decode)
            decode.log = _RecordingStepLog(decode.log, self, number, decode)

    def sample(self, node: int, time_s: float, pool: AbstractKvPool) -> None:
        """Note the KV pages of a node."""
        self.pages.append(Pages(node, time_s, pool.used, pool.capacity - pool.used - pool.free, pool.free))


def _take_over(new: Any, old: Any, kind: type) -> None:
    """Give `new` the state of a part that has done nothing yet."""
    for name in kind.__dict__["__slots__"]:
        setattr(new, name, getattr(old, name))


class _RecordingBacklog(Backlog):
    __slots__ = ("_node", "_number", "_timeline")

    def __init__(
        self, old: Backlog, timeline: Timeline, number: int, node: AbstractPrefillNode | AbstractDecodeNode
    ) -> None:
        _take_over(self, old, Backlog)
        self._timeline, self._number, self._node = timeline, number, node

    def forward(self, pieces: Iterable[Piece], prompt: Sequence[int], end_s: float) -> None:
        """Note a forward, and take its work off the turns in it."""
        held = list(pieces)
        start_s = self._node.start
        self._timeline.forwards.append(Forward(self._number, start_s, end_s, tuple(held)))
        self._timeline.sample(self._number, start_s, self._node.pool)
        super().forward(held, prompt, end_s)


class _RecordingStepLog(StepLog):
    __slots__ = ("_node", "_number", "_timeline")

    def __init__(self, old: StepLog, timeline: Timeline, number: int, node: AbstractDecodeNode) -> None:
        _take_over(self, old, StepLog)
        self._timeline, self._number, self._node = timeline, number, node

    def add(self, start: float, steps: int, p: float, h: float) -> None:
        """Note a stretch, and log it."""
        node, end_s = self._node, start + steps * (p + h * steps)
        self._timeline.stretches.append(Stretch(self._number, start, end_s, node.steps, steps, node.streams))
        self._timeline.sample(self._number, end_s, node.pool)
        super().add(start, steps, p, h)


class _RecordingLinks(Links):
    __slots__ = ("_pair_free_s", "_timeline")

    def __init__(self, old: Links, timeline: Timeline) -> None:
        _take_over(self, old, Links)
        self._timeline = timeline
        self._pair_free_s = [0.0] * len(self._free_s)

    def _send(self, turn: int, time: float, tokens: Quantity, held: int, *, last: bool) -> None:
        node = self._turns.decode_node[turn]
        if self._nic is None:
            start_s = max(self._free_s[node], time)
            super()._send(turn, time, tokens, held, last=last)
            self._note(turn, node, start_s, self._free_s[node], float(tokens))
            return
        wire_s = float(self._curves[node].wire_s(tokens, held))
        self._turns.wire[turn] += wire_s
        arrived = partial(self._arrived, time, float(tokens), last)
        self._nic.send((self._number, node), Transfer(turn=turn, wire_s=wire_s, delivered=arrived), time)

    def _arrived(self, sent_s: float, tokens: float, last: bool, turn: int, time: float) -> None:
        """Note what came over a shared NIC: it began when it was sent, or when the one before it was through."""
        node = self._turns.decode_node[turn]
        self._note(turn, node, max(sent_s, self._pair_free_s[node]), time, tokens)
        self._pair_free_s[node] = time
        if last:
            self._delivered(turn, time)

    def _note(self, turn: int, node: int, start_s: float, end_s: float, tokens: float) -> None:
        if end_s > start_s:
            self._timeline.transfers.append(Sent(self._number, node, start_s, end_s, turn, tokens))
