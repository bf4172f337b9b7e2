"""Every key of a scenario x every command: the key changes the result, or setting it for the call is refused.

A row says what a key is set to, and in which scene it must matter. What is compared leaves out the echo of the input
(provenance, notes, unread keys), so a key that is only written down does not pass.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson
import pytest
from crossover_cases import few_draws

from ppdsim import answers, result_files, scenario
from ppdsim.capacity import capacity, capacity_of_each, load
from ppdsim.crossover import breakeven, crossover, plan
from ppdsim.engines import ENGINES
from ppdsim.errors import InputError, ScenarioError
from ppdsim.routing import POLICIES, POLICY_READS, FleetModel, PolicyContext, build_policy
from ppdsim.scenario import Scenario
from ppdsim.scenario.keys import RULES, Call, Command, unread_keys, unread_reason
from ppdsim.setup import check_asked, resolve
from ppdsim.simulation import compare as prices
from ppdsim.simulation.compare import compare
from ppdsim.simulation.run import simulate
from ppdsim.sweep.measures import measure
from ppdsim.types import Transport
from ppdsim.whatif import run as what_if

OTHER_PROFILE = "h100x2_llama-3.1-8b_sglang-0.5.17_derived"
TURNS = (
    "workload.conversations=5",
    "workload.arrivals={kind: fixed, rate_per_s: 40}",
    "workload.turns_mean=2",
    "workload.first_turn_new_tokens={kind: uniform, min_tokens: 400, max_tokens: 3000}",
    "workload.later_turn_new_tokens={kind: constant, value_tokens: 300}",
    "workload.output_tokens={kind: uniform, min_tokens: 20, max_tokens: 60}",
    "workload.think_time={kind: constant, value_s: 0.05}",
)
GRID = (
    "crossover={total_tokens: [4096], cache_rates: [0.9], fixed_cached_tokens: [1024], turns: 4, draws: 1,"
    " output_tokens: 20, previous_output_tokens: [0], turn_rate_per_s: 5, arms: [{arm: append-d, transport: none},"
    " {arm: p-full, transport: tcp}]}",
    "slo={ttft_ms: 2000, tpot_ms: 60, itl_max_ms: 2000}",
)
PAIR = ("one-pair", *TURNS, *GRID, "transport=tcp", "routing.policy=cost-aware")
HANDS_OVER = (*PAIR, "routing.policy=always-p")
APPENDS = (*PAIR, "routing.policy=always-d")
TWO_PAIRS = (*PAIR, "fleet.0.count=2", "fleet.1.count=2")
UNIFIED = ("one-unified", *TURNS, *GRID)
TIGHT = (
    *UNIFIED,
    "fleet.0.kv_pool_tokens=16000",
    "workload.conversations=20",
    "workload.turns_mean=1",
    "workload.output_tokens={kind: constant, value_tokens: 400}",
)
NO_WORKLOAD = ("cache-rate", GRID[0], "transport=nvlink")
ALTERNATIVES = "alternatives=[{name: a}, {name: b, set: {max_prefill_tokens: 900}}]"
EVERY = frozenset(Command)


class Row(NamedTuple):
    """`same` has the commands whose result may stay as it is although the key is read, and why."""

    key: str
    value: str
    scene: tuple[str, ...] = PAIR
    same: Mapping[Command, str] = {}
    only: frozenset[Command] = EVERY  # the commands that can play the scene


def same(why: str, *commands: Command) -> dict[Command, str]:
    return dict.fromkeys(commands or EVERY, why)


CROSSES = frozenset({Command.CROSSOVER})
NO_QUEUE = same("its single turns leave nothing to queue for", Command.CROSSOVER)
ROWS = [
    Row("profile", OTHER_PROFILE),
    Row("engine", "sglang-0.5.14", (*HANDS_OVER, "fleet.1.role=D")),
    Row("engine.name", "sglang", PAIR, same("it refuses a profile of another engine; tests/engines/test_requested.py")),
    Row("engine.version", "0.5.14", (*HANDS_OVER, "fleet.1.role=D")),
    Row("engine.flags", "{chunked_prefill_size: 512}", HANDS_OVER),
    Row("fleet.N.role", "D", APPENDS, same("an append is played on a unified node", Command.CROSSOVER)),
    Row("fleet.N.count", "2", HANDS_OVER),
    Row("fleet.N.kv_pool_tokens", "4500", HANDS_OVER),
    Row("fleet.N.profile", OTHER_PROFILE, HANDS_OVER),
    Row(
        "fleet.N.nic",
        "one",
        (*HANDS_OVER, "fleet.0.count=2", "workload.arrivals.rate_per_s=400"),
        same("it plays the fleet for what turns find cached, which a NIC does not change", Command.CROSSOVER),
    ),
    Row("transport", "nvlink", HANDS_OVER),
    Row("link_bytes_per_s", "1e9", HANDS_OVER),
    Row("disaggregation_decode_enable_radix_cache", "true", HANDS_OVER),
    Row("disagg_prefill_early_send_cached_prefix", "false", HANDS_OVER),
    Row("page_size", "512", HANDS_OVER, same("its prefixes are multiples of both pages", Command.CROSSOVER)),
    Row("chunked_prefill_size", "512", HANDS_OVER),
    Row("max_prefill_tokens", "1000", (*HANDS_OVER, "workload.arrivals.rate_per_s=400"), NO_QUEUE),
    Row("max_running_requests", "1", HANDS_OVER),
    Row("num_reserved_decode_tokens", "3000", (*HANDS_OVER, "fleet.1.kv_pool_tokens=9000"), NO_QUEUE),
    Row("schedule_conservativeness", "3", TIGHT, NO_QUEUE),
    Row("enable_mixed_chunk", "true", UNIFIED),
    Row("disaggregation_decode_extra_slots", "0", (*HANDS_OVER, "max_running_requests=1"), NO_QUEUE),
    Row("disable_overlap_schedule", "true", APPENDS),
    Row("disaggregation_bootstrap_timeout_s", "0.01", (*HANDS_OVER, "fleet.1.kv_pool_tokens=9000"), NO_QUEUE),
    Row("disaggregation_waiting_timeout_s", "0.05", HANDS_OVER),
    Row("per_step", "true", PAIR, same("it is the oracle: one event a step, and the same times")),
    Row("stop_when_overloaded", "false", HANDS_OVER, same("tests/des/test_overload.py plays a backlog of 16,500")),
    Row("oversized_turns", "reject", (*HANDS_OVER, "fleet.1.kv_pool_tokens=2000"), same("", Command.CROSSOVER)),
    Row("routing.policy", "always-d", HANDS_OVER),
    Row("routing.parameters", "{threshold_tokens: 64}", (*PAIR, "routing.policy=threshold")),
    Row("routing.gamma", "5000"),
    Row("routing.prefill_policy", "round_robin", (*TWO_PAIRS, "routing.policy=always-p")),
    Row("routing.decode_policy", "round_robin", (*TWO_PAIRS, "routing.sticky_sessions=false")),
    Row("routing.sticky_sessions", "false", (*TWO_PAIRS, "routing.policy=always-d")),
    Row("routing.awaits_prefill", "false", (*HANDS_OVER, "transport=nvlink"), NO_QUEUE),
    Row("routing.client_max_conversations", "1", HANDS_OVER),
    Row("routing.frontend_max_conversations", "1", HANDS_OVER),
    Row("slo.ttft_ms", "1"),
    Row("slo.tpot_ms", "1"),
    Row("slo.itl_max_ms", "1"),
    Row("seed", "1"),
    Row("seeds", "3"),
    Row(
        "alternatives",
        "[{name: c}, {name: d, set: {chunked_prefill_size: 512}}]",
        only=EVERY - {Command.SIMULATE, Command.POLICIES},
    ),
    Row("workload.kind", "", PAIR, same("the keys of a kind are its own; tests/scenario/test_workloads.py")),
    Row("workload.conversations", "45"),
    Row("workload.arrivals", "{kind: poisson, rate_per_s: 5}"),
    Row("workload.turns_mean", "4"),
    Row("workload.first_turn_new_tokens", "{kind: constant, value_tokens: 700}"),
    Row("workload.later_turn_new_tokens", "{kind: constant, value_tokens: 700}"),
    Row("workload.output_tokens", "{kind: constant, value_tokens: 9}"),
    Row("workload.think_time", "{kind: constant, value_s: 0.5}"),
    Row("crossover.total_tokens", "[2048]"),
    Row("crossover.cache_rates", "[0.6]"),
    Row("crossover.residents", "2"),
    Row("crossover.resident_context_tokens", "4096"),
    Row("crossover.gamma", "2"),
    Row("crossover.turn_rate_per_s", "7", NO_WORKLOAD, only=CROSSES),
    Row("crossover.turns", "3"),
    Row("crossover.output_tokens", "40", NO_WORKLOAD, only=CROSSES),
    Row("crossover.fixed_cached_tokens", "[2048]"),
    Row("crossover.headline_cached_tokens", "2048", NO_WORKLOAD, only=CROSSES),
    Row("crossover.headline_new_tokens", "500", NO_WORKLOAD, only=CROSSES),
    Row("crossover.previous_output_tokens", "[100]"),
    Row("crossover.arms", "[{arm: append-d, transport: none}, {arm: p-full, transport: nvlink}]"),
    Row("crossover.prefill_cache", "cold"),
    Row("crossover.draws", "2"),
    Row("crossover.handoff_stall_ms", "[1]"),
]
NO_EFFECT = {"schema", "question", "run_time"}
"""Texts that describe a scenario."""


def settings_of(row: Row) -> tuple[tuple[str, ...], str]:
    """Return a row's scene and its key with the first group of its role in the place of N."""
    number = "0" if row.key in ("fleet.N.nic",) or row.scene[0] == "one-unified" else "1"
    return row.scene, row.key.replace(".N.", f".{number}.")


