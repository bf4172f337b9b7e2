"""Every key of a scenario reaches the simulator, and changes what a run gives: one row a key.

A row has a scene, the key's value there, what `ClusterSpec` then holds and what it holds without the key, and the
results of a run that differ. A key that gets lost on its way gives two equal runs.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import pytest

from ppdsim import scenario
from ppdsim.des.spec import ClusterSpec
from ppdsim.errors import ScenarioError, WorkloadError
from ppdsim.scenario.schema import ENGINE_FLAGS
from ppdsim.setup import resolve
from ppdsim.simulation.run import simulate
from ppdsim.types import Transport

NOT_SIMULATED = {"schema", "question", "run_time", "workload", "crossover", "seeds", "alternatives"}
NO_EFFECT = {"engine.name"}
"""It refuses a profile of another engine (tests/engines/test_requested.py)."""
OTHER_PROFILE = "h100x2_llama-3.1-8b_sglang-0.5.17_derived"
CROWD = (
    "workload.conversations=24",
    "workload.arrivals={kind: fixed, rate_per_s: 40}",
    "workload.turns_mean=3",
    "workload.first_turn_new_tokens={kind: uniform, min_tokens: 400, max_tokens: 3000}",
    "workload.later_turn_new_tokens={kind: constant, value_tokens: 300}",
    "workload.output_tokens={kind: uniform, min_tokens: 20, max_tokens: 200}",
    "workload.think_time={kind: constant, value_s: 0.05}",
)
PAIR = ("one-pair", *CROWD)
TCP = (*PAIR, "transport=tcp")
APPENDS = (*PAIR, "routing.policy=always-d")
UNIFIED = ("one-unified", *CROWD)
TIGHT_UNIFIED = (*UNIFIED, "fleet.0.kv_pool_tokens=20000")
OVERLOAD = (*TCP, "workload.conversations=16500", "workload.turns_mean=1")
TWO_PAIRS = (*PAIR, "fleet.0.count=2", "fleet.1.count=2")


class Row(NamedTuple):
    key: str
    value: str
    scene: tuple[str, ...]
    expected: Any = None  # of the field of `ClusterSpec`, where there is one
    default: Any = None
    field: str = ""  # of `ClusterSpec` (below its first node where dotted), where it is not the last part of the key


ROWS = [
    Row("disaggregation_decode_enable_radix_cache", "true", TCP, True, False),
    Row("page_size", "16", PAIR, 16, 64, "model.page_size_tokens"),
    Row("chunked_prefill_size", "512", PAIR, 512, 8192, "model.chunked_prefill_size"),
    Row("max_prefill_tokens", "1000", PAIR, 1000, 16_384),
    Row("max_running_requests", "3", PAIR, 3, 2_048),
    Row("num_reserved_decode_tokens", "3000", (*PAIR, "fleet.1.kv_pool_tokens=20000"), 3000, 512),
    Row("schedule_conservativeness", "3", TIGHT_UNIFIED, 3.0, 1.0),
    Row("enable_mixed_chunk", "true", UNIFIED, True, False, "model.engine.mixes_steps"),
    Row("disaggregation_decode_extra_slots", "0", (*PAIR, "max_running_requests=3"), 0, 6),
    Row("disable_overlap_schedule", "true", APPENDS, False, True, "model.engine.overlap_schedule"),
    Row("disaggregation_bootstrap_timeout_s", "0.05", (*PAIR, "fleet.1.kv_pool_tokens=20000"), 0.05, 300.0),
    Row("disaggregation_waiting_timeout_s", "0.05", TCP, 0.05, 300.0),
    Row("transport", "tcp", PAIR, Transport.TCP, Transport.NVLINK),
    Row("per_step", "true", PAIR, True, False),
    Row("stop_when_overloaded", "false", OVERLOAD, False, True),
    Row("routing.prefill_policy", "round_robin", TWO_PAIRS, "round_robin", None),
    Row("routing.decode_policy", "round_robin", (*TWO_PAIRS, "routing.sticky_sessions=false"), "round_robin", None),
    Row("routing.sticky_sessions", "false", (*TWO_PAIRS, "routing.policy=always-d"), False, True),
    Row("routing.awaits_prefill", "false", PAIR, False, True, "router_awaits_prefill"),
    Row("routing.client_max_conversations", "2", PAIR, 2, None),
    Row("routing.frontend_max_conversations", "2", PAIR, 2, None),
    Row("routing.policy", "always-d", PAIR),
    Row("routing.parameters", "{threshold_tokens: 64}", (*PAIR, "routing.policy=threshold")),
    Row("routing.gamma", "50", (*PAIR, "routing.policy=cost-aware")),
    Row("fleet.1.role", "D", APPENDS),
    Row("fleet.1.count", "2", PAIR),
    Row("fleet.1.kv_pool_tokens", "20000", PAIR),
    Row("fleet.1.profile", OTHER_PROFILE, PAIR),
    Row("fleet.0.nic", "one", (*TCP, "fleet.0.count=2")),
    Row("profile", OTHER_PROFILE, PAIR),
    Row("engine", "sglang-0.5.14", (*TCP, "fleet.1.role=D")),
    Row("engine.version", "0.5.14", (*TCP, "fleet.1.role=D")),
    Row("engine.flags", "{chunked_prefill_size: 512}", PAIR),
    Row("link_bytes_per_s", "1e9", PAIR),
    Row("disagg_prefill_early_send_cached_prefix", "false", TCP),
    Row("slo.ttft_ms", "1", PAIR),
    Row("slo.tpot_ms", "1", PAIR),
    Row("slo.itl_max_ms", "1", PAIR),
    Row("oversized_turns", "reject", (*PAIR, "fleet.1.kv_pool_tokens=3000")),
    Row("seed", "1", PAIR),
]
SAME_TIMES = {"per_step"}  # it is the oracle: an event each step, and no other result


@functools.cache
def spec_of(name: str, *settings: str) -> ClusterSpec:
    return resolve(scenario.load(name, settings)).cluster(seed=0)


@functools.cache
def outcome(name: str, *settings: str) -> dict[str, list[Any]] | str:
    loaded = scenario.load(name, settings)
    try:
        turns = simulate(loaded, seed=loaded.seed).turns
    except WorkloadError as refused:
        return str(refused)
    # NaN, which equals nothing, would make any two runs with an unfinished turn differ.
    last_s = [None if math.isnan(time) else time for time in turns["t_last_token_s"].tolist()]
    return {"t_last_token_s": last_s, "status": turns["status"].tolist(), "slo_met": turns["slo_met"].tolist()}


def test_every_key_that_a_run_reads_has_a_row() -> None:
    schema = scenario.json_schema()
    keys = set(schema["properties"]) - NOT_SIMULATED - {"fleet", "routing", "slo"}
    blocks = {"fleet.0": "NodeGroup", "routing": "Routing", "slo": "Slo", "engine": "EngineBlock"}
    for block, name in blocks.items():
        keys |= {f"{block.removesuffix('.0')}.{key}" for key in schema["$defs"][name]["properties"]}
    assert {row.key.replace("fleet.0.", "fleet.").replace("fleet.1.", "fleet.") for row in ROWS} == keys - NO_EFFECT
    assert set(ENGINE_FLAGS) <= keys


@pytest.mark.parametrize(
    "row", [row for row in ROWS if (row.expected, row.default) != (None, None)], ids=lambda r: r.key
)
def test_a_key_reaches_the_fleet_and_its_default_is_the_engines(row: Row) -> None:
    def found(*settings: str) -> Any:
        spec = spec_of(*row.scene, *settings)
        if "." not in row.field:
            return getattr(spec, row.field or row.key.split(".")[-1])
        return functools.reduce(getattr, row.field.split("."), spec.nodes[0])

    assert found() == row.default
    assert found(f"{row.key}={row.value}") == row.expected


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_a_key_changes_the_run(row: Row) -> None:
    before, after = outcome(*row.scene), outcome(*row.scene, f"{row.key}={row.value}")
    if row.key in SAME_TIMES:
        assert not isinstance(before, str)
        assert not isinstance(after, str)
        assert after["t_last_token_s"] == pytest.approx(before["t_last_token_s"], abs=1e-9)
    else:
        assert after != before


def test_the_gap_limit_is_also_the_budget_of_the_policy_that_has_one() -> None:
    scene = (*PAIR, "routing.policy=slo-aware")
    loose, strict = (outcome(*scene, f"slo.itl_max_ms={limit}") for limit in (10_000, 1))
    assert not isinstance(loose, str)
    assert not isinstance(strict, str)
    assert loose["t_last_token_s"] != strict["t_last_token_s"]


def test_an_override_may_call_a_key_by_its_short_name():
    long = "disaggregation_decode_enable_radix_cache"
    assert getattr(scenario.load("one-pair", ["transport=tcp", "decode_radix=true"]), long)
    assert not getattr(scenario.load("one-pair", [f"{long}=true", "decode_radix=false"]), long), "the last one counts"


@pytest.mark.parametrize(
    "settings",
    [("transport=tcp", "transport=nvlink"), ("decode_radix=true", "disaggregation_decode_enable_radix_cache=false")],
)
def test_an_override_that_a_later_one_replaces_is_refused(settings: tuple[str, ...]):
    with pytest.raises(ScenarioError, match=f"--set {settings[0]}: replaced by --set {settings[1]}; give one of them"):
        scenario.refuse_replaced(settings)


def test_a_block_that_replaces_one_of_its_keys_is_refused_and_one_that_is_refined_is_not():
    block = "slo={ttft_ms: 100, tpot_ms: 20}"
    with pytest.raises(ScenarioError, match=r"slo\.ttft_ms=5: replaced by"):
        scenario.refuse_replaced(["slo.ttft_ms=5", block])
    scenario.refuse_replaced([block, "slo.ttft_ms=5"])
    assert scenario.load("one-pair", [block, "slo.ttft_ms=5"]).slo.ttft_ms == 5
