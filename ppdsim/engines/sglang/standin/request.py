"""One request inside a stand-in engine, and what its client is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ppdsim.engines.sglang.standin.pool import Holding

FIRST_ID = 1_000
"""Lowest id of an answer; the ids below are special tokens in most vocabularies."""
ID_SPAN = 29_000
"""Ids of answers lie in [FIRST_ID, FIRST_ID + ID_SPAN)."""
FAKE_BOOTSTRAP_HOST = "2.2.2.2"
"""The prefill host of a request whose hand-off is pretended, on either side (SGLang's constant)."""


class Finish(str, Enum):
    """Why a request ended."""

    LENGTH = "length"
    ABORT = "abort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a request ended; an abort has a message and the HTTP status that an answer without a stream gets."""

    finish: Finish
    message: str = ""
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendezvous:
    """Where prefill and decode meet for a request."""

    room: int
    host: str = "127.0.0.1"
    port: int = 8998

    @property
    def pretended(self) -> bool:
        """Whether there is no other side."""
        return self.host == FAKE_BOOTSTRAP_HOST


@dataclass(slots=True, eq=False)
class Request:
    """A prompt under way.

    `deliver` is called with the request each time its client may see more: `visible` tokens, and `ending` once it is
    set. Times are on the engine's clock [s].
    """

    rid: str
    ids: Sequence[int]
    output_tokens: int
    deliver: Callable[[Request], None]
    rendezvous: Rendezvous | None = None
    received_s: float = 0.0
    queued_s: float | None = None
    forward_s: float | None = None
    prefilled_s: float | None = None
    first_s: float | None = None
    finished_s: float | None = None
    cached_tokens: int = 0
    kv_tokens: int = 0
    generated: int = 0
    visible: int = 0
    retractions: int = 0
    holding: Holding | None = None
    ending: Ending | None = None
    visible_ending: Ending | None = None
    gone: bool = False
    _answer: list[int] = field(default_factory=list)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return len(self.ids)

    def answer(self, tokens: int) -> list[int]:
        """Return the first `tokens` ids of the answer; the same prompt gives the same answer."""
        made = self._answer
        if tokens > len(made):
            seed = 31 * sum(self.ids[-4:]) + 7919 * self.prompt_tokens
            made.extend(FIRST_ID + (seed + 7919 * number) % ID_SPAN for number in range(len(made), tokens))
        return made[:tokens]

    def kv_ids(self) -> list[int]:
        """Return the ids whose KV the request has."""
        return [*self.ids, *self.answer(self.kv_tokens - self.prompt_tokens)]
