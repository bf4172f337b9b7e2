"""The toy's client and the server behind it, on the time of whatever event loop runs.

A step has a token of every stream and parts of prompts, under one budget; its times are those of a shipped profile. A
prompt's whole pages stay cached. Not modelled: a full pool.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ppdsim import compose, library, profile
from ppdsim.cost.prefill import PrefillWork
from ppdsim.engines.client import AbstractClient, EngineInfo, Failure, Generation, RequestFailed, Stream

CHUNK_TOKENS, PAGE_TOKENS, POOL_TOKENS, STREAMS = 4096, 16, 400_000, 64


@dataclass(eq=False)
class Request:
    prompt: list[int]
    wanted: int
    stream: Stream
    ended: asyncio.Future
    cached: int | None = None
    computed: int = 0
    answer: list[int] = field(default_factory=list)


class ToyClient(AbstractClient):
    def __init__(self, record):
        shipped = profile.load(library.find("profile", "h200x2_llama-3.1-8b_sglang-0.5.17"))
        self.record, self.model = record, compose.central(shipped.model_copy(update={"engine": record}))
        self.loop, self.came = asyncio.get_running_loop(), asyncio.Event()
        self.requests, self.kept = [], set()
        self.server = asyncio.ensure_future(self._serve())

    def now_s(self):
        return self.loop.time()

    def start(self, prompt, output_tokens, *, timeout_s):
        stream = Stream(self.now_s())
        stream.task = asyncio.ensure_future(self._ask(stream, list(prompt), output_tokens, timeout_s))
        return stream

    async def _ask(self, stream, prompt, wanted, timeout_s):
        request = Request(prompt, wanted, stream, self.loop.create_future())
        await asyncio.sleep(float(self.model.frontend.before_s(len(prompt))))
        self.requests.append(request)
        self.came.set()
        try:
            await asyncio.wait_for(request.ended, timeout_s)
        except asyncio.TimeoutError:
            raise RequestFailed(Failure.TIMEOUT, f"nothing within {timeout_s:g} s") from None
        finally:
            if request in self.requests:
                self.requests.remove(request)
        counts = {"prompt_tokens": len(prompt), "cached_tokens": request.cached, "token_ids": tuple(request.answer)}
        return Generation(sent_s=stream.sent_s, token_s=tuple(stream.token_s), finish_reason="length", **counts)

    async def _serve(self):
        while True:
            while not self.requests:
                self.came.clear()
                await self.came.wait()
            streams = [one for one in self.requests if one.computed == len(one.prompt)]
            parts, budget = [], CHUNK_TOKENS - len(streams)
            for one in self.requests:
                if one.cached is None:
                    one.cached = one.computed = self._held(one.prompt)
                if (size := min(budget, len(one.prompt) - one.computed)) > 0:
                    parts.append((one, size))
                    budget -= size
            await asyncio.sleep(self._step_s(streams, parts))
            for one, size in parts:
                one.computed += size
            for one in (*streams, *(one for one, _ in parts if one.computed == len(one.prompt))):
                self._token(one)

    def _step_s(self, streams, parts):
        context = sum(len(one.prompt) + len(one.answer) for one in streams)
        if not parts:
            return float(self.model.decode.step_s(len(streams), context))
        prefill = self.model.prefill
        work = [prefill.work(size, one.computed) for one, size in parts] + [prefill.work(len(streams), 0)]
        read_s = float(self.model.decode.context_s_per_token) * context
        return read_s + float(prefill.forward_s(PrefillWork(*map(sum, zip(*work, strict=True)))))

    def _token(self, one):
        one.answer.append(7 + len(one.answer))
        if len(one.answer) == one.wanted and one in self.requests:
            self.requests.remove(one)
            self.kept.update(pages(one.prompt + one.answer[:-1]))
        self.loop.call_later(float(self.model.frontend.after_s()), self._show, one, len(one.answer))

    def _show(self, one, tokens):
        one.stream.arrived(self.now_s(), tokens)
        if tokens == one.wanted and not one.ended.done():
            one.ended.set_result(None)

    def _held(self, prompt):
        held = [*(page in self.kept for page in pages(prompt[:-1])), False]
        return PAGE_TOKENS * held.index(False)

    async def flush(self, role="all"):
        while self.requests:
            await asyncio.sleep(0.01)
        self.kept.clear()

    async def abort_all(self):
        """Do nothing: a request ends when who asked has gone."""

    async def servers(self):
        sizes = {"kv_pool_tokens": POOL_TOKENS, "page_size_tokens": PAGE_TOKENS, "chunked_prefill_size": CHUNK_TOKENS}
        who = {"name": self.record.name, "version": self.record.version, "model": "stand-in"}
        return {"unified": EngineInfo(max_running_requests=STREAMS, **who, **sizes)}

    async def close(self):
        self.server.cancel()


def pages(tokens):
    """Yield what tells each whole page, with all before it, from others."""
    chain = 0
    for end in range(PAGE_TOKENS, len(tokens) + 1, PAGE_TOKENS):
        chain = hash((chain, *tokens[end - PAGE_TOKENS : end]))
        yield chain
