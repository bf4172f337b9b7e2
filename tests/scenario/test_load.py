"""Loading, overriding and refusing: each refusal names place, key, what was given and what was expected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppdsim import scenario
from ppdsim.errors import PpdsimError, ScenarioError, UnknownNameError, WorkloadError
from ppdsim.scenario import GeneratedSpec, TraceSpec
from ppdsim.types import Arm, NodeRole, Transport

TEXT = """\
schema: ppdsim/scenario/1
question: What does this test ask?
run_time: none
profile: some-profile
fleet:
  - {role: P, count: 1}
  - {role: pD, count: 2, kv_pool_tokens: 100000}
transport: tcp
routing:
  policy: always-p
workload:
  kind: conversations
  file: chat.jsonl
slo:
  ttft_ms: 500
crossover:
  cache_rates: [0.1, 0.5]
  arms:
    - {arm: append-d, transport: none}
    - {arm: p-full, transport: tcp}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "it.yaml"
    file.write_text(TEXT)
    return file


def test_values_and_defaults(path: Path) -> None:
    loaded = scenario.load(path)
    assert [(group.role, group.count, group.kv_pool_tokens) for group in loaded.fleet] == [
        (NodeRole.P, 1, None),
        (NodeRole.PD, 2, 100_000),
    ]
    assert loaded.transport is Transport.TCP
    assert loaded.routing.gamma == 1.0
    assert (loaded.disaggregation_decode_enable_radix_cache, loaded.per_step, loaded.seed) == (False, False, 0)
    assert (loaded.slo.ttft_s, loaded.slo.tpot_s, loaded.slo.itl_max_s) == (0.5, None, None)
    assert loaded.crossover is not None
    assert loaded.crossover.arms[0].arm is Arm.APPEND_D
    assert loaded.crossover.previous_output_tokens == (0, 350)


def test_a_trace_file_is_found_beside_the_scenario(path: Path) -> None:
    (path.parent / "chat.jsonl").write_text(
        '{"conversation_id": 1, "turn": 0, "arrival_s": 0, "new_tokens": 5, "output_tokens": 5}'
    )
    workload = scenario.load(path).build_workload()
    assert len(list(workload.conversations(np.random.default_rng(0)))) == 1


def test_overrides_are_typed_by_the_schema_and_the_last_wins(path: Path) -> None:
    loaded = scenario.load(
        path,
        [
            "transport=tcp",
            "transport=nvlink",
            "disaggregation_decode_enable_radix_cache=true",
            "fleet.1.count=3",
            "slo.tpot_ms=25",
            "crossover.cache_rates=[0, 0.25]",
            "crossover.cache_rates.1=0.75",
            "routing.parameters.threshold_tokens=512",
            "profile=123",
            "max_running_requests=64",
        ],
    )
    assert loaded.transport is Transport.NVLINK
    assert loaded.disaggregation_decode_enable_radix_cache is True
    assert loaded.fleet[1].count == 3
    assert (loaded.slo.ttft_ms, loaded.slo.tpot_ms) == (500, 25)
    assert loaded.crossover is not None
    assert loaded.crossover.cache_rates == (0.0, 0.75)
    assert loaded.routing.parameters == {"threshold_tokens": 512}
    assert loaded.profile == "123"
    assert loaded.max_running_requests == 64


