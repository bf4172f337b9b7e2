"""A server that decodes: all its streams step together, and prefill forwards or joins come between two steps.

At the end of a step or forward, in this order: streams with their last token leave, arrived hand-offs join, prefill
goes first if something waits, else the batch decodes one step of ``decode.step_s(B, context)``. If the step's pages do
not fit, streams are retracted. Roles differ by the three hooks. Source: SGLang 0.5.17 scheduler.py,
disaggregation/decode.py; schedule_batch.py retract_decode, _get_decode_retraction_order, release_req.
"""

from __future__ import annotations

from abc import abstractmethod

from ppdsim.engines.sglang.environ import RETRACT_DECODE_STEPS
from ppdsim.engines.sglang.standin.clock import AbstractClock
from ppdsim.engines.sglang.standin.core import SERVER_ERROR, AbstractCore, CoreSettings
from ppdsim.engines.sglang.standin.new_token_ratio import Tracker
from ppdsim.engines.sglang.standin.request import Ending, Finish, Request
from ppdsim.turn import TurnModel


class AbstractDecodingCore(AbstractCore):
    """A server with a decode batch.

    `_unit` counts ends of steps and forwards; `_time_s` is when what runs now has begun; `_last_step_s` is the length
    of the decode step that ended at `_time_s`, 0 if none did; `_late_s` is how long after its end the tokens of that
    step come out, where the host was launching a forward then.
    """

    def __init__(
        self,
        settings: CoreSettings,
        model: TurnModel,
        clock: AbstractClock,
        *,
        keeps_prefixes: bool,
    ) -> None:
        super().__init__(settings, model, clock, keeps_prefixes=keeps_prefixes)
        self.streams: list[Request] = []
        self._ratio = Tracker(settings.new_token_ratio)
        self._again = 0.0  # count of the end from which the queue is looked at; infinite while the batch is full
        self._left: list[int] = []  # the ends at which streams have ended that the scheduler may not have seen
        self._busy = False
        self._unit = 0
        self._time_s = 0.0
        self._last_step_s = 0.0
        self._late_s = 0.0

    @abstractmethod
    def _join_arrived(self) -> None:
        """Let what has arrived join the batch, and admit what waits for memory."""

    @abstractmethod
    def _begin_forward(self) -> bool:
        """Begin a prefill forward if one can run now; it ends with `_next`."""

    @abstractmethod
    def _set_aside(self, request: Request) -> None:
        """Keep a retracted stream for later; it holds no KV any more."""

    def _wake(self, time_s: float) -> None:
        if not self._busy:
            self._time_s = max(time_s, self._time_s)
            self._last_step_s = 0.0
            self._next()

    def _next(self) -> None:
        """Do what comes after the step or forward that has ended at `_time_s`."""
        self._busy = True
        self._join_arrived()
        if self._begin_forward():
            return
        if self._make_room():
            self._ratio.estimate(self.streams)
        else:
            self._ratio.step()
        if not self.streams:
            self._busy = False
            self._ratio.reset()
            return
        context = self._take_pages()
        self._last_step_s = float(self.model.decode.step_s(len(self.streams), context))
        batch = list(self.streams)
        self.clock.at(self._time_s + self._last_step_s, lambda time: self._step_done(batch, time))

    def _take_pages(self) -> int:
        """Give every stream room for a token, and return the context of all [tokens]."""
        # Evicted is as if each needed a page: mem_cache/allocation.py alloc_paged_token_slots_decode.
        self.pool.make_free(len(self.streams))
        for request in self.streams:
            if request.holding is not None and request.kv_tokens % self.pool.page_tokens == 0:
                self.pool.take(request.holding, 1)
        return sum(request.kv_tokens for request in self.streams)

    def _step_done(self, batch: list[Request], time_s: float) -> None:
        self._time_s = time_s
        self._unit += 1
        for request in batch:
            if request.ending is None:
                request.kv_tokens += 1
                request.generated += 1
                if request.generated >= request.output_tokens:
                    self._finish(request)
        self._late_s = 0.0
        self._tell([request for request in batch if request.ending is not None], time_s)
        self._next()
        self._tell([request for request in batch if request.ending is None], time_s + self._late_s)

    def _begin_stream(self, request: Request) -> None:
        """Give a request its first token; the rest is decoded."""
        self._first_token(request, self._time_s)
        if request.generated >= request.output_tokens:
            self._finish(request)
        else:
            self.streams.append(request)
        self._tell([request], self._time_s)

    def _finish(self, request: Request) -> None:
        if request in self.streams:
            self.streams.remove(request)
        if request.holding is not None:
            self.pool.cache(request.holding, request.kv_ids())
        self._release(request)
        # The scheduler sees one step later that a stream has ended, and looks at the queue one step after that.
        self._left = [unit for unit in self._left if unit + 2 > self._unit] + [self._unit]
        self._again = min(self._again, self._unit + 2) if self.streams else 0.0
        self._end(request, Ending(finish=Finish.LENGTH), self._time_s)

    @property
    def _pages_needed(self) -> int:
        return sum(request.kv_tokens % self.pool.page_tokens == 0 for request in self.streams)

    def _make_room(self) -> bool:
        """Retract streams until the step fits, and return whether any: fewest tokens, longest prompt, latest."""
        retracted = False
        while self._pages_needed > self.pool.available:
            # What can be evicted goes first: schedule_batch.py check_decode_mem.
            self.pool.make_free(self._pages_needed)
            if len(self.streams) == 1:
                self.abort(
                    self.streams[0],
                    "Out of memory even after retracting all other requests in the decode batch.",
                    SERVER_ERROR,
                )
                continue
            # Of equals the engine pops the one that joined last.
            request = min(reversed(self.streams), key=lambda stream: (stream.generated, -stream.prompt_tokens))
            self.streams.remove(request)
            self._release(request)
            self.pool.make_free(self.pool.pages(RETRACT_DECODE_STEPS * len(self.streams)))
            request.retractions += 1
            self._set_aside(request)
            retracted = True
        if retracted:
            # schedule_batch.py retract_decode keeps them as it has sorted them.
            self.streams.sort(key=lambda stream: (stream.generated, -stream.prompt_tokens), reverse=True)
        return retracted
