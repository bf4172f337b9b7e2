"""How long a turn would wait for a forward on a node, as a router can estimate it: work in progress and promised.

The work of a turn is estimated when the router sends it, from what the node has cached then, and again when one of its
forwards starts: what is left is the work that no forward has begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ppdsim.cost.prefill import PrefillCurve
from ppdsim.des.batching import Piece

PER_S = 10**15
"""Femtoseconds in a second [1/s]: finer than the rounding of any time that an estimate is added to."""


class Backlog:
    """Promised prefill work of one node."""

    __slots__ = ("_chunk_tokens", "_curve", "_estimates", "_promised", "_queued", "busy_until_s")

    def __init__(self, curve: PrefillCurve, chunk_tokens: int) -> None:
        self._curve, self._chunk_tokens = curve, chunk_tokens
        self._promised: dict[int, tuple[int, int]] = {}  # turns that have no estimate yet: new and cached tokens
        # In whole `PER_S` parts of a second, so that their sum does not depend on the order in which somebody asks.
        self._estimates: dict[int, int] = {}
        self._queued = 0
        self.busy_until_s = 0.0  # end of the forward that runs

    def promise(self, turn: int, new_tokens: int, cached_tokens: int) -> None:
        """Add the work of a turn: `new_tokens` to compute on top of `cached_tokens`."""
        self._promised[turn] = (new_tokens, cached_tokens)

    def forget(self, turn: int) -> None:
        """Drop the work of a turn that will not come."""
        if self._promised.pop(turn, None) is None:
            self._queued -= self._estimates.pop(turn)

    def forward(self, pieces: Iterable[Piece], prompt: Sequence[int], end_s: float) -> None:
        """Take the work of a forward that runs until `end_s` off the turns in it; `prompt` is by turn [tokens]."""
        self.busy_until_s = end_s
        for piece in pieces:
            if self._promised.pop(piece.turn, None) is None:
                self._queued -= self._estimates.pop(piece.turn)
            if not piece.last:
                done = piece.before + piece.tokens
                self.promise(piece.turn, prompt[piece.turn] - done, done)

    def wait_s(self, now: float) -> float:
        """Return the estimated wait of a turn that came now [s]."""
        # Most policies never ask, so that work is estimated only here.
        if self._promised:
            for turn, (new_tokens, cached_tokens) in self._promised.items():
                estimate = round(PER_S * float(self._curve.seconds(new_tokens, cached_tokens, self._chunk_tokens)))
                self._estimates[turn] = estimate
                self._queued += estimate
            self._promised.clear()
        running_s = self.busy_until_s - now
        return (running_s if running_s > 0.0 else 0.0) + self._queued / PER_S
