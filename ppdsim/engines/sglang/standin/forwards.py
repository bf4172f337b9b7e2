"""Which requests share the next prefill forward: first come, first served, under a budget of new tokens.

At most one request is cut, and its rest goes first. Source: SGLang 0.5.17 schedule_policy.py, PrefillAdder
with the policy ``fcfs``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ppdsim.cost.prefill import PrefillCurve, PrefillWork
from ppdsim.engines.sglang.standin.request import Request


@dataclass(frozen=True, slots=True)
class Piece:
    """What one request adds to a forward: `tokens` new ones after `before`; `first` and `last` of its pieces."""

    request: Request
    before: int
    tokens: int
    first: bool
    last: bool


class Forwards:
    """Requests that wait to be prefilled."""

    def __init__(self, chunk_tokens: int, page_tokens: int) -> None:
        self._chunk_tokens = chunk_tokens
        self.decode_rows = 0  # streams whose next token comes off the budget
        self._page_tokens = page_tokens
        self.waiting: deque[Request] = deque()
        self._cut: Piece | None = None
        self._pieces: list[Piece] = []

    @property
    def taken(self) -> int:
        """How many requests the forward has that is being formed, or was formed last."""
        return len(self._pieces)

    @property
    def pending(self) -> bool:
        """Whether anything waits."""
        return bool(self.waiting) or self._cut is not None

    @property
    def ending(self) -> Request | None:
        """The cut request, if the next forward has its last piece."""
        cut = self._cut
        if cut is None:
            return None
        request = cut.request
        rest = request.prompt_tokens + request.generated - cut.before - cut.tokens
        return request if rest <= self._budget else None

    @property
    def _budget(self) -> int:
        """Tokens of prompts in the next forward."""
        return max(self._chunk_tokens - self.decode_rows, self._page_tokens)

    @property
    def spare_pages(self) -> int:
        """Pages evicted for the forward beyond its own: its tokens and a page for each prompt are asked for.

        Source: mem_cache/allocation.py alloc_paged_token_slots_extend; alloc_token_slots for pages of one token.
        """
        page, tokens = self._page_tokens, [piece.tokens for piece in self._pieces]
        asked = -(-sum(tokens) // page) + len(tokens)
        return asked - sum(-(-count // page) for count in tokens) if page > 1 else 0

    @property
    def cut(self) -> bool:
        """Whether a request has been cut."""
        return self._cut is not None

    def discard(self, request: Request) -> None:
        """Take a request out."""
        if request in self.waiting:
            self.waiting.remove(request)
        if self._cut is not None and self._cut.request is request:
            self._cut = None

    def form(self, admit: Callable[[Request], int | None]) -> list[Piece]:
        """Return the pieces of the next forward; `admit` gives a request's cached tokens, or None if it must wait."""
        pieces = self._pieces = []
        budget = self._budget
        if self._cut is not None:
            budget -= self._add(pieces, self._cut.request, self._cut.before + self._cut.tokens, budget, first=False)
        while self.waiting and self._cut is None and (budget >= self._page_tokens or not pieces):
            cached = admit(self.waiting[0])
            if cached is None:
                break
            budget -= self._add(pieces, self.waiting.popleft(), cached, budget, first=True)
        return pieces

    def _add(self, pieces: list[Piece], request: Request, before: int, budget: int, *, first: bool) -> int:
        rest = request.prompt_tokens + request.generated - before
        # The budget is in whole pages. A prompt is cut at one at first, later where the budget ends: PrefillAdder's
        # add_one_req, add_chunked_req, _update_prefill_budget.
        tokens = min(rest, budget)
        if first and self._whole(rest) > budget:
            tokens -= tokens % self._page_tokens
        piece = Piece(request, before, tokens, first, tokens == rest)
        self._cut = None if piece.last else piece
        pieces.append(piece)
        return self._whole(tokens)

    def _whole(self, tokens: int) -> int:
        return -(-tokens // self._page_tokens) * self._page_tokens


def forward_s(curve: PrefillCurve, pieces: list[Piece], hidden_s: float = 0.0, decode_rows: int = 0) -> float:
    """Return the time of one forward [s], launched while a decode step runs for `hidden_s` more: its pieces add up.

    It has one row for each of `decode_rows` streams, without the time that their KV takes.
    """
    works = [curve.work(piece.tokens, piece.before) for piece in pieces] + [PrefillWork(decode_rows, 0.0, 0.0)]
    whole = PrefillWork(*(sum(part) for part in zip(*works, strict=True)))
    return float(curve.forward_s(whole, hidden_s, further=not pieces[0].first))
