"""Engine presets: what a release lacks is refused or switched off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ppdsim import library, profile
from ppdsim.errors import ScenarioError
from ppdsim.profile import Profile
from ppdsim.scenario import load
from ppdsim.scenario.keys import Command
from ppdsim.setup import resolve
from ppdsim.simulation.run import simulate
from ppdsim.types import Arm, Transport

PLAIN_D = "fleet.1.role=D"  # no release has a pD


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
