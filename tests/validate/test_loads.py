"""Recorded loads as conversations again, and what the simulator makes of a load that it made itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from curve_cases import FACTS

from ppdsim import compose, measurements, profile
from ppdsim.cost.decode import DecodeCurve
from ppdsim.measurements import LoadRow
from ppdsim.types import Arm, Transport
from ppdsim.validate.floor import anchored
from ppdsim.validate.loads import (
    QUANTILE_GRID,
    Busiest,
    busiest,
    conversations,
    load_errors,
    loads_of,
    rankings,
    replay,
)

SQUEEZE = 0.2
"""Arrivals this much closer make TCP the bottleneck of the light load."""
ONE, TWO = "h200x1_llama-3.1-8b_sglang-0.5.17", "h200x2_llama-3.1-8b_sglang-0.5.17"


def row(turn, sent_s, cached, new, output, *, arm=Arm.APPEND_D, transport=Transport.NONE, run="light", name="a"):
    return LoadRow(
        run=run,
        arm=arm,
        transport=transport,
        conversation_id=name,
        turn=turn,
        sent_s=sent_s,
        cached_tokens=cached,
        new_tokens=new,
        output_tokens=output,
        ttft_s=0.1,
        tpot_s=0.01,
        itl_max_s=0.02,
        e2e_s=0.5,
        finish_reason="length",
    )


@pytest.fixture(scope="module")
def shipped(repository):
    return profile.load(repository / "calibration/profiles" / f"{TWO}.json")


@pytest.fixture(scope="module")
def live(repository):
    return measurements.read(repository / "calibration/measurements" / ONE)


def test_a_load_of_one_conversation_is_compared_too(live, shipped):
    """One turn of a class on each side: the distance of their distributions is 0 or 1, and says nothing."""
    rows = (row(0, 1.0, 0, 100, 50), row(1, 3.0, 128, 82, 20))
    found = load_errors(shipped, replace(live, load=rows))
    assert {each.turns for each in found} == {1}
    assert {each.ks_p for each in found} == {1.0}


def test_a_turn_adds_what_its_prompt_has_beyond_the_earlier_prompt_and_answer():
    (found,) = conversations([row(1, 3.0, 128, 82, 20), row(0, 1.0, 0, 100, 50)])
    assert found.arrival_s == 1.0
    assert [(t.new_tokens, t.output_tokens) for t in found.turns] == [(100, 50), (60, 20)]
    assert found.turns[1].think_s == pytest.approx(3.0 - 1.5)


def test_the_committed_loads_have_every_turn_and_prompt(live, shipped):
    loads = loads_of(live)
    assert {name for name, _, _ in loads} == {"light", "middle", "heavy"}
    for rows in loads.values():
        turns = replay(shipped, live, rows)
        recorded = {(r.conversation_id, r.turn): r.cached_tokens + r.new_tokens for r in rows}
        simulated = zip(turns["conversation_id"], turns["turn"], turns["input_tokens"], strict=True)
        assert {(str(c), t): n for c, t, n in simulated} == recorded


@pytest.fixture(scope="module")
def itself(live, shipped):
    """Measurements whose loads are the simulator's own on three arms."""
    rows = []
    for arm, transport in ((Arm.APPEND_D, Transport.NONE), (Arm.P_FULL, Transport.NVLINK), (Arm.P_FULL, Transport.TCP)):
        asked = [
            r.model_copy(update={"arm": arm, "transport": transport, "block": None})
            for r in live.load
            if r.run == "light"
        ]
        turns = replay(shipped, live, asked)
        for i, name in enumerate(turns["conversation_id"]):
            rows.append(
                row(
                    int(turns["turn"][i]),
                    float(turns["t_arrival_s"][i]),
                    int(turns["cached_tokens"][i]),
                    int(turns["new_tokens"][i]),
                    int(turns["output_tokens"][i]),
                    arm=arm,
                    transport=transport,
                    name=str(name),
                ).model_copy(update={k: float(turns[k][i]) for k in ("ttft_s", "tpot_s", "itl_max_s", "e2e_s")})
            )
    return replace(live, load=tuple(rows))