# (overrides, what the one line must say)
WRONG_OVERRIDES = [
    ("transport=tpc", r"^--set transport=tpc: transport: given 'tpc', expected .*'rdma'; did you mean 'tcp'\?$"),
    ("trnsport=tcp", r"unknown key 'trnsport' \(valid: .*\); did you mean 'transport'\?$"),
    ("slo.ttft_s=1", r"unknown key 'slo.ttft_s' .*did you mean 'ttft_ms'"),
    ("routing.policy=always-q", r"routing.policy: given 'always-q', expected always-p, .*; did you mean 'always-p'\?$"),
    ("fleet.0.count=0", r"fleet\[0\].count: given 0, expected greater"),
    ("fleet.0.rol=P", r"unknown key 'fleet\[0\].rol' .*did you mean 'role'"),
    ("fleet.7.count=1", r"fleet has 2 items, counted from 0"),
    ("fleet=[]", r"fleet: given \[\], expected at least 1"),
    ("fleet.0.role=D", r"fleet: D or pD nodes without a P node"),
    ("fleet=[{role: P, count: 1}]", r"fleet: P nodes without a D or pD node"),
    ("transport=none", r"it.yaml with --set transport=none: transport: given none, expected nvlink, tcp or rdma"),
    ("transport.x=1", r"no key 'x' in transport"),
    ("seed=1.5", r"seed: given 1.5, expected integer"),
    ("seed=-1", r"seed: given -1, expected greater than or equal to 0"),
    ("seed=[", r"--set seed=\[: not YAML"),
    ("per_step=1", r"per_step: given 1, expected boolean"),
    ("seed", r"--set seed: expected key=value"),
    ("=1", r"expected key=value"),
    ("slo.ttft_ms=.inf", r"slo.ttft_ms: given inf, expected a finite number"),
    (
        "workload.kind=conversation",
        r"workload.kind: given 'conversation', expected one of .*did you mean 'conversations'",
    ),
    ("crossover.cache_rates.1=1.0", r"crossover.cache_rates\[1\]: given 1.0, expected less than 1$"),
    ("crossover.cache_rates=[-0.1]", r"cache_rates\[0\]: given -0.1, expected greater than or equal to 0"),
    ("crossover.arms.0.transport=tcp", r"arm append-d over transport tcp; only append-d goes over none"),
]


