"""Which requests share the next prefill forward: FCFS under a token budget, at most one of them cut.

A forward takes `chunk_tokens` new tokens, counted in whole pages a request. The rest of a cut one goes first, then
waiting requests in order while budget is left and memory admits the head (nobody overtakes); the last may be cut
at a page. Source: SGLang 0.5.17, managers/schedule_policy.py PrefillAdder (add_one_req, add_chunked_req,
_update_prefill_budget), without its other orders (lpm, priority).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

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

    def form(self, admit: Callable[[int], int], decode_rows: int = 0) -> list[Piece]:
        """Take the next forward's pieces beside `decode_rows` streams.

        `admit` returns a request's cached tokens, or -1 if it must wait.
        """
        fill, waiting, page = self._turns.fill, self.waiting, self._page
        # At least a page goes on, or a prompt would wait for streams that may never be fewer than the budget.
        chunk = budget = max(self._chunk - decode_rows, page)
        pieces: list[Piece] = []
        if self.cut >= 0:
            rest = fill[self.cut] - self.cut_done
            size = min(rest, budget)
            pieces.append(Piece(self.cut, self.cut_done, size, False, size == rest))
            budget -= -(-size // page) * page
            self.cut_done += size
            if size == rest:
                self.cut = -1
        while waiting and budget > 0 and self.cut < 0 and (not pieces or chunk - budget < self._max - decode_rows):
            if pieces and budget < page:
                break
            turn = waiting[0]
            cached = admit(turn)
            if cached < 0:
                break
            waiting.popleft()
            rest = fill[turn] - cached
            whole = -(-rest // page) * page
            size = rest if whole <= budget else budget // page * page
            pieces.append(Piece(turn, cached, size, True, size == rest))
            budget -= whole if size == rest else size
            if size < rest:
                self.cut, self.cut_done = turn, cached + size
        return pieces

    def cut_ends(self, decode_rows: int) -> int:
        """Return the request whose last chunk the next forward has, or -1."""
        if self.cut >= 0 and self._turns.fill[self.cut] - self.cut_done <= max(self._chunk - decode_rows, self._page):
            return self.cut
        return -1
