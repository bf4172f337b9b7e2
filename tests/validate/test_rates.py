"""J at fixed prompts: rows that are planted give back their J and their r*, and the committed runs are all compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ppdsim import compose, measurements, profile
from ppdsim.accuracy import ANOTHER_RUN, HELD_OUT
from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.analytical.crossing import CrossingResult, cache_rate_crossing, sampled_crossing
from ppdsim.answers import CrossingKind
from ppdsim.types import Arm, Transport
from ppdsim.validate.rates import rate_cells, rate_crossings
from ppdsim.validate.stalls import RESAMPLES

PINNED = "h200x1_llama-3.1-8b_sglang-0.5.17_pinned"
TOTAL, STREAMS, STEP_S = 8192, 8, 5e-3


@pytest.fixture(scope="module")
def run(repository):
    return measurements.read(repository / "calibration/measurements" / PINNED)


@pytest.fixture(scope="module")
def fitted(repository):
    return profile.load(repository / "calibration/profiles" / f"{PINNED}.json")


def planted(run, cells):
    """Return the run with these interference rows only: (arm, transport, cached, TTFT [s], stall [s])."""
    like = next(row for row in run.interference if row.purpose == "validation")
    rows = [
        replace_row(like, arm, transport, cached, ttft_s, stall_s) for arm, transport, cached, ttft_s, stall_s in cells
    ]
    return replace(run, prefill=(), interference=tuple(rows))


def replace_row(like, arm, transport, cached, ttft_s, stall_s):
    return like.model_copy(
        update={
            "arm": arm,
            "transport": transport,
            "batch": STREAMS,
            "cached_tokens": cached,
            "new_tokens": TOTAL - cached,
            "append_ttft_s": (ttft_s,) * 3,
            "stall_gap_s": (STEP_S + stall_s,) * 3,
            "itl_base_s": STEP_S,
        }
    )


def test_r_star_is_where_planted_costs_cross(run, fitted):
    rates = np.array([0.25, 0.5, 0.75])
    # J_D = 0.1 + 8 * 0.4 (1 - r) and J_P = 1.38: equal at r = 0.6.
    cells = [(Arm.APPEND_D, Transport.NONE, round(r * TOTAL), 0.1, 0.4 * (1 - r)) for r in rates]
    cells += [(Arm.P_FULL, Transport.TCP, round(r * TOTAL), 1.38, 0.0) for r in rates]
    (line,) = rate_crossings(fitted, planted(run, cells))
    assert (line.against, line.fixed_tokens, line.residents, line.axis) == ("p-full:tcp", TOTAL, STREAMS, "r")
    assert line.measured == pytest.approx(0.6, abs=1e-3)
    assert (line.measured_low, line.measured_high) == (None, None), "repeats without noise have no interval"
    assert replace(line, predicted=0.5, predicted_low=0.4, predicted_high=0.61).intervals_meet
    assert not replace(line, predicted=0.5, predicted_low=0.4, predicted_high=0.59).intervals_meet
    assert not replace(line, measured=None).intervals_meet


@pytest.mark.parametrize(("noisy", "width"), [(Arm.P_FULL, 0.0512), (Arm.APPEND_D, 0.0416)])
def test_the_noise_of_the_repeats_is_the_width_of_the_measured_interval(run, fitted, noisy, width):
    """J of each cell is drawn again with the half-range of its repeats' J, every stream's stall counted.

    A hand-off's TTFT has repeats 5 % apart: J_P = 1.38 (1 +- 0.05). An append's stall has repeats 4 % apart: J_D = 0.1
    + 8 x 0.4 (1 - r) (1 +- 0.04). Between the cells at r = 0.5 and 0.75 the line through both, weighted 0.6 and 0.4, is
    flat at 1.38 for the one and falls by 3.2 a unit for the other; 90 % are 1.645 standard deviations to either side.
    """
    rates = np.array([0.25, 0.5, 0.75])
    cells = [(Arm.APPEND_D, Transport.NONE, round(r * TOTAL), 0.1, 0.4 * (1 - r)) for r in rates]
    cells += [(Arm.P_FULL, Transport.TCP, round(r * TOTAL), 1.38, 0.0) for r in rates]
    quiet = planted(run, cells)
    rows = []
    spread = np.array([-1.0, 0.0, 1.0])
    for row in quiet.interference:
        stall_s = 0.4 * (1 - row.cached_tokens / TOTAL)
        repeats = {
            Arm.P_FULL: {"append_ttft_s": tuple(1.38 * (1 + 0.05 * spread))},
            Arm.APPEND_D: {"stall_gap_s": tuple(STEP_S + stall_s * (1 + 0.04 * spread))},
        }
        rows.append(row.model_copy(update=repeats[noisy] if row.arm is noisy else {}))
    (line,) = rate_crossings(fitted, replace(quiet, interference=tuple(rows)))
    assert line.measured == pytest.approx(0.6, abs=1e-3)
    # 200 draws: an end moves by about a twelfth of the width.
    assert line.measured_high - line.measured_low == pytest.approx(width, rel=0.2)
    assert line.measured_low < 0.6 < line.measured_high


def crossing_at(rate, rates):
    """Return planted cells at cache rates: J of an append is 1.38 + 3.2 (rate - r), that of a hand-off 1.38."""
    cells = []
    for r in rates:
        behind = rate - r
        ttft_s, stall_s = (1.38, 0.4 * behind) if behind > 0 else (1.38 + 3.2 * behind, 0.0)
        cells.append((Arm.APPEND_D, Transport.NONE, round(r * TOTAL), ttft_s, stall_s))
        cells.append((Arm.P_FULL, Transport.TCP, round(r * TOTAL), 1.38, 0.0))
    return cells


def level(rates):
    """Return planted cells of an append that always costs a second more."""
    return [
        (arm, transport, round(r * TOTAL), seconds, 0.0)
        for r in rates
        for arm, transport, seconds in ((Arm.APPEND_D, Transport.NONE, 2.0), (Arm.P_FULL, Transport.TCP, 1.0))
    ]


def of_another_run(run):
    return replace(run, manifest=run.manifest.model_copy(update={"id": "another"}))


def test_the_range_is_wider_for_another_run_of_such_a_host(run, fitted):
    """The drift between runs of one host stands in the interval of predictions for a run that was not fitted."""
    mine = planted(run, crossing_at(0.6, (0.5, 0.6, 0.7)))
    theirs = of_another_run(mine)
    for own, other in zip(rate_cells(fitted, mine), rate_cells(fitted, theirs), strict=True):
        assert (own.scope, other.scope) == (HELD_OUT, ANOTHER_RUN)
        assert own.predicted_s == other.predicted_s
        assert other.high_s / other.low_s > 1.01 * own.high_s / own.low_s
    ((own,), (other,)) = (rate_crossings(fitted, rows) for rows in (mine, theirs))
    assert (own.scope, other.scope) == (HELD_OUT, ANOTHER_RUN)
    assert (own.predicted, own.measured) == (other.predicted, other.measured)
    assert other.predicted_high - other.predicted_low != own.predicted_high - own.predicted_low


def test_a_predicted_crossing_has_the_ends_of_its_draws(run, fitted):
    rows = planted(run, crossing_at(0.6, (0.5, 0.6, 0.7)))
    (line,) = rate_crossings(fitted, rows)
    like = next(row for row in run.interference if row.purpose == "validation")
    model = compose.central(fitted)
    tokens = like.prompt_tokens + like.generated_tokens
    step_s = float(np.ravel(model.decode.step_s(float(STREAMS), STREAMS * tokens))[0])
    samples = compose.samples(fitted, another_run=False)
    comparison = ArmComparison(
        arm=Arm.P_FULL,
        transport=Transport.TCP,
        residents=STREAMS,
        resident_context_tokens=tokens,
        wait_d_s=float(model.step_wait_s(Arm.APPEND_D, step_s)),
        wait_p_s=float(model.step_wait_s(Arm.P_FULL, step_s)),
    )
    expected = cache_rate_crossing(model, samples, comparison, TOTAL)
    assert line.predicted == pytest.approx(expected.values[-1])
    assert (line.predicted_low, line.predicted_high) == (
        pytest.approx(expected.interval.low),
        pytest.approx(expected.interval.high),
    )
    assert line.predicted_low < line.predicted_high


@pytest.mark.parametrize("rates", [(0.1, 0.2, 0.3), (0.8, 0.9, 0.95)], ids=["below", "above"])
def test_a_crossing_predicted_beyond_the_measured_rates_is_not_compared(run, fitted, rates):
    """This profile's r* lies between 0.5 and 0.7."""
    (line,) = rate_crossings(fitted, planted(run, crossing_at(rates[1], rates)))
    assert line.measured == pytest.approx(rates[1], abs=1e-3)
    assert (line.predicted, line.predicted_low, line.predicted_high) == (None, None, None)
    assert rate_crossings(fitted, planted(run, level(rates))) == (), "neither crosses"


