"""P and D in different processes: D announces by an HTTP request to P's bootstrap port, answered when the KV is there.

A closed connection says that the other side is gone: P gives the request up when D hangs up, and D when P dies. Times
in the messages are on the engines' clock, which processes of one host share (`clock.LoopClock`), so that what a message
costs does not add up as long as it is shorter than the handshake and the join that the profile gives.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ppdsim.engines.sglang.standin.handoff import AbstractMeeting, Allocated, Arrived, Failed, Reply
from ppdsim.engines.sglang.standin.prefill import PrefillCore
from ppdsim.engines.sglang.standin.request import Rendezvous
from ppdsim.errors import PpdsimError
from ppdsim.types import Arm, Transport

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import web


def to_json(message: Allocated) -> dict[str, Any]:
    """Return an announcement as JSON."""
    return {
        "room": message.room,
        "destination": message.destination,
        "arm": message.arm.value,
        "transport": message.transport.value,
        "held_tokens": message.held_tokens,
        "allocated_s": message.allocated_s,
        "sink": dict(message.sink),
    }


def from_json(content: dict[str, Any]) -> Allocated:
    """Read an announcement."""
    return Allocated(**{**content, "arm": Arm(content["arm"]), "transport": Transport(content["transport"])})


class HttpMeeting(AbstractMeeting):
    """D's side."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def announce(self, rendezvous: Rendezvous, allocated: Allocated, reply: Reply) -> None:
        """Ask in the background."""
        task = asyncio.ensure_future(self._ask(rendezvous, allocated, reply))
        self._tasks[rendezvous.room] = task
        task.add_done_callback(lambda _: self._tasks.pop(rendezvous.room, None))

    def cancel(self, rendezvous: Rendezvous) -> None:
        """Hang up."""
        task = self._tasks.pop(rendezvous.room, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Hang up on everybody."""
        for task in list(self._tasks.values()):
            task.cancel()
        if self._session is not None:
            await self._session.close()

    async def _ask(self, rendezvous: Rendezvous, allocated: Allocated, reply: Reply) -> None:
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        url = f"http://{rendezvous.host}:{rendezvous.port}/allocated"
        bound = aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=5.0)
        try:
            async with self._session.post(url, json=to_json(allocated), timeout=bound) as answer:
                found = await answer.json()
        except (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError, ValueError) as error:
            reply(Failed(reason=f"Could not reach the prefill instance at {url}: {error!r}"))
            return
        if "reason" in found:
            reply(Failed(reason=str(found["reason"])))
        else:
            reply(Arrived(kv_done_s=float(found["kv_done_s"]), cached_tokens=int(found["cached_tokens"])))


def bootstrap_app(core: PrefillCore) -> web.Application:
    """Return P's side."""
    from aiohttp import web

    async def allocated(http: web.Request) -> web.Response:
        message = from_json(await http.json())
        found: asyncio.Future[Arrived | Failed] = asyncio.get_running_loop().create_future()

        def reply(result: Arrived | Failed) -> None:
            if not found.done():
                found.set_result(result)

        try:
            core.allocated(message, reply)
            result = await found
        except PpdsimError as error:
            result = Failed(reason=str(error))
        except asyncio.CancelledError:
            core.cancelled(message.room)
            raise
        if isinstance(result, Failed):
            return web.json_response({"reason": result.reason})
        return web.json_response({"kv_done_s": result.kv_done_s, "cached_tokens": result.cached_tokens})

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="OK")

    app = web.Application(client_max_size=16 << 20)
    app.add_routes([web.post("/allocated", allocated), web.get("/health", health)])
    return app
