"""A server on 127.0.0.1 with one fault, or with none, for ``ppdsim calibrate`` to join; faults.py has the table.

``FaultyServer(fault)`` is the server, in a thread, and ``command(url, folder)`` the arguments of a small calibration on
it. It speaks raw HTTP: aiohttp would not send most of what a broken server sends.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLAN = """\
schema: ppdsim/plan/1
name: faults
append: {cached_tokens: [0], new_tokens: [64, 128]}
repeats: {least: 1, most: 2, half_width: 0.5}
passes: 1
probe: {new_tokens: 64, every_s: 1000.0}
"""
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "dtype": "bfloat16",
    "vocab_size": 32_000,
}
INFO: Mapping[str, Any] = {
    "version": "0.5.17",
    "model_path": "/models/tiny",
    "max_total_num_tokens": 65_536,
    "page_size": 64,
    "chunked_prefill_size": 8192,
    "max_running_requests": None,
    "max_req_input_len": 65_530,
    "context_length": None,
    "tp_size": 1,
}
FIRST_TOKEN_S = 0.005
"""Time to the first token [s]: more than reading the weights of the tiny model takes on any GPU."""
HANGS_S = 3600.0
WARM_UP_TURNS = 2
"""Turns that are thrown away first: one of each size of the plan."""

Raw = Callable[[dict[str, Any]], AsyncIterator[bytes | None]]
"""What a server sends to a request whose body it is given: pieces of a connection. None: it hangs from then on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong.

    `path` is where, `answer` what is sent there, to the first request after warm-up only if `once`. The command ends
    with `exit_code`, and `said` stands in what it prints or in skipped.jsonl; `hangs` says that only a bound in time
    ends it. Requests whose body `unless` takes are answered as they should be.
    """

    name: str
    path: str
    answer: Raw
    said: str
    exit_code: int = 3
    once: bool = False
    hangs: bool = False
    unless: Callable[[dict[str, Any]], bool] = lambda body: False


class FaultyServer:
    """A unified server with one fault, or with none; use as a context manager."""

    def __init__(self, fault: Fault | None, *, key: str | None = None, info: Mapping[str, Any] = INFO) -> None:
        self._fault = fault
        self._key = key
        self._info = info
        self._turns = 0
        self._struck = False
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stop: asyncio.Event | None = None
        self.url = ""
        self.seen: list[str] = []

    def __enter__(self) -> FaultyServer:
        self._thread.start()
        self._ready.wait(10.0)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._connection(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=8 << 20)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            body = json.loads(await reader.readexactly(int(fields.get("content-length", 0))) or b"{}")
            self.seen.append(head)
            path = head.split(" ", 2)[1].partition("?")[0]
            given = next((line.split(": ", 1)[1] for line in head.split("\r\n") if line.startswith("Authoriz")), "")
            if self._key is not None and given != f"Bearer {self._key}":
                writer.write(http(f"wrong key: {given}".encode(), status="401 Unauthorized"))
            else:
                async for piece in self._answer(path, body):
                    if piece is None:
                        await asyncio.sleep(HANGS_S)
                    elif piece is RESET:
                        writer.transport.abort()
                    else:
                        writer.write(piece)
                        await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, path: str, body: dict[str, Any]) -> AsyncIterator[bytes | None]:
        fault = self._fault
        if path == "/generate":
            self._turns += 1
        # A turn before the first measured one is no measurement, and a fault of it would not be noted.
        counts = path != "/generate" or self._turns > WARM_UP_TURNS or (fault is not None and fault.hangs)
        if (
            fault is not None
            and fault.path == path
            and counts
            and not ((fault.once and self._struck) or fault.unless(body))
        ):
            self._struck = True
            return fault.answer(body)
        if path == "/generate":
            return _stream(body)
        return _sent(http(json.dumps(self._info).encode() if path == "/server_info" else b"OK"))


RESET = b"reset"
"""A piece that is not sent: the connection is cut off at once."""


def http(content: bytes, *, status: str = "200 OK", more: str = "", length: int | None = None) -> bytes:
    """Return a whole answer; `length` is what it claims to be long."""
    size = len(content) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n{more}\r\n".encode() + content


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"
LAST = b"0\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


def event(prompt: int, tokens: int, wanted: int, **meta: Any) -> bytes:
    """Return an event as SGLang sends it; a field of `meta` that is `...` is left out."""
    reason = {"type": "length", "length": wanted} if tokens == wanted else None
    fields = {"finish_reason": reason, "prompt_tokens": prompt, "completion_tokens": tokens, "cached_tokens": 0, **meta}
    told = {name: value for name, value in fields.items() if value is not ...}
    return f"data: {json.dumps({'output_ids': list(range(tokens)), 'meta_info': told})}\n\n".encode()


async def _stream(body: dict[str, Any], **meta: Any) -> AsyncIterator[bytes | None]:
    """Answer as it should be; `meta` is changed in the second event and in those after it."""
    prompt, wanted = len(body["input_ids"]), body["sampling_params"]["max_new_tokens"]
    await asyncio.sleep(FIRST_TOKEN_S)
    yield HEAD
    for tokens in range(1, wanted + 1):
        yield chunk(event(prompt, tokens, wanted, **(meta if tokens > 1 else {})))
        await asyncio.sleep(FIRST_TOKEN_S / 10)
    yield chunk(DONE) + LAST


async def _sent(*pieces: bytes | None) -> AsyncIterator[bytes | None]:
    for piece in pieces:
        yield piece


def sends(*pieces: bytes | None) -> Raw:
    """Return an answer that is always the same."""
    return lambda body: _sent(*pieces)


def says(**meta: Any) -> Raw:
    """Return a stream with odd fields from its second token on."""
    return lambda body: _stream(body, **meta)


def in_stream(*pieces: bytes | None) -> Raw:
    """Return a stream that goes wrong after its first token."""

    async def answer(body: dict[str, Any]) -> AsyncIterator[bytes | None]:
        await asyncio.sleep(FIRST_TOKEN_S)
        yield HEAD
        yield chunk(event(len(body["input_ids"]), 1, 4))
        for piece in pieces:
            yield piece

    return answer


def dripping(piece: bytes, every_s: float, *, before: bytes = HEAD) -> Raw:
    """Return an answer of which a little comes now and then, for ever."""

    async def answer(body: dict[str, Any]) -> AsyncIterator[bytes | None]:
        yield before
        while True:
            yield piece
            await asyncio.sleep(every_s)

    return answer


def endless(piece: bytes, *, before: bytes) -> Raw:
    """Return an answer that never ends, as fast as it is read."""
    return dripping(piece, 0.0, before=before)


def command(url: str, folder: Path) -> list[str]:
    """Write a model and a plan into `folder`, and return the arguments of ``ppdsim`` that calibrate against `url`."""
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model" / "config.json").write_text(json.dumps(CONFIG))
    (folder / "plan.yaml").write_text(PLAN)
    return [
        "calibrate",
        *("--model", str(folder / "model"), "--dummy-weights", "--unified-url", url),
        *("--plan", str(folder / "plan.yaml"), "--measure-only", "-o", str(folder / "out")),
    ]
