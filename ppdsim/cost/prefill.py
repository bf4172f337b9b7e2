"""T_ext(m | c): seconds of a forward over m new tokens on top of c cached ones, in chunks.

One forward costs the smooth maximum of the host's launch floor and the GPU's work::

    gpu  = token_s * pad(m) + attention_s_per_token2 * rows(m) (c + m/2) + kv_read_s_per_token * c
    T    = (floor_s**k + gpu**k) ** (1/k),  k = overlap_sharpness
    T behind a decode step that runs for h = T - min(h, prepare_s)
    gpu of a further chunk of a prompt = gpu (1 + further_share)

The floor is the host launching some hundred kernels; the GPU hides behind it while it is shorter, so small appends cost
the floor. ``pad`` rounds m up to the engine's captured prefill graph sizes. ``rows`` is m while attention fits one wave
of the GPU's multiprocessors, and whole waves beyond (`attention_rows`). Several requests in one forward add their work.
Only ``prepare_s`` of the floor, a part of the launch, overlaps the running step; an append of any size delays each
stream by T minus that part. Behind another forward nothing hides: each chunk pays its floor where
the GPU has less to do, and the GPU's work of the chunks after the first takes a few per cent longer than alone
(docs/design/accuracy.md: chunks of 512, 2048 and 8192 tokens). So cutting a prompt into more chunks saves no time but
that of rows which graphs or waves would have padded.
Not modelled: why the GPU slows down (a clock that falls in long work would do it, and then also between prompts),
tensor-parallel all-reduces, mixture-of-experts.
Source: docs/explanation/model.md, "Costs".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np

from ppdsim.cost.base import AbstractCurve, Parameter, Quantity, maximum, minimum, pad_up
from ppdsim.types import Tag

ONE_WAVE_TOKENS = 1e9
"""`wave_tokens` where nobody knows the multiprocessors [tokens]: one wave holds any forward, nothing is rounded."""
REMEMBERED = 16_384
"""Token counts whose factors a curve keeps."""
WAVE_SLACK = 1e-4
"""Share of the tokens that begins no other wave [1]: a profile keeps five digits of a wave."""


class PrefillWork(NamedTuple):
    """What a forward has to do; the work of several requests in one forward adds up field by field."""

    tokens: Quantity
    attention_tokens2: Quantity
    cached_tokens: Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillCurve(AbstractCurve):
    """Seconds of append-prefill; `seconds` is the whole prompt in chunks, `forward_s` one forward.

    `graph_sizes_tokens` are the engine's captured forwards [tokens].
    """

    kind: ClassVar[str] = "prefill"
    PARAMETERS: ClassVar[tuple[Parameter, ...]] = (
        Parameter(name="floor_s", unit="s", low=1e-3, high=0.1, meaning="host launch of one forward"),
        Parameter(name="token_s", unit="s/token", low=1e-6, high=1e-3, meaning="matrix work of one new token"),
        Parameter(name="attention_s_per_token2", unit="s/token^2", low=0.0, high=1e-7, meaning="attention, one pair"),
        Parameter(name="kv_read_s_per_token", unit="s/token", low=0.0, high=1e-6, meaning="reading one cached token"),
        Parameter(name="overlap_sharpness", unit="1", low=1.0, high=20.0, meaning="how well launch hides GPU work"),
        Parameter(
            name="wave_tokens",
            unit="token",
            low=1.0,
            high=ONE_WAVE_TOKENS,
            meaning="query rows of attention that run at once",
            tag=Tag.DATA_SHEET,
        ),
        Parameter(
            name="prepare_s",
            unit="s",
            low=0.0,
            high=20e-3,
            meaning="part of a kernel launch that overlaps the running step",
        ),
        Parameter(
            name="further_share",
            unit="1",
            low=0.0,
            high=1.0,
            meaning="by how much a prompt's further chunks take the GPU longer",
        ),
    )
    floor_s: Quantity
    token_s: Quantity
    attention_s_per_token2: Quantity
    kv_read_s_per_token: Quantity
    overlap_sharpness: Quantity
    wave_tokens: Quantity
    prepare_s: Quantity
    further_share: Quantity
    graph_sizes_tokens: tuple[int, ...]
    _remembered: dict[float, tuple[Quantity, Quantity]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    @staticmethod
    def work(new_tokens: Quantity, cached_tokens: Quantity) -> PrefillWork:
        """Return the work of one request's chunk of `new_tokens` on `cached_tokens`."""
        return PrefillWork(new_tokens, new_tokens * (cached_tokens + 0.5 * new_tokens), cached_tokens)

    def forward_s(self, work: PrefillWork, hidden_s: Quantity = 0.0, *, further: bool = False) -> Quantity:
        """Return the seconds of one forward that does `work` (sum over its requests).

        `further` is whether it goes on with a prompt that an earlier forward has begun;
        `hidden_s` is for how long a decode step still runs when the host begins to prepare it [s].
        """
        tokens, attention_tokens2, cached_tokens = work
        padded, rounded = self._factors(tokens)
        gpu_s = (
            self.token_s * padded
            + self.attention_s_per_token2 * attention_tokens2 * rounded
            + self.kv_read_s_per_token * cached_tokens
        )
        if further:
            gpu_s = gpu_s * (1.0 + self.further_share)
        k = self.overlap_sharpness
        return (self.floor_s**k + gpu_s**k) ** (1.0 / k) - minimum(hidden_s, self.prepare_s)

    def _factors(self, tokens: Quantity) -> tuple[Quantity, Quantity]:
        """Return what the tokens alone decide: the rows of the graph, and by what its attention is rounded up.

        The simulator asks about the same numbers again and again: chunks are of at most some thousand tokens.
        """
        if not isinstance(tokens, (int, float)):
            return self._factors_of(tokens)
        found = self._remembered.get(tokens)
        if found is None:
            found = self._factors_of(tokens)
            if len(self._remembered) < REMEMBERED:
                self._remembered[tokens] = found
        return found

    def _factors_of(self, tokens: Quantity) -> tuple[Quantity, Quantity]:
        rows = attention_rows(tokens, self.wave_tokens)
        return pad_up(tokens, self.graph_sizes_tokens), rows / maximum(tokens, 1.0)

    def seconds(
        self, new_tokens: Quantity, cached_tokens: Quantity, chunk_tokens: int, hidden_s: Quantity = 0.0
    ) -> Quantity:
        """Return T_ext(m | c) [s]: the sum of its forwards of at most `chunk_tokens` new tokens.

        `new_tokens` is at least 1: the engine always computes the last prompt token. Only the first forward can hide
        behind a step, which still runs for `hidden_s` [s].
        """
        total: Quantity = 0.0
        for start, size in chunks(new_tokens, chunk_tokens):
            cost = self.forward_s(self.work(size, cached_tokens + start), hidden_s, further=start > 0.0)
            total = total + cost * (size > 0)
            hidden_s = 0.0
        return total


