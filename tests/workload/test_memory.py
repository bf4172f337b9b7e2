"""A trace is refused for its last line within a few times the room that it takes on disk, whatever its format."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ppdsim import reading
from ppdsim.errors import WorkloadError
from ppdsim.workload.catalogue import TRACES

SIZE_BYTES = 400_000
TIMES_ITS_SIZE = 3.0
"""Most room that reading may take, beside a chunk of the file and its lines."""
CHUNK_BYTES = 16_384


def mooncake() -> Iterator[str]:
    number = 0
    while True:
        ids = [(7 * number + 131 * place) % 1_000_003 for place in range(number % 40 + 1)]
        row = {"timestamp": 300 * number, "input_length": 512 * len(ids) - 5, "output_length": 9, "hash_ids": ids}
        yield json.dumps(row)
        number += 1


def azure() -> Iterator[str]:
    yield "TIMESTAMP,ContextTokens,GeneratedTokens"
    number = 0
    while True:
        yield f"2023-11-16 {number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}.6805900,{370 + number},44"
        number += 1


def conversations() -> Iterator[str]:
    number = 0
    while True:
        when = {"think_s": 3.25} if number % 5 else {"arrival_s": number / 4}
        turn = {"conversation_id": number // 5, "turn": number % 5, "new_tokens": 300 + number, "output_tokens": 280}
        yield json.dumps({**turn, **when})
        number += 1


def agent_sessions() -> Iterator[str]:
    number = 0
    while True:
        ids = [(977 * number + place) % 1_000_003 for place in range(240)]
        requests = [{"in": 64 * k, "out": 20, "think_time": 2.0, "hash_ids": ids[:k]} for k in (80, 160, 240)]
        yield json.dumps({"id": f"s{number}", "block_size": 64, "requests": requests})
        number += 1


LINES = {"mooncake": mooncake, "azure": azure, "conversations": conversations, "agent-sessions": agent_sessions}


@pytest.mark.parametrize("name", TRACES)
def test_a_wrong_last_line_is_found_in_little_room(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHUNK_BYTES", CHUNK_BYTES)
    path, written = tmp_path / "trace", 0
    with path.open("w") as file:
        for line in LINES[name]():
            written += file.write(f"{line}\n")
            if written > SIZE_BYTES:
                break
        file.write('{"a": 1}\n')
    trace = TRACES[name](path=path)
    tracemalloc.start()
    try:
        with pytest.raises(WorkloadError, match="trace:"):
            trace.conversations(np.random.default_rng(0))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - 8 * CHUNK_BYTES < TIMES_ITS_SIZE * written, f"{peak / written:.1f} times its size"
