"""``POST /generate``: one prompt or several, streamed or whole, as SGLang answers with ``--skip-tokenizer-init``.

A stream is server-sent events, each with the answer so far (or with what is new, under ``--stream-output``) and its
``meta_info``, then ``[DONE]``. What the engine refuses comes as an event in a stream, and as HTTP 400 without one.
Tokens that are ready together share an event. Source: SGLang 0.5.17 http_server.py, tokenizer_manager.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from ppdsim.engines.sglang.standin.core import AbstractCore
from ppdsim.engines.sglang.standin.faults import Fault, Faults, FaultSpec
from ppdsim.engines.sglang.standin.request import Finish, Rendezvous, Request

if TYPE_CHECKING:
    from aiohttp import web

NO_TEXT = (
    "The engine initialized with skip_tokenizer_init=True cannot accept text prompts. Please provide input_ids or"
    " re-initialize the engine with skip_tokenizer_init=False."
)


class BadRequestError(ValueError):
    """A body that the engine refuses, in its own words."""


@dataclass(eq=False)
class Call:
    """One HTTP request: its requests to the engine, and those of which the client has not seen the latest."""

    batch: bool
    stream: bool
    requests: list[Request] = field(default_factory=list)
    fresh: list[Request] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def deliver(self, request: Request) -> None:
        """Note that a request has something to show."""
        if request not in self.fresh:
            self.fresh.append(request)
        self.news.set()

    async def wait(self) -> list[Request]:
        """Return the requests that have something to show."""
        await self.news.wait()
        self.news.clear()
        found, self.fresh = self.fresh, []
        return found


class Generate:
    """The handler of one server. `meta` gives a request's meta_info; `outer` are faults outside the engine."""

    def __init__(
        self, core: AbstractCore, meta: Callable[[Request], dict[str, Any]], outer: Faults, *, whole_output: bool
    ) -> None:
        self._core = core
        self._meta = meta
        self._outer = outer
        self._whole_output = whole_output

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Answer one HTTP request."""
        from aiohttp import web

        received_s = self._core.clock.now_s()
        if self._outer.strikes(Fault.HTTP_500):
            return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, text="Internal Server Error")
        try:
            body = orjson.loads(await http.read())
            call = read_call(body, self._core.settings.context_tokens)
        except orjson.JSONDecodeError as error:
            return _error(f"malformed JSON: {error}", HTTPStatus.BAD_REQUEST)
        except BadRequestError as error:
            return _error(str(error), HTTPStatus.BAD_REQUEST)
        cut = self._outer.strikes(Fault.DISCONNECT) or self._outer.strikes(Fault.KILL)
        for request in call.requests:
            self._core.submit(request, received_s)
        try:
            self._perhaps_cut(http, call.requests[0], cut)
            if call.stream:
                return await self._stream(http, call, cut)
            return await self._whole(http, call, cut)
        finally:
            # The client has all it wants, or has gone.
            for request in call.requests:
                request.gone = True
                self._core.abort(request, "the client has gone")
                self._core.clock_jumps.pop(request.rid, None)

    async def _stream(self, http: web.Request, call: Call, cut: FaultSpec | None) -> web.StreamResponse:
        from aiohttp import web

        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await answer.prepare(http)
        shown = dict.fromkeys(call.requests, 0)
        left = len(call.requests)
        while left:
            for request in await call.wait():
                event = self._event(request, 0 if self._whole_output else shown[request])
                shown[request] = request.visible
                if call.batch:
                    event["index"] = call.requests.index(request)
                left -= request.visible_ending is not None
                await answer.write(b"data: " + orjson.dumps(event) + b"\n\n")
                self._perhaps_cut(http, request, cut)
        await answer.write(b"data: [DONE]\n\n")
        return answer

    async def _whole(self, http: web.Request, call: Call, cut: FaultSpec | None) -> web.StreamResponse:
        from aiohttp import web

        left = len(call.requests)
        while left:
            for request in await call.wait():
                left -= request.visible_ending is not None
                self._perhaps_cut(http, request, cut)
        for request in call.requests:
            ending = request.visible_ending
            if ending is not None and ending.finish is Finish.ABORT and ending.status is not None:
                return _error(ending.message, ending.status)
        events = [self._event(request, 0) for request in call.requests]
        return web.Response(body=orjson.dumps(events if call.batch else events[0]), content_type="application/json")

    def _event(self, request: Request, shown: int) -> dict[str, Any]:
        ids = request.answer(request.visible)[shown:]
        return {"output_ids": ids, "meta_info": self._meta(request)}

    @staticmethod
    def _perhaps_cut(http: web.Request, request: Request, cut: FaultSpec | None) -> None:
        if cut is None or request.visible < cut.after_tokens:
            return
        if cut.fault is Fault.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if http.transport is not None:
            http.transport.abort()
        raise ConnectionResetError("the stand-in's fault")


def read_call(body: Any, context_tokens: int) -> Call:
    """Read the body of a request.

    Raises
    ------
    BadRequestError
        In SGLang's words where the client can see them.
    """
    if not isinstance(body, dict):
        raise BadRequestError("expected a JSON object")
    prompts = body.get("input_ids")
    if prompts is None:
        raise BadRequestError(NO_TEXT if body.get("text") is not None else "input_ids should be provided.")
    batch = bool(prompts) and isinstance(prompts[0], list)
    rows = prompts if batch else [prompts]
    for row in rows:
        if not row or not all(isinstance(token, int) for token in row):
            raise BadRequestError("input_ids should be a list of integers or a list of lists of integers.")
        if len(row) >= context_tokens:
            raise BadRequestError(
                f"The input ({len(row)} tokens) is longer than the model's context length ({context_tokens} tokens)."
            )
    call = Call(batch=batch, stream=bool(body.get("stream", False)))
    sampling = _spread(body.get("sampling_params") or {}, len(rows))
    places = [_spread(body.get(name), len(rows)) for name in ("bootstrap_host", "bootstrap_port", "bootstrap_room")]
    names = _spread(body.get("rid"), len(rows))
    for number, row in enumerate(rows):
        host, port, room = (place[number] for place in places)
        rendezvous = None
        if room is not None:
            rendezvous = Rendezvous(room=int(room), host=host or "127.0.0.1", port=int(port or 8998))
        call.requests.append(
            Request(
                rid=str(names[number] or uuid.uuid4().hex),
                ids=row,
                output_tokens=max(1, int((sampling[number] or {}).get("max_new_tokens") or 128)),
                deliver=call.deliver,
                rendezvous=rendezvous,
            )
        )
    return call


def _spread(value: Any, count: int) -> list[Any]:
    """Return one value a prompt: a list as it is, anything else for each of them."""
    return value if isinstance(value, list) else [value] * count


def _error(message: str, status: int) -> web.Response:
    from aiohttp import web

    return web.json_response({"error": {"message": message}}, status=status)
