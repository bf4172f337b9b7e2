"""The Chrome trace of a run: its structure, and that it says what the columns of the run say."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from des.costs import cost_model, fleet, talk
from des.scenes import block_scenes, scenes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppdsim.des import chrome_trace
from ppdsim.des.backlog import Backlog
from ppdsim.des.cluster import Cluster, run_cluster
from ppdsim.des.link import Links
from ppdsim.des.step_log import StepLog
from ppdsim.des.timeline import Timeline
from ppdsim.des.turn_spans import DECODE, FOR_FORWARD, FOR_PAGES, HANDSHAKE, HELD, JOIN, PREFILL, TRANSFER
from ppdsim.des.turns import Turns
from ppdsim.results import Results
from ppdsim.routing import AlwaysD, AlwaysP

COMMON = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
NEEDS = {
    "X": {"pid", "tid", "name", "ts", "dur", "args"},
    "b": {"pid", "tid", "name", "ts", "cat", "id"},
    "e": {"pid", "tid", "name", "ts", "cat", "id"},
    "i": {"pid", "tid", "name", "ts", "s"},
    "C": {"pid", "tid", "name", "ts", "args"},
    "M": {"pid", "tid", "name", "args"},
}
"""Keys that each phase must have, by the trace event format."""
WAITS = (FOR_PAGES, FOR_FORWARD, HELD)


def recorded(spec: Any, conversations: Any, policy: Any) -> tuple[Results, Timeline, list[dict[str, Any]]]:
    timeline = Timeline()
    results = run_cluster(spec, conversations, policy, timeline=timeline)
    return results, timeline, chrome_trace.events(timeline)


def spans(events: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the seconds of each span by turn and name; the turn's own span is named ``turn``."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    stacks: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        stack = stacks[event["pid"], event.get("id", -1)]
        if event["ph"] == "b":
            stack.append(event)
        elif event["ph"] == "e":
            begun = stack.pop()
            assert begun["name"] == event["name"]
            assert event["ts"] >= begun["ts"]
            assert len(stack) <= 1
            turn = (stack[0] if stack else begun)["name"].removeprefix("turn ")
            found[turn][begun["name"] if stack else "turn"] += (event["ts"] - begun["ts"]) / 1e6
    assert not any(stacks.values())
    return found


@COMMON
@given(st.one_of(scenes(), block_scenes()))
def test_any_run_is_a_valid_trace(scene) -> None:
    _, _, events = recorded(*scene)
    parsed = json.loads(json.dumps(events, allow_nan=False))
    times = [event["ts"] for event in parsed if event["ph"] != "M"]
    assert times == sorted(times)
    assert min(times, default=0.0) >= 0.0
    named = {event["pid"] for event in parsed if event["ph"] == "M" and event["name"] == "process_name"}
    lanes: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in parsed:
        assert NEEDS[event["ph"]] <= set(event)
        assert event["pid"] in named
        if event["ph"] == "X":
            assert event["dur"] >= 0.0
            lanes[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
        elif event["ph"] == "C":
            assert all(value >= 0 for value in event["args"].values())
    for lane in lanes.values():
        lane.sort()
        assert all(start >= before - 1e-3 for (_, before), (start, _) in pairwise(lane))
    spans(parsed)


@COMMON
@given(st.one_of(scenes(), block_scenes()))
def test_a_timeline_changes_nothing(scene) -> None:
    spec, conversations, policy = scene
    plain = run_cluster(spec, conversations, policy)
    seen, _, _ = recorded(spec, conversations, policy)
    for name, column in plain.turns.items():
        np.testing.assert_array_equal(column, seen.turns[name])


@COMMON
@given(st.one_of(scenes(), block_scenes()))
def test_the_spans_add_up_to_the_columns(scene) -> None:
    results, timeline, events = recorded(*scene)
    turns, found = results.turns, spans(events)
    wire: dict[int, float] = defaultdict(float)
    for sent in timeline.transfers:
        wire[sent.turn] += sent.end_s - sent.start_s
    shared = any(node.nic for node in scene[0].nodes)
    for row, request in enumerate(turns["request_id"].tolist()):
        if turns["status"][row] != "ok":
            continue
        mine = found[request]
        waits = sum(mine[name] for name in WAITS)
        assert waits == pytest.approx(turns["queue_s"][row], abs=1e-8)
        assert mine[FOR_PAGES] == pytest.approx(turns["kv_wait_s"][row], abs=1e-8)
        assert mine[PREFILL] == pytest.approx(turns["prefill_s"][row], abs=1e-8)
        assert mine[TRANSFER] == pytest.approx(max(turns["kv_transfer_exposed_s"][row], 0.0), abs=1e-8)
        assert mine[DECODE] == pytest.approx(turns["t_last_token_s"][row] - turns["t_first_token_s"][row], abs=1e-8)
        assert mine["turn"] == pytest.approx(turns["e2e_s"][row], abs=1e-8)
        if not shared:
            assert wire[row] == pytest.approx(turns["kv_transfer_s"][row], abs=1e-8)
        else:
            assert wire[row] >= turns["kv_transfer_s"][row] - 1e-8


@COMMON
@given(st.one_of(scenes(), block_scenes()))
def test_the_nodes_did_the_work_of_the_turns(scene) -> None:
    results, timeline, events = recorded(*scene)
    turns = results.turns
    ok = turns["status"] == "ok"
    computed: dict[int, int] = defaultdict(int)
    for forward in timeline.forwards:
        for piece in forward.pieces:
            computed[piece.turn] += piece.tokens
    assert timeline.cluster is not None
    # A stream that a U has retracted is prefilled anew, and that forward gives it a token.
    pauses = timeline.cluster.turns.pauses
    anew = {turn: sum(not math.isnan(time_s) for _, _, time_s in mine) for turn, mine in pauses.items()}
    expected = turns["input_tokens"] - turns["prefill_cached_tokens"]
    for turn in np.flatnonzero(ok).tolist():
        assert (computed[turn] > expected[turn]) if anew.get(turn) else (computed[turn] == expected[turn])
    resident = scene[0].residents
    tokens = sum((stretch.streams - resident) * stretch.steps for stretch in timeline.stretches) + sum(anew.values())
    assert tokens >= int((turns["output_tokens"][ok] - 1).sum())
    if ok.all():
        assert tokens == int((turns["output_tokens"] - 1).sum())
    noted = sum(event["ph"] == "i" and event["name"] == "retraction" for event in events)
    assert noted <= sum(node.retractions for node in timeline.cluster.decode.values())


def test_a_hand_made_run_event_by_event() -> None:
    """Two requests on one P: the second waits for the first one's forward, and its span says so."""
    model = cost_model(frontend={"in_s": 0.0, "in_s_per_token": 0.0, "out_s": 0.0})
    spec = fleet("P D", model, max_prefill_tokens=1)
    results, _, events = recorded(spec, [talk(1, 0.0, (100, 4)), talk(2, 0.0, (100, 4))], AlwaysP())
    found = spans(events)
    assert found["2:0"][FOR_FORWARD] == pytest.approx(results.turns["prefill_s"][0])
    assert FOR_FORWARD not in found["1:0"]
    queue = [e for e in events if e["ph"] == "C" and e["name"] == f"turns that {FOR_FORWARD}"]
    assert [e["args"]["turns"] for e in queue] == [1, 0]
    assert [e["name"] for e in events if e["ph"] == "X" and e["pid"] == 1] == ["forward of 100 tokens"] * 2
    links = [e for e in events if e["ph"] == "X" and e["pid"] == 3]
    assert [e["args"]["turn"] for e in links] == ["1:0", "2:0"]
    batches = [e["args"]["streams"] for e in events if e["ph"] == "X" and e["pid"] == 2]
    assert set(batches) <= {1, 2}