@pytest.mark.parametrize(("override", "message"), WRONG_OVERRIDES)
def test_a_wrong_override_is_refused_in_one_line(path: Path, override: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        scenario.load(path, [override])
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


# (text to replace, replacement, what the one line must say)
WRONG_FILES = [
    (
        "transport: tcp\nrouting",
        "transprot: tcp\nrouting",
        r"it.yaml:8: unknown key 'transprot' .*did you mean 'transport'",
    ),
    ("ttft_ms: 500", "ttft_ms: fast", r"it.yaml:15: slo.ttft_ms: given 'fast', expected number"),
    ("ttft_ms: 500", "ttft_ms: '500'", r"it.yaml:15: slo.ttft_ms: given '500', expected number"),
    ("count: 1}", "count: yes}", r"it.yaml:6: fleet\[0\].count: given 'yes', expected integer"),
    ("question: What does this test ask?\n", "", r"it.yaml: key 'question' is missing"),
    ("  policy: always-p", "  gamma: 1", r"it.yaml:9: key 'routing.policy' is missing"),
    ("scenario/1", "scenario/9", r"it.yaml:1: schema: given 'ppdsim/scenario/9', expected 'ppdsim/scenario/1'"),
    ("slo:", "transport: rdma\nslo:", r"it.yaml:14: key 'transport' is there twice"),
    ("slo:", "  slo: {", r"it.yaml:\d+: not YAML"),
    (TEXT, "", r"it.yaml: expected keys and values"),
    (TEXT, "- 1", r"it.yaml: expected keys and values"),
    (TEXT, "a: \x00", r"it.yaml: not YAML"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG_FILES)
def test_a_wrong_file_is_refused_with_its_line(path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(ScenarioError, match=message) as caught:
        scenario.load(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="UTF-16 text"):
        scenario.load(path)


def test_several_mistakes_are_counted(path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"\(and 1 more\)$"):
        scenario.load(path, ["seed=-1", "slo.ttft_ms=-1"])


def test_an_unknown_name_and_a_missing_file() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'one-pair'.*ppdsim scenarios"):
        scenario.load("one-pear")
    with pytest.raises(UnknownNameError, match=r"absent.yaml' does not exist"):
        scenario.load("absent.yaml")


def test_no_workload(path: Path) -> None:
    path.write_text(TEXT.replace("workload:\n  kind: conversations\n  file: chat.jsonl\n", ""))
    loaded = scenario.load(path)
    with pytest.raises(ScenarioError, match="--trace"):
        loaded.build_workload()


def test_a_trace_takes_the_place_of_the_workload(tmp_path: Path) -> None:
    trace = tmp_path / "t"
    trace.write_text('{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": [0]}')
    plain = scenario.load("one-pair")
    replaced = scenario.load("one-pair", trace=trace)
    assert isinstance(plain.workload, GeneratedSpec)
    assert isinstance(replaced.workload, TraceSpec)
    assert replaced.workload.kind == "mooncake"
    assert len(list(replaced.build_workload().conversations(np.random.default_rng(0)))) == 1
    trace.write_text("")
    with pytest.raises(WorkloadError, match="empty"):
        scenario.load("one-pair", trace=trace)


TRACE = '{"conversation_id": %d, "turn": 0, "arrival_s": %g, "new_tokens": 5, "output_tokens": 5}\n'


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    file = tmp_path / "t.jsonl"
    file.write_text("".join(TRACE % (i, 3.0 * i) for i in range(4)))
    return file


def test_a_trace_is_scaled_and_cut_by_overrides(trace: Path) -> None:
    loaded = scenario.load("one-pair", ["workload.rate_scale=3", "workload.limit=2"], trace=trace)
    found = list(loaded.build_workload().conversations(np.random.default_rng(0)))
    assert [conversation.arrival_s for conversation in found] == [0.0, 1.0]


def test_alternatives_meet_the_scaled_trace_too(trace: Path) -> None:
    loaded = scenario.load("pd-ratio", ["workload.rate_scale=3"], trace=trace)
    assert loaded.variants
    assert {variant.workload for variant in loaded.variants} == {loaded.workload}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "workload={kind: conversations, file: other.jsonl}",
            r"^--set workload=.*: --trace .*t.jsonl gives the workload",
        ),
        ("workload.file=other.jsonl", r"^--set workload.file=other.jsonl: --trace .*t.jsonl gives the workload"),
        ("workload.kind=azure", r"^--set workload.kind=azure: --trace .*t.jsonl gives the workload"),
        (
            "workload.conversations=20",
            r"^--set workload.conversations=20: unknown key 'workload.conversations' .*limit",
        ),
        (
            "workload.rate_scale=0",
            r"^--set workload.rate_scale=0: workload.rate_scale: given 0, expected greater",
        ),
    ],
)
def test_an_override_that_a_trace_would_replace_is_refused_by_name(trace: Path, override: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        scenario.load("one-pair", [override], trace=trace)
    assert "\n" not in str(caught.value)


def test_generated_workloads_take_every_distribution() -> None:
    loaded = scenario.load(
        "one-unified",
        [
            "workload.arrivals={kind: gamma, rate_per_s: 2, cv: 2}",
            "workload.first_turn_new_tokens={kind: uniform, min_tokens: 10, max_tokens: 20}",
            "workload.later_turn_new_tokens={kind: empirical, values_tokens: [3, 4]}",
            "workload.output_tokens={kind: constant, value_tokens: 9}",
            "workload.think_time={kind: empirical, values_s: [0.5]}",
        ],
    )
    found = list(loaded.build_workload().conversations(np.random.default_rng(0)))
    turns = [turn for conversation in found for turn in conversation.turns[1:]]
    assert {turn.new_tokens for turn in turns} == {3, 4}
    assert {turn.think_s for turn in turns} == {0.5}
    assert {conversation.turns[0].output_tokens for conversation in found} == {9}


def test_a_range_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ScenarioError, match="min_tokens 20 is above max_tokens 10"):
        scenario.load("one-pair", ["workload.output_tokens={kind: uniform, min_tokens: 20, max_tokens: 10}"])


def test_the_json_schema_names_every_key(path: Path) -> None:
    schema = scenario.json_schema()
    assert {"schema", "fleet", "transport", "workload", "crossover"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_a_scenario_cannot_be_changed(path: Path) -> None:
    loaded = scenario.load(path)
    with pytest.raises(ValueError, match="frozen"):
        loaded.seed = 3  # type: ignore[misc]
    assert issubclass(ScenarioError, PpdsimError)
