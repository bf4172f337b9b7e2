"""What a crossover run takes from a workload: when turns arrive, how long answers are, and which turn is typical."""

from __future__ import annotations

import json

import numpy as np
import pytest
from crossover_cases import SMALL, against

from ppdsim.capacity.load import load_of
from ppdsim.crossover import crossover
from ppdsim.crossover.traffic import traffic_of
from ppdsim.errors import WorkloadError
from ppdsim.scenario import load
from ppdsim.scenario.keys import Command
from ppdsim.setup import resolve


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def traffic(scenario, seed=0):
    return traffic_of(scenario, scenario.crossover, seed=seed)


def test_without_a_workload_turns_arrive_at_the_grids_rate():
    found = traffic(load("cache-rate", ["crossover.turns=4000"]))
    assert found.rate_per_s == pytest.approx(0.2, rel=0.05)
    assert set(found.output_tokens) == {140}
    assert found.follow_ups is None


def test_a_conversation_file_gives_its_arrivals_and_its_follow_up_turns(tmp_path):
    rows = [
        {"conversation_id": 1, "turn": 0, "arrival_s": 0.5, "new_tokens": 1000, "output_tokens": 100},
        {"conversation_id": 1, "turn": 1, "think_s": 1.0, "new_tokens": 50, "output_tokens": 10},
        {"conversation_id": 1, "turn": 2, "think_s": 1.0, "new_tokens": 70, "output_tokens": 10},
        {"conversation_id": 2, "turn": 0, "arrival_s": 4.0, "new_tokens": 10, "output_tokens": 3},
    ]
    found = traffic(load("cache-rate", trace=write(tmp_path / "chat.jsonl", rows)))
    assert found.arrivals_s.tolist() == [0.5, 4.0]
    assert found.output_tokens == (100, 3)
    # D keeps whole pages of 64: of 1000 + 99 tokens before turn 1, and of 60 more before turn 2.
    seen = found.follow_ups
    assert seen.cached_tokens.tolist() == [1088.0, 1152.0]
    assert seen.new_tokens.tolist() == [62.0, 78.0]
    assert seen.streams.tolist() == [0.0, 0.0]
    assert (seen.held_share, seen.played, seen.overloaded) == (1.0, "1P_1pD over nvlink, routed by cost-aware", False)


def test_a_machine_that_evicts_leaves_more_to_compute(tmp_path):
    """D holds 8 prompts of 1,000 tokens, and 20 conversations come before any second turn."""
    rows = [
        row
        for number in range(20)
        for row in (
            {"conversation_id": number, "turn": 0, "arrival_s": float(number), "new_tokens": 1000, "output_tokens": 9},
            {"conversation_id": number, "turn": 1, "think_s": 30.0, "new_tokens": 50, "output_tokens": 9},
        )
    ]
    path = write(tmp_path / "chat.jsonl", rows)
    roomy = traffic(load("cache-rate", trace=path)).follow_ups
    tight = traffic(load("cache-rate", ["fleet.1.kv_pool_tokens=8192"], trace=path)).follow_ups
    assert (roomy.held_share, set(roomy.new_tokens)) == (1.0, {99.0})
    assert tight.held_share < 0.6
    assert np.median(tight.new_tokens) == 1059.0
    assert np.all(tight.new_tokens + tight.cached_tokens == 1059.0)


def test_a_mooncake_file_reuses_by_block(tmp_path):
    rows = [
        {"timestamp": 100, "input_length": 1200, "output_length": 5, "hash_ids": [1, 2, 3]},
        {"timestamp": 1700, "input_length": 1500, "output_length": 5, "hash_ids": [1, 2, 9]},
        {"timestamp": 2800, "input_length": 1024, "output_length": 5, "hash_ids": [1, 2]},
    ]
    found = traffic(load("cache-rate", trace=write(tmp_path / "mooncake.jsonl", rows)))
    # The third is wholly known; the engine still computes its last token, so it reuses whole blocks below that.
    assert found.follow_ups.cached_tokens.tolist() == [1024.0, 512.0]
    assert found.follow_ups.new_tokens.tolist() == [476.0, 512.0]


def test_turns_that_a_trace_times_are_arrivals_like_any_other(tmp_path):
    rows = [
        {"timestamp": 1000 * i, "input_length": tokens, "output_length": 5 + i, "hash_ids": ids}
        for i, (tokens, ids) in enumerate([(1100, [1, 2, 3]), (600, [7, 8]), (1700, [1, 2, 4, 5]), (900, [7, 9])])
    ]
    found = traffic(load("cache-rate", trace=write(tmp_path / "mooncake.jsonl", rows)))
    # Two conversations of two turns each.
    assert found.arrivals_s.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert found.output_tokens == (5, 6, 7, 8)
    assert found.follow_ups.cached_tokens.tolist() == [1024.0, 512.0]
    assert found.name == "mooncake workload, 4 of 4 requests"


@pytest.mark.parametrize("first_s", [0.0, 1000.0])
def test_the_rate_does_not_depend_on_when_the_clock_began(tmp_path, first_s):
    rows = [
        {"conversation_id": i, "turn": 0, "arrival_s": first_s + i, "new_tokens": 10, "output_tokens": 3}
        for i in range(12)
    ]
    path = write(tmp_path / "chat.jsonl", rows)
    assert traffic(load("cache-rate", trace=path)).rate_per_s == pytest.approx(1.0)
    assert load_of(load("one-pair", trace=path)).own_rate_per_s == pytest.approx(1.0)


def test_turns_that_arrive_at_once_are_refused(tmp_path):
    rows = [{"conversation_id": 1, "turn": 0, "arrival_s": 0.0, "new_tokens": 10, "output_tokens": 3}]
    with pytest.raises(WorkloadError, match="all arrive at once"):
        traffic(load("cache-rate", trace=write(tmp_path / "chat.jsonl", rows)))


def test_the_answer_is_about_the_workloads_typical_turn(tmp_path):
    rows = [
        row
        for number in range(10)
        for row in (
            {"conversation_id": number, "turn": 0, "arrival_s": 5.0 * number, "new_tokens": 300, "output_tokens": 75},
            {"conversation_id": number, "turn": 1, "think_s": 2.0, "new_tokens": 200, "output_tokens": 50},
        )
    ]
    scenario = load("cache-rate", [*SMALL, *against("nvlink", "delta")], trace=write(tmp_path / "chat.jsonl", rows))
    answer = crossover(resolve(scenario, Command.CROSSOVER), seed=0)
    # 375 tokens are past, of which the last has no KV and D keeps 5 whole pages of 64.
    assert answer.headline.startswith("Appending 255 tokens to 320 cached ones on D is")
    (played,) = (
        text for text in answer.findings if text.startswith("The workload was played through 1P_1pD over nvlink")
    )
    assert "D has 320 tokens of its prompt cached and lacks 255 (medians of 10 turns), and 0 streams decode" in played
    assert played.endswith("D still holds the previous prompt of 100% of these turns.")
    about = [text for text in answer.findings if text.startswith("Of these turns, ")]
    assert len(about) == 2
    assert ("turns arrive", "conversations workload, 10 of 10 conversations") in answer.settings
