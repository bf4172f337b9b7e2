"""What the calibrator asks of an engine, whatever it is: send a prompt, see each token arrive, flush, say what you are.

An engine is a way to be served (a unified server, or a router in front of prefill and decode servers), not a process.
It has a clock of its own, so that the same calibration runs on real time and on a virtual one. A request that did not
go as asked is a `RequestFailed` that says what happened in one word; nothing is retried here.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ppdsim.errors import PpdsimError

EVERY_S = 10.0
"""Time between two lines that say what the client waits for [s]."""
ShowLine = Callable[[str], None]
"""A callback that shows the user one line about progress."""


class Failure(str, Enum):
    """What became of a request that did not end as asked."""

    REFUSED = "refused"
    HTTP = "http"
    DISCONNECTED = "disconnected"
    TIMEOUT = "timeout"
    ABORTED = "aborted"
    UNREACHABLE = "unreachable"
    MALFORMED = "malformed"


class RequestFailed(PpdsimError):
    """A request that was refused, cut off, aborted, answered otherwise than it can be, or not within its bound."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(f"{failure.value}: {detail}")
        self.failure = failure
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One finished request as the client saw it.

    `token_s` has one entry an output token: when it reached the client [s on the engine's clock]. `token_ids` is the
    answer, which the next turn's prompt repeats. `server` holds the engine's own times of the request under the names
    of measurement rows (``server_queue_s``): the receipt and points in time as it stamped them [s], durations [s] and
    rates; empty where it reports none.
    """

    sent_s: float
    token_s: tuple[float, ...]
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    token_ids: tuple[int, ...] = ()
    retractions: int = 0
    server: Mapping[str, float] = field(default_factory=dict)

    @property
    def output_tokens(self) -> int:
        """Tokens of the answer."""
        return len(self.token_s)

    @property
    def ttft_s(self) -> float:
        """Time to first token [s]."""
        return self.token_s[0] - self.sent_s

    @property
    def e2e_s(self) -> float:
        """Time to the last token [s]."""
        return self.token_s[-1] - self.sent_s

    @property
    def tpot_s(self) -> float | None:
        """Mean time per output token after the first [s]; None with a single token."""
        steps = len(self.token_s) - 1
        return (self.token_s[-1] - self.token_s[0]) / steps if steps else None


class Stream:
    """A request under way. `token_s` grows as tokens arrive; `result` is awaited for the end of it."""

    def __init__(self, sent_s: float) -> None:
        self.sent_s = sent_s
        self.token_s: list[float] = []
        self.task: asyncio.Task[Generation] | None = None
        self._waiting: list[tuple[int, asyncio.Event]] = []

    def arrived(self, time_s: float, total_tokens: int) -> None:
        """Note that `total_tokens` have arrived by `time_s`; several in one message share its time."""
        self.token_s += [time_s] * (total_tokens - len(self.token_s))
        for wanted, event in self._waiting:
            if len(self.token_s) >= wanted:
                event.set()

    async def has(self, tokens: int) -> None:
        """Wait until `tokens` have arrived, or the request has ended.

        Raises
        ------
        RequestFailed
            If it failed before.
        """
        if self.task is None:
            raise RuntimeError("the stream was not started by its engine")
        if len(self.token_s) >= tokens:
            return
        event = asyncio.Event()
        self._waiting.append((tokens, event))
        waiting = asyncio.ensure_future(event.wait())
        await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.task.done():
            self.task.result()

    async def result(self) -> Generation:
        """Return the finished request.

        Raises
        ------
        RequestFailed
            If it did not end as asked.
        """
        if self.task is None:
            raise RuntimeError("the stream was not started by its engine")
        return await self.task

    async def cancel(self) -> None:
        """Stop listening; the engine aborts the request."""
        if self.task is not None and not self.task.done():
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What a server says of itself; `model` is the name of the model's folder.

    `flags` are those of its resolved arguments that a measurement depends on, `left_out` the names of the others.

    `context_tokens` is the longest request that it takes, prompt and answer: the model's context, or a smaller pool;
    None where it does not say [tokens].
    """

    name: str
    version: str
    model: str
    kv_pool_tokens: int
    page_size_tokens: int
    chunked_prefill_size: int
    max_running_requests: int | None
    context_tokens: int | None = None
    flags: Mapping[str, object] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def decoding(servers: Mapping[str, EngineInfo]) -> EngineInfo:
    """Return the server that decodes, of several the one with the smallest pool: a request may get to any of them."""
    return min(decoders(servers), key=lambda info: info.kv_pool_tokens)


def decoders(servers: Mapping[str, EngineInfo]) -> tuple[EngineInfo, ...]:
    """Return the servers that hold a request while it decodes: every D, or the server that does everything."""
    return tuple(info for role, info in servers.items() if not _only_prefills(role))


def prefilling(servers: Mapping[str, EngineInfo]) -> tuple[EngineInfo, ...]:
    """Return the servers that only prefill: none where one server does everything."""
    return tuple(info for role, info in servers.items() if _only_prefills(role))


def _only_prefills(role: str) -> bool:
    return role.startswith("prefill")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """URLs: where requests go, and the servers behind it by role (``prefill``, ``decode`` or ``unified``).

    Without a router, requests of a pair go to D, and its client sends P what P has to do.

    `key` is what the servers want as a bearer token, if they want one; it is sent, and shown nowhere.
    """

    entry: str
    servers: tuple[tuple[str, str], ...]
    key: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries: the key, and that answers come as they are, whose sizes can be bounded."""
        plain = {"Accept-Encoding": "identity"}
        return plain if self.key is None else {**plain, "Authorization": f"Bearer {self.key}"}

    def without_key(self, content: bytes) -> bytes:
        """Return what a server said with the key blotted out: some repeat what they refuse."""
        return content if self.key is None else content.replace(self.key.encode(), b"[key]")


class AbstractClient(ABC):
    """One way to be served."""

    @abstractmethod
    def now_s(self) -> float:
        """Return the time [s] on the clock of every timestamp that this engine returns."""

    @abstractmethod
    def start(self, prompt: Sequence[int], output_tokens: int, *, timeout_s: float) -> Stream:
        """Send a prompt of token ids and return its stream; the answer is exactly `output_tokens` long or a failure."""

    @abstractmethod
    async def flush(self, role: str = "all") -> None:
        """Empty the prefix cache of ``prefill``, ``decode`` or ``all`` servers; waits until they are idle.

        Raises
        ------
        RequestFailed
            If a server cannot be reached or stays busy.
        """

    @abstractmethod
    async def abort_all(self) -> None:
        """Ask every server to abort whatever it still runs; never fails."""

    @abstractmethod
    async def servers(self) -> Mapping[str, EngineInfo]:
        """Return what each server says of itself, by role: ``unified``, or ``prefill`` and ``decode``.

        Where several have one role, they are numbered (``decode-1``).

        Raises
        ------
        RequestFailed
            If one of them, or what is in front of them, cannot be reached.
        """

    def places(self) -> Mapping[str, str]:
        """Return the URL of each server, by the roles of `servers`; none where they are no processes."""
        return {}

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections."""

    async def generate(self, prompt: Sequence[int], output_tokens: int, *, timeout_s: float) -> Generation:
        """Send a prompt and return the finished request.

        Raises
        ------
        RequestFailed
            If it did not end as asked.
        """
        stream = self.start(prompt, output_tokens, timeout_s=timeout_s)
        try:
            return await stream.result()
        except asyncio.CancelledError:
            await stream.cancel()
            raise
