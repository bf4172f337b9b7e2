"""A decode server: pre-allocates first come first served, announces its pages to P, and decodes what arrives.

The first token is streamed at the first end of a step after the KV has arrived and ``handoff.after_s`` has passed; the
next step is launched by then, so beside streams the second token comes two steps later. The first step of a server that
had no stream takes ``decode.start_s`` more. A join pauses the streams that decode for ``stall.handoff_s``. While a
retracted stream waits to come back, nothing new is pre-allocated. Source: SGLang 0.5.17 disaggregation/decode.py.
"""

from __future__ import annotations

from collections import deque

from ppdsim.engines.sglang.environ import CLIP_MAX_NEW_TOKENS
from ppdsim.engines.sglang.standin.batch import AbstractDecodingCore
from ppdsim.engines.sglang.standin.clock import AbstractClock
from ppdsim.engines.sglang.standin.core import BAD_REQUEST, SERVER_ERROR, CoreSettings
from ppdsim.engines.sglang.standin.faults import Fault
from ppdsim.engines.sglang.standin.handoff import AbstractMeeting, AbstractSink, Allocated, Arrived, Failed, NoSink
from ppdsim.engines.sglang.standin.pool import Holding
from ppdsim.engines.sglang.standin.prefill import NO_ROOM
from ppdsim.engines.sglang.standin.request import Request
from ppdsim.turn import TurnModel

EXTRA_SLOTS_UP_TO = 32
"""Running requests up to which twice as many hand-offs may be pre-allocated beside them."""


