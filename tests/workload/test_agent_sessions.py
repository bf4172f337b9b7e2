"""Coding-agent sessions: golden readings, what clipping keeps, errors that name the place, and nonsense."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ppdsim.errors import WorkloadError
from ppdsim.workload import BLOCK_TOKENS, TRACES, Conversation, agent_sessions, recognise


def request(ids, *, tokens=None, out=10, **more):
    return {
        "t": 0.0,
        "type": "n",
        "in": 64 * len(ids) if tokens is None else tokens,
        "out": out,
        "hash_ids": ids,
        **more,
    }


def session(name, *requests, **more):
    return {"id": name, "block_size": 64, "hash_id_scope": "local", "requests": list(requests), **more}


def read(folder: Path, *sessions, seed: int = 0, **options) -> list[Conversation]:
    path = folder / "sessions.jsonl"
    path.write_text("\n".join(json.dumps(each) for each in sessions))
    assert recognise(path) == "agent-sessions"
    return list(TRACES["agent-sessions"](path=path, **options).conversations(np.random.default_rng(seed)))


def numbers(first, last):
    return list(range(first, last))


def test_a_session_is_a_conversation_of_whole_prompts(tmp_path):
    rows = session(
        "s",
        request(numbers(0, 16), tokens=1030, out=7, think_time=9.0),
        request(numbers(0, 24), tokens=1599, out=1, think_time=2.5),
    )
    (found,) = read(tmp_path, rows)
    assert found.conversation_id == "s"
    first, second = found.turns
    assert [(turn.new_tokens, turn.output_tokens, turn.think_s) for turn in found.turns] == [
        (1030, 7, 0.0),
        (1599, 1, 2.5),
    ]
    assert second.block_ids[:2] == first.block_ids
    assert [len(turn.block_ids) for turn in found.turns] == [2, 3]
    assert [turn.clipped_tokens for turn in found.turns] == [0, 0]


def test_run_lengths_are_the_ids_in_short(tmp_path):
    plain = session("s", request([5, 6, 7, 8, 9, 10, 11, 12, 40, 41, 2], tokens=711))
    coded = json.loads(json.dumps(plain))
    del coded["requests"][0]["hash_ids"]
    coded["requests"][0]["hash_rle"] = [5, 8, 40, 2, 2, 1]
    assert read(tmp_path, plain) == read(tmp_path, coded)


def test_a_block_is_known_by_all_that_stands_before_it(tmp_path):
    same_tail = session("s", request(numbers(0, 16)), request([*numbers(100, 108), *numbers(8, 16)]))
    (found,) = read(tmp_path, same_tail)
    assert not set(found.turns[0].block_ids) & set(found.turns[1].block_ids)


def test_sessions_share_nothing_and_sub_agents_share_their_session(tmp_path):
    nested = {
        "t": 3.0,
        "type": "subagent",
        "requests": [request(numbers(0, 8)), request(numbers(0, 16), think_time=1.0)],
    }
    own, sub, other = sorted(
        read(tmp_path, session("a", request(numbers(0, 8)), nested), session("b", request(numbers(0, 8)))),
        key=lambda each: str(each.conversation_id),
    )
    assert [own.conversation_id, sub.conversation_id, other.conversation_id] == ["a", "a/1", "b"]
    assert sub.arrival_s == pytest.approx(own.arrival_s + 3.0)
    assert sub.turns[0].block_ids == own.turns[0].block_ids
    assert other.turns[0].block_ids != own.turns[0].block_ids
    assert len(sub.turns) == 2


def test_sessions_of_global_scope_share_one_table_of_blocks(tmp_path):
    def rows(*scopes):
        return [session(f"s{i}", request(numbers(0, 16)), hash_id_scope=scope) for i, scope in enumerate(scopes)]

    def shared(*scopes):
        found = read(tmp_path, *rows(*scopes))
        assert all(len(each.turns[0].block_ids) == 2 for each in found)
        return len({each.turns[0].block_ids for each in found})

    assert shared("global", "global", "global") == 1
    assert shared("local", "local", "local") == 3
    assert shared("global", "local", "global") == 2
    with pytest.raises(WorkloadError, match=r"sessions.jsonl:1: hash_id_scope: given 'host', expected local or global"):
        read(tmp_path, *rows("host"))


def test_starts_are_a_poisson_process_of_one_a_minute(tmp_path):
    rows = [session(f"s{i}", request(numbers(0, 8))) for i in range(400)]
    for scale in (1.0, 10.0):
        starts_s = [each.arrival_s for each in read(tmp_path, *rows, rate_scale=scale)]
        gaps_s = np.diff([0.0, *starts_s])
        assert gaps_s.mean() == pytest.approx(60.0 / scale, rel=0.15)
        assert gaps_s.std() == pytest.approx(gaps_s.mean(), rel=0.15)
    assert len(read(tmp_path, *rows, limit=3)) == 3


def test_clipping_keeps_the_oldest_and_all_that_is_new(tmp_path):
    # 40 blocks are there twice, 24 are new; with room for 4096 - 512 tokens, 32 of the 40 stay.
    rows = session("s", request(numbers(0, 40), out=1), request(numbers(0, 64), out=512))
    (found,) = read(tmp_path, rows, context_length=4_096)
    first, second = found.turns
    assert second.new_tokens + second.output_tokens == 4_096
    assert second.clipped_tokens == 64 * 64 - second.new_tokens == 512
    assert second.block_ids[:4] == first.block_ids[:4]
    assert not set(second.block_ids[4:]) & set(first.block_ids)
    assert len(second.block_ids) == 7


def test_a_prompt_that_is_all_new_is_cut_at_its_end(tmp_path):
    (found,) = read(tmp_path, session("s", request(numbers(0, 64), out=100)), context_length=1_124)
    assert (found.turns[0].new_tokens, found.turns[0].clipped_tokens) == (1_024, 3_072)
    assert len(found.turns[0].block_ids) == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shared=st.lists(st.integers(0, 60), min_size=1, max_size=5),
    new=st.lists(st.integers(1, 5_000), min_size=1, max_size=5),
    out=st.integers(1, 3_000),
    context_length=st.integers(1, 8_000),
)
def test_what_is_clipped_fits_and_nothing_is_lost_uncounted(shared, new, out, context_length, tmp_path: Path):
    fresh = itertools.count(1_000)
    ids: list[int] = []
    rows = []
    for keep, more in zip(shared, new, strict=False):
        whole = (64 * min(keep, len(ids)) + more) // 64
        ids = [*ids[:keep], *itertools.islice(fresh, whole)][:whole]
        rows.append(request(ids, tokens=max(64 * whole, 1), out=out))
    (found,) = read(tmp_path, session("s", *rows), context_length=context_length)
    for row, turn in zip(rows, found.turns, strict=True):
        assert turn.new_tokens + turn.clipped_tokens == row["in"]
        assert turn.new_tokens + turn.output_tokens <= max(context_length, turn.output_tokens + 1)
        assert len(turn.block_ids) <= turn.new_tokens // BLOCK_TOKENS
        if row["in"] + turn.output_tokens <= context_length:
            assert turn.clipped_tokens == 0


WRONG = {
    "no id": ({"requests": []}, "key 'id' is missing"),
    "an id that is no text": (session(5), "id: given 5, expected a text"),
    "other blocks": (session("s", block_size=16), "block_size: given 16, expected 64"),
    "no requests": ({"id": "s", "block_size": 64, "hash_id_scope": "local"}, "key 'requests' is missing"),
    "requests that are no list": (session("s") | {"requests": 3}, "requests: given 3, expected a list"),
    "a request that is none": (session("s", 3), "requests[0]: given 3, expected a JSON object"),
    "no tokens": (
        session("s", request([], tokens=0)),
        "requests[0]: in: given 0, expected a whole number from 1 tokens",
    ),
    "too few blocks": (
        session("s", request([1], tokens=640)),
        "requests[0]: hash_ids: given 1 blocks, expected 10 of 64",
    ),
    "a block that is no number": (session("s", request(["x"])), "hash_ids: given ['x'], expected whole numbers from 0"),
    "half a pair": (
        session("s", {"in": 64, "out": 1, "hash_rle": [1]}),
        "hash_rle: given [1], expected pairs of start and length",
    ),
    "a run beyond belief": (
        session("s", {"in": 64, "out": 1, "hash_rle": [1, 2**50]}),
        "expected pairs of start and length",
    ),
    "a nested request": (
        session("s", {"t": 1, "requests": [request([1]), request([1], out=-1)]}),
        "requests[0].requests[1]: out: given -1, expected a whole number from 0 tokens",
    ),
    "a sub-agent before its session": (
        session("s", {"t": -1, "requests": []}),
        "requests[0]: t: given -1, expected a time",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_names_the_place(name, tmp_path: Path):
    row, message = WRONG[name]
    path = tmp_path / "sessions.jsonl"
    path.write_text("\n" + json.dumps(row))
    with pytest.raises(WorkloadError) as problem:
        list(TRACES["agent-sessions"](path=path).conversations(np.random.default_rng(0)))
    assert str(problem.value).startswith(f"{path}:2: ")
    assert message in str(problem.value)


def test_a_session_twice_and_a_file_of_empty_ones_are_refused(tmp_path: Path):
    with pytest.raises(WorkloadError, match="session 's' is there twice"):
        read(tmp_path, session("s", request([1])), session("s", request([1])))
    with pytest.raises(WorkloadError, match="no session has a request"):
        read(tmp_path, session("s"))


ODD = st.one_of(st.none(), st.booleans(), st.integers(-3, 2**70), st.floats(), st.text(max_size=3))
FIELD = st.one_of(st.integers(0, 300), ODD, st.lists(st.one_of(st.integers(0, 9), ODD), max_size=6))
REQUEST = st.dictionaries(st.sampled_from(["t", "in", "out", "think_time", "hash_ids", "hash_rle"]), FIELD, max_size=6)
SANE = st.builds(request, st.lists(st.integers(0, 5), min_size=1, max_size=30))
NESTED = st.fixed_dictionaries({"t": FIELD, "requests": st.lists(st.one_of(SANE, REQUEST), max_size=2)})
SESSION = st.fixed_dictionaries(
    {
        "id": st.one_of(st.sampled_from("abc"), ODD),
        "requests": st.lists(st.one_of(SANE, REQUEST, NESTED, ODD), max_size=3),
    },
    optional={"block_size": st.one_of(st.just(64), ODD)},
)


@example(rows=[{"id": "a", "requests": [request([1]), request([1])], "block_size": 64}], context_length=1)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(SESSION, min_size=1, max_size=3), context_length=st.one_of(st.none(), st.integers(1, 400)))
def test_nonsense_is_a_clear_error_or_an_answer(rows, context_length, tmp_path: Path):
    path = tmp_path / "sessions.jsonl"
    path.write_bytes("\n".join(json.dumps(row) for row in rows).encode("utf-8", "surrogatepass"))
    problem, found = None, []
    try:
        workload = TRACES["agent-sessions"](path=path, context_length=context_length)
        found = list(workload.conversations(np.random.default_rng(0)))
    except WorkloadError as error:
        problem = str(error)
    if problem is not None:
        assert problem.startswith(str(path))
        assert "\n" not in problem
    else:
        assert found
        assert all(turn.new_tokens >= 1 and turn.output_tokens >= 1 for each in found for turn in each.turns)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"id": "s", "block_size": 64, "requests": [request([], tokens=2**24 + 1)]}],
            "requests[0]: in: given 16,777,217, more than the limit tokens = 16,777,216",
        ),
        (
            [
                {"id": f"s{i}", "block_size": 64, "requests": [{"in": 2**24, "out": 1, "hash_rle": [0, 2**18]}] * 4}
                for i in range(20)
            ],
            "sessions.jsonl:17: blocks of prompts so far: given 17,825,792, more than the limit trace_blocks = 16,",
        ),
    ],
    ids=["one prompt", "many prompts in a few bytes"],
)
def test_a_few_bytes_do_not_stand_for_more_prompt_than_there_can_be(rows, message, tmp_path, monkeypatch):
    # Only the count matters here; to merge sixteen million blocks takes seconds.
    monkeypatch.setattr(agent_sessions, "_turns", lambda *_: iter(()))
    with pytest.raises(WorkloadError) as problem:
        read(tmp_path, *rows)
    assert message in str(problem.value)
