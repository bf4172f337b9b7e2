"""A prefill server: meets D, prefills first come first served, sends each chunk's KV when it handles its result.

A request waits until D has announced its pages, then ``handoff.before_s`` for the handshake. The early share of the
prefix that P has cached and D lacks is sent when the first forward starts, the rest with the first chunk. P answers its
own client when it sees that all KV has arrived: not while it waits for a result, and a batch that is launched behind
another keeps that one's KV back until it ends itself. Source: SGLang 0.5.17 disaggregation/prefill.py.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ppdsim.engines.sglang.standin.clock import AbstractClock
from ppdsim.engines.sglang.standin.core import BAD_REQUEST, SERVER_ERROR, AbstractCore, CoreSettings
from ppdsim.engines.sglang.standin.faults import Fault
from ppdsim.engines.sglang.standin.forwards import Forwards, Piece, forward_s
from ppdsim.engines.sglang.standin.handoff import AbstractLink, Allocated, Arrived, Failed, ProfileLink, Reply
from ppdsim.engines.sglang.standin.request import Ending, Finish, Request
from ppdsim.turn import TurnModel
from ppdsim.types import Arm

NO_ROOM = "Invalid request: Disaggregated request received without bootstrap room id. req.rid={rid!r}"
"""SGLang's words for a request that came past the router; scheduler.py."""


@dataclass(frozen=True, slots=True)
class _Other:
    """The decode server's side of a request."""

    allocated: Allocated
    reply: Reply