@pytest.mark.parametrize(("at", "compared"), [(0.5, True), (0.75, True), (0.499, False), (0.751, False)])
def test_the_ends_of_the_measured_rates_belong_to_them(run, fitted, monkeypatch, at, compared):
    guess = CrossingResult(
        kind=CrossingKind.SEVERAL, values=(0.6, at), interval=None, share_without=0.0, share_carried=1.0
    )
    monkeypatch.setattr("ppdsim.validate.rates.cache_rate_crossing", lambda *_: guess)
    (line,) = rate_crossings(fitted, planted(run, crossing_at(0.6, (0.5, 0.6, 0.75))))
    assert line.predicted == (at if compared else None), "the last of several"
    assert (line.predicted_low, line.predicted_high) == (None, None), "draws that are all the same have no interval"


def test_a_crossing_that_is_predicted_and_not_measured_is_kept(run, fitted):
    (line,) = rate_crossings(fitted, planted(run, level((0.3, 0.6, 0.8))))
    assert 0.5 < line.predicted < 0.7
    assert (line.measured, line.measured_low, line.measured_high) == (None, None, None)


def test_an_arm_that_the_profile_has_not_is_left_out_and_the_others_stay(run, fitted):
    assert (Arm.P_FULL, Transport.RDMA) not in compose.central(fitted).handoffs
    cells = crossing_at(0.6, (0.5, 0.6, 0.7))
    more = [(Arm.P_FULL, Transport.RDMA, cached, 0.1, 0.0) for _, _, cached, _, _ in cells[::2]]
    alone, beside = (planted(run, each) for each in (cells, cells + more))
    assert rate_cells(fitted, beside) == rate_cells(fitted, alone)
    assert rate_crossings(fitted, beside) == rate_crossings(fitted, alone)


