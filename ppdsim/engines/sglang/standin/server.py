"""One stand-in server: an engine on the event loop's clock, and SGLang's HTTP around it.

Besides SGLang's own paths there is ``/fault``: POST turns one on, DELETE all of them off, GET lists them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from ppdsim import compose
from ppdsim.engines.sglang.standin.bootstrap import HttpMeeting, bootstrap_app
from ppdsim.engines.sglang.standin.build import Mode, load_profile, settings_of
from ppdsim.engines.sglang.standin.clock import LoopClock
from ppdsim.engines.sglang.standin.core import AbstractCore
from ppdsim.engines.sglang.standin.decode import DecodeCore
from ppdsim.engines.sglang.standin.faults import Fault, Faults, FaultSpec, parse_fault
from ppdsim.engines.sglang.standin.flags import ServerOptions
from ppdsim.engines.sglang.standin.generate import Generate
from ppdsim.engines.sglang.standin.handoff import AbstractLink, AbstractSink
from ppdsim.engines.sglang.standin.meta import meta_info, model_info, server_info
from ppdsim.engines.sglang.standin.prefill import PrefillCore
from ppdsim.engines.sglang.standin.request import Request
from ppdsim.engines.sglang.standin.unified import UnifiedCore
from ppdsim.errors import PpdsimError
from ppdsim.profile import Profile

if TYPE_CHECKING:
    from aiohttp import web

OUTER_FAULTS = (Fault.HTTP_500, Fault.DISCONNECT, Fault.KILL)
MEETING_TIMEOUT_S = 600.0
"""Bound on P's answer to an announcement [s]; twice the engine's own bootstrap timeout."""
LONGEST_PROMPT_BYTES = 64 << 20
FLUSHED = (
    "Cache flushed.\nPlease check backend logs for more details. "
    "(When there are running or waiting requests, the operation will not be performed.)\n"
)


class StandInServer:
    """An engine and its HTTP application; must be made while the event loop runs."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.profile: Profile = load_profile(options.profile)
        self.meeting = HttpMeeting(timeout_s=MEETING_TIMEOUT_S * max(options.time_scale, 1.0))
        self.core = self._make_core()
        self._outer = Faults()
        # Wall-clock time at the loop's time 0.
        self._wall_s = time.time() - asyncio.get_running_loop().time()
        if options.fault is not None:
            self.set_fault(parse_fault({"name": options.fault}))

    def _make_core(self) -> AbstractCore:
        options = self.options
        clock = LoopClock(asyncio.get_running_loop(), scale=options.time_scale)
        model = compose.central(self.profile)
        settings = settings_of(
            self.profile,
            transport=options.transport,
            decode_radix=options.decode_radix,
            kv_pool_tokens=options.kv_pool_tokens,
            page_tokens=options.page_tokens,
            chunk_tokens=options.chunk_tokens,
            max_running_requests=options.max_running_requests,
            mixed_chunk=options.mixed_chunk,
            context_tokens=options.context_tokens,
        )
        if options.mode is Mode.NULL:
            return UnifiedCore(settings, model, clock)
        link: AbstractLink | None = None
        sink: AbstractSink | None = None
        if options.kv_transfer == "mooncake":
            from ppdsim.engines.sglang.standin.mooncake_kv import KvBuffers, MooncakeLink, MooncakeSink, page_bytes

            shape = self.profile.model
            buffers = 2 * shape.layers if options.kv_buffers is None else options.kv_buffers
            per_token = shape.kv_bytes_per_token if options.kv_bytes_per_token is None else options.kv_bytes_per_token
            memory = KvBuffers(
                pages=settings.kv_pool_tokens // settings.page_tokens,
                page_bytes=page_bytes(per_token, settings.page_tokens, buffers),
                buffers=buffers,
            )
            link = MooncakeLink(memory, settings.page_tokens, clock)
            sink = MooncakeSink(memory)
        if options.mode is Mode.PREFILL:
            return PrefillCore(settings, model, clock, link)
        name = f"{options.host}:{options.port}"
        return DecodeCore(settings, model, clock, self.meeting, name=name, sink=sink)

    def set_fault(self, spec: FaultSpec | None) -> None:
        """Turn a fault on, or all of them off."""
        if spec is None:
            self._outer.clear()
            self.core.set_fault(None)
        elif spec.fault in OUTER_FAULTS:
            self._outer.set(spec)
        else:
            self.core.set_fault(spec)

    def _meta(self, request: Request) -> dict[str, Any]:
        return meta_info(
            request,
            self.core,
            metrics=self.options.metrics,
            wall_offset_s=self._wall_s,
            scale=self.options.time_scale,
        )

    def app(self) -> web.Application:
        """Return the HTTP application."""
        from aiohttp import web

        generate = Generate(self.core, self._meta, self._outer, whole_output=self.options.whole_output)
        app = web.Application(client_max_size=LONGEST_PROMPT_BYTES)
        app.add_routes(
            [
                web.route("*", "/generate", generate.handle),
                web.get("/health", self._health),
                web.get("/health_generate", self._health),
                web.route("*", "/flush_cache", self._flush),
                web.post("/abort_request", self._abort),
                web.get("/server_info", self._server_info),
                web.get("/get_server_info", self._server_info),
                web.get("/model_info", self._model_info),
                web.get("/get_model_info", self._model_info),
                web.get("/v1/models", self._models),
                web.route("*", "/fault", self._fault),
            ]
        )
        return app

    async def _health(self, _: web.Request) -> web.Response:
        from aiohttp import web

        return web.Response()

    async def _flush(self, http: web.Request) -> web.Response:
        from aiohttp import web

        until_s = time.monotonic() + float(http.query.get("timeout", "0"))
        while not self.core.flush():
            if time.monotonic() >= until_s:
                return web.Response(status=400, text="Flush cache failed.\n")
            await asyncio.sleep(0.005)
        return web.Response(text=FLUSHED)

    async def _abort(self, http: web.Request) -> web.Response:
        from aiohttp import web

        body = await http.json()
        if body.get("abort_all") or body.get("rid"):
            self.core.abort_matching("" if body.get("abort_all") else str(body["rid"]))
        return web.Response()

    async def _server_info(self, _: web.Request) -> web.Response:
        from aiohttp import web

        return web.json_response(server_info(self.core, self.profile, dict(self.options.flags)))

    async def _model_info(self, _: web.Request) -> web.Response:
        from aiohttp import web

        return web.json_response(model_info(dict(self.options.flags)))

    async def _models(self, _: web.Request) -> web.Response:
        from aiohttp import web

        name = self.options.flags.get("served_model_name") or self.profile.model.name
        card = {
            "id": name,
            "object": "model",
            "created": int(self._wall_s),
            "owned_by": "sglang",
            "root": name,
            "parent": None,
            "max_model_len": self.options.context_tokens,
        }
        return web.json_response({"object": "list", "data": [card]})

    async def _fault(self, http: web.Request) -> web.Response:
        from aiohttp import web

        if http.method == "POST":
            try:
                self.set_fault(parse_fault(await http.json()))
            except PpdsimError as error:
                return web.json_response({"error": {"message": str(error)}}, status=400)
        elif http.method == "DELETE":
            self.set_fault(None)
        return web.json_response([*self._outer.listed(), *self.core.faults.listed()])


@contextlib.asynccontextmanager
async def serving(options: ServerOptions) -> AsyncIterator[StandInServer]:
    """Listen while the block runs.

    Raises
    ------
    OSError
        If a port is taken.
    EnvironmentProblem
        If KV is to travel through mooncake, which is not there.
    """
    from aiohttp import web

    await asyncio.sleep(options.startup_s)
    server = StandInServer(options)
    # A router asks first whether a server speaks gRPC; aiohttp would log each time that this one does not.
    quiet = logging.Logger("stand-in", logging.CRITICAL)
    places = [(server.app(), options.port)]
    if isinstance(server.core, PrefillCore):
        places.append((bootstrap_app(server.core), options.bootstrap_port))
    runners = []
    try:
        for app, port in places:
            runner = web.AppRunner(app, handler_cancellation=True, access_log=None, logger=quiet, shutdown_timeout=0.2)
            runners.append(runner)
            await runner.setup()
            await web.TCPSite(runner, options.host, port).start()
        yield server
    finally:
        server.core.abort_matching()
        await server.meeting.close()
        for runner in runners:
            await runner.cleanup()
