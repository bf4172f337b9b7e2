"""T_step by hand, and the staircase of captured graph sizes."""

from __future__ import annotations

import pytest
from curve_cases import DECODE

from ppdsim.engines.sglang.releases import DECODE_GRAPH_SIZES


def test_one_step_by_hand():
    # 5 ms + 8 x 12 us + 8 x 2048 x 30 ns
    assert DECODE.step_s(8.0, 8 * 2048.0) == pytest.approx(5e-3 + 96e-6 + 491.52e-6, rel=1e-12)


@pytest.mark.parametrize(("batch", "padded"), [(3, 4), (5, 8), (9, 12), (17, 24), (250, 256)])
def test_a_batch_costs_the_next_captured_size(batch, padded):
    assert DECODE.batch_s(float(batch)) == DECODE.batch_s(float(padded))
    assert padded in DECODE_GRAPH_SIZES


def test_above_the_largest_captured_size_the_engine_runs_eager():
    assert DECODE.batch_s(300.0) == pytest.approx(5e-3 + 300 * 12e-6)