@pytest.mark.parametrize("change", [{"outlier": True}, {"purpose": "fit"}], ids=str)
def test_rows_that_are_marked_or_not_held_out_are_no_cells(run, fitted, change):
    kept = planted(run, crossing_at(0.6, (0.5, 0.6, 0.7)))
    odd = tuple(
        row.model_copy(update={**change, "append_ttft_s": (99.0,) * 3, "cached_tokens": cached})
        for row in kept.interference
        for cached in (row.cached_tokens, 77)
    )
    spoilt = replace(kept, interference=(*odd, *kept.interference))
    assert rate_cells(fitted, spoilt) == rate_cells(fitted, kept)
    like = next(row for row in run.prefill if row.purpose == "validation")
    alone = [
        like.model_copy(update={"cached_tokens": c, "new_tokens": TOTAL - c, "ttft_s": 0.1}) for c in (1024, 2048, 4096)
    ]
    marked = [row.model_copy(update={**change, "ttft_s": 99.0}) for row in alone]
    found = rate_cells(fitted, replace(kept, interference=(), prefill=(*marked, *marked, *alone)))
    assert [(cell.residents, cell.ttft_s, cell.stall_s) for cell in found] == [(0, 0.1, 0.0)] * 3


def test_rows_made_of_the_profile_are_what_it_predicts(run, fitted):
    model = compose.central(fitted)
    context = next(r for r in run.interference if r.purpose == "validation")
    tokens = context.prompt_tokens + context.generated_tokens
    cells = []
    for cached in (1024, 4096, 7168):
        sizes = np.array([float(cached)]), np.array([float(TOTAL - cached)])
        for arm, transport in ((Arm.APPEND_D, Transport.NONE), (Arm.P_FULL, Transport.TCP)):
            step_s = float(np.ravel(model.decode.step_s(float(STREAMS), STREAMS * tokens))[0])
            # A hand-off waits for D's scheduler twice, half a step each time.
            wait_s = float(model.step_wait_s(arm, step_s)) if arm is Arm.APPEND_D else step_s
            ttft = np.asarray(model.ttft_s(arm, transport, *sizes)).item() + wait_s
            stall = np.asarray(model.stall_s(arm, *sizes, float(STREAMS), tokens)).item()
            cells.append((arm, transport, cached, ttft, stall))
    found = rate_cells(fitted, planted(run, cells))
    assert len(found) == len(cells)
    for cell in found:
        assert cell.measured_s == pytest.approx(cell.predicted_s, rel=1e-9)
        assert cell.measured_s == pytest.approx(cell.ttft_s + STREAMS * cell.stall_s)
        assert cell.low_s < cell.predicted_s < cell.high_s


