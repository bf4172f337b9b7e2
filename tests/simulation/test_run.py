"""A scenario through the simulator: reproducible to the byte, its columns, its provenance, what is extrapolated."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from ppdsim import compose, library, profile
from ppdsim.errors import WorkloadError
from ppdsim.results import TURN_COLUMNS
from ppdsim.scenario import load
from ppdsim.simulation.run import outside_domain, simulate
from ppdsim.types import Arm, Transport

FEW = ("workload.conversations=20",)
POOLS = ("fleet.0.kv_pool_tokens=160000", "fleet.1.kv_pool_tokens=160000")
TURN = '{"conversation_id": %d, "turn": 0, "arrival_s": %g, "new_tokens": %d, "output_tokens": 8}\n'


def files(folder, *settings, seed=0):
    simulate(load("one-pair", [*FEW, *settings]), seed=seed).save(folder)
    return (folder / "turns.csv").read_bytes(), (folder / "summary.json").read_bytes()


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a")[0] != files(tmp_path / "c", seed=1)[0]


def test_both_ways_to_decode_write_the_same_rows(tmp_path):
    jumped, stepped = (tmp_path / name for name in ("jumped", "stepped"))
    files(jumped)
    files(stepped, "per_step=true")
    with (jumped / "turns.csv").open() as a, (stepped / "turns.csv").open() as b:
        for one, other in zip(csv.DictReader(a), csv.DictReader(b), strict=True):
            for name in ("ttft_s", "tpot_s", "e2e_s", "itl_max_s", "kv_transfer_s"):
                assert float(one[name] or "nan") == pytest.approx(float(other[name] or "nan"), rel=1e-9, nan_ok=True)


def test_the_files_hold_the_columns_and_the_summary(tmp_path):
    turns, summary = files(tmp_path)
    header = turns.decode().splitlines()[0].split(",")
    assert tuple(header) == TURN_COLUMNS
    found = json.loads(summary, parse_constant=pytest.fail)
    for name in ("ttft_s", "tpot_s", "itl_s", "e2e_s", "kv_transfer_s"):
        assert set(found[name]) >= {"mean", "p50", "p90", "p99", "max"}
    assert found["label"] in ("STABLE", "BACKLOGGED", "OVERLOADED")
    assert sum(found["arms"].values()) == pytest.approx(1.0)
    assert found["throughput"]["turns_per_s"] > 0
    assert found["goodput"]["limits"] == {"ttft_s": 0.5, "tpot_s": 0.025, "itl_max_s": None}
    assert 0.0 <= found["goodput"]["attainment"] <= 1.0
    for name in ("ppdsim", "scenario", "profiles", "fleet", "transport", "policy", "seed"):
        assert name in found["provenance"]
    assert any("not in SGLang up to 0.5.23" in note for note in found["notes"])


def test_turns_outside_the_measured_domain_are_marked(tmp_path):
    trace = tmp_path / "chat.jsonl"
    trace.write_text("".join(TURN % (i, float(i), tokens) for i, tokens in enumerate((16, 64, 8192, 8193))))
    found = simulate(load("one-unified", trace=trace), seed=0)
    # The grid has 64 to 8192 new tokens.
    assert found.turns["extrapolated"].tolist() == [True, False, False, True]
    rdma = simulate(load("one-pair", ["transport=rdma"], trace=trace), seed=0)
    assert rdma.turns["extrapolated"].all()


def test_what_p_computes_decides_and_not_only_what_travels():
    """D keeps 8000 tokens and lacks 200, but P lost the conversation and computes all 8200 of them."""
    pair = profile.load(library.find("profile", "h200x2_llama-3.1-8b_sglang-0.5.17"))
    columns = {
        "turn": np.zeros(2),
        "prefill_node": np.zeros(2),
        "arm": np.full(2, "p-delta"),
        "transport": np.full(2, "tcp"),
        "input_tokens": np.full(2, 8200),
        "cached_tokens": np.full(2, 8000),
        "new_tokens": np.full(2, 200),
        "prefill_cached_tokens": np.array([8000, 0]),
    }
    assert outside_domain(columns, (pair,)).tolist() == [False, True]


def test_a_hand_off_between_two_profiles_was_never_measured():
    one = profile.load(library.find("profile", "h200x2_llama-3.1-8b_sglang-0.5.17"))
    other = one.model_copy(update={"id": "other"})
    columns = {
        "turn": np.zeros(3),
        "prefill_node": np.array([0, 0, 1]),
        "decode_node": np.array([1, 2, 1]),
        "arm": np.array(["p-full", "p-full", "append-d"]),
        "transport": np.full(3, "tcp"),
        "input_tokens": np.full(3, 4096),
        "cached_tokens": np.zeros(3),
        "new_tokens": np.full(3, 4096),
        "prefill_cached_tokens": np.zeros(3),
    }
    assert outside_domain(columns, (one, other, one)).tolist() == [True, False, False]


def test_radix_turns_the_hand_off_into_a_delta(tmp_path):
    full = simulate(load("one-pair", [*FEW, "transport=tcp", "workload.arrivals.rate_per_s=0.2"]), seed=0)
    delta = simulate(
        load(
            "one-pair",
            [
                *FEW,
                "transport=tcp",
                "workload.arrivals.rate_per_s=0.2",
                "disaggregation_decode_enable_radix_cache=true",
            ],
        ),
        seed=0,
    )
    assert set(full.turns["arm"]) == {"p-full"}
    assert set(delta.turns["arm"]) == {"p-delta"}
    later = full.turns["turn"] > 0
    assert delta.turns["kv_transfer_s"][later].mean() < 0.5 * full.turns["kv_transfer_s"][later].mean()


def test_the_mooncake_scenario_is_stable_and_reuses_by_block():
    found = simulate(load("mooncake-conversation", []), seed=0)
    assert found.summary()["label"] == "STABLE"
    assert (found.turns["cached_tokens"] > 0).mean() > 0.2
    assert set(found.turns["prefill_cached_tokens"] % 512) == {0}


def test_a_turn_above_every_pool_is_refused_with_the_numbers(tmp_path):
    trace = tmp_path / "chat.jsonl"
    trace.write_text(TURN % (7, 0.0, 100_000))
    with pytest.raises(WorkloadError, match=r"conversation 7, turn 0: it needs 100008 tokens.*49984"):
        simulate(load("one-pair", ["fleet.1.kv_pool_tokens=50000"], trace=trace), seed=0)


def test_a_prompt_beyond_the_models_context_is_refused_or_rejected(tmp_path):
    trace = tmp_path / "chat.jsonl"
    trace.write_text(TURN % (7, 0.0, 131_073) + TURN % (8, 1.0, 131_072))
    with pytest.raises(WorkloadError, match="a prompt of 131073 tokens; the model takes at most 131072"):
        simulate(load("one-pair", trace=trace), seed=0)
    found = simulate(load("one-pair", ["oversized_turns=reject"], trace=trace), seed=0)
    assert found.turns["status"].tolist() == ["rejected", "ok"]


def test_a_router_that_awaits_p_gives_the_client_its_first_tokens_later():
    def first_s(awaits: str) -> float:
        scenario = load(
            "one-pair",
            [
                f"routing.awaits_prefill={awaits}",
                *POOLS,
                "workload.conversations=100",
                "workload.arrivals.rate_per_s=4",
            ],
        )
        return float(np.nanmean(simulate(scenario, seed=0).turns["ttft_s"]))

    assert first_s("true") > 1.01 * first_s("false")


def test_every_turn_of_a_derived_profile_is_marked():
    derived = "profile=h100x2_llama-3.1-8b_sglang-0.5.17_derived"
    found = simulate(load("one-pair", [*FEW, derived]), seed=0)
    assert found.turns["extrapolated"].all()
    assert any("this machine is unmeasured" in note for note in found.notes)


def test_kv_over_an_assumed_link_takes_its_bytes_over_the_rate_and_is_marked():
    found = simulate(load("one-pair", [*FEW, "link_bytes_per_s=10e9", "workload.arrivals.rate_per_s=0.01"]), seed=0)
    curve = compose.central(profile.load(library.find("profile", "h200"))).handoff(Arm.P_FULL, Transport.NVLINK)
    moved = found.turns["input_tokens"] * 131_072 / 10e9 + float(curve.send_s)
    np.testing.assert_allclose(found.turns["kv_transfer_s"], moved, rtol=1e-9)
    assert found.turns["extrapolated"].all()
    assert "assumed: KV moves at 10 GB/s; the rest of a hand-off is that over nvlink" in found.notes
    appended = simulate(load("one-pair", [*FEW, "link_bytes_per_s=10e9", "routing.policy=always-d"]), seed=0)
    later = appended.turns["turn"] > 0
    assert appended.turns["extrapolated"][later].mean() < 0.5
