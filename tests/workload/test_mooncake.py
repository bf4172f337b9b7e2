"""Mooncake files as people have them: bursts and coarse clocks, seconds and epochs, other blocks, keys and gaps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ppdsim.errors import WorkloadError
from ppdsim.workload import Conversations
from ppdsim.workload.mooncake import MooncakeTrace


def row(stamp: float, ids: list[int] | None, *, tokens: int = 900, out: int = 50, **more) -> dict[str, object]:
    hashes = {} if ids is None else {"hash_ids": ids}
    return {"timestamp": stamp, "input_length": tokens, "output_length": out, **hashes, **more}


def read(folder: Path, rows: list[dict[str, object]], *, seed: int = 0, **options) -> Conversations:
    path = folder / "trace.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return MooncakeTrace(path=path, **options).conversations(np.random.default_rng(seed)).kept()


def sent_s(found: Conversations) -> list[float]:
    return sorted(
        conversation.arrival_s if turn.arrival_s is None else turn.arrival_s
        for conversation in found
        for turn in conversation.turns
    )


def alone(stamps: list[float]) -> list[dict[str, object]]:
    """Return requests that share nothing."""
    return [row(stamp, [2 * i, 2 * i + 1]) for i, stamp in enumerate(stamps)]


@pytest.mark.parametrize(
    "stamps",
    [
        [0] * 40,
        [0] * 20 + [3000] * 20,
        [0, 3000, 6000, 9000],
        [0] * 30 + [3000] * 30 + [3_600_000] * 30,
        [0, 0, 1, 1, 2, 2, 3, 3],
        [0] * 9 + [3000] * 9 + [6000] * 9 + [7130] * 9,
    ],
    ids=["one batch", "two batches", "one a tick", "far apart", "milliseconds", "off the grid"],
)
def test_arrivals_stay_as_written_unless_a_coarse_clock_stamped_them(tmp_path, stamps):
    found = read(tmp_path, alone(stamps))
    assert sent_s(found) == [stamp / 1000 for stamp in stamps]
    assert not found.notes


@pytest.mark.parametrize(("tick", "unit"), [(3000, "ms"), (1000, "ms"), (500, "ms"), (3, "s")])
def test_a_coarse_clock_is_found_noted_and_can_be_left_alone(tmp_path, tick, unit):
    rows = alone([tick * (i // 5) for i in range(60)])
    spacing_s = tick / 1000 if unit == "ms" else tick
    spread = read(tmp_path, rows, timestamp_unit=unit)
    assert [int(time_s / spacing_s) for time_s in sent_s(spread)] == [i // 5 for i in range(60)]
    assert len(set(sent_s(spread))) == 60
    assert sent_s(spread) != sent_s(read(tmp_path, rows, timestamp_unit=unit, seed=1))
    assert spread.notes[-1].startswith(f"arrivals spread: the trace's clock ticks every {spacing_s:g} s")
    written = read(tmp_path, rows, timestamp_unit=unit, spread_arrivals=False)
    assert sent_s(written) == [spacing_s * (i // 5) for i in range(60)]
    assert not written.notes


def test_spreading_what_lies_on_no_grid_is_refused(tmp_path):
    with pytest.raises(WorkloadError, match=r"workload.spread_arrivals is true, but the timestamps do not lie"):
        read(tmp_path, alone([0] * 40), spread_arrivals=True)


SECONDS = [0.0, 0.2, 0.4, 61.5]


def test_timestamps_in_seconds_are_noted_and_read_by_their_unit(tmp_path):
    found = read(tmp_path, alone(SECONDS))
    assert found.notes[0].startswith("timestamps look like seconds (not all are whole numbers); they are read as ms")
    assert "workload.timestamp_unit=s" in found.notes[0]
    right = read(tmp_path, alone(SECONDS), timestamp_unit="s")
    assert sent_s(right) == SECONDS
    assert not right.notes


@pytest.mark.parametrize(("last", "noted"), [(59.0, True), (61.0, False)])
def test_a_rate_beyond_belief_is_noted(tmp_path, last, noted):
    # 61 requests: 60 gaps in less than 60 ms are more than 1,000 a second.
    found = read(tmp_path, alone([0] * 60 + [int(last)]))
    assert (
        any("look like seconds (as ms they would be 1,017 requests a second)" in note for note in found.notes) is noted
    )


def test_time_counts_from_the_first_request_whatever_clock_wrote_it(tmp_path):
    for start in (0, 1_000_000, 1_717_000_000_000):
        found = read(tmp_path, alone([start + 4000, start, start + 1000]))
        assert sent_s(found) == [0.0, 1.0, 4.0]
        assert [each.conversation_id for each in found] == [1, 2, 0]
    with pytest.raises(WorkloadError, match=r"timestamps span 1.72e\+09 s, expected at most 1e\+09 s"):
        read(tmp_path, alone([0, 1_717_000_000_000]))


def test_without_hash_ids_nothing_is_shared_and_a_note_says_so(tmp_path):
    found = read(tmp_path, [row(0, None), row(535, None), row(1200, None)])
    assert len(list(found)) == 3
    assert all(turn.block_ids is None for conversation in found for turn in conversation.turns)
    assert "the trace has no hash_ids" in found.notes[0]


def test_a_key_that_is_not_read_is_named(tmp_path):
    found = read(tmp_path, [row(0, [1, 2], priority=3), row(9, [3, 4], priority=1, model="m")])
    assert found.notes == ("keys of the trace that are not read: priority (2 x), model (1 x)",)


def test_blocks_of_another_size_are_taken_together_to_what_machines_keep(tmp_path):
    rows = [
        row(0, [1, 2, 3, 4, 5, 6], tokens=90),
        row(10, [1, 2, 3, 4, 9, 8], tokens=96),
        row(20, [1, 2, 3, 7], tokens=64),
    ]
    with pytest.raises(
        WorkloadError, match=r"trace.jsonl:1: hash_ids: given 6 blocks, expected 1 of 512 .*block_tokens=16"
    ):
        read(tmp_path, rows)
    first, second, third = (
        conversation.turns[0]
        for conversation in sorted(read(tmp_path, rows, block_tokens=16), key=lambda c: c.arrival_s)
    )
    # Four blocks of 16 are one of 64; the partial last one of the first prompt is none.
    assert (len(first.block_ids), len(second.block_ids), len(third.block_ids)) == (1, 1, 1)
    assert first.block_ids == second.block_ids != third.block_ids
    assert {turn.block_tokens for turn in (first, second, third)} == {64}
    large = read(tmp_path, [row(0, [1], tokens=900), row(1, [1, 2], tokens=1500)], block_tokens=1024)
    assert [turn.block_tokens for conversation in large for turn in conversation.turns] == [1024, 1024]


def test_a_request_that_goes_on_with_a_prompt_is_a_turn_sent_when_the_file_says(tmp_path):
    rows = [
        row(0, [0, 1, 2], tokens=1500),
        row(100, [0, 7], tokens=1000),
        row(5000, [0, 1, 3, 4], tokens=2000),
        row(9000, [0, 1, 3, 8, 9], tokens=2100),
        row(6000, [0, 1, 5], tokens=1100),
    ]
    found = {conversation.conversation_id: conversation for conversation in read(tmp_path, rows, rate_scale=2.0)}
    assert set(found) == {0, 1}
    assert [turn.arrival_s for turn in found[0].turns] == [None, 2.5, 3.0, 4.5]
    assert [turn.new_tokens for turn in found[0].turns] == [1500, 2000, 1100, 2100]


def test_what_many_prompts_begin_with_makes_no_conversation(tmp_path):
    # The first prompt is no more than the system prompt of one block.
    many = [row(0, [0], tokens=512), *(row(10 * i, [0, 10 * i], tokens=700) for i in range(1, 12))]
    assert len(list(read(tmp_path, many))) == 12
    few = many[:6]
    assert len(list(read(tmp_path, few))) == 1


def test_a_limit_counts_requests_that_have_an_answer(tmp_path):
    rows = [row(0, [0, 1]), row(1, [5, 6], out=0), row(2, [0, 1]), row(3, [7, 8])]
    found = read(tmp_path, rows, limit=2)
    assert sent_s(found) == [0.0, 0.002]
    assert found.notes[0] == "1 of 3 requests of the trace have no answer (0 output tokens): dropped"