def test_the_middle_is_what_was_measured_and_every_resample_is_a_draw(run, fitted, monkeypatch):
    seen = []

    def search(axis, central, draws):
        seen.append((axis, central, draws))
        return sampled_crossing(axis, central, draws)

    monkeypatch.setattr("ppdsim.validate.rates.sampled_crossing", search)
    rows = planted(run, crossing_at(0.6, (0.5, 0.6, 0.75)))
    rate_crossings(fitted, rows)
    ((axis, central, draws),) = seen
    # J_P - J_D = 3.2 (r - 0.6), at the whole tokens that were measured.
    assert central == pytest.approx(3.2 * (axis - 0.6), abs=1e-3)
    assert draws.shape == (RESAMPLES, 3)
    arms = [(cell.cache_rate, cell.arm) for cell in rate_cells(fitted, rows)]
    assert arms == sorted(arms), "by rate, the append first"


def test_two_rates_are_no_experiment(run, fitted):
    cells = [(Arm.APPEND_D, Transport.NONE, cached, 0.1, 0.1) for cached in (1024, 4096)]
    assert rate_cells(fitted, planted(run, cells)) == ()


def test_the_pinned_run_has_an_r_star_between_its_cells(run, fitted):
    cells = rate_cells(fitted, run)
    assert {cell.scope for cell in cells} == {HELD_OUT}
    assert {cell.residents for cell in cells} == {0, 8}
    (line,) = rate_crossings(fitted, run)
    assert line.against == "p-full:tcp"
    assert 0.5 < line.measured < 0.7
    assert line.measured_low <= line.measured <= line.measured_high
    below = {c.arm: c.measured_s for c in cells if c.residents == 8 and c.cache_rate == pytest.approx(0.5, abs=0.02)}
    assert below["append-d"] > below["p-full:tcp"], "below r* the hand-off is cheaper"


def test_of_several_measured_crossings_the_last_counts(run, fitted):
    cells = []
    # The gains 0.1, -0.05, 0.1, -0.05 s of the append cross last at two thirds of the way from 0.6 to 0.8.
    for rate, handoff_s in ((0.2, 0.2), (0.4, 0.05), (0.6, 0.2), (0.8, 0.05)):
        cells.append((Arm.APPEND_D, Transport.NONE, round(rate * TOTAL), 0.1, 0.0))
        cells.append((Arm.P_FULL, Transport.TCP, round(rate * TOTAL), handoff_s, 0.0))
    (found,) = rate_crossings(fitted, planted(run, cells))
    assert found.measured == pytest.approx(0.6 + 0.2 * 2 / 3, abs=1e-3)
