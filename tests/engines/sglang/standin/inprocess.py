"""The stand-in as an engine of the calibrator, without sockets: on an event loop's time, real, scaled or virtual.

On a loop whose time is virtual a whole calibration takes as long as its arithmetic, and every time is exact.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence

from ppdsim import compose
from ppdsim.engines.client import AbstractClient, EngineInfo, Failure, Generation, RequestFailed, Stream
from ppdsim.engines.sglang.stamps import stamps
from ppdsim.engines.sglang.standin.build import settings_of
from ppdsim.engines.sglang.standin.clock import AbstractClock, LoopClock
from ppdsim.engines.sglang.standin.core import AbstractCore, CoreSettings
from ppdsim.engines.sglang.standin.decode import DecodeCore
from ppdsim.engines.sglang.standin.faults import Fault, Faults, FaultSpec
from ppdsim.engines.sglang.standin.handoff import AbstractMeeting, Allocated, ProfileLink, Reply
from ppdsim.engines.sglang.standin.meta import ENGINE_VERSION, meta_info
from ppdsim.engines.sglang.standin.prefill import PrefillCore
from ppdsim.engines.sglang.standin.request import Finish, Rendezvous, Request
from ppdsim.engines.sglang.standin.unified import UnifiedCore
from ppdsim.profile import Profile
from ppdsim.turn import TurnModel
from ppdsim.types import Transport


class DirectMeeting(AbstractMeeting):
    """A prefill server in the same process."""

    def __init__(self, prefill: PrefillCore) -> None:
        self._prefill = prefill

    def announce(self, rendezvous: Rendezvous, allocated: Allocated, reply: Reply) -> None:
        """Tell it at once."""
        self._prefill.allocated(allocated, reply)

    def cancel(self, rendezvous: Rendezvous) -> None:
        """Tell it at once."""
        self._prefill.cancelled(rendezvous.room)


class InProcessEngine(AbstractClient):
    """A unified server, or one prefill and one decode server behind a router that costs nothing.

    Must be made while the event loop runs. `cores` are the servers by role.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        disaggregated: bool,
        transport: Transport = Transport.TCP,
        decode_radix: bool = False,
        kv_pool_tokens: int | None = None,
        context_tokens: int = 131_072,
        model: TurnModel | None = None,
        time_scale: float = 1.0,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._scale = time_scale
        self._clock: AbstractClock = LoopClock(loop, scale=time_scale, origin_s=loop.time())
        self._model = compose.central(profile) if model is None else model
        settings = settings_of(
            profile,
            transport=transport,
            decode_radix=decode_radix,
            kv_pool_tokens=kv_pool_tokens,
            context_tokens=context_tokens,
        )
        self.cores: dict[str, AbstractCore]
        self._link: ProfileLink | None = None
        if disaggregated:
            self._link = ProfileLink(self._model, self._clock)
            prefill = PrefillCore(settings, self._model, self._clock, self._link)
            decode = DecodeCore(settings, self._model, self._clock, DirectMeeting(prefill))
            self.cores = {"prefill": prefill, "decode": decode}
        else:
            self.cores = {"unified": UnifiedCore(settings, self._model, self._clock)}
        self._entry = next(core for role, core in self.cores.items() if role != "prefill")
        self._outer = Faults()
        self._dead = False
        self._numbers = itertools.count(1)

    def set_fault(self, spec: FaultSpec | None, role: str | None = None) -> None:
        """Turn a fault on, by default on the server that answers; None turns all of them off everywhere."""
        if spec is None:
            self._outer.clear()
            for core in self.cores.values():
                core.set_fault(None)
        elif spec.fault in (Fault.HTTP_500, Fault.DISCONNECT, Fault.KILL):
            self._outer.set(spec)
        else:
            (self._entry if role is None else self.cores[role]).set_fault(spec)

    def drift_to(self, model: TurnModel) -> None:
        """From now on take the times of another model, as a machine whose host or link has become slower."""
        for core in self.cores.values():
            core.model = model
        if self._link is not None:
            self._link.model = model

    def now_s(self) -> float:
        """Return the time of the stand-in's clock [s]."""
        return self._clock.now_s()

    def start(self, prompt: Sequence[int], output_tokens: int, *, timeout_s: float) -> Stream:
        """Submit the prompt to every server."""
        stream = Stream(self.now_s())
        stream.task = asyncio.ensure_future(self._run(stream, prompt, output_tokens, timeout_s))
        stream.task.add_done_callback(lambda task: None if task.cancelled() else task.exception())
        return stream

    async def _run(self, stream: Stream, prompt: Sequence[int], wanted: int, timeout_s: float) -> Generation:
        if self._dead:
            raise RequestFailed(Failure.UNREACHABLE, "the server was killed")
        if self._outer.strikes(Fault.HTTP_500):
            raise RequestFailed(Failure.HTTP, "status 500: the stand-in's fault")
        cut = self._outer.strikes(Fault.DISCONNECT) or self._outer.strikes(Fault.KILL)
        ended: asyncio.Future[Request] = asyncio.get_running_loop().create_future()

        def deliver(request: Request) -> None:
            stream.arrived(self.now_s(), request.visible)
            lost = cut is not None and request.visible >= cut.after_tokens
            if (request.visible_ending is not None or lost) and not ended.done():
                ended.set_result(request)

        number = next(self._numbers)
        requests = []
        stream.sent_s = self.now_s()
        for role, core in self.cores.items():
            rendezvous = None if role == "unified" else Rendezvous(room=number)
            on_entry = core is self._entry
            request = Request(
                rid=f"{role}-{number}",
                ids=prompt,
                output_tokens=wanted,
                deliver=deliver if on_entry else _ignore,
                rendezvous=rendezvous,
            )
            requests.append((core, request))
            core.submit(request, stream.sent_s)
        try:
            request = await asyncio.wait_for(ended, timeout_s * self._scale)
        except asyncio.TimeoutError:
            got = len(stream.token_s)
            raise RequestFailed(Failure.TIMEOUT, f"{got} of {wanted} tokens within {timeout_s:g} s") from None
        finally:
            for core, sent in requests:
                core.abort(sent, "the client has gone")
        return self._result(stream, request, wanted, cut)

    def _result(self, stream: Stream, request: Request, wanted: int, cut: FaultSpec | None) -> Generation:
        ending = request.visible_ending
        if cut is not None and ending is None:
            self._dead = cut.fault is Fault.KILL
            raise RequestFailed(Failure.DISCONNECTED, f"after {len(stream.token_s)} of {wanted} tokens")
        if ending is None or ending.finish is Finish.ABORT:
            raise RequestFailed(Failure.ABORTED, f"the engine aborted it: {ending.message if ending else ''}")
        if len(stream.token_s) != wanted:
            raise RequestFailed(Failure.DISCONNECTED, f"{len(stream.token_s)} of {wanted} tokens")
        meta = meta_info(request, self._entry, metrics=True, wall_offset_s=0.0, scale=1.0)
        return Generation(
            sent_s=stream.sent_s,
            token_s=tuple(stream.token_s),
            finish_reason=ending.finish.value,
            prompt_tokens=request.prompt_tokens,
            cached_tokens=request.cached_tokens,
            token_ids=tuple(request.answer(request.visible)),
            retractions=request.retractions,
            server=stamps(meta),
        )

    async def flush(self, role: str = "all") -> None:
        """Empty the prefix caches; waits until the servers are idle, for as long as a request takes."""
        self._check_alive()
        for name, core in self.cores.items():
            if role in ("all", name) or name == "unified":
                for _ in range(3000):
                    if core.flush():
                        break
                    await asyncio.sleep(0.01 * self._scale)
                else:
                    raise RequestFailed(Failure.HTTP, f"{name}: status 400: Flush cache failed.")

    async def abort_all(self) -> None:
        """Abort whatever runs."""
        for core in self.cores.values():
            core.abort_matching()

    async def servers(self) -> Mapping[str, EngineInfo]:
        """Return the settings."""
        self._check_alive()
        return {role: _info(core.settings) for role, core in self.cores.items()}

    async def close(self) -> None:
        """Do nothing: nothing is held."""

    def _check_alive(self) -> None:
        if self._dead:
            raise RequestFailed(Failure.UNREACHABLE, "the server was killed")


def _ignore(request: Request) -> None:
    """Show nothing: the router drops what the prefill server answers."""


def _info(settings: CoreSettings) -> EngineInfo:
    return EngineInfo(
        name="sglang",
        version=ENGINE_VERSION,
        model="stand-in",
        kv_pool_tokens=settings.kv_pool_tokens,
        page_size_tokens=settings.page_tokens,
        chunked_prefill_size=settings.chunk_tokens,
        max_running_requests=settings.max_running_requests,
        context_tokens=min(settings.context_tokens, settings.kv_pool_tokens),
        flags={"disaggregation_decode_enable_radix_cache": settings.decode_radix},
    )
