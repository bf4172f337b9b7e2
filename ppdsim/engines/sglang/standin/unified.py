"""A unified server: prefill goes first, and streams that decode wait for it.

With overlapped scheduling the host has launched the next step before it sees what arrived during this one, so an append
that arrives while streams decode runs one step later. Its launch hides behind that step, whose tokens are delivered
when the launch is done: they come late by what the forward takes above ``stall.append_s``, and the gap after them is
shorter. Admission as in SGLang's PrefillAdder: prompt and answer must fit beside what running streams may still
generate, of which a share is set aside; who does not fit makes the batch full. Source: SGLang 0.5.17 schedule_policy.py
PrefillAdder.__init__, add_one_req, _update_prefill_budget; scheduler.py _get_new_batch_prefill_raw,
update_running_batch.

With mixed chunks every stream that decodes has a token in each forward, which comes off the budget.

Not modelled: that a request which leaves no page of an empty pool waits without end, and that a forward with mixed
chunks which lacks pages ends the server ("Decode out of memory"); here streams are retracted before it.
"""

from __future__ import annotations

import math

from ppdsim.engines.sglang.environ import CLIP_MAX_NEW_TOKENS
from ppdsim.engines.sglang.standin.batch import AbstractDecodingCore
from ppdsim.engines.sglang.standin.clock import AbstractClock
from ppdsim.engines.sglang.standin.core import CoreSettings
from ppdsim.engines.sglang.standin.forwards import Forwards, Piece, forward_s
from ppdsim.engines.sglang.standin.request import Request
from ppdsim.turn import TurnModel


class UnifiedCore(AbstractDecodingCore):
    """A server that prefills and decodes."""

    def __init__(self, settings: CoreSettings, model: TurnModel, clock: AbstractClock) -> None:
        super().__init__(settings, model, clock, keeps_prefixes=True)
        self._forwards = Forwards(settings.chunk_tokens, settings.page_tokens)
        self._offset = 0.0  # what is kept free beside the pages in use, while a forward is formed [tokens]
        self._seen: dict[str, int] = {}  # the coming end of a step or forward when a request arrived

    def _arrive(self, request: Request, time_s: float) -> None:
        self._forwards.waiting.append(request)
        self._seen[request.rid] = self._unit + 1 if self._busy else -1
        self._wake(time_s)

    def _forget(self, request: Request) -> None:
        self._forwards.discard(request)
        self._seen.pop(request.rid, None)
        if request in self.streams:
            self.streams.remove(request)

    def _set_aside(self, request: Request) -> None:
        # At the end of the queue: scheduler.py _add_request_to_queue, which update_running_batch calls.
        self._forwards.waiting.append(request)
        self._seen[request.rid] = self._unit
        self._again = min(self._again, self._unit + 1)

    def _join_arrived(self) -> None:
        """Do nothing: no hand-off arrives here."""

    def _may_need(self, request: Request) -> int:
        """Return what an admitted request is charged beside its prompt [tokens]; a retracted one its whole answer."""
        return min(request.output_tokens, CLIP_MAX_NEW_TOKENS) + self.pool.page_tokens

    def _fill(self) -> None:
        """Look at the queue again only when the scheduler has seen a stream leave."""
        due = [left + 2 for left in self._left if left + 2 > self._unit and self.streams]
        self._again = min(due, default=math.inf)

    def _begin_forward(self) -> bool:
        # The scheduler has not seen the last token of a stream.
        left = sum(min(s.output_tokens - s.generated + 1, CLIP_MAX_NEW_TOKENS) for s in self.streams)
        self._forwards.decode_rows = len(self.streams) if self.settings.mixed_chunk else 0
        self._offset = self._ratio.current * left + self._forwards.decode_rows
        ending = self._forwards.ending
        if ending is not None:
            self._offset += self._may_need(ending)
        pieces = self._forwards.form(self._admit)
        if not pieces:
            return False
        self.pool.make_free(self._forwards.spare_pages)
        in_step: list[Request] = []
        kv_s = 0.0
        if self._forwards.decode_rows:
            self._make_room()
            in_step = list(self.streams)
            kv_s = float(self.model.decode.context_s_per_token) * self._take_pages()
        seconds = kv_s + forward_s(self.model.prefill, pieces, self._last_step_s, len(in_step))
        if self.streams and self._last_step_s:
            alone_s = kv_s + forward_s(self.model.prefill, pieces, decode_rows=len(in_step))
            self._late_s = seconds - float(self.model.stall.append_s(alone_s, self._last_step_s))
        self.clock.at(self._time_s + seconds, lambda time: self._forward_done(pieces, in_step, time))
        return True

    def _admit(self, request: Request) -> int | None:
        if self.streams and self._seen[request.rid] >= self._unit:
            return None
        if self._unit < self._again:
            return None
        # Ended streams count until the scheduler has seen that.
        ended = sum(left + 2 > self._unit for left in self._left) if self.streams else 0
        if len(self.streams) + ended + self._forwards.taken >= self.settings.max_running_requests:
            self._fill()
            return None
        ids = [*request.ids, *request.answer(request.generated)]
        holding = self.pool.lock(ids)
        rest = len(ids) - holding.shared * self.pool.page_tokens
        wanted = rest + min(request.output_tokens - request.generated, CLIP_MAX_NEW_TOKENS) + self.pool.page_tokens
        prompt_pages = self.pool.pages(len(ids)) - holding.shared
        alone = not self.streams and not self._forwards.taken and prompt_pages <= self.pool.available
        if wanted >= self.pool.available * self.pool.page_tokens - self._offset and not alone:
            self.pool.release(holding)
            self._fill()
            return None
        self.pool.take(holding, prompt_pages)
        self._offset += self._may_need(request)
        if self.pool.available * self.pool.page_tokens <= self._offset:
            self._fill()
        del self._seen[request.rid]
        request.holding = holding
        cached = holding.shared * self.pool.page_tokens
        if request.forward_s is None:
            request.forward_s = self._time_s
            request.cached_tokens = cached
        return cached

    def _forward_done(self, pieces: list[Piece], in_step: list[Request], time_s: float) -> None:
        self._time_s = time_s
        self._last_step_s = 0.0
        self._unit += 1
        beside = bool(self.streams)
        still_decoding = [request for request in in_step if request.ending is None]
        for request in still_decoding:
            request.kv_tokens += 1
            request.generated += 1
        if in_step:
            # What was prefilled comes before those beside it: schedule_batch.py mix_with_running.
            self.streams = []
        for piece in pieces:
            request = piece.request
            if request.ending is None and request.holding is not None:
                request.kv_tokens = piece.before + piece.tokens
                self.pool.cache(
                    request.holding, [*request.ids, *request.answer(request.generated)][: request.kv_tokens]
                )
                if piece.last:
                    self._begin_stream(request)
        # A batch that was full stays so unless this forward is the whole batch now or part of it is not in it.
        if not beside or in_step or self._forwards.cut or any(piece.request.ending is not None for piece in pieces):
            self._again = 0.0
        self.streams += still_decoding
        for request in still_decoding:
            if request.generated >= request.output_tokens:
                self._finish(request)
        self._tell(still_decoding, time_s)
        self._next()
