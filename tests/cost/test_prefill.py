"""T_ext against hand arithmetic, and its mechanisms: floor, staircase, chunks, several requests in one forward."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from curve_cases import PREFILL

from ppdsim.cost.prefill import PREFILL_GRAPH_SIZES_TOKENS, PrefillCurve, PrefillWork, chunks

SHARP = replace(PREFILL, overlap_sharpness=20.0)


def test_one_forward_by_hand():
    # gpu = 20us * 1024 + 1ns * 1024 (4096 + 512) + 30ns * 4096 = 20.48 + 4.718592 + 0.12288 ms
    gpu = 20.48e-3 + 4.718592e-3 + 0.12288e-3
    expected = (8e-3**3 + gpu**3) ** (1 / 3)
    assert PREFILL.seconds(1024.0, 4096.0, 8192) == pytest.approx(expected, rel=1e-12)


def test_small_appends_cost_the_launch_floor():
    assert SHARP.seconds(16.0, 0.0, 8192) == pytest.approx(8e-3, rel=1e-6)


def test_long_prefills_cost_the_gpu():
    gpu = 20e-6 * 8192 + 1e-9 * 8192 * 4096
    assert SHARP.seconds(8192.0, 0.0, 8192) == pytest.approx(gpu, rel=1e-6)


def test_new_tokens_pad_to_the_captured_size():
    inside = SHARP.seconds(577.0, 0.0, 8192)
    assert SHARP.seconds(640.0, 0.0, 8192) > inside > SHARP.seconds(576.0, 0.0, 8192)
    # 577..640 share the matrix work of 640 tokens: only attention differs, below 0.3 ms.
    assert SHARP.seconds(640.0, 0.0, 8192) - inside == pytest.approx(1e-9 * (640**2 - 577**2) / 2, rel=1e-3)


def test_captured_sizes_rise_and_reach_the_chunk():
    assert list(PREFILL_GRAPH_SIZES_TOKENS) == sorted(set(PREFILL_GRAPH_SIZES_TOKENS))
    assert PREFILL_GRAPH_SIZES_TOKENS[-1] == 8192


def test_a_prompt_longer_than_a_chunk_is_the_sum_of_its_forwards_each_launched_behind_the_one_before():
    parts = [(8192, 100), (8192, 8292), (3616, 16484)]
    for hidden_s in (0.0, 0.003):
        expected, before_s = 0.0, hidden_s
        for new, cached in parts:
            before_s = PREFILL.forward_s(PREFILL.work(float(new), float(cached)), before_s)
            expected += before_s
        assert PREFILL.seconds(20_000.0, 100.0, 8192, hidden_s) == pytest.approx(expected, rel=1e-12)


def test_what_runs_hides_the_floor_and_no_more():
    work = PREFILL.work(64.0, 0.0)
    alone_s = PREFILL.forward_s(work)
    without_floor = replace(PREFILL, floor_s=0.0)
    for hidden_s in (PREFILL.floor_s, 10 * PREFILL.floor_s):
        assert PREFILL.forward_s(work, hidden_s) == pytest.approx(without_floor.forward_s(work), rel=1e-12)
    assert without_floor.forward_s(work) < PREFILL.forward_s(work, 0.5 * PREFILL.floor_s) < alone_s


def test_chunks_of_arrays_end_with_each_prompt():
    found = chunks(np.array([100.0, 9000.0]), 8192)
    assert [start for start, _ in found] == [0.0, 8192.0]
    np.testing.assert_array_equal(found[0][1], [100.0, 8192.0])
    np.testing.assert_array_equal(found[1][1], [0.0, 808.0])


def test_two_requests_in_one_forward_share_the_floor():
    a, b = PREFILL.work(64.0, 0.0), PREFILL.work(64.0, 1000.0)
    both = PrefillWork(*(x + y for x, y in zip(a, b, strict=True)))
    assert PREFILL.forward_s(both) < PREFILL.forward_s(a) + PREFILL.forward_s(b)
    assert PREFILL.forward_s(both) >= PREFILL.forward_s(b)


def test_kind_is_what_a_profile_calls_it():
    assert PrefillCurve.kind == "prefill"