def wave_tokens(multiprocessors: float | None, query_heads: float, tile_rows: int) -> float:
    """Return how many query rows run at once on a GPU that holds `query_heads` of each layer [tokens].

    `multiprocessors` is None where they are not known: then nothing is rounded (`ONE_WAVE_TOKENS`). `tile_rows` is the
    engine's (:class:`~ppdsim.engine_record.EngineRecord`).

    >>> wave_tokens(132, 32, 128)
    528.0
    """
    return ONE_WAVE_TOKENS if multiprocessors is None else tile_rows * multiprocessors / query_heads


def attention_rows(tokens: Quantity, wave_tokens: Quantity) -> Quantity:
    """Return the query rows that attention of a forward over `tokens` new ones takes the time of [tokens].

    Up to one wave the kernel splits the KV over multiprocessors that have no rows, so every row counts as it is.
    Beyond, a wave that is not full takes as long as a full one. Tiles are not rounded up: kernels for varying lengths
    pack the query heads of a KV head into them, so 32 tokens of a model with 4 query heads a KV head fill one.
    Source: FlashAttention-3, hopper/heuristics.h (`should_pack_gqa`, `num_splits_heuristic`).

    >>> [attention_rows(m, 528.0) for m in (64.0, 528.0, 529.0, 1024.0, 1056.0, 1057.0)]
    [64.0, 528.0, 1056.0, 1056.0, 1056.0, 1584.0]
    """
    if isinstance(tokens, (int, float)) and isinstance(wave_tokens, (int, float)):
        if tokens <= wave_tokens:
            return tokens
        return max(math.ceil(tokens * (1.0 - WAVE_SLACK) / wave_tokens) * wave_tokens, tokens)
    whole = np.ceil(tokens * (1.0 - WAVE_SLACK) / wave_tokens) * wave_tokens
    return np.where(tokens <= wave_tokens, tokens, np.maximum(whole, tokens))


def chunks(new_tokens: Quantity, chunk_tokens: int) -> list[tuple[float, Quantity]]:
    """Split into chunks: a list of (tokens before it, its size); for arrays a size is 0 where the prompt has ended.

    >>> chunks(20000, 8192)
    [(0.0, 8192), (8192.0, 8192), (16384.0, 3616)]
    """
    if isinstance(new_tokens, (int, float)):
        if new_tokens <= chunk_tokens:
            return [(0.0, new_tokens)]  # nearly always, in the simulator
        largest = float(new_tokens)
    else:
        largest = float(new_tokens.max(initial=1.0))
    count = max(1, -int(-largest // chunk_tokens))
    return [
        (float(i * chunk_tokens), minimum(maximum(new_tokens - i * chunk_tokens, 0), chunk_tokens))
        for i in range(count)
    ]
