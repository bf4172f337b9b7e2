"""How long a turn would wait for a forward on a node, as a router can estimate it: work in progress and promised.

The work of a turn is estimated when the router sends it, from what the node has cached then, and again when one of its
forwards starts: what is left is the work that no forward has begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ppdsim.cost.prefill import PrefillCurve
from ppdsim.des.batching import Piece


class Backlog:
    """Promised prefill work of one node."""

    __slots__ = ("_chunk_tokens", "_curve", "_estimates_s", "_queued_s", "busy_until_s")

    def __init__(self, curve: PrefillCurve, chunk_tokens: int) -> None:
        self._curve, self._chunk_tokens = curve, chunk_tokens
        self._estimates_s: dict[int, float] = {}
        self._queued_s = 0.0
        self.busy_until_s = 0.0  # end of the forward that runs

    def promise(self, turn: int, new_tokens: int, cached_tokens: int) -> None:
        """Add the work of a turn: `new_tokens` to compute on top of `cached_tokens`."""
        estimate_s = float(self._curve.seconds(new_tokens, cached_tokens, self._chunk_tokens))
        self._estimates_s[turn] = estimate_s
        self._queued_s += estimate_s

    def forget(self, turn: int) -> None:
        """Drop the work of a turn that will not come."""
        self._queued_s -= self._estimates_s.pop(turn)

    def forward(self, pieces: Iterable[Piece], prompt: Sequence[int], end_s: float) -> None:
        """Take the work of a forward that runs until `end_s` off the turns in it; `prompt` is by turn [tokens]."""
        self.busy_until_s = end_s
        for piece in pieces:
            self._queued_s -= self._estimates_s.pop(piece.turn)
            if not piece.last:
                done = piece.before + piece.tokens
                self.promise(piece.turn, prompt[piece.turn] - done, done)
        if not self._estimates_s:
            self._queued_s = 0.0  # and with it the rounding errors

    def wait_s(self, now: float) -> float:
        """Return the estimated wait of a turn that came now [s]."""
        running_s = self.busy_until_s - now
        return (running_s if running_s > 0.0 else 0.0) + self._queued_s
