"""What a plan is said to cost: the shipped ones measure everything once within their budgets, whatever the machine."""

from __future__ import annotations

import pytest

from ppdsim import compose, library, profile
from ppdsim.calibrate.live.cells import LoadCell, StallCell
from ppdsim.calibrate.live.estimate import OVERHEAD_S, seconds_by_kind
from ppdsim.calibrate.live.plan import cells_of, conversations_of, load_plan, transfer_cells
from ppdsim.cli.calibrate import ESTIMATE_PROFILE
from ppdsim.types import Arm, Transport

MODEL = compose.central(profile.load(library.find("profile", ESTIMATE_PROFILE)))
UNIFIED = (Arm.APPEND_D, Transport.NONE)
WORST = (UNIFIED, *((arm, over) for over in (Transport.NVLINK, Transport.TCP) for arm in (Arm.P_DELTA, Arm.P_FULL)))


def estimate(plan, arms, **options):
    cells = [cell for arm in arms for cell in cells_of(plan, *arm)]
    cells += [cell for over in {over for arm, over in arms} - {Transport.NONE} for cell in transfer_cells(plan, over)]
    return sum(seconds_by_kind(cells, MODEL, plan, decode_radix=True, **options).values())


@pytest.mark.parametrize(("name", "budget_s"), [("quick", 360.0), ("full", 1200.0)])
def test_two_links_and_every_arm_are_measured_once_within_the_budget(name, budget_s):
    plan = load_plan(name)
    assert plan.budget_s == budget_s
    assert estimate(plan, WORST, once=True) < 0.85 * budget_s


def test_quick_settles_every_cell_within_its_budget():
    plan = load_plan("quick")
    assert estimate(plan, WORST) < plan.budget_s


def test_measuring_once_is_less_than_measuring_as_often_as_the_plan_asks():
    plan = load_plan("quick")
    assert estimate(plan, [UNIFIED], once=True) == pytest.approx(estimate(plan, [UNIFIED]) / 2, rel=1e-9)


def test_a_full_hand_off_beside_streams_has_a_prefix_a_turn_only_where_d_has_a_cache():
    plan = load_plan("quick")
    cell = StallCell(
        arm=Arm.P_FULL, transport=Transport.TCP, batch=4, prompt_tokens=1024, cached_tokens=16_384, new_tokens=256
    )
    prefix_s = float(MODEL.ttft_s(Arm.P_FULL, Transport.TCP, 0.0, 16_384.0))
    without, with_cache = (
        seconds_by_kind([cell], MODEL, plan, decode_radix=radix, once=True)["interference"] for radix in (False, True)
    )
    assert with_cache - without == pytest.approx(2 * prefix_s)
    assert without > prefix_s + OVERHEAD_S


def test_a_load_ends_after_its_last_conversation():
    plan = load_plan("full")
    for cell in cells_of(plan, *UNIFIED):
        if isinstance(cell, LoadCell):
            seconds = seconds_by_kind([cell], MODEL, plan)["load"]
            conversations = conversations_of(plan, cell)
            thinking = [c.arrival_s + sum(turn.think_s for turn in c.turns) for c in conversations]
            assert seconds > max(thinking)
            assert seconds < 3 * max(thinking)
