"""The engine that a scenario asks for: its release, its flags, and the rules of its record."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ppdsim import library, profile
from ppdsim.des.cluster import run_cluster
from ppdsim.engine_record import ChunkRule, HandoffProtocol
from ppdsim.engines import ENGINES
from ppdsim.engines.flags import Flag, FlagValue
from ppdsim.errors import ProfileError, ScenarioError
from ppdsim.profile import Profile
from ppdsim.routing import AlwaysD, AlwaysP
from ppdsim.scenario import Scenario, load
from ppdsim.scenario.keys import Command
from ppdsim.scenario.schema import ENGINE_FLAGS
from ppdsim.setup import resolve
from ppdsim.simulation.run import conversations_of, simulate
from ppdsim.sweep.axes import parse_axes
from ppdsim.sweep.plan import make_plan
from ppdsim.types import Arm, Transport

PLAIN_D = "fleet.1.role=D"  # no release has a pD
SGLANG = ENGINES["sglang"]
BASE = load("one-pair")


def early_shares(*settings: str) -> set[float]:
    spec = resolve(load("one-pair", (PLAIN_D, *settings))).cluster(seed=0)
    return {float(curve.early_share) for node in spec.nodes for curve in node.model.handoffs.values()}


@pytest.mark.parametrize("engine", ["sglang-0.5.5.post3", "sglang-0.5.14"])
def test_before_0_5_15_nothing_of_the_prefix_is_sent_early(engine: str) -> None:
    assert early_shares(f"engine={engine}", "disaggregation_decode_enable_radix_cache=false") == {0.0}


def test_from_0_5_15_the_measured_share_is_sent_early_unless_it_is_switched_off() -> None:
    assert early_shares("engine=sglang-0.5.15") == early_shares() != {0.0}
    assert early_shares("engine=sglang-0.5.15", "disagg_prefill_early_send_cached_prefix=false") == {0.0}


def test_an_idle_hand_off_without_early_send_is_later_by_the_wire_that_the_forward_hid() -> None:
    spec = resolve(load("one-pair")).cluster(seed=0)
    model, asked = spec.nodes[0].model, (Arm.P_FULL, Transport.RDMA, 8192, 1024)
    curve, forward_s = model.handoff(*asked[:2]), float(model.prefill.seconds(1024, 8192, model.chunked_prefill_size))
    early_s = float(curve.wire_s(curve.early_share * 8192, 0))
    # The early share of 8192 tokens is on the wire for less than the forward, so all of it was hidden.
    assert 0.0 < early_s < forward_s
    later_s = model.without_early_send().handoff_ttft_s(*asked) - model.handoff_ttft_s(*asked)
    assert later_s == pytest.approx(early_s, rel=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ("engine=sglang-0.5.11", "disaggregation_decode_enable_radix_cache=true"),
            "the first that does is sglang-0.5.12",
        ),
        (
            (
                "engine=sglang-0.5.14",
                "disagg_prefill_early_send_cached_prefix=true",
                "disaggregation_decode_enable_radix_cache=false",
            ),
            "is sglang-0.5.15",
        ),
        (
            ("engine=sglang-0.5.17", "fleet.1.role=pD"),
            "role pD: given engine sglang-0.5.17, .*; expected D or U, or no engine",
        ),
        (("engine=sglang-0.5.71",), "sglang-0.5.17"),
    ],
)
def test_what_an_engine_does_not_have_is_refused(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        resolve(load("one-pair", (PLAIN_D, *settings)))


def test_a_fleet_runs_one_engine() -> None:
    def other(name: str) -> Profile:
        found = profile.load(library.find("profile", name))
        if "h200x1" not in name:
            return found
        return found.model_copy(update={"engine": replace(found.engine, name="elsewise", version="1")})

    mixed = load("one-pair", ("fleet.0.profile=h200x1_llama-3.1-8b_sglang-0.5.17",))
    with pytest.raises(ScenarioError, match="is of elsewise 1, .* of sglang 0.5.17; expected one engine in a fleet"):
        resolve(mixed, load=other).cluster(seed=0)


def test_without_an_engine_a_pd_is_a_what_if_that_the_results_name() -> None:
    few = ("workload.conversations=2", "routing.policy=always-d")
    assert any("not in SGLang" in note for note in simulate(load("one-pair", few), seed=0).notes)


def test_a_policy_without_a_choice_is_named_in_the_results() -> None:
    def notes(*settings: str) -> list[str]:
        found = simulate(load("one-pair", ["workload.conversations=2", *settings]), seed=0).notes
        return [note for note in found if "nothing to decide" in note]

    assert notes(PLAIN_D, "routing.policy=always-d")[0].startswith("policy 'always-d' had nothing to decide")
    assert notes(PLAIN_D, "routing.policy=always-p") == []
    assert notes("routing.policy=always-d") == []


def test_a_grid_asks_no_engine_for_a_hand_off_that_it_cannot_do() -> None:
    delta = "crossover.arms=[{arm: append-d, transport: none}, {arm: p-delta, transport: tcp}]"
    plain = ("fleet=[{role: U, count: 1}]", delta)
    resolve(load("cache-rate", (*plain, "engine=sglang-0.5.12")), Command.CROSSOVER)
    with pytest.raises(ScenarioError, match=r"crossover.arms: p-delta: sglang-0.5.11 does not have it"):
        resolve(load("cache-rate", (*plain, "engine=sglang-0.5.11")), Command.CROSSOVER)


def test_the_engine_may_stand_in_one_word_or_as_a_block() -> None:
    block = load("one-pair", ["engine={name: sglang, version: 0.5.14, flags: {page_size: 64}}"])
    assert load("one-pair", ["engine=sglang-0.5.14", "engine.flags.page_size=64"]).engine == block.engine
    assert load("one-pair", ["engine=sglang"]).engine == load("one-pair", ["engine.name=sglang"]).engine


def flags_of(*settings: str) -> dict[str, FlagValue]:
    return dict(resolve(load("one-pair", settings)).requested.flags)


def test_flags_of_the_top_level_and_of_the_block_are_one_mapping() -> None:
    found = flags_of(
        "page_size=64", "engine.flags.max_running_requests=9", "engine.flags.disaggregation_waiting_timeout_s=2"
    )
    assert found == {"page_size": 64, "max_running_requests": 9, "disaggregation_waiting_timeout_s": 2.0}
    assert flags_of("engine.version=0.5.14", PLAIN_D) == {"disagg_prefill_early_send_cached_prefix": False}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            ("page_size=64", "engine.flags.page_size=16"),
            "--set engine.flags.page_size=16: page_size and engine.flags.page_size are the same flag; give one of them",
        ),
        (
            ("engine.flags.chunked_prefil_size=512",),
            "--set engine.flags.chunked_prefil_size=512: unknown flag 'engine.flags.chunked_prefil_size' of sglang"
            " .*; did you mean 'chunked_prefill_size'",
        ),
        (
            ("engine.flags.chunked_prefill_size=many",),
            "engine.flags.chunked_prefill_size: given 'many', expected a whole number from 1 to 2,147,483,647",
        ),
        (
            ("engine.flags.disable_overlap_schedule=1",),
            "engine.flags.disable_overlap_schedule: given 1, expected true or false",
        ),
        (("engine={flags: {page_size: [1]}}",), "page_size: given .1., expected a whole number from 1 to 1,048,576"),
        (("engine.flags.page_size=null",), "page_size: given None, expected a whole number"),
        (("engine.flag.page_size=1",), "unknown key 'engine.flag'.*; did you mean 'flags'"),
        (("engine=vllm-0.26.0",), "--set engine=vllm-0.26.0: engine: given 'vllm', expected sglang, because profile"),
        (("engine.version=0.5.71",), "--set engine.version=0.5.71: engine: given 'sglang-0.5.71', expected sglang-0.5"),
    ],
)
def test_what_an_engine_block_cannot_mean_is_refused_in_one_line(settings: tuple[str, ...], line: str) -> None:
    with pytest.raises(ScenarioError, match=line) as refused:
        resolve(load("one-pair", (PLAIN_D, *settings)))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("flag", SGLANG.flags.values(), ids=lambda flag: flag.name)
@given(st.data())
def test_a_flag_takes_the_same_values_in_both_places(flag: Flag, data: st.DataObject) -> None:
    near = st.sampled_from([flag.least, flag.most, flag.least / 2, flag.most * 2, int(flag.most) + 1, 0, 0.0, 1.0, -1])
    value = data.draw(near | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3))
    text = BASE.model_dump(mode="json", by_alias=True, exclude_unset=True) | {flag.name: value}
    try:
        top: object = getattr(Scenario.model_validate_json(json.dumps(text), strict=True), flag.name)
    except ValidationError:
        top = ScenarioError
    try:
        block: object = flag.read(value, "here")
    except ScenarioError:
        block = ScenarioError
    assert (type(block), block) == (type(top), top)


def test_the_top_level_has_every_flag_of_the_table() -> None:
    assert set(ENGINE_FLAGS) == set(SGLANG.flags)


def test_rules_of_another_release_are_tagged_as_assumed() -> None:
    def notes(*settings: str) -> list[str]:
        return [note for note in resolve(load("one-pair", (PLAIN_D, *settings))).notes if "rules of" in note]

    assert notes("engine=sglang-0.5.14") == ["assumed: rules of sglang 0.5.14, times of sglang 0.5.17"]
    assert notes("engine=sglang-0.5.17") == notes("engine=sglang") == notes() == []


def test_alternatives_and_a_grid_vary_a_flag_of_the_block() -> None:
    ways = "alternatives=[{name: a, set: {engine.flags.chunked_prefill_size: 512}}, {name: b, set: {engine: sglang}}]"
    variants = load("one-pair", [ways, "engine.flags.page_size=64"]).variants
    sizes = [[node.model.chunked_prefill_size for node in resolve(each).cluster(seed=0).nodes] for each in variants]
    assert sizes == [[512, 512], [8192, 8192]]
    plan = make_plan("one-pair", parse_axes(["engine.flags.chunked_prefill_size=512,2048"]), seeds=1)
    found = [resolve(point.scenario).requested.flags for point in plan.points]
    assert found == [{"chunked_prefill_size": 512}, {"chunked_prefill_size": 2048}]


def recorded(**rules: object) -> Callable[[str], Profile]:
    """Return what loads a profile whose engine follows other rules."""

    def found(name: str) -> Profile:
        read = profile.load(library.find("profile", name))
        return read.model_copy(update={"engine": replace(read.engine, **rules)})

    return found


def ends_s(settings: tuple[str, ...], **rules: object) -> list[float]:
    setup = resolve(load("one-unified", ("workload.conversations=30", *settings)), load=recorded(**rules))
    spec, conversations = setup.cluster(seed=0), conversations_of(setup.scenario, 0)
    return run_cluster(spec, conversations, AlwaysD()).turns["t_last_token_s"].tolist()


@pytest.mark.parametrize(
    ("rules", "flag"),
    [
        ({"overlap_schedule": False}, "disable_overlap_schedule"),
        ({"chunk_rule": ChunkRule.MIXED_STEPS}, "enable_mixed_chunk"),
    ],
)
def test_the_simulator_follows_the_rules_of_the_record_and_a_flag_that_is_set_instead(
    rules: dict[str, object], flag: str
) -> None:
    plain, other = ends_s(()), ends_s((), **rules)
    assert other != plain
    assert other == ends_s((f"{flag}=true",))
    assert ends_s((f"{flag}=false",), **rules) == plain


def test_the_rules_are_those_of_the_release_that_is_asked_for() -> None:
    assert ends_s(("engine=sglang-0.5.17",), overlap_schedule=False, version="0.5.16") == ends_s(())


def test_hand_offs_that_d_pulls_are_refused_wherever_they_are_costed() -> None:
    pulls = recorded(handoff_protocol=HandoffProtocol.PULL)
    setup = resolve(load("one-pair", ("workload.conversations=2",)), load=pulls)
    line = "hand-offs of sglang 0.5.17: given handoff_protocol 'pull after prefill', expected 'push after pre-alloc"
    with pytest.raises(ProfileError, match=line):
        run_cluster(setup.cluster(seed=0), conversations_of(setup.scenario, 0), AlwaysP())
    with pytest.raises(ProfileError, match=line):
        setup.cluster(seed=0).nodes[0].model.handoff_ttft_s(Arm.P_FULL, Transport.NVLINK, 4096, 256)
    assert len(ends_s((), handoff_protocol=HandoffProtocol.PULL)) > 30, "a unified server hands nothing over"
