"""KV on its way from a P to a D: one FIFO per pair, so one number says when it is free.

::

    link_free = max(link_free, t) + wire(tokens)

The early share of the prefix that P has cached and D lacks enters when the turn's first forward starts; the rest of it
with the first chunk's KV, and each chunk's KV when P handles its result. A P works in sequence, so entries come in
order. Pairs on one NIC share it: :mod:`ppdsim.des.nic`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ppdsim.cost.base import Quantity
from ppdsim.des.batching import Piece
from ppdsim.des.nic import SharedNic, Transfer
from ppdsim.des.turns import TIMED_OUT, Turns
from ppdsim.transport.handoff import HandoffCurve
from ppdsim.types import Arm


class Links:
    """The links of one prefill node to all decode nodes.

    Parameters
    ----------
    curves : sequence of HandoffCurve
        The hand-off to each node of the fleet; to the prefill node itself: its own.
    number : int
        The prefill node.
    delivered : callable
        Called with a turn and the time at which the last of its KV is on D, as soon as that is known.
    nic : SharedNic or None
        What its pairs send through; by default each has a link of its own.

    Attributes
    ----------
    join_s : float
        Time from the last KV byte to D's first token [s].
    request_result_s, beside_send_s : float
        What P's host takes for the result of one request, and what a launch takes longer while KV is sent [s].
    """

    __slots__ = (
        "_curves",
        "_delivered",
        "_delta",
        "_early",
        "_free_s",
        "_last_s",
        "_nic",
        "_number",
        "_own",
        "_turns",
        "beside_send_s",
        "join_s",
        "request_result_s",
    )

    def __init__(
        self,
        turns: Turns,
        curves: Sequence[HandoffCurve],
        arm: Arm,
        number: int,
        delivered: Callable[[int, float], None],
        nic: SharedNic | None = None,
    ) -> None:
        self._turns = turns
        own = curves[number]
        self._curves, self._own = tuple(curves), own
        self._early = float(own.early_share)
        self.join_s = float(own.after_s())
        self.request_result_s, self.beside_send_s = float(own.request_result_s), float(own.beside_send_s)
        self._delta = arm is Arm.P_DELTA
        self._free_s = [0.0] * len(curves)
        self._last_s = 0.0  # when the last of what was sent has arrived
        self._number, self._delivered, self._nic = number, delivered, nic

    def handshake_s(self, prefill_cached_tokens: int) -> float:
        """Return the time from D's pre-allocation to P's readiness [s]."""
        return float(self._own.before_s(prefill_cached_tokens))

    def sends_early(self, piece: Piece) -> bool:
        """Return whether a part of what P has cached leaves when the turn's first forward starts."""
        return self._early > 0.0 and piece.before > self._held(piece.turn)

    def start(self, piece: Piece, time: float) -> None:
        """Send the early share of the cached prefix: the turn's first forward starts."""
        if not self.sends_early(piece) or self._turns.status[piece.turn] == TIMED_OUT:
            return
        held = self._held(piece.turn)
        self._send(piece.turn, time, self._early * (piece.before - held), held, last=False)

    def end(self, piece: Piece, time: float) -> None:
        """Send a chunk's KV, whose result the host handles, unless D has given the turn up."""
        turn, before, new_tokens, first, last = piece
        if self._turns.status[turn] == TIMED_OUT:
            if last:
                self._delivered(turn, time)
            return
        held = self._held(turn)
        tokens: float = new_tokens
        if held > before:
            tokens = max(before + new_tokens - held, 0)
        elif first:
            tokens += (1.0 - self._early) * (before - held)
        self._send(turn, time, tokens, held, last=last)

    def wait_s(self, node: int, now: float, wire_s: float) -> float:
        """Return by how much what is on its way delays `wire_s` seconds of KV that would leave for `node` now [s]."""
        if self._nic is not None:
            return self._nic.wait_s((self._number, node), now, wire_s)
        return max(self._free_s[node] - now, 0.0)

    def sends(self, now: float) -> bool:
        """Return whether KV is on its way to any node."""
        return self._last_s > now if self._nic is None else self._nic.left_s(now) > 0.0

    def left_s(self, node: int, now: float) -> float:
        """Return how long the link to `node`, or the NIC, still sends what it has been given [s]."""
        return max(self._free_s[node] - now, 0.0) if self._nic is None else self._nic.left_s(now)

    def _held(self, turn: int) -> int:
        return self._turns.cached[turn] if self._delta else 0

    def _send(self, turn: int, time: float, tokens: Quantity, held: int, *, last: bool) -> None:
        turns = self._turns
        node = turns.decode_node[turn]
        wire = float(self._curves[node].wire_s(tokens, held))
        turns.wire[turn] += wire
        if self._nic is not None:
            transfer = Transfer(turn=turn, wire_s=wire, delivered=self._delivered if last else None)
            self._nic.send((self._number, node), transfer, time)
            return
        free = self._free_s[node]
        free = (free if free > time else time) + wire
        self._free_s[node] = free
        if free > self._last_s:
            self._last_s = free
        if last:
            self._delivered(turn, free)
