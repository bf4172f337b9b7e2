"""Mooncake traces: JSONL, one request a line, prefixes by block.

``timestamp`` [ms from the start], ``input_length`` and ``output_length`` [tokens], ``hash_ids``: one id for each block
of 512 prompt tokens, the last one possibly partial. Equal ids mean an equal prefix up to and including that block.

A request becomes a conversation of one turn, because the trace does not say which requests belong together; the reuse
is in ``block_ids``. The published conversation trace is quantised: its timestamps lie within a few milliseconds of
multiples of 3 s, so thousands of requests would arrive at the same instant. Where **every** timestamp of a file does,
each arrival is moved by a uniform draw from [0, 3 s); otherwise (the synthetic trace) arrivals stay as written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppdsim.errors import WorkloadError
from ppdsim.units import MS_PER_S
from ppdsim.workload.base import BLOCK_TOKENS, Conversation, TurnSpec
from ppdsim.workload.tracefile import (
    AbstractTrace,
    json_object,
    names_of,
    numbered_lines,
    only_keys,
    required,
    shown,
    time_in,
    tokens,
)

QUANTUM_S = 3.0
"""Spacing of the timestamps of the published conversation trace [s]."""
QUANTUM_SLACK_S = 0.01
"""How far its timestamps lie from a multiple of that spacing at most [s]."""
KEYS = ("timestamp", "input_length", "output_length", "hash_ids")
MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MooncakeTrace(AbstractTrace):
    """Requests of a Mooncake file, each a conversation of one turn."""

    @staticmethod
    def recognises(first_line: str) -> bool:
        """Tell a Mooncake line by ``hash_ids`` or ``input_length``."""
        return not names_of(first_line).isdisjoint(("hash_ids", "input_length"))

    def conversations(self, rng: np.random.Generator) -> Iterator[Conversation]:
        """Read the file and return its requests in order of arrival; ids are positions in the file, from 0."""
        arrivals_s: list[float] = []
        turns: list[TurnSpec] = []
        for number, text in numbered_lines(self.path):
            if self.limit is not None and len(turns) >= self.limit:
                break
            arrival_s, turn = _request(text, f"{self.path}:{number}")
            arrivals_s.append(arrival_s)
            turns.append(turn)
        times_s = np.asarray(arrivals_s)
        if _is_quantised(times_s):
            times_s = times_s + rng.uniform(0.0, QUANTUM_S, len(times_s))
        times_s = times_s / self.rate_scale
        return iter(
            [
                Conversation(conversation_id=index, arrival_s=float(times_s[index]), turns=(turns[index],))
                for index in np.argsort(times_s, kind="stable").tolist()
            ]
        )


def _is_quantised(times_s: NDArray[np.float64]) -> bool:
    distance_s = np.abs(times_s - QUANTUM_S * np.rint(times_s / QUANTUM_S))
    return bool(np.all(distance_s <= QUANTUM_SLACK_S))


def _request(text: str, where: str) -> tuple[float, TurnSpec]:
    row = json_object(text, where)
    only_keys(row, KEYS, where)
    input_tokens = tokens(row, "input_length", where)
    ids = required(row, "hash_ids", where)
    if not isinstance(ids, list) or not all(type(i) is int and 0 <= i <= MAX_ID for i in ids):
        raise WorkloadError(f"{where}: hash_ids: given {shown(ids)}, expected a list of block ids from 0")
    blocks = -(-input_tokens // BLOCK_TOKENS)
    if len(ids) != blocks:
        raise WorkloadError(
            f"{where}: hash_ids: given {len(ids)} blocks, expected {blocks} of {BLOCK_TOKENS} tokens for {input_tokens}"
        )
    turn = TurnSpec(new_tokens=input_tokens, output_tokens=tokens(row, "output_length", where), block_ids=tuple(ids))
    return time_in(row, "timestamp", where, "ms") / MS_PER_S, turn