def plain(value: Any) -> Any:
    """Return a result without the echo of its input."""
    if isinstance(value, dict):
        echo = ("provenance", "notes", "unread_keys", "settings", "caveats", "limits")
        return {key: plain(item) for key, item in value.items() if key not in echo}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def simulated(loaded: Scenario) -> Any:
    return run_document(simulate(loaded, seed=loaded.seed))


def run_document(results: Any) -> Any:
    return [results.summary(), [str(column.tolist()) for column in results.turns.values()]]


def swept(loaded: Scenario) -> Any:
    check_asked([loaded], Command.SWEEP)
    point = loaded.asking(())
    resolve(point, Command.SWEEP)
    return measure(simulate(point, seed=point.seed, command=Command.SWEEP), point.routing.gamma)


def carried(loaded: Scenario) -> Any:
    if loaded.alternatives:
        return orjson.loads(result_files.to_json(capacity_of_each(loaded, seed=loaded.seed, seeds=1, tolerance=1.0)))
    return orjson.loads(result_files.to_json(capacity(loaded, seed=loaded.seed, seeds=1, tolerance=1.0)))


def alternatives(loaded: Scenario) -> Any:
    return orjson.loads(result_files.to_json(what_if(loaded, seed=loaded.seed, seeds=None).comparison))


