"""What an interval is over: seeds where they change a run, parts of it where they do not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ppdsim.routing.balance import BALANCERS, DRAWING, Candidates
from ppdsim.scenario import load
from ppdsim.simulation.replicates import PARTS, is_drawn, parts_of
from ppdsim.simulation.run import simulate


@pytest.fixture
def trace(tmp_path):
    rows = [
        {"conversation_id": i, "turn": 0, "arrival_s": float(i), "new_tokens": 100 + i, "output_tokens": 5}
        for i in range(12)
    ]
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_generated_workload_is_drawn_and_a_trace_is_not(trace):
    assert is_drawn(load("one-pair", ["workload.conversations=3"]), 0)
    assert not is_drawn(load("one-pair", trace=trace), 0)


@pytest.mark.parametrize(
    ("balancer", "nodes", "drawn"),
    [("random", 2, True), ("random", 1, False), ("power_of_two", 2, True), ("round_robin", 2, False)],
)
def test_a_balancer_that_picks_at_random_draws_where_there_is_a_choice(trace, balancer, nodes, drawn):
    settings = [f"fleet.1.count={nodes}", f"routing.decode_policy={balancer}", "routing.sticky_sessions=false"]
    scenario = load("one-pair", settings, trace=trace).asking(())
    assert is_drawn(scenario, 0) is drawn
    first, *others = (simulate(scenario, seed=seed).turns["decode_node"].tolist() for seed in range(4))
    assert any(other != first for other in others) is drawn


@pytest.mark.parametrize("name", list(BALANCERS))
def test_the_balancers_that_draw_are_known(name):
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    BALANCERS[name](Candidates(loads=[1, 2], cached_share=lambda: [0.0, 0.9], number=0, last=None, rng=rng))
    assert (rng.bit_generator.state != before) is (name in DRAWING)


@pytest.mark.parametrize("turns", [0, 1, 7, 10, 11, 25, 1000])
def test_parts_are_all_turns_in_order_and_nearly_equal(turns):
    rows = list(parts_of(turns))
    assert len(rows) == min(PARTS, turns)
    assert [i for part in rows for i in range(part.start, part.stop)] == list(range(turns))
    sizes = {part.stop - part.start for part in rows}
    assert not sizes or max(sizes) - min(sizes) <= 1
