"""The headline's sentence in each case, and the caveat about the launch floor of another run."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from crossover_cases import plan, small_answer

from ppdsim import library, profile
from ppdsim.analytical.breakeven import Case
from ppdsim.answers import ALL_EQUAL, NOT_DRAWN, SPREAD, ArmChoice, BreakEvenPoint, HostInterval
from ppdsim.crossover.words import caveats, headline


def point(this_host: float, *, case: Case = Case.BELOW, draws: str = SPREAD, arm: str = "p-full") -> BreakEvenPoint:
    spread = (0.5, 7.0) if draws == SPREAD else (None, None)
    return BreakEvenPoint(
        against=ArmChoice(arm=arm, transport="tcp"),
        cached_tokens=4096,
        new_tokens=256,
        previous_output_tokens=0,
        prefill_cache="warm",
        handoff_stall_s=0.0,
        case=case.value,
        n_star=HostInterval(this_host=this_host, value=this_host, low=spread[0], high=spread[1], draws=draws),
        gamma_star=HostInterval(this_host=1.0, value=1.0, low=None, high=None, draws=NOT_DRAWN),
        simulated_n_star=None,
        simulated_gamma_star=None,
        extrapolated=False,
    )


@pytest.mark.parametrize(
    ("found", "clause"),
    [
        (
            point(3.0),
            "while fewer than N* streams decode on D: this host 3.0; another host of this kind 3.0 (0.5 to 7.0)",
        ),
        (
            point(0.5, draws=ALL_EQUAL),
            "while fewer than N* streams decode on D: this host 0.5; another host of this kind 0.5",
        ),
        (point(0.0, draws=ALL_EQUAL, case=Case.ALWAYS_P), "at no number of streams on D"),
        (point(inf, draws=ALL_EQUAL, case=Case.ALWAYS_D), "at any number of streams on D"),
        (point(inf, case=Case.ALWAYS_D), "this host any number; another host of this kind any number (0.5 to 7.0)"),
        (point(4.25, case=Case.ABOVE), "while more than 4.2 streams decode on D"),
    ],
)
def test_the_headline_says_while_how_many_streams_an_append_is_cheaper(found: BreakEvenPoint, clause: str) -> None:
    text = headline([found], 1.0)
    assert text.startswith("Appending 256 tokens to 4096 cached ones on D is cheaper than a hand-off: over TCP ")
    assert clause in text


def test_each_link_has_its_clause_and_a_price_is_named() -> None:
    text = headline([point(3.0), point(5.0, arm="p-delta")], 0.25)
    assert ", at a price of 0.25 s of TTFT for a stalled stream-second: over TCP while" in text
    assert "; over TCP (only what D lacks) while fewer" in text


def test_the_launch_floor_of_another_run_is_named_in_ms() -> None:
    caveats = small_answer().caveats
    drift = profile.load(library.find("profile", "h200x2_llama-3.1-8b_sglang-0.5.17")).drift_of("floor_s")
    assert drift is not None
    (said,) = (caveat for caveat in caveats if "launch floor" in caveat)
    assert f"from {1000 * drift.low:.3g} to {1000 * drift.high:.3g} ms (named prior)" in said


def test_an_assumed_link_speed_is_a_caveat_in_gb_a_second() -> None:
    assumed = plan().scenario.model_copy(update={"link_bytes_per_s": 12.5e9})
    said = caveats(replace(plan(), setup=replace(plan().setup, scenario=assumed)), ())
    assert set(said) - set(caveats(plan(), ())) == {
        "Assumed: KV moves at 12.5 GB/s on every link; the rest of a hand-off is as measured over that link."
    }