def policies(loaded: Scenario) -> Any:
    names = ["always-p", "threshold", "slo-aware"]
    return [(each.row(), run_document(each.results)[1]) for each in compare(loaded, names, seed=loaded.seed)]


def crossed(loaded: Scenario) -> Any:
    setup = resolve(loaded, Command.CROSSOVER, load=few_draws)
    return orjson.loads(answers.to_json(crossover(setup, seed=loaded.seed)))


PLAY: Mapping[Command, Callable[[Scenario], Any]] = {
    Command.SIMULATE: simulated,
    Command.ALTERNATIVES: alternatives,
    Command.POLICIES: policies,
    Command.SWEEP: swept,
    Command.CAPACITY: carried,
    Command.CROSSOVER: crossed,
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every command ask less than it does for a user: fewer slider places, prices and conversations."""
    monkeypatch.setattr(plan, "SLIDER_GAMMAS", (1.0,))
    monkeypatch.setattr(plan, "SLIDER_RESIDENTS", (4,))
    monkeypatch.setattr(breakeven, "MAP_CACHED_TOKENS", (4096,))
    monkeypatch.setattr(breakeven, "MAP_NEW_TOKENS", (256,))
    monkeypatch.setattr(prices, "PRICES", (0.5,))
    monkeypatch.setattr(load, "FEWEST_CONVERSATIONS", 3)


@functools.cache
def load_once(name: str, *texts: str) -> Scenario:
    """Return a scenario: all commands are asked about the same ones."""
    return scenario.load(name, texts)


@functools.cache
def outcome(command: Command, scene: tuple[str, ...], key: str = "", value: str = "") -> str:
    """Return the bytes of a result, or the one line that refused its input."""
    texts = [text for text in scene[1:] if text.split("=")[0] != key]
    if command is Command.ALTERNATIVES and key != "alternatives":
        texts = [*texts, ALTERNATIVES, *([] if key == "seeds" else ["seeds=2"])]
    loaded = load_once(scene[0], *texts, *([f"{key}={value}"] if key else []))
    asked = [each for each in loaded.asked if key and each[1] == f"--set {key}={value}"]
    try:
        return json.dumps(plain(PLAY[command](loaded.asking(asked))), sort_keys=True, default=str)
    except InputError as refused:
        return f"refused: {refused}"


def test_every_key_of_the_schema_has_a_row() -> None:
    schema = scenario.json_schema()
    keys = set(schema["properties"]) - NO_EFFECT - {"fleet", "routing", "slo", "workload", "crossover"}
    blocks = {"fleet.N": "NodeGroup", "routing": "Routing", "slo": "Slo", "crossover": "CrossoverGrid"}
    for block, name in {**blocks, "workload": "GeneratedSpec", "engine": "EngineBlock"}.items():
        keys |= {f"{block}.{key}" for key in schema["$defs"][name]["properties"]}
    assert {row.key for row in ROWS} == keys


@pytest.mark.parametrize("command", Command, ids=lambda command: command.name.lower())
@pytest.mark.parametrize("row", [row for row in ROWS if row.value], ids=lambda row: row.key)
def test_a_key_changes_the_result_or_is_refused(row: Row, command: Command) -> None:
    if command not in row.only:
        return
    scene, key = settings_of(row)
    after = outcome(command, scene, key, row.value)
    reason = unread_reason(Call(command=command, scenario=load_once(*scene)), row.key)
    if "does not read" in after:
        assert f"--set {key}={row.value}: {command.value} does not read {row.key}" in after
    elif command in row.same:
        assert not after.startswith("refused: --set") or reason is None
    else:
        assert after != outcome(command, scene)


@functools.cache
def played(command: Command, scene: tuple[str, ...], key: str, value: str) -> Any:
    """Return the fleets that a command plays with a key set, or the line that refuses it without the key's block."""
    ways = "alternatives=[{name: a}, {name: b, set: {routing.gamma: 2}}]"
    others = (ways,) if command is Command.ALTERNATIVES else ()
    loaded = load_once(*scene, *others, f"{key}={value}")
    loaded = loaded.asking([each for each in loaded.asked if each[1] == f"--set {key}={value}"])
    try:
        return [resolve(each, command).cluster(seed=0) for each in (loaded, *loaded.variants)]
    except ScenarioError as refused:
        return str(refused).replace("engine.flags.", "")


FLAG_ROWS = [row for row in ROWS if row.key in ENGINES["sglang"].flags]


@pytest.mark.parametrize("command", Command, ids=lambda command: command.name.lower())
@pytest.mark.parametrize("row", FLAG_ROWS, ids=lambda row: row.key)
def test_a_flag_in_the_block_is_the_same_key(row: Row, command: Command) -> None:
    """In its own scene, and in those of the other roles, where the commands refuse it."""
    for scene in (row.scene, (*HANDS_OVER, "fleet.1.role=D"), UNIFIED):
        block = played(command, scene, f"engine.flags.{row.key}", row.value)
        assert block == played(command, scene, row.key, row.value)


def test_a_flag_of_the_block_that_a_command_does_not_read_is_named_and_refused() -> None:
    mixed = "engine={flags: {enable_mixed_chunk: true, page_size: 64}}"
    loaded = scenario.load("one-pair", ["fleet.1.role=D", mixed])
    assert resolve(loaded.asking(())).unread_keys == ("engine.flags.enable_mixed_chunk",)
    alone = scenario.load("one-pair", ["fleet.1.role=D", "engine.flags.enable_mixed_chunk=true"])
    line = "--set engine.flags.enable_mixed_chunk=true: simulate does not read engine.flags.enable_mixed_chunk: only U"
    with pytest.raises(ScenarioError, match=line):
        resolve(alone.asking(alone.asked[1:]))


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "oracle"])
def test_a_policy_reads_of_its_context_what_the_table_says(name: str) -> None:
    def built(**changed: Any) -> Any:
        parameters = {"dynamo": {"policy": "prefill_load"}}.get(name, {})
        fleet = FleetModel(nodes=(), transport=Transport.TCP)
        return build_policy(name, parameters, PolicyContext(**{"fleet": fleet, "gamma": 1.0, **changed}))

    reads = {what for what, value in (("gamma", 2.0), ("itl_budget_s", 0.123)) if built(**{what: value}) != built()}
    assert reads == POLICY_READS.get(name, frozenset())