class DecodeCore(AbstractDecodingCore):
    """A server in decode mode; `name` tells prefill servers apart from other decode servers."""

    def __init__(
        self,
        settings: CoreSettings,
        model: TurnModel,
        clock: AbstractClock,
        meeting: AbstractMeeting,
        *,
        name: str = "decode",
        sink: AbstractSink | None = None,
    ) -> None:
        super().__init__(
            settings,
            model,
            clock,
            keeps_prefixes=settings.decode_radix,
        )
        self._meeting = meeting
        self._name = name
        self._sink = sink if sink is not None else NoSink()
        self._requests: deque[Request] = deque()
        self._in_transfer: list[Request] = []
        self._arrived: list[Request] = []
        self._joining: list[Request] = []  # they have their first token and miss the step that is launched
        self._retracted: deque[Request] = deque()

    def _arrive(self, request: Request, time_s: float) -> None:
        if request.rendezvous is None:
            self.abort(request, NO_ROOM.format(rid=request.rid), BAD_REQUEST)
            return
        self._requests.append(request)
        timeout_s = self.settings.bootstrap_timeout_s

        def expire(_: float) -> None:
            if request.first_s is None:
                self.abort(request, f"Request {request.rid} timed out after {timeout_s}s", SERVER_ERROR)

        self.clock.at(time_s + timeout_s, expire)
        self._wake(time_s)

    def _forget(self, request: Request) -> None:
        for place in (self._requests, self._arrived, self._joining, self._retracted, self.streams):
            if request in place:
                place.remove(request)
        if request in self._in_transfer:
            self._in_transfer.remove(request)
            if request.rendezvous is not None and not request.rendezvous.pretended:
                self._meeting.cancel(request.rendezvous)
                self._sink.free(request.rendezvous.room)

    def _set_aside(self, request: Request) -> None:
        self._retracted.append(request)

    def _begin_forward(self) -> bool:
        """Begin none: a decode-mode server never prefills."""
        return False

    def _join_arrived(self) -> None:
        joining, self._joining = self._joining, []
        self.streams += [request for request in joining if request.ending is None]
        self._resume()
        # Nobody looks at what has arrived while a retracted stream waits: decode.py process_decode_queue.
        arrived: list[Request] = []
        if not self._retracted or not self.streams:
            arrived, self._arrived = self._arrived[: self._free], self._arrived[self._free :]
        begin_s = self._time_s
        beside = bool(self.streams)
        for request in arrived:
            others = bool(self.streams)
            if request.holding is not None:
                self.pool.cache(request.holding, request.ids)
            if beside:
                self._first_of(request)
            else:
                self._begin_stream(request)
            if others:
                begin_s += float(self.model.stall.handoff_s)
        if not beside and self.streams:
            begin_s += float(self.model.decode.start_s)
        while self._requests and self._admit(self._requests[0]):
            pass
        self._time_s = begin_s

    @property
    def _active(self) -> int:
        return len(self.streams) + len(self._in_transfer) + len(self._arrived) + len(self._joining)

    @property
    def _free(self) -> int:
        """Places in the batch."""
        return self.settings.max_running_requests - len(self.streams)

    def _resume(self) -> None:
        while self._retracted and self._free > 0:
            request = self._retracted[0]
            room_tokens = self.pool.available * self.pool.page_tokens
            if request.kv_tokens + self.settings.num_reserved_decode_tokens * (self._active + 1) > room_tokens:
                return
            self._retracted.popleft()
            # The copy takes pages for all of it; what the cache has of it already is given back then.
            request.holding = self.pool.lock([])
            self.pool.take(request.holding, self.pool.pages(request.kv_tokens))
            self.pool.make_free(0)
            self.pool.cache(request.holding, request.kv_ids())
            self.streams.append(request)

    def _admit(self, request: Request) -> bool:
        """Give the head of the queue its pages, tell P, and return whether it was done."""
        slots = self.settings.max_running_requests
        # Others may wait beside a full batch that is small: DecodeReqToTokenPool's pre_alloc_size.
        slots += 2 * slots if slots <= EXTRA_SLOTS_UP_TO else 0
        if self._retracted or self._active >= slots:
            return False
        holding = self.pool.lock(request.ids)
        pages = self.pool.pages(request.prompt_tokens) - holding.shared
        if not self._fits(request, holding):
            self.pool.release(holding)
            return False
        self.pool.take(holding, pages)
        self.pool.make_free(0)
        self._requests.popleft()
        self._in_transfer.append(request)
        request.holding = holding
        request.kv_tokens = request.prompt_tokens
        meeting = request.rendezvous
        if meeting is None or meeting.pretended:
            request.forward_s = self._time_s
            self.clock.at(self._time_s, lambda time: self._join(request, time))
            return True
        held = holding.shared * self.pool.page_tokens
        message = Allocated(
            room=meeting.room,
            destination=self._name,
            arm=self.settings.handoff_arm,
            transport=self.settings.transport,
            held_tokens=held,
            allocated_s=self._time_s,
            sink=self._sink.allocate(meeting.room, self.pool.pages(request.prompt_tokens) - holding.shared),
        )
        self._meeting.announce(meeting, message, lambda found: self._transferred(request, found))
        return True

    def _fits(self, request: Request, holding: Holding) -> bool:
        """Return whether a hand-off and each stream could end if all the other streams were retracted.

        Source: decode.py pop_preallocated, _allocatable_token_budgets, _need_space_for_single_req.
        """
        pool, reserved = self.pool, self.settings.num_reserved_decode_tokens
        retractable = sum(stream.prompt_tokens + stream.generated for stream in self.streams)
        alone = [s.prompt_tokens + min(s.output_tokens, CLIP_MAX_NEW_TOKENS) - retractable for s in self.streams]
        room = pool.available * pool.page_tokens - max(reserved * self._active, max(alone, default=0))
        new = request.prompt_tokens - holding.shared * pool.page_tokens
        whole = new + min(request.output_tokens, CLIP_MAX_NEW_TOKENS)
        # Only beside a prefix cache are whole pages asked for.
        asked = pool.pages(new) * pool.page_tokens if self.settings.decode_radix else new
        return max(asked + reserved, whole - retractable) <= room

    def _first_of(self, request: Request) -> None:
        """Give a request its first token, and let it decode after the step that is launched."""
        self._begin_stream(request)
        if request in self.streams:
            self.streams.remove(request)
            self._joining.append(request)

    def _transferred(self, request: Request, found: Arrived | Failed) -> None:
        if request.ending is not None or request.rendezvous is None:
            return
        room = request.rendezvous.room
        reason = found.reason if isinstance(found, Failed) else self._sink.problem(room)
        if self.faults.strikes(Fault.TRANSFER):
            reason = f"KVTransferError(bootstrap_room={room}): the stand-in's fault"
        if reason is not None or isinstance(found, Failed):
            self.abort(
                request,
                f"Decode transfer failed for request rank=0 decode_req.req.rid={request.rid!r} "
                f"decode_req.req.bootstrap_room={room} with exception {reason}",
                SERVER_ERROR,
            )
            return
        self._sink.free(room)
        request.cached_tokens = found.cached_tokens
        request.prefilled_s = found.kv_done_s
        # The engine stamps the forward's entry when the KV has arrived and the request enters a batch, not before
        # (rows of a P/D pair with SGLang 0.5.17: entry 1.5 ms before the first response, whatever the transfer took).
        request.forward_s = found.kv_done_s
        curve = self.model.handoff(self.settings.handoff_arm, self.settings.transport)
        self.clock.at(found.kv_done_s + float(curve.after_s()), lambda time: self._join(request, time))

    def _join(self, request: Request, time_s: float) -> None:
        if request.ending is None:
            self._in_transfer.remove(request)
            self._arrived.append(request)
            self._wake(time_s)
