"""Which requests share the next prefill forward: FCFS under a token budget, at most one of them cut.

A forward takes `chunk_tokens` new tokens. The rest of a cut request goes first, then waiting requests in order while
budget is left and memory admits the head (nobody overtakes); the last may be cut at a page. Source: SGLang 0.5.17
PrefillAdder, without its other orders (lpm, priority) and without mixed chunks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from ppdsim.cost.prefill import PrefillCurve, PrefillWork
from ppdsim.des.turns import Turns


class Piece(NamedTuple):
    """A request's part in one forward: `tokens` new ones on top of `before`, and whether it begins or ends with it."""

    turn: int
    before: int
    tokens: int
    first: bool
    last: bool


class PrefillQueue:
    """Requests that wait for a forward on one node, and the one that is cut."""

    __slots__ = ("_chunk", "_max", "_page", "_turns", "cut", "cut_done", "waiting")

    def __init__(self, turns: Turns, chunk_tokens: int, page_tokens: int, max_tokens: int) -> None:
        self._turns = turns
        self._chunk, self._page, self._max = chunk_tokens, page_tokens, max_tokens
        self.waiting: deque[int] = deque()
        self.cut = -1  # the request whose rest goes first, or -1
        self.cut_done = 0  # its tokens with KV so far

    def form(self, admit: Callable[[int], int]) -> list[Piece]:
        """Take the next forward's pieces; `admit` returns a request's cached tokens, or -1 if it must wait."""
        prompt, waiting, budget = self._turns.prompt, self.waiting, self._chunk
        pieces = []
        if self.cut >= 0:
            rest = prompt[self.cut] - self.cut_done
            size = min(rest, budget)
            pieces.append(Piece(self.cut, self.cut_done, size, False, size == rest))
            budget -= size
            self.cut_done += size
            if size == rest:
                self.cut = -1
        while waiting and budget > 0 and self.cut < 0 and self._chunk - budget < self._max:
            if pieces and budget < self._page:
                # What is left of a shared budget is used in whole pages unless the request ends within it.
                break
            turn = waiting[0]
            cached = admit(turn)
            if cached < 0:
                break
            waiting.popleft()
            rest = prompt[turn] - cached
            size = rest if rest <= budget else budget // self._page * self._page
            pieces.append(Piece(turn, cached, size, True, size == rest))
            budget -= size
            if size < rest:
                self.cut, self.cut_done = turn, cached + size
        return pieces


def forward_s(curve: PrefillCurve, pieces: list[Piece], hidden_s: float) -> float:
    """Return the seconds of one forward over `pieces`, launched while the GPU is busy for `hidden_s` more [s]."""
    if len(pieces) == 1:
        piece = pieces[0]
        return float(curve.forward_s(curve.work(piece.tokens, piece.before), hidden_s))
    works = [curve.work(piece.tokens, piece.before) for piece in pieces]
    return float(curve.forward_s(PrefillWork(*(sum(field) for field in zip(*works, strict=True))), hidden_s))