def test_the_unread_keys_of_a_file_are_named_by_command() -> None:
    loaded = scenario.load("cache-rate", ["slo={ttft_ms: 100}", "transport=tcp", "routing.gamma=2", "seeds=3"])
    named = unread_keys(Call(command=Command.CROSSOVER, scenario=loaded))
    assert set(named) == {"transport", "routing.gamma", "slo", "seeds"}
    arms = "[{arm: append-d, transport: none}, {arm: p-full, transport: tcp}]"
    loaded = scenario.load("pd-ratio", [f"crossover.arms={arms}"])
    assert set(unread_keys(Call(command=Command.ALTERNATIVES, scenario=loaded))) == {"crossover"}
    assert set(unread_keys(Call(command=Command.SWEEP, scenario=loaded))) == {"crossover", "alternatives"}


@pytest.mark.parametrize(
    ("text", "command", "line"),
    [
        (
            "slo.ttft_ms=100",
            Command.CROSSOVER,
            "crossover does not read slo.ttft_ms: .*simulate.*sweep and capacity do",
        ),
        ("run_time=now", Command.SIMULATE, "simulate does not read run_time: only 'ppdsim scenarios' prints it"),
        ("crossover.gamma=2", Command.SIMULATE, "simulate does not read crossover.gamma; crossover does"),
    ],
)
def test_what_is_set_and_not_read_is_refused_with_the_commands_that_read_it(text: str, command: Command, line: str):
    loaded = scenario.load("one-pair", [GRID[0], text])
    with pytest.raises(ScenarioError, match=f"--set {text}: {line}"):
        resolve(loaded.asking(loaded.asked[1:]), command)


def test_a_key_that_every_alternative_sets_is_refused() -> None:
    other = "{fleet: [{role: U, count: 1}], transport: none}"
    sets = f"alternatives=[{{name: a, set: {{fleet.0.count: 1}}}}, {{name: b, set: {other}}}]"
    with pytest.raises(ScenarioError, match="--set fleet.0.count=3: every alternative .* sets fleet.0.count itself"):
        resolve(scenario.load("pd-ratio", [sets, "fleet.0.count=3"]), Command.ALTERNATIVES)
    resolve(scenario.load("pd-ratio", ["fleet.0.count=3"]), Command.ALTERNATIVES)


def test_the_reference_names_every_key_that_some_command_does_not_read(repository) -> None:
    page = (repository / "docs" / "reference" / "scenario.md").read_text()
    table = page.split("## Which command reads which key")[1].split("\n## ")[0]
    missing = {key for rule in RULES for key in rule.keys if f"`{key.replace('.N.', '[].')}`" not in table}
    assert missing <= {"slo.ttft_ms", "slo.tpot_ms"}  # named as the block that they are in
