"""SGLang's releases: which of the flags each has, and the rules that a profile records.

A release lacks a flag until the one in which it first appeared, with the mooncake transfer engine. Chunked KV send, the
overlap schedule, D's pre-allocation and retraction are in all of them. Source: the wheels of
these releases (`disaggregation/prefill.py`, `disaggregation/decode.py`, `server_args.py`). Not modelled: which kernels
a release has; their cost is the profile's.
"""

from __future__ import annotations

from ppdsim.engine_record import ChunkRule, EngineRecord, HandoffProtocol
from ppdsim.engines.base import Release
from ppdsim.engines.sglang.flags import EARLY_SEND, RADIX

DECODE_GRAPH_SIZES: tuple[int, ...] = (1, 2, 4, 8, 12, *range(16, 257, 8))
"""Captured decode batch sizes [streams] on cards of 60 to 160 GB at TP1; SGLang 0.5.17, server_args.py."""
PREFILL_GRAPH_STEPS = ((4, 33, 4), (48, 257, 16), (288, 513, 32), (576, 1025, 64), (1280, 4097, 256))
"""Captured prefill sizes up to 4,096 tokens: first, end, step [tokens]; beyond, every 512."""
ATTENTION_TILE_ROWS = 128
"""Rows of query that a multiprocessor attends for at a time [1]; FlashAttention-3, hopper/tile_size.h, heads of 128 and
more."""


def prefill_graph_sizes_tokens(chunked_prefill_size: int) -> tuple[int, ...]:
    """Return the prefill sizes that a server with this chunk captures [tokens]; SGLang 0.5.17, server_args.py.

    >>> prefill_graph_sizes_tokens(64)
    (4, 8, 12, 16, 20, 24, 28, 32, 48, 64)
    """
    sizes = [size for step in PREFILL_GRAPH_STEPS for size in range(*step)]
    sizes += range(4608, chunked_prefill_size + 1, 512)
    return tuple(size for size in sizes if size <= chunked_prefill_size)


PREFILL_GRAPH_SIZES_TOKENS = prefill_graph_sizes_tokens(8192)
"""Captured prefill sizes of a server with the default chunk of a large GPU [tokens]."""
TRANSFER_TASKS_PER_LAYER = 2
"""Tasks of a layer over NVLink: its K buffer and its V buffer; up to 0.5.19, disaggregation/mooncake/conn.py."""

_FIRST = Release(lacks=frozenset({RADIX, EARLY_SEND}))
_RADIX = Release(lacks=frozenset({EARLY_SEND}))
_EARLY = Release()

RELEASES: dict[str, Release] = {
    "0.5.5.post3": _FIRST,
    "0.5.9": _FIRST,
    "0.5.10": _FIRST,
    "0.5.11": _FIRST,  # nixl only
    "0.5.12": _RADIX,
    "0.5.13": _RADIX,
    "0.5.14": _RADIX,
    "0.5.15": _EARLY,
    "0.5.16": _EARLY,
    "0.5.17": _EARLY,
}
"""By version, oldest first."""


def record(version: str) -> EngineRecord:
    """Return what a profile of a run on this release records; the rules are those of 0.5.17 in every release read."""
    return EngineRecord(
        name="sglang",
        version=version,
        decode_graph_sizes=DECODE_GRAPH_SIZES,
        prefill_graph_sizes_tokens=PREFILL_GRAPH_SIZES_TOKENS,
        attention_tile_rows=ATTENTION_TILE_ROWS,
        chunk_rule=ChunkRule.SEPARATE_FORWARDS,
        overlap_schedule=True,
        handoff_protocol=HandoffProtocol.PUSH,
        transfer_tasks_per_layer=TRANSFER_TASKS_PER_LAYER,
    )
