"""What of an answer is extrapolated, and which cache of P it is about."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from crossover_cases import plan

from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.answers import ALL_EQUAL, NOT_DRAWN, HostInterval
from ppdsim.crossover.arms import arm_curve, is_extrapolated
from ppdsim.crossover.breakeven import break_even_point, breakeven_map
from ppdsim.crossover.formulas import _profiles
from ppdsim.crossover.overload import _carried
from ppdsim.crossover.waits import services
from ppdsim.crossover.words import _load_clause
from ppdsim.types import Arm, Transport

NVLINK = ArmComparison(arm=Arm.P_FULL, transport=Transport.NVLINK)


def test_a_measured_turn_is_extrapolated_only_as_a_hand_off_over_an_assumed_link():
    assert not is_extrapolated(plan(), NVLINK, 4096.0, 256.0)
    assert not is_extrapolated(plan(), None, 4096.0, 256.0)
    assert is_extrapolated(plan(), NVLINK, 4096.0, 1.0e6)
    assumed = replace(plan(), setup=SimpleNamespace(scenario=SimpleNamespace(link_bytes_per_s=5e10)))
    assert is_extrapolated(assumed, NVLINK, 4096.0, 256.0)
    assert not is_extrapolated(assumed, None, 4096.0, 256.0)


@pytest.mark.parametrize(("cold", "name"), [(True, "cold"), (False, "warm")])
def test_break_even_numbers_name_the_cache_of_p(cold, name):
    asked = replace(NVLINK, cold=cold)
    assert break_even_point(plan(), asked, 4096, 256).prefill_cache == name
    assert breakeven_map(plan(), asked).prefill_cache == name


def test_what_the_servers_keep_up_with_is_the_arms_own():
    for comparison, rates in ((None, "append_per_s"), (plan().comparisons[0], "handoff_per_s")):
        curve = arm_curve(plan(), comparison, 8192, (0.5,))
        busy = services(plan().grid, plan().central, plan().comparisons[0], np.array([4096.0]), np.array([4096.0]))
        assert _carried(plan(), curve) == f"{getattr(busy, rates)[0]:.3g} a second"


@pytest.mark.parametrize(
    ("this_host", "draws", "expected"),
    [
        (float("inf"), ALL_EQUAL, "at any number of streams on D"),
        (0.0, ALL_EQUAL, "at no number of streams on D"),
        (0.5, ALL_EQUAL, "while fewer than N* streams decode on D: this host 0.5; another host of this kind 0.5"),
        (0.0, NOT_DRAWN, "while fewer than N* streams decode on D: this host 0.0; another host of this kind not"),
    ],
)
def test_only_an_n_star_of_all_or_none_is_said_without_a_number(this_host, draws, expected):
    found = HostInterval(this_host=this_host, value=this_host, low=None, high=None, draws=draws)
    assert _load_clause(SimpleNamespace(case="below", n_star=found)).startswith(expected)


def test_a_p_of_another_kind_is_named_whichever_name_sorts_first():
    def pair(on_p, on_d):
        machines = {name: SimpleNamespace(profile=SimpleNamespace(id=id_)) for name, id_ in (("p", on_p), ("d", on_d))}
        return SimpleNamespace(on_p=machines["p"], on_d=machines["d"])

    assert _profiles(pair("a", "a")) == {"profile": "a"}
    assert _profiles(pair("a", "b")) == {"profile": "b", "profile of P": "a"}
    assert _profiles(pair("b", "a")) == {"profile": "a", "profile of P": "b"}
