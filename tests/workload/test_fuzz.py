"""Whatever stands in a trace, reading it gives conversations or a WorkloadError, and nothing else."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ppdsim.errors import WorkloadError
from ppdsim.workload import TRACES, recognise

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=3),
)
SANE = st.integers(0, 2_000)
JSON_KEYS = [
    "timestamp",
    "input_length",
    "output_length",
    "hash_ids",
    "conversation_id",
    "turn",
    "arrival_s",
    "think_s",
]
ROWS = st.lists(
    st.dictionaries(st.sampled_from([*JSON_KEYS, "new_tokens", "output_tokens"]), st.one_of(SANE, ODD), max_size=6),
    max_size=4,
)
JSON_TEXT = ROWS.map(lambda rows: "\n".join(json.dumps(row) for row in rows).encode("utf-8", "surrogatepass"))
CSV_FIELD = st.one_of(SANE.map(str), st.just("2023-11-16 18:15:46.68"), st.text(max_size=6))
CSV_TEXT = st.lists(st.lists(CSV_FIELD, min_size=2, max_size=4).map(",".join), max_size=4).map(
    lambda lines: "\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]).encode("utf-8", "surrogatepass")
)
DATA = st.one_of(
    st.binary(max_size=60), JSON_TEXT, CSV_TEXT, st.binary(max_size=20).map(lambda data: b"\x1f\x8b" + data)
)


@pytest.mark.parametrize("kind", TRACES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=DATA, packed=st.booleans())
@example(
    data=b"TIMESTAMP,ContextTokens,GeneratedTokens\n9999-12-31 23:59:59.9,1,1\n0001-01-01 00:00:00,1,1", packed=False
)
@example(data=b'{"a": ' * 2_000, packed=False)
def test_a_clear_error_or_an_answer(kind: str, data: bytes, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(gzip.compress(data) if packed else data)
    problem, found = None, []
    try:
        recognise(path)
        found = list(TRACES[kind](path=path).conversations(np.random.default_rng(0)))
    except WorkloadError as error:
        problem = str(error)
    if problem is None:
        assert found
        assert all(turn.new_tokens >= 1 and turn.output_tokens >= 1 for c in found for turn in c.turns)
    else:
        assert problem.startswith(str(path))
        assert "\n" not in problem


SIZES = st.integers(1, 5_000)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    conversations=st.lists(
        st.lists(st.tuples(st.floats(0, 1e6), SIZES, SIZES), min_size=1, max_size=3), min_size=1, max_size=5
    ),
    random=st.randoms(),
)
def test_what_was_written_is_read(conversations, random, tmp_path: Path) -> None:
    rows = [
        {
            "conversation_id": i,
            "turn": j,
            ("think_s" if j else "arrival_s"): time,
            "new_tokens": new,
            "output_tokens": out,
        }
        for i, turns in enumerate(conversations)
        for j, (time, new, out) in enumerate(turns)
    ]
    random.shuffle(rows)
    path = tmp_path / "trace"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = {c.conversation_id: c for c in TRACES["conversations"](path=path).conversations(np.random.default_rng(0))}
    for i, turns in enumerate(conversations):
        assert found[i].arrival_s == turns[0][0]
        assert [(t.new_tokens, t.output_tokens) for t in found[i].turns] == [turn[1:] for turn in turns]
        assert [t.think_s for t in found[i].turns[1:]] == [turn[0] for turn in turns[1:]]
