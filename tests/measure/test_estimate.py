"""What a plan is said to cost: the shipped ones measure everything once within their budgets, whatever the machine."""

from __future__ import annotations

import pytest
from measure.standins import DELTA_TCP, FULL_TCP, MACHINE, UNIFIED, service
from virtual_loop import run_virtually

from ppdsim import compose, library, profile
from ppdsim.measure.calibrate import measure
from ppdsim.measure.cells import LoadCell, PrefillCell, StallCell
from ppdsim.measure.estimate import DEFAULT, Client, reference, seconds_by_kind
from ppdsim.measure.plan import cells_of, conversations_of, load_plan, transfer_cells
from ppdsim.types import Arm, Transport

MODEL = compose.central(profile.load(library.find("profile", DEFAULT)))
DELTA_NVLINK = (Arm.P_DELTA, Transport.NVLINK)
WORST = (UNIFIED, *((arm, over) for over in (Transport.NVLINK, Transport.TCP) for arm in (Arm.P_DELTA, Arm.P_FULL)))


def parts(plan, arms, *, model=MODEL, **options):
    cells = [cell for arm in arms for cell in cells_of(plan, *arm)]
    cells += [cell for over in {over for arm, over in arms} - {Transport.NONE} for cell in transfer_cells(plan, over)]
    return seconds_by_kind(cells, model, plan, decode_radix=True, **options)


def estimate(plan, arms, **options):
    return sum(parts(plan, arms, **options).values())


@pytest.mark.parametrize("gpu", ["NVIDIA H200", "NVIDIA H100 80GB HBM3"])
@pytest.mark.parametrize(("name", "budget_s"), [("quick", 360.0), ("full", 1200.0)])
def test_two_links_and_every_arm_are_measured_once_within_the_budget(name, budget_s, gpu):
    plan = load_plan(name)
    assert plan.budget_s == budget_s
    assert estimate(plan, WORST, model=compose.central(reference(gpu)), once=True) < 0.85 * budget_s


@pytest.mark.parametrize("gpu", ["NVIDIA H200", "NVIDIA H100 80GB HBM3"])
def test_quick_settles_every_cell_within_its_budget(gpu):
    plan = load_plan("quick")
    assert estimate(plan, WORST, model=compose.central(reference(gpu))) < plan.budget_s


def test_measuring_once_is_less_than_measuring_as_often_as_the_plan_asks():
    plan = load_plan("quick")
    once, twice = (parts(plan, [UNIFIED], once=once) for once in (True, False))
    for kind in ("prefill", "decode", "interference", "warm-up"):
        assert twice[kind] == pytest.approx(2 * once[kind], rel=1e-9), kind
    assert once["probes"] < twice["probes"] < 2 * once["probes"]


BOUNDS = {"prefill": 0.03, "decode": 0.05, "interference": 0.05, "load": 0.1, "warm-up": 0.05, "probes": 0.5}
"""Share of what the stand-in takes by which an estimate may be off. A load is estimated without its queues, warm-up
without what a D that was idle takes longer, and how many probes there are goes by the length of each cell."""
SLACK_S = 0.3


@pytest.mark.parametrize(
    ("name", "arm", "radix"),
    [
        ("quick", UNIFIED, False),
        ("quick", DELTA_NVLINK, True),
        ("quick", FULL_TCP, False),
        ("full", UNIFIED, False),
        ("full", DELTA_TCP, True),
    ],
    ids=lambda value: str(value) if not isinstance(value, tuple) else f"{value[0].value} {value[1].value}",
)
def test_every_kind_takes_as_long_as_estimated(name, arm, radix, tmp_path):
    # D takes a full hand-off as any other: with a cache it was emptied before.
    model = MODEL.with_handoff(Arm.P_FULL, arm[1], MODEL.handoffs[Arm.P_DELTA, arm[1]]) if radix else MODEL
    plan = load_plan(name).model_copy(update={"passes": 1, "budget_s": 1e-3})
    only = service(*arm, decode_radix=radix, model=model)
    run = measure(plan, [only], MACHINE, tmp_path / "run", resume=False, show_line=str, runner=run_virtually)
    # The virtual clock counts what the engine takes, and no client.
    found = seconds_by_kind(
        run.pending.cells(only), model, plan, decode_radix=radix, once=True, client=Client(request_s=0.0, flush_s=0.0)
    )
    took = {kind: seconds for kind, seconds in run.seconds.items() if not kind.startswith("start of")}
    assert took.keys() == found.keys()
    for kind, seconds in took.items():
        assert abs(found[kind] - seconds) < max(BOUNDS[kind] * seconds, SLACK_S * (kind == "probes")), kind
    assert sum(found.values()) == pytest.approx(run.budget.spent_s, rel=0.03)


def test_a_client_adds_what_its_requests_and_flushes_take():
    plan = load_plan("quick")
    cell = PrefillCell(arm=Arm.P_FULL, transport=Transport.TCP, cached_tokens=1024, new_tokens=64)

    def prefill_s(client, **options):
        return seconds_by_kind([cell], MODEL, plan, once=True, client=client, **options)["prefill"]

    alone_s = prefill_s(Client(request_s=0.0, flush_s=0.0))
    # The turn and its prefix; P and D before the prefix, and a D with a cache before the turn.
    assert prefill_s(Client(request_s=1.0, flush_s=0.0)) == pytest.approx(alone_s + 2.0)
    assert prefill_s(Client(request_s=0.0, flush_s=1.0)) == pytest.approx(alone_s + 2.0)
    assert prefill_s(Client(request_s=0.0, flush_s=1.0), decode_radix=True) == pytest.approx(alone_s + 3.0)


def test_a_full_hand_off_beside_streams_has_a_prefix_a_turn_only_where_d_has_a_cache():
    plan = load_plan("quick")
    cell = StallCell(
        arm=Arm.P_FULL, transport=Transport.TCP, batch=4, prompt_tokens=1024, cached_tokens=16_384, new_tokens=256
    )
    prefix_s = float(MODEL.ttft_s(Arm.P_FULL, Transport.TCP, 0.0, 16_384.0))
    without, with_cache = (
        seconds_by_kind([cell], MODEL, plan, decode_radix=radix, once=True)["interference"] for radix in (False, True)
    )
    # And D is emptied once they are warm.
    assert with_cache - without == pytest.approx(2 * prefix_s + 2 * Client().request_s + Client().flush_s)
    assert without > prefix_s


def test_a_load_ends_after_its_last_conversation():
    plan = load_plan("full")
    for cell in cells_of(plan, *UNIFIED):
        if isinstance(cell, LoadCell):
            seconds = seconds_by_kind([cell], MODEL, plan)["load"]
            conversations = conversations_of(plan, cell)
            thinking = [c.arrival_s + sum(turn.think_s for turn in c.turns) for c in conversations]
            assert seconds > max(thinking)
            assert seconds < 3 * max(thinking)
