"""SGLang over HTTP: a unified server, or sglang-router in front of prefill and decode servers.

Prompts are token ids, greedy, of a fixed number of output tokens (``ignore_eos``). Token counts come from the
``completion_tokens`` of each server-sent event, times are when the event's bytes reached this process
(``time.perf_counter``). Answers are checked in `answers`. Every request is bounded in time, as a whole and while
nothing comes; when a bound passes it is aborted on the servers, because a request that D cannot hold keeps P waiting
for 300 s otherwise. Whoever waits says so every `EVERY_S`. Source: SGLang 0.5.17 entrypoints/http_server.py.

Not modelled: how long the client's own event loop was busy; the calibrator pins and watches it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ppdsim.engines.client import (
    EVERY_S,
    AbstractClient,
    Endpoints,
    EngineInfo,
    Failure,
    Generation,
    RequestFailed,
    ShowLine,
    Stream,
)
from ppdsim.engines.http_content import content_of, lines_of
from ppdsim.engines.sglang.answers import (
    Progress,
    read_event,
    read_info,
    shown,
)
from ppdsim.limits import SERVER_ANSWER_BYTES, SERVER_INFO_BYTES, Limit

if TYPE_CHECKING:
    import aiohttp

SILENCE_S = 30.0
"""How long a server may send no token at all while it has requests [s], beside what its longest prompt may take."""
SLOWEST_PREFILL_TOKENS_PER_S = 2_000.0
"""Slowest prefill or hand-off that is waited for [tokens/s]; an 8B model on an H100 has ten times as much."""
INFO_S = 15.0
"""Bound on /server_info and /health [s]."""
IDLE_S = 10.0
"""How long a server is given to become idle when its caches are to be emptied [s]."""
FLUSH_S = IDLE_S + 5.0
"""Bound on /flush_cache [s]."""
ABORT_S = 5.0
"""Bound on /abort_request [s]."""

T = TypeVar("T")


class SglangHttp(AbstractClient):
    """SGLang's native API through aiohttp; `show_line` is given a line now and then while something is waited for."""

    def __init__(self, endpoints: Endpoints, *, show_line: ShowLine | None = None) -> None:
        self._endpoints = endpoints
        self._show_line = show_line
        self._shown_s = float("-inf")
        self._session: aiohttp.ClientSession | None = None
        self._prompts: dict[Stream, int] = {}
        self._token_s = float("-inf")

    def _http(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            # A keep-alive connection that the server has just closed would fail a measurement: none is reused.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(
                connector=connector,
                trust_env=False,
                auto_decompress=False,
                headers=self._endpoints.headers,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session

    def now_s(self) -> float:
        """Return the process's monotonic clock [s]."""
        return time.perf_counter()

    def start(self, prompt: Sequence[int], output_tokens: int, *, timeout_s: float) -> Stream:
        """Send the prompt to the entry point."""
        stream = Stream(self.now_s())
        body = {
            "input_ids": list(prompt),
            "sampling_params": {"temperature": 0, "max_new_tokens": output_tokens, "ignore_eos": True},
            "stream": True,
        }
        self._prompts[stream] = len(prompt)
        stream.task = asyncio.ensure_future(self._bounded(stream, body, output_tokens, timeout_s))
        # A stream that nobody awaits after a failure elsewhere must not complain when it is collected.
        stream.task.add_done_callback(lambda task: None if task.cancelled() else task.exception())
        stream.task.add_done_callback(lambda _: self._prompts.pop(stream, None))
        return stream

    async def _bounded(self, stream: Stream, body: dict[str, Any], wanted: int, timeout_s: float) -> Generation:
        begin_s = self.now_s()

        def left_s() -> float:
            silent_s = max(begin_s, self._token_s) + self._silence_s() - self.now_s()
            return min(begin_s + timeout_s - self.now_s(), silent_s)

        def what() -> str:
            return f"{len(stream.token_s)} of {wanted} tokens of {self._endpoints.entry}/generate"

        try:
            return await self._within(self._run(stream, body, wanted), left_s, what)
        except asyncio.TimeoutError:
            await self.abort_all()
            got = f"{len(stream.token_s)} of {wanted} tokens"
            if self.now_s() < begin_s + timeout_s:
                raise RequestFailed(Failure.TIMEOUT, f"{got}, then none for {self._silence_s():.3g} s") from None
            raise RequestFailed(Failure.TIMEOUT, f"{got} within {timeout_s:g} s") from None

    def _silence_s(self) -> float:
        """Return how long no token may come [s]: what every prompt under way may take as well."""
        return SILENCE_S + max(self._prompts.values(), default=0) / SLOWEST_PREFILL_TOKENS_PER_S

    async def _within(self, work: Coroutine[Any, Any, T], left_s: Callable[[], float], what: Callable[[], str]) -> T:
        """Return what `work` returns, and say now and then that it is waited for.

        Raises
        ------
        asyncio.TimeoutError
            When nothing is `left_s`.
        """
        begin_s = self.now_s()
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=max(0.0, min(left_s(), EVERY_S)))
                if not task.done():
                    if left_s() <= 0.0:
                        raise asyncio.TimeoutError
                    if left_s() >= 0.1 * EVERY_S:
                        # What has less left is over before its line is read.
                        self._show_waiting(
                            f"waiting for {what()}: {self.now_s() - begin_s:.0f} s, at most {left_s():.0f} s more"
                        )
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _show_waiting(self, text: str) -> None:
        """Show a line, at most one for all requests that wait at a time."""
        if self._show_line is not None and self.now_s() - self._shown_s >= 0.5 * EVERY_S:
            self._shown_s = self.now_s()
            self._show_line(text)

    async def _run(self, stream: Stream, body: dict[str, Any], wanted: int) -> Generation:
        import aiohttp

        entry = self._endpoints.entry
        progress = Progress(stream, len(body["input_ids"]), wanted)
        stream.sent_s = self.now_s()
        try:
            async with self._http().post(f"{entry}/generate", json=body, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise RequestFailed(Failure.HTTP, await self._refused(answer))
                async for line in lines_of(answer.content):
                    arrived_s = self.now_s()
                    if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
                        continue
                    before = len(stream.token_s)
                    progress.add(read_event(self._endpoints.without_key(line[5:])), arrived_s)
                    if len(stream.token_s) > before:
                        self._token_s = arrived_s
        except aiohttp.ClientConnectorError as error:
            raise RequestFailed(Failure.UNREACHABLE, f"{entry}: {error}") from None
        except (aiohttp.ClientError, ConnectionError, ValueError) as error:
            got = f"after {len(stream.token_s)} of {wanted} tokens"
            raise RequestFailed(Failure.DISCONNECTED, f"{got}: {_named(error)}") from None
        return progress.generation()

    async def _refused(self, answer: aiohttp.ClientResponse) -> str:
        """Return what an answer says that is none: a status, and where it redirects to or its text."""
        if 300 <= answer.status < 400:
            place = shown(answer.headers.get("Location", "nowhere").partition("?")[0])
            return f"status {answer.status}: redirects to {place}; give the address of the server itself"
        content = await content_of(answer, SERVER_ANSWER_BYTES)
        text = shown(self._endpoints.without_key(content).decode(errors="replace"))
        wants = "; it wants a key: --api-key-env" if answer.status == 401 and self._endpoints.key is None else ""
        return f"status {answer.status}: {text}{wants}"

    async def flush(self, role: str = "all") -> None:
        """Empty the prefix caches over /flush_cache."""
        to = [url for name, url in self._endpoints.servers if role in ("all", name) or name == "unified"]
        asked = (self._control("POST", f"{url}/flush_cache?timeout={IDLE_S:g}", FLUSH_S) for url in to)
        await _all(asked)

    async def abort_all(self) -> None:
        """Abort everything over /abort_request."""

        async def abort(url: str) -> None:
            with suppress(RequestFailed):
                await self._control("POST", f"{url}/abort_request", ABORT_S, {"abort_all": True})

        await _all(abort(url) for _, url in self._endpoints.servers)

    async def servers(self) -> Mapping[str, EngineInfo]:
        """Read /server_info of each, after /health of the entry point."""
        if all(url != self._endpoints.entry for _, url in self._endpoints.servers):
            await self._control("GET", f"{self._endpoints.entry}/health", INFO_S)
        found: dict[str, EngineInfo] = {}
        for role, url in self.places().items():
            told = await self._control("GET", f"{url}/server_info", INFO_S, most=SERVER_INFO_BYTES)
            found[role] = read_info(told, f"{url}/server_info")
        return found

    def places(self) -> Mapping[str, str]:
        """Return the URL of each server, by role."""
        found: dict[str, str] = {}
        for role, url in self._endpoints.servers:
            number = sum(name.split("-")[0] == role for name in found)
            found[f"{role}-{number}" if number else role] = url
        return found

    async def close(self) -> None:
        """Close the HTTP session."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _control(
        self,
        method: str,
        url: str,
        limit_s: float,
        body: dict[str, Any] | None = None,
        *,
        most: Limit = SERVER_ANSWER_BYTES,
    ) -> bytes:
        """Ask one server something and return its answer, without the key if it has it."""
        import aiohttp

        async def ask() -> bytes:
            async with self._http().request(method, url, json=body, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise RequestFailed(Failure.HTTP, f"{url}: {await self._refused(answer)}")
                return await content_of(answer, most)

        until_s = self.now_s() + limit_s
        try:
            content = await self._within(ask(), lambda: until_s - self.now_s(), lambda: url)
        except asyncio.TimeoutError:
            raise RequestFailed(Failure.UNREACHABLE, f"{url}: no answer within {limit_s:g} s") from None
        except (aiohttp.ClientError, ConnectionError, ValueError) as error:
            raise RequestFailed(Failure.UNREACHABLE, f"{url}: {_named(error)}") from None
        return self._endpoints.without_key(content)


def _named(error: Exception) -> str:
    """Return an error in words; its repr would list the request's headers."""
    return f"{type(error).__name__}: {shown(str(error))}"


async def _all(work: Any) -> None:
    """Wait for several things at once; the first failure is raised when all have ended."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
