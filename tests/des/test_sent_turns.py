"""Turns that a workload sends at their own times: they overlap, and no end of another one keeps them back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from des.costs import cost_model, fleet

from ppdsim.des.cluster import run_cluster
from ppdsim.des.turns import Turns
from ppdsim.routing import AlwaysD, AlwaysP
from ppdsim.scenario import load
from ppdsim.simulation.run import simulate
from ppdsim.workload.base import Conversation, TurnSpec

MODEL = cost_model()


def chat(identity: int, *turns: tuple[float, int, int]) -> Conversation:
    """Return a conversation of (sent at, blocks of the prompt, output tokens) turns; prompts grow."""
    specs = tuple(
        TurnSpec(
            new_tokens=512 * blocks,
            output_tokens=output,
            arrival_s=sent_s if number else None,
            block_ids=tuple(100 * identity + block for block in range(blocks)),
        )
        for number, (sent_s, blocks, output) in enumerate(turns)
    )
    return Conversation(conversation_id=identity, arrival_s=turns[0][0], turns=specs)


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("roles", ["U", "P D", "P pD"])
def test_a_turn_comes_when_it_was_sent_although_the_answer_before_is_not_done(roles, per_step):
    talks = [chat(0, (0.0, 2, 500), (0.5, 3, 5), (0.6, 4, 5)), chat(1, (0.55, 1, 5), (30.0, 2, 5))]
    results = run_cluster(fleet(roles, MODEL, per_step=per_step), talks, AlwaysD())
    turns = results.turns
    assert turns["t_arrival_s"].tolist() == [0.0, 0.5, 0.6, 0.55, 30.0]
    assert set(turns["status"]) == {"ok"}
    assert turns["t_last_token_s"][0] > turns["t_last_token_s"][1]  # the first answer is the longest
    # What is cached is what the machines have by then, of the same conversation too.
    assert turns["prefill_cached_tokens"][4] == 512
    if roles == "U":
        assert turns["cached_tokens"].tolist()[4] == 512


def test_a_rejected_turn_takes_none_with_it_that_was_sent_anyway():
    talks = [chat(0, (0.0, 1, 5), (1.0, 20, 5), (2.0, 2, 5))]
    turns = run_cluster(fleet("U", MODEL, pool=4096), talks, AlwaysD()).turns
    assert turns["status"].tolist() == ["ok", "rejected", "ok"]
    assert turns["t_arrival_s"][2] == 2.0


def test_a_timed_out_turn_takes_none_with_it_that_was_sent_anyway():
    talks = [chat(0, (0.0, 1, 400)), chat(1, (0.01, 1, 5), (30.0, 2, 5))]
    knobs = {"pool": 1600, "num_reserved_decode_tokens": 512, "disaggregation_bootstrap_timeout_s": 0.25}
    turns = run_cluster(fleet("P D", MODEL, **knobs), talks, AlwaysP()).turns
    assert turns["status"].tolist() == ["ok", "timed_out", "ok"]


@pytest.mark.parametrize("cap", ["client_max_conversations", "frontend_max_conversations"])
def test_a_capped_conversation_ends_with_its_last_answer_whichever_turn_that_is(cap):
    # The second turn is done long before the first one; the place is free when the first one is.
    talks = [chat(0, (0.0, 1, 300), (0.1, 2, 2)), chat(1, (0.2, 1, 2), (0.3, 2, 2), (90.0, 3, 2))]
    turns = run_cluster(fleet("U", MODEL, **{cap: 1}), talks, AlwaysD()).turns
    free_s = turns["t_last_token_s"][0]
    assert turns["t_last_token_s"][1] < 0.5 * free_s
    if cap == "client_max_conversations":
        # Nothing of a conversation is sent before it has begun.
        assert turns["t_arrival_s"][2:].tolist() == pytest.approx([free_s, free_s, 90.0])
    else:
        assert turns["t_arrival_s"][2:].tolist() == [0.2, 0.3, 90.0]
        assert turns["ttft_s"][2] > free_s - 0.2
        assert turns["ttft_s"][3] > free_s - 0.3
        assert turns["queue_s"][3] == pytest.approx(free_s - 0.3, abs=0.05)
    assert turns["ttft_s"][4] < 0.5


def test_a_conversation_waits_for_its_answers_or_it_does_not():
    one, two, three = (TurnSpec(new_tokens=1, output_tokens=1, arrival_s=time_s) for time_s in (None, 2.0, None))
    with pytest.raises(ValueError, match="conversation 7: some turns are sent at times, others not"):
        Turns([Conversation(conversation_id=7, arrival_s=0.0, turns=(one, two, three))])


FLEET = "fleet=[{role: P, count: 4}, {role: pD, count: 4}]"


def test_the_shipped_chat_slice_has_turns_to_decide_about():
    """187 of its requests go on with an earlier prompt, so policies differ; always-p is what the file ships with."""
    found = {
        policy: simulate(load("mooncake-conversation", ["alternatives=[]", FLEET, f"routing.policy={policy}"]), seed=0)
        for policy in ("always-p", "always-d", "cost-aware")
    }
    arms = {policy: results.summary()["arms"].get("append-d", 0.0) for policy, results in found.items()}
    assert arms["always-p"] == 0.0
    assert 0.1 < arms["cost-aware"] < arms["always-d"]
    later = found["always-p"].turns["turn"] > 0
    assert later.sum() == 187
    for results in found.values():
        assert any(note.startswith("187 of 1,000 requests go on with") for note in results.notes)
        assert any(note.startswith("arrivals spread") for note in results.notes)
        assert results.summary()["notes"] == list(results.notes)
        assert not any("could be appended" in note for note in results.notes)


def test_a_run_in_which_nothing_could_be_appended_says_so(tmp_path):
    path = tmp_path / "requests.jsonl"
    rows = [
        {"timestamp": 400 * i, "input_length": 1500, "output_length": 5, "hash_ids": [3 * i, 3 * i + 1, 3 * i + 2]}
        for i in range(5)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for policy in ("always-p", "always-d"):
        results = simulate(load("one-pair", [f"routing.policy={policy}"], trace=path), seed=0)
        assert set(results.turns["arm"]) == {"p-full"}
        assert "no turn could be appended on a pD" in " ".join(results.notes)
    path.write_text("".join(json.dumps({**row, "hash_ids": [9, *row["hash_ids"][1:]]}) + "\n" for row in rows))
    results = simulate(load("one-pair", ["routing.policy=always-d"], trace=path), seed=0)
    # Different conversations, one first block: all but the first request find it on the pD.
    assert np.count_nonzero(results.turns["arm"] == "append-d") == 4
    assert "could be appended" not in " ".join(results.notes)
