"""A simulated answer: where m* is looked for, and how a draw's short run is scaled to the central one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from crossover_cases import plan

from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.analytical.crossing import CrossingResult
from ppdsim.answers import WITH_WAITS, CrossingKind
from ppdsim.crossover import levels, pair_simulator, simulation
from ppdsim.crossover.levels import crossing_of
from ppdsim.crossover.pair_simulator import PairSimulator, Sample
from ppdsim.metrics import STABLE
from ppdsim.types import Arm, Transport

NVLINK = ArmComparison(arm=Arm.P_FULL, transport=Transport.NVLINK)


def result(*values: float) -> CrossingResult:
    kind = CrossingKind.VALUE if values else CrossingKind.ALWAYS_D
    return CrossingResult(kind=kind, values=values, interval=None, share_without=0.0, share_carried=1.0)


def test_m_star_is_simulated_around_the_one_expected_after_the_same_previous_answer(monkeypatch):
    asked = []

    def spy(plan, simulator, comparison, axis, pairs):
        asked.extend(pairs)
        return result()

    monkeypatch.setattr(simulation, "_crossing", spy)
    later = replace(NVLINK, previous_output_tokens=512)
    formulas = [
        crossing_of(plan(), comparison, result(m), axis="new_tokens", fixed_tokens=4096, source=WITH_WAITS)
        for comparison, m in ((NVLINK, 100.0), (later, 1000.0))
    ]
    simulation._new_tokens(plan(), None, later, 4096, formulas)
    assert asked[0] == (4096, 250)
    assert asked[-1] == (4096, 4000)
    assert (4096, 1000) in asked
    # Half of them on either side, none far from the next.
    assert [new for _, new in asked] == sorted({new for _, new in asked})
    assert sum(new < 1000 for _, new in asked) == sum(new > 1000 for _, new in asked) == 3


def test_a_crossing_is_extrapolated_where_its_own_turn_is():
    # m* = 256 on 4096 was measured on either side; a prompt of 4096 tokens at r = 0.5 too.
    for axis, last in (("new_tokens", 256.0), ("r", 0.5)):
        found = crossing_of(plan(), NVLINK, result(last), axis=axis, fixed_tokens=4096, source=WITH_WAITS)
        assert not found.extrapolated
    # Of several the last.
    for values, outside in (((1e6,), True), ((256.0, 1e6), True), ((1e6, 256.0), False)):
        found = crossing_of(plan(), NVLINK, result(*values), axis="new_tokens", fixed_tokens=4096, source="")
        assert found.extrapolated is outside


@pytest.mark.parametrize(("few", "expected_s"), [(5, 2.0 * 1.5 / 1.0), (20, 1.5)])
def test_a_draws_short_run_is_scaled_by_the_central_models_short_run(monkeypatch, few, expected_s):
    drawn = object()

    def run(self, model, comparison, cached_tokens, new_tokens, on_p, count):
        seconds = 1.5 if model is drawn else 2.0 if count == 20 else 1.0
        return Sample(label=STABLE, ttft_s=seconds, tpot_s=0.0, e2e_s=0.0, kv_transfer_s=0.0, lost_s=seconds)

    monkeypatch.setattr(PairSimulator, "_run", run)
    monkeypatch.setattr(pair_simulator, "TURNS_OF_A_DRAW", few)
    assert len(plan().traffic.arrivals_s) == 20
    found = PairSimulator(plan(), [drawn]).append(4096, 256)
    np.testing.assert_allclose(found.ttft_s, [expected_s])
    np.testing.assert_allclose(found.lost_s, [expected_s])


def test_a_simulated_turn_has_a_time_per_output_token():
    assert max(plan().traffic.output_tokens) > 1
    assert 0.0 < PairSimulator(plan(), []).append(4096, 256).central.tpot_s < 0.1


def test_the_sliders_r_star_is_the_last_of_several(monkeypatch):
    monkeypatch.setattr(levels, "cache_rate_table", lambda *_: [[result(0.2, 0.5), result()]])
    assert levels.slider_table(plan(), NVLINK, 8192).r_star == ((0.5, None),)
