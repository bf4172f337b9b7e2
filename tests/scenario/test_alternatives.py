"""Alternatives of a scenario: what each becomes, what they may not set, and where an error points."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppdsim import scenario
from ppdsim.errors import ScenarioError
from ppdsim.types import NodeRole, Transport

BASE = """schema: ppdsim/scenario/1
question: Which?
run_time: none
profile: p
fleet:
  - {role: P, count: 2}
  - {role: D, count: 2}
transport: tcp
routing: {policy: always-p}
"""


def written(folder: Path, alternatives: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(BASE + alternatives)
    return path


TWO = """alternatives:
  - name: as-is
  - name: other
    set:
      fleet.0.count: 3
      transport: nvlink
      routing.parameters.threshold_tokens: 7
      routing.policy: threshold
"""


def test_an_alternative_is_the_scenario_with_its_own_keys(tmp_path):
    loaded = scenario.load(written(tmp_path, TWO))
    same, other = loaded.variants
    assert [group.count for group in same.fleet] == [2, 2]
    assert same.transport is Transport.TCP
    assert [group.count for group in other.fleet] == [3, 2]
    assert other.transport is Transport.NVLINK
    assert other.routing.parameters == {"threshold_tokens": 7}
    assert other.name == loaded.name == "mine"
    assert other.alternatives == ()


def test_an_override_changes_what_alternatives_do_not_set(tmp_path):
    same, other = scenario.load(written(tmp_path, TWO), ["transport=rdma", "fleet.1.count=5"]).variants
    assert (same.transport, other.transport) == (Transport.RDMA, Transport.NVLINK)
    assert [variant.fleet[1].count for variant in (same, other)] == [5, 5]


def test_an_override_reaches_into_an_alternative(tmp_path):
    loaded = scenario.load(
        written(tmp_path, TWO), ["alternatives.0.set={fleet: [{role: U, count: 4}], transport: none}"]
    )
    assert loaded.variants[0].fleet[0].role is NodeRole.U


def test_a_trace_replaces_the_workload_of_every_alternative(tmp_path):
    trace = tmp_path / "chat.jsonl"
    trace.write_text('{"conversation_id": 1, "turn": 0, "arrival_s": 0, "new_tokens": 5, "output_tokens": 5}')
    loaded = scenario.load(written(tmp_path, TWO), trace=trace)
    assert len(loaded.variants) == 2
    assert all(variant.workload == loaded.workload for variant in loaded.variants)


WRONG = {
    "one alone": (
        "alternatives:\n  - name: a\n",
        ":10: alternatives: given 1 alternative, expected at least 2, because they are compared with each other",
    ),
    "a name twice": (
        "alternatives:\n  - name: a\n  - name: a\n",
        ":10: alternatives: name 'a' is given twice, expected a name of its own for each",
    ),
    "a name that is no folder": ("alternatives:\n  - name: ../a\n  - name: b\n", ":11: alternatives[0].name: given"),
    "one seed": ("seeds: 1\n", ":10: seeds: given 1, expected"),
    "a misspelt block": ("alternativs: []\n", ":10: unknown key 'alternativs'"),
    "what all share": (
        "alternatives:\n  - name: a\n  - name: b\n    set:\n      slo.ttft_ms: 5\n",
        ":14: alternative 'b' sets slo.ttft_ms; all alternatives share slo, because they meet the same conversations",
    ),
    "a misspelt key": (
        "alternatives:\n  - name: a\n  - name: b\n    set:\n      transprt: nvlink\n",
        ":14: alternative 'b': unknown key 'transprt'",
    ),
    "a wrong value": (
        "alternatives:\n  - name: a\n  - name: b\n    set:\n      fleet.0.count: two\n",
        ":14: alternative 'b': fleet[0].count: given 'two', expected integer",
    ),
    "a fleet that cannot be": (
        "alternatives:\n  - name: a\n  - name: b\n    set: {transport: none}\n",
        "transport: given none, expected nvlink, tcp or rdma, because P nodes hand over their KV",
    ),
    "no such group": (
        "alternatives:\n  - name: a\n  - name: b\n    set:\n      fleet.7.count: 1\n",
        ":14: alternative 'b' sets fleet.7.count: fleet has 2 items, counted from 0",
    ),
    "a link without a transport": (
        "alternatives:\n  - name: a\n  - name: b\n"
        "    set: {fleet: [{role: U, count: 1}], transport: none, link_bytes_per_s: 1.0e+9}\n",
        "link_bytes_per_s: transport is none, expected nvlink, tcp or rdma with it",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_says_where_and_which(name, tmp_path):
    alternatives, message = WRONG[name]
    path = written(tmp_path, alternatives)
    with pytest.raises(ScenarioError) as problem:
        scenario.load(path)
    assert str(problem.value).startswith(str(path))
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)