class PrefillCore(AbstractCore):
    """A server in prefill mode."""

    def __init__(
        self, settings: CoreSettings, model: TurnModel, clock: AbstractClock, link: AbstractLink | None = None
    ) -> None:
        super().__init__(settings, model, clock)
        self._link = link if link is not None else ProfileLink(model, clock)
        self._forwards = Forwards(settings.chunk_tokens, settings.page_tokens)
        self._unresolved: deque[tuple[list[Piece], float]] = deque()  # launched batches, and when each ends
        self._launched_s = -math.inf  # until when the host launches a batch beside which there is no other
        self._handled_s = -math.inf  # until when the host handles the result of a batch
        self._free_s = 0.0  # end of the last forward
        self._planned = 0  # how often the host has planned what it does next
        self._landed: list[Request] = []  # transferred, which the host has not seen
        self._here: dict[int, Request] = {}  # by room, until D has announced its pages
        self._others: dict[int, _Other] = {}  # by room, from the announcement to the reply

    # What D says

    def allocated(self, message: Allocated, reply: Reply) -> None:
        """Take D's announcement of a room; the request itself may come later."""
        self._others[message.room] = _Other(message, reply)
        self.clock.at(message.allocated_s + self.settings.bootstrap_timeout_s, lambda _: self._expire(message.room))
        self._meet(message.room)

    def cancelled(self, room: int) -> None:
        """D no longer wants the KV of a room."""
        self._others.pop(room, None)
        for request in list(self.requests.values()):
            if request.rendezvous is not None and request.rendezvous.room == room:
                self.abort(request, f"Decode instance gave up the request, bootstrap_room={room}", SERVER_ERROR)

    def _meet(self, room: int) -> None:
        request, other = self._here.get(room), self._others.get(room)
        if request is None or other is None:
            return
        del self._here[room]
        curve = self.model.handoff(other.allocated.arm, other.allocated.transport)
        met_s = max(request.queued_s or 0.0, other.allocated.allocated_s)
        before_s = float(curve.before_s(self.pool.cached_tokens(request.ids)))
        self.clock.at(met_s + before_s, lambda time: self._queue(request, time))

    def _expire(self, room: int) -> None:
        if any(
            request.rendezvous is not None and request.rendezvous.room == room for request in self.requests.values()
        ):
            return
        other = self._others.pop(room, None)
        if other is not None:
            other.reply(Failed(reason=f"Request {room} timed out after {self.settings.bootstrap_timeout_s}s"))

    # What its own client asks

    def _arrive(self, request: Request, time_s: float) -> None:
        meeting = request.rendezvous
        if meeting is None:
            self.abort(request, NO_ROOM.format(rid=request.rid), BAD_REQUEST)
            return
        request.output_tokens = 1
        if meeting.pretended:
            self._queue(request, time_s)
            return
        self._here[meeting.room] = request
        timeout_s = self.settings.bootstrap_timeout_s

        def expire(_: float) -> None:
            if self._here.get(meeting.room) is request:
                text = f"Request {meeting.room} timed out after {timeout_s}s in KVPoll.Bootstrapping"
                self.abort(request, text, SERVER_ERROR)

        self.clock.at(time_s + timeout_s, expire)
        self._meet(meeting.room)

    def _queue(self, request: Request, time_s: float) -> None:
        if request.ending is None:
            self._forwards.waiting.append(request)
            self._look(time_s)

    def _forget(self, request: Request) -> None:
        self._forwards.discard(request)
        if request.rendezvous is None:
            return
        room = request.rendezvous.room
        if self._here.get(room) is request:
            del self._here[room]
        other = self._others.pop(room, None)
        if other is not None:
            other.reply(Failed(reason="the prefill instance aborted the request"))

    # The loop of the scheduler, as `ppdsim.des.prefill_node` has it

    def _look(self, time_s: float) -> None:
        """Let the host see what has come: at once if it idles, and when it has launched what it launches now."""
        if time_s < self._handled_s:
            return  # it looks when it has handled the result
        if not self._unresolved:
            self._pass(max(time_s, self._free_s))
        elif time_s <= self._launched_s and len(self._unresolved) == 1:
            self._plan(self._launched_s, self._pass)

    def _plan(self, time_s: float, call: Callable[[float], None]) -> None:
        """Plan what the host does next, instead of what was planned before."""
        self._planned = planned = self._planned + 1

        def due(time: float) -> None:
            if planned == self._planned:
                call(time)

        self.clock.at(time_s, due)

    def _pass(self, time_s: float) -> None:
        landed, self._landed = self._landed, []
        for request in landed:
            self._answer(request, time_s)
        pieces = self._forwards.form(lambda request: self._admit(request, max(time_s, self._free_s)))
        if pieces:
            self.pool.make_free(self._forwards.spare_pages)
            self._launch(pieces, time_s)
        if not self._unresolved:
            return
        if pieces and len(self._unresolved) == 1:
            self._launched_s = time_s + float(self.model.prefill.floor_s)
            if self._forwards.pending:
                self._plan(self._launched_s, self._pass)
                return
        self._plan(max(time_s, self._free_s), self._resolve)

    def _launch(self, pieces: list[Piece], time_s: float) -> None:
        begin_s = max(time_s, self._free_s)
        if self._free_s <= time_s and self._link.sends(time_s):
            begin_s += max((self._beside_send_s(piece.request) for piece in pieces), default=0.0)
        for piece in pieces:
            other = self._other(piece.request)
            if piece.first and other is not None:
                early = self._early_share(other) * self._prefix(piece, other)
                if early > 0.0:
                    self._link.send(piece.request, other.allocated, begin_s, early)
        self._free_s = begin_s + forward_s(self.model.prefill, pieces)
        self._unresolved.append((pieces, self._free_s))

    def _admit(self, request: Request, time_s: float) -> int | None:
        holding = self.pool.lock(request.ids)
        pages = self.pool.pages(request.prompt_tokens) - holding.shared
        if pages > self.pool.available:
            self.pool.release(holding)
            return None
        self.pool.take(holding, pages)
        request.holding = holding
        request.forward_s = time_s
        request.cached_tokens = holding.shared * self.pool.page_tokens
        return request.cached_tokens

    def _resolve(self, time_s: float) -> None:
        """Send the KV of the batch whose result the host has waited for."""
        pieces, end_s = self._unresolved.popleft()
        looks_s = time_s
        for piece in pieces:
            request = piece.request
            if request.ending is not None or request.holding is None:
                continue
            request.kv_tokens = piece.before + piece.tokens
            if piece.last:
                request.prefilled_s = end_s
            other = self._other(request)
            if other is None:
                # A pretended hand-off leaves no prefix behind, as in SGLang.
                if piece.last:
                    self._transferred(request, time_s)
                continue
            self.pool.cache(request.holding, request.ids[: request.kv_tokens])
            held = self._held(other)
            sent: float = max(min(piece.before + piece.tokens - held, piece.tokens), 0)
            if piece.first:
                sent += (1.0 - self._early_share(other)) * self._prefix(piece, other)
            self._link.send(
                request, other.allocated, looks_s, sent, partial(self._landed_on, request) if piece.last else None
            )
            curve = self.model.handoff(other.allocated.arm, other.allocated.transport)
            looks_s += float(curve.request_result_s)
        self._handled_s = looks_s
        if self._handled_s > time_s:
            self._plan(self._handled_s, self._pass)
        else:
            self._pass(time_s)

    def _landed_on(self, request: Request, time_s: float, problem: str | None = None) -> None:
        self._transferred(request, time_s, problem)
        self._look(time_s)

    def _transferred(self, request: Request, time_s: float, problem: str | None = None) -> None:
        """All KV of a request has arrived, or was to: D knows it, P looks later."""
        if request.ending is not None:
            return
        other = self._other(request)
        if self.faults.strikes(Fault.TRANSFER):
            problem = "Failed to send kv chunk: the stand-in's fault"
        if problem is not None:
            if other is not None:
                del self._others[other.allocated.room]
                other.reply(Failed(reason=f"KVTransferError(bootstrap_room={other.allocated.room}): {problem}"))
            text = f"Prefill transfer failed for request rank=0 req.rid={request.rid!r} with exception {problem}"
            self.abort(request, text, SERVER_ERROR)
            return
        if other is not None:
            del self._others[other.allocated.room]
            other.reply(Arrived(kv_done_s=time_s, cached_tokens=request.cached_tokens))
        self._landed.append(request)

    def _answer(self, request: Request, time_s: float) -> None:
        if request.ending is None:
            self._release(request)
            self._first_token(request, time_s)
            self._end(request, Ending(finish=Finish.LENGTH), time_s)
            self._tell([request], time_s)

    def _other(self, request: Request) -> _Other | None:
        return None if request.rendezvous is None else self._others.get(request.rendezvous.room)

    def _beside_send_s(self, request: Request) -> float:
        other = self._other(request)
        if other is None:
            return 0.0
        return float(self.model.handoff(other.allocated.arm, other.allocated.transport).beside_send_s)

    def _early_share(self, other: _Other) -> float:
        return float(self.model.handoff(other.allocated.arm, other.allocated.transport).early_share)

    @staticmethod
    def _held(other: _Other) -> int:
        return other.allocated.held_tokens if other.allocated.arm is Arm.P_DELTA else 0

    def _prefix(self, piece: Piece, other: _Other) -> int:
        return max(piece.before - self._held(other), 0)