def test_retractions_are_instants_on_their_node() -> None:
    spec = fleet("U", cost_model(page=16), pool=800, schedule_conservativeness=0.0)
    results, timeline, events = recorded(spec, [talk(i, 0.0, (100, 200)) for i in range(3)], AlwaysD())
    assert timeline.cluster is not None
    retractions = timeline.cluster.decode[0].retractions
    noted = [e for e in events if e["ph"] == "i"]
    assert retractions > 0
    assert len(noted) == retractions
    assert {e["name"] for e in noted} == {"retraction"}
    assert {e["args"]["turn"] for e in noted} <= set(results.turns["request_id"].tolist())


def test_a_run_without_a_timeline_has_no_recorder() -> None:
    spec = fleet("P D", cost_model())
    cluster = Cluster(spec, Turns([talk(1, 0.0, (100, 4))]), AlwaysP())
    assert type(cluster.prefill[0].backlog) is Backlog
    assert type(cluster.prefill[0].links) is Links
    assert type(cluster.decode[1].log) is StepLog
    cluster.run()
    with pytest.raises(ValueError, match="no run has recorded"):
        chrome_trace.events(Timeline())


def test_a_timed_out_turn_ends_when_it_times_out() -> None:
    spec = fleet("P D", cost_model(), pool=3_000, disaggregation_bootstrap_timeout_s=0.25, num_reserved_decode_tokens=0)
    results, _, events = recorded(spec, [talk(1, 0.0, (1_500, 900)), talk(2, 0.0, (1_500, 900))], AlwaysP())
    assert results.turns["status"].tolist() == ["ok", "timed_out"]
    assert spans(events)["2:0"][FOR_PAGES] == pytest.approx(0.25)


def test_a_turn_whose_kv_does_not_come_ends_when_it_times_out_whatever_p_does_with_it() -> None:
    link = {"wire_s_per_token": 2.0**-12}
    spec = fleet("P D", cost_model(link=link), disaggregation_waiting_timeout_s=0.5)
    # The first one's KV takes less than half a second, the second one's waits for it.
    results, _, events = recorded(spec, [talk(1, 0.0, (1_500, 4)), talk(2, 0.0, (1_500, 4))], AlwaysP())
    assert results.turns["status"].tolist() == ["ok", "timed_out"]
    found = spans(events)["2:0"]
    parts = [found[name] for name in (HANDSHAKE, FOR_FORWARD, PREFILL, TRANSFER)]
    assert sum(parts) == pytest.approx(0.5)
    assert min(parts) > 0.0
    assert JOIN not in found


def test_the_file_is_whole(tmp_path: Path) -> None:
    timeline = Timeline()
    run_cluster(fleet("U", cost_model()), [talk("a", 0.0, (100, 4))], AlwaysD(), timeline=timeline)
    chrome_trace.write(tmp_path / "new" / "t.json", timeline, {"scenario": "one", "seed": 3})
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["t.json"]
    document = json.loads((tmp_path / "new" / "t.json").read_text())
    assert document["otherData"] == {"scenario": "one", "seed": "3"}
    assert document["traceEvents"] == json.loads(json.dumps(chrome_trace.events(timeline)))