def test_a_load_that_the_simulator_made_comes_back_and_the_arms_in_order(itself, shipped):
    found = load_errors(shipped, itself)
    assert len({r.arm for r in found}) == 3
    for r in (r for r in found if not r.anchored):
        assert abs(r.p50_error) < 1e-6
        assert abs(r.p90_error) < 1e-6
        assert r.ks < 0.02
    orders = rankings(found)
    assert {order.quantity for order in orders} == {"ttft", "tpot"}
    for order in orders:
        assert order.measured == order.predicted
        assert len(order.measured) == 3


def test_the_kv_pool_is_that_of_the_run(live, shipped):
    heavy = next(rows for (name, _, _), rows in loads_of(live).items() if name == "heavy")
    small = replace(live, manifest=live.manifest.model_copy(update={"kv_pool_tokens": 60_000}))
    waits = [np.mean(replay(shipped, run, heavy)["queue_s"]) for run in (live, small)]
    assert waits[1] > 2 * waits[0]


def test_distributions_are_kept_at_the_same_quantiles(live, shipped):
    for r in load_errors(shipped, live):
        assert len(r.measured_s) == len(r.predicted_s) == len(QUANTILE_GRID)
        assert r.measured_s[50] == r.measured_p50_s
        assert np.all(np.diff(r.predicted_s) >= 0)


def test_few_turns_are_shown_and_not_gated(live, shipped):
    rows = load_errors(shipped, live)
    assert {r.gated for r in rows if r.turns < 100} == {False}
    assert {r.gated for r in rows if r.turns >= 100} == {True}


def test_the_busiest_place_is_whichever_saturates_first():
    """Ten turns in 10 s; each place is made the busiest in turn."""
    decode = DecodeCurve(floor_s=5e-3, row_s=1e-4, context_s_per_token=1e-8, start_s=0.0, **FACTS["decode"])

    def turns(*, prefill_s=0.1, wire_s=0.1, output=100, kv=1000):
        start = np.arange(10.0)
        start[-1] = 8.0
        return {
            "status": np.array(["ok"] * 10),
            "t_arrival_s": start,
            "t_prefill_start_s": start,
            "t_last_token_s": start + 2.0,
            "prefill_s": np.full(10, prefill_s),
            "kv_transfer_s": np.full(10, wire_s),
            "output_tokens": np.full(10, output),
            "input_tokens": np.full(10, kv - output // 2),
        }

    def found(*, unified=False, **given):
        return busiest(turns(**given), decode, kv_pool_tokens=10_000, unified=unified)

    assert found(prefill_s=0.5) == Busiest(place="prefill", share=pytest.approx(0.5))
    assert found(wire_s=0.9) == Busiest(place="wire", share=pytest.approx(0.9))
    assert found(kv=3000) == Busiest(place="KV pool", share=pytest.approx(2.0 * 3000 / 10_000))
    # 10 turns of 1000 tokens in 10 s at 1e-4 + 1e-8 * 2000 s each.
    assert found(output=1000, kv=2000, prefill_s=0.0) == Busiest(place="KV pool", share=pytest.approx(0.4))
    assert found(output=8000, kv=4000) == Busiest(place="decode", share=pytest.approx(8000 * 1.4e-4))
    both = found(output=1000, kv=2000, prefill_s=0.5, unified=True)
    assert both == Busiest(place="prefill and decode", share=pytest.approx(0.5 + 1000 * 1.2e-4))


def test_nothing_is_gated_where_the_wire_is_nearly_saturated(itself, shipped):
    """P runs forwards a small part of the time, but TCP moves KV nearly all of it."""
    rows = [r.model_copy(update={"sent_s": r.sent_s * SQUEEZE}) for r in itself.load if r.transport is Transport.TCP]
    found = load_errors(shipped, replace(itself, load=tuple(rows)))
    assert {r.busiest for r in found} == {"wire"}
    assert {r.gated for r in found} == {False}
    assert any(r.turns >= 100 for r in found)
    calm = load_errors(shipped, itself)
    assert {r.gated for r in calm if r.turns >= 100} == {True}


def test_the_floor_of_a_load_is_that_of_the_probes_beside_it(live, shipped):
    beside = anchored(shipped, live, beside=26)
    model = compose.central(beside)
    probes = [r.ttft_s for r in live.prefill if r.purpose == "probe" and r.block in (25, 26, 27)]
    assert model.ttft_s(Arm.APPEND_D, Transport.NONE, 0.0, 64.0) == pytest.approx(np.median(probes), rel=0.02)
    assert anchored(shipped, replace(live, prefill=())) is None
