"""The main job on the shipped profile: both accounts of every crossing, consistent with the parts they are made of."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from crossover_cases import SMALL, against, few_draws, small_answer

from ppdsim import answers, compose, library, profile
from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.analytical.breakeven import break_even
from ppdsim.answers import ANALYTICAL, SIMULATED, WITH_WAITS, CrossingKind
from ppdsim.crossover import crossover, run, words
from ppdsim.errors import InputError, ProfileError, ScenarioError
from ppdsim.scenario import load
from ppdsim.scenario.keys import Command
from ppdsim.setup import resolve
from ppdsim.types import Arm, Transport

HANDOFFS = [("p-full", "nvlink"), ("p-full", "tcp"), ("p-delta", "tcp")]


@pytest.fixture(scope="module")
def shipped():
    return profile.load(library.find("profile", "h200x2_llama-3.1-8b_sglang-0.5.17"))


@pytest.fixture(scope="module")
def small():
    return small_answer()


def test_every_question_is_answered_idle_with_waits_and_simulated(small):
    asked = {(c.against.arm, c.against.transport, c.previous_output_tokens, c.axis, c.source) for c in small.crossings}
    for arm, transport in HANDOFFS:
        for o in (0, 350):
            for axis in ("r", "new_tokens"):
                for source in (ANALYTICAL, WITH_WAITS, SIMULATED):
                    assert (arm, transport, o, axis, source) in asked
    assert {c.handoff_stall_s for c in small.crossings if c.source == ANALYTICAL} == {0.0, 2e-3}


def test_the_headline_is_the_first_point_of_every_link(small, shipped):
    model = compose.central(shipped)
    for arm, transport in ((Arm.P_FULL, Transport.NVLINK), (Arm.P_FULL, Transport.TCP), (Arm.P_DELTA, Transport.TCP)):
        expected = break_even(model, ArmComparison(arm=arm, transport=transport), 4096.0, 256.0).streams
        point = next(
            p
            for p in small.points
            if (p.against.arm, p.against.transport, p.previous_output_tokens, p.handoff_stall_s)
            == (arm.value, transport.value, 0, 0.0)
        )
        n = point.n_star
        assert n.this_host == pytest.approx(expected)
        assert n.low < n.value < n.high
        both = f"this host {expected:.1f}; another host of this kind {n.value:.1f} ({n.low:.1f} to {n.high:.1f})"
        assert both in small.headline
    first = [p for p in small.points if (p.previous_output_tokens, p.handoff_stall_s) == (0, 0.0)]
    assert len(first) == len(HANDOFFS)
    assert small.headline == words.headline(first, small.gamma)
    assert small.headline.startswith(
        "Appending 256 tokens to 4096 cached ones on D is cheaper than a hand-off: over NVLink while fewer than "
    )


def test_a_crossing_is_where_the_two_curves_of_j_meet(small):
    found = next(
        c
        for c in small.crossings
        if (c.against.transport, c.axis, c.source, c.previous_output_tokens) == ("nvlink", "r", WITH_WAITS, 0)
    )
    append = next(c for c in small.curves if c.arm.arm == "append-d")
    handoff = next(c for c in small.curves if c.arm.transport == "nvlink" and c.previous_output_tokens == 0)
    append_j = dict(zip(append.cache_rate, append.j_s, strict=True))
    gain = [j - append_j[r] for r, j in zip(handoff.cache_rate, handoff.j_s, strict=True)]
    beyond = [g > 0 for r, g in zip(handoff.cache_rate, gain, strict=True) if r > found.values[-1] + 1e-3]
    assert beyond
    assert all(beyond)
    before = [g > 0 for r, g in zip(handoff.cache_rate, gain, strict=True) if r < found.values[0] - 1e-3]
    assert before
    assert not any(before)


def test_the_simulation_agrees_with_the_formula_with_waits_at_a_light_load():
    """At 0.2 turns/s nothing queues but full transfers over TCP, so both accounts of J agree.

    A hand-off takes a whole number of D's steps and the formula knows their mean only: half a step of 7 ms.
    """
    answer = small_answer("crossover.turns=300", "crossover.draws=1", *against("nvlink", "delta"))
    assert len(answer.curves) == 3
    for curve in answer.curves:
        half_step_s = 0.0 if curve.arm.arm == "append-d" else 4e-3
        np.testing.assert_allclose(curve.simulated_j_s, curve.j_s, rtol=0.02, atol=half_step_s)


def test_waits_grow_with_the_rate_and_move_the_crossing():
    quiet = small_answer(*against("nvlink"))
    busy = small_answer("crossover.turn_rate_per_s=3.0", *against("nvlink"))

    def wait(answer):
        return max(next(c for c in answer.curves if c.arm.transport == "nvlink").wait_s)

    assert wait(busy) > 5 * wait(quiet)

    def with_waits(answer):
        return next(c for c in answer.crossings if c.against.transport == "nvlink" and c.source == WITH_WAITS)

    assert with_waits(busy).values != with_waits(quiet).values


def test_a_free_stall_makes_the_append_win_always():
    """gamma = 0 on equal machines: nothing speaks for the hand-off."""
    free = small_answer("crossover.gamma=0", "crossover.turns=2", "crossover.draws=1")
    found = [crossing for crossing in free.crossings if crossing.source == ANALYTICAL]
    assert found
    assert {crossing.kind for crossing in found} == {CrossingKind.ALWAYS_D}


def test_the_same_seed_gives_the_same_bytes():
    settings = against("nvlink")
    scenario = load("cache-rate", [*SMALL, *settings])
    again = crossover(resolve(scenario, Command.CROSSOVER), seed=0)
    assert answers.to_json(again) == answers.to_json(small_answer(*settings))


def test_progress_ends_at_its_total():
    seen = []
    scenario = load("cache-rate", [*SMALL, *against("nvlink")])
    crossover(
        resolve(scenario, Command.CROSSOVER),
        seed=0,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][0] == seen[-1][1]


def test_json_has_no_nan_and_says_inf(small):
    point = replace(small.points[0], n_star=replace(small.points[0].n_star, high=float("inf"), low=float("nan")))
    document = answers.to_json(replace(small, points=(point,)))
    loaded = json.loads(document, parse_constant=pytest.fail)
    assert loaded["points"][0]["n_star"]["high"] == "inf"
    assert loaded["points"][0]["n_star"]["low"] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["crossover.total_tokens=[200000]"], "a prompt of 200000 tokens; the model takes at most 131072"),
        (["fleet.1.kv_pool_tokens=20000"], "needs 41920, D's KV pool holds 20000"),
        (["fleet.0.kv_pool_tokens=20000"], "does not fit P's KV pool of 20000"),
        (["crossover.arms=[{arm: append-d, transport: none}, {arm: append-d, transport: none}]"], "at least one P arm"),
    ],
)
def test_an_impossible_question_is_refused_before_anything_runs(settings, message):
    with pytest.raises(ScenarioError, match=message):
        crossover(resolve(load("cache-rate", settings), Command.CROSSOVER), seed=0)


def test_a_scenario_without_a_grid_names_one_that_has_it():
    with pytest.raises(ScenarioError, match="'cache-rate' has one"):
        crossover(resolve(load("one-pair", []), Command.CROSSOVER), seed=0)


def test_an_arm_that_nobody_measured_is_named(shipped):
    asked = load("cache-rate", ["crossover.arms=[{arm: append-d, transport: none}, {arm: p-full, transport: rdma}]"])
    without = shipped.model_copy(
        update={"curves": tuple(c for c in shipped.curves if c.transport is not Transport.RDMA)}
    )
    with pytest.raises(InputError, match="rdma"):
        crossover(resolve(asked, Command.CROSSOVER, load=lambda _: without), seed=0)


def test_a_difference_says_by_how_much_and_why():
    """At 48k over full TCP the link queues, which M/D/1 in two stages overrates: the answers differ, and say so."""
    answer = small_answer("crossover.total_tokens=[49152]", "crossover.turns=60", *against("tcp"))
    about = [text for text in answer.differences if text.startswith("p-full over tcp, prompt of 49152 tokens")]
    assert about
    pattern = (
        r"(the simulation puts r\* at 0\.\d+, the formula with waits at 0\.\d+|the formula with waits says .*)"
        r"\. With \d+ new tokens on \d+, in the simulation the append waits \d+ ms \(formula: \d+\) and delays "
        r"the other streams by \d+ stream-ms \(formula: \d+\); the hand-off waits \d+ ms \(formula: \d+\) and delays "
    )
    assert re.search(pattern, about[0])


def test_a_simulated_break_even_far_from_the_formulas_is_explained(small):
    text = next(t for t in small.differences if t.startswith("p-full over tcp, 256 new tokens on 4096"))
    assert "the simulated N* is " in text
    near = "p-delta over tcp, 256 new tokens on 4096, previous answer of 0"
    assert not any(t.startswith(near) for t in small.differences)


def test_the_draws_of_formulas_and_simulation_are_of_another_run(monkeypatch, shipped):
    """Another run of such a machine may have another launch floor: the formulas and the simulation both draw it."""
    seen = {}
    monkeypatch.setattr(run, "simulated", lambda plan, simulator, answer, progress: (plan, simulator))
    monkeypatch.setattr(run, "PairSimulator", lambda plan, draws: draws)
    monkeypatch.setattr(run, "formulas", lambda plan, seed: seen.setdefault("formulas", plan))
    plan, draws = crossover(resolve(load("cache-rate", [*SMALL, *against("nvlink")]), Command.CROSSOVER), seed=0)
    assert seen["formulas"] is plan
    drifted, same_run = (compose.samples(shipped, another_run=another).prefill.floor_s for another in (True, False))
    assert not np.array_equal(drifted, same_run)
    np.testing.assert_array_equal(plan.samples.prefill.floor_s, drifted)
    expected = [model.prefill.floor_s for model in compose.some_draws(shipped, 3, another_run=True)]
    assert [model.prefill.floor_s for model in draws] == expected
    assert len(set(expected)) == 3


def test_profiles_of_p_and_d_are_paired_draw_by_draw(shipped):
    few = few_draws(shipped.id)
    assert run._same_draws(shipped, shipped) == (shipped, shipped)
    count = len(shipped.curves[0].draws)
    for on_p, on_d, said in ((shipped, few, (count, 2)), (few, shipped, (2, count))):
        expected = f"has {said[0]} draws and D's {shipped.id} has {said[1]}; expected the same number"
        with pytest.raises(ProfileError, match=re.escape(expected)):
            run._same_draws(on_p, on_d)
