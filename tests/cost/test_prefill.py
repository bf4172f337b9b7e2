"""T_ext against hand arithmetic, and its mechanisms: floor, staircase, waves, chunks, several requests a forward."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from curve_cases import PREFILL
from hypothesis import given, settings
from hypothesis import strategies as st

from ppdsim import compose, profile
from ppdsim.cost.prefill import (
    ONE_WAVE_TOKENS,
    PrefillCurve,
    PrefillWork,
    attention_rows,
    chunks,
    wave_tokens,
)
from ppdsim.engines.sglang.releases import PREFILL_GRAPH_SIZES_TOKENS
from ppdsim.machine.hardware import gpus

SHIPPED = {
    path.stem: compose.central(profile.load(path)).prefill
    for path in (Path(__file__).parents[2] / "calibration/profiles").glob("*.json")
}
SHARP = replace(PREFILL, overlap_sharpness=20.0)
PADDED = {600.0: 640.0, 528.0: 576.0, 512.0: 512.0}


def test_one_forward_by_hand():
    # Two waves of 528 rows: gpu = 20us * 1024 + 1ns * 1056 (4096 + 512) + 30ns * 4096 = 20.48 + 4.866048 + 0.12288 ms
    gpu = 20.48e-3 + 4.866048e-3 + 0.12288e-3
    expected = (8e-3**3 + gpu**3) ** (1 / 3)
    assert PREFILL.seconds(1024.0, 4096.0, 8192) == pytest.approx(expected, rel=1e-12)


def test_small_appends_cost_the_launch_floor():
    assert SHARP.seconds(16.0, 0.0, 8192) == pytest.approx(8e-3, rel=1e-6)


def test_long_prefills_cost_the_gpu():
    gpu = 20e-6 * 8192 + 1e-9 * 16 * 528 * 4096
    assert SHARP.seconds(8192.0, 0.0, 8192) == pytest.approx(gpu, rel=1e-6)


def test_new_tokens_pad_to_the_captured_size():
    inside = SHARP.seconds(577.0, 0.0, 8192)
    assert SHARP.seconds(640.0, 0.0, 8192) > inside > SHARP.seconds(576.0, 0.0, 8192)
    # 577..640 share the matrix work of 640 tokens and two waves of attention, over 31.5 tokens more on average.
    assert SHARP.seconds(640.0, 0.0, 8192) - inside == pytest.approx(1e-9 * 2 * 528 * (640 - 577) / 2, rel=1e-3)


WAVES = st.builds(
    # As a profile keeps it: GPUs of hardware.yaml and a small one, models of 8 to 128 query heads a GPU.
    lambda multiprocessors, heads: float(f"{wave_tokens(multiprocessors, heads, 128):.5g}"),
    st.sampled_from([58, *(int(gpu.multiprocessors) for gpu in gpus().values())]),
    st.sampled_from([8, 12, 14, 28, 32, 40, 64, 128]),
)


@given(m=st.integers(1, 40_000), more=st.integers(0, 4000), wave=WAVES)
def test_attention_takes_whole_waves_beyond_the_first(m, more, wave):
    rows = attention_rows(float(m), wave)
    assert isinstance(rows, float)
    assert m <= rows < m + wave
    assert attention_rows(float(m + more), wave) >= rows
    if m <= wave:
        assert rows == m
    else:
        assert rows == pytest.approx(wave * round(rows / wave), rel=1.1e-4)


@given(m=st.integers(1, 8192), c=st.integers(0, 60_000), more=st.integers(0, 600), wave=WAVES)
def test_a_forward_does_not_fall_with_new_or_with_cached_tokens(m, c, more, wave):
    curve = replace(PREFILL, wave_tokens=wave)
    here = curve.forward_s(curve.work(float(m), float(c)))
    assert curve.forward_s(curve.work(float(m + more), float(c))) >= here - 1e-15
    assert curve.forward_s(curve.work(float(m), float(c + more))) >= here - 1e-15


@pytest.mark.parametrize(("multiprocessors", "heads", "whole"), [(108, 28, 3456), (132, 28, 4224), (132, 40, 2112)])
def test_a_whole_wave_is_no_wave_more_for_the_digits_that_a_profile_keeps(multiprocessors, heads, whole):
    exact = wave_tokens(multiprocessors, heads, 128)
    for wave in (exact, float(f"{exact:.5g}")):
        assert attention_rows(float(whole), wave) == pytest.approx(whole, rel=1e-4)
        assert attention_rows(float(whole + 1), wave) == pytest.approx(whole + exact, rel=1e-3)


def test_rows_of_arrays_and_of_draws_are_those_of_numbers():
    tokens, waves = np.array([0.0, 1.0, 528.0, 529.0, 1056.0, 1057.0, 8192.0]), np.array([[528.0], [704.0]])
    each = [[attention_rows(float(m), float(wave)) for m in tokens] for wave in waves[:, 0]]
    np.testing.assert_array_equal(attention_rows(tokens, waves), each)
    np.testing.assert_array_equal(attention_rows(tokens, 528.0), each[0])


def test_an_append_between_powers_of_two_costs_the_wave_it_does_not_fill():
    # 600 tokens are two waves: 1056 rows on 8192 + 300 tokens each. 528 and 512 are one, row for row.
    for m, rows in ((600.0, 1056.0), (528.0, 528.0), (512.0, 512.0)):
        work = PREFILL.work(m, 8192.0)
        gpu = 20e-6 * PADDED[m] + 1e-9 * rows * (8192.0 + 0.5 * m) + 30e-9 * 8192.0
        assert PREFILL.forward_s(work) == pytest.approx((8e-3**3 + gpu**3) ** (1 / 3), rel=1e-12)


def test_where_nobody_knows_the_multiprocessors_every_row_counts_as_it_is():
    assert wave_tokens(None, 32.0, 128) == ONE_WAVE_TOKENS
    assert attention_rows(1e6 + 1.0, ONE_WAVE_TOKENS) == 1e6 + 1.0


def test_requests_of_one_forward_fill_waves_together():
    # 300 + 300 tokens are 600 rows, so both take part in two waves, though either alone would be less than one.
    one = PREFILL.work(300.0, 8192.0)
    both = PrefillWork(*(2.0 * field for field in one))
    sharp = replace(SHARP, token_s=0.0, kv_read_s_per_token=0.0, floor_s=0.0)
    assert sharp.forward_s(both) == pytest.approx(1e-9 * 1056.0 / 600.0 * 2 * 300.0 * (8192.0 + 150.0), rel=1e-12)


def test_captured_sizes_rise_and_reach_the_chunk():
    assert list(PREFILL_GRAPH_SIZES_TOKENS) == sorted(set(PREFILL_GRAPH_SIZES_TOKENS))
    assert PREFILL_GRAPH_SIZES_TOKENS[-1] == 8192


def test_a_prompt_longer_than_a_chunk_is_the_sum_of_its_forwards_of_which_a_step_hides_the_first_only():
    parts = [(8192, 100), (8192, 8292), (3616, 16484)]
    for hidden_s in (0.0, 0.003):
        first, *others = (PREFILL.work(float(new), float(cached)) for new, cached in parts)
        further_s = sum(PREFILL.forward_s(work, further=True) for work in others)
        expected = PREFILL.forward_s(first) - min(hidden_s, PREFILL.prepare_s) + further_s
        assert PREFILL.seconds(20_000.0, 100.0, 8192, hidden_s) == pytest.approx(expected, rel=1e-12)


def test_a_further_chunk_takes_the_gpu_longer_and_the_host_as_long_as_any():
    work = PREFILL.work(8192.0, 8192.0)
    gpu = replace(PREFILL, floor_s=0.0)
    assert gpu.forward_s(work, further=True) == pytest.approx(1.04 * gpu.forward_s(work), rel=1e-12)
    bound_by_launch = replace(PREFILL, floor_s=10.0)
    assert bound_by_launch.forward_s(work, further=True) == pytest.approx(10.0, rel=1e-3)


@pytest.mark.parametrize("new", [1.0, 64.0, 8192.0])
def test_a_running_step_hides_the_preparation_and_no_more_whatever_the_size(new):
    work = PREFILL.work(new, 0.0)
    alone_s = PREFILL.forward_s(work)
    for runs_s, hidden_s in (
        (0.0, 0.0),
        (1e-3, 1e-3),
        (PREFILL.prepare_s, PREFILL.prepare_s),
        (1.0, PREFILL.prepare_s),
    ):
        assert PREFILL.forward_s(work, runs_s) == pytest.approx(alone_s - hidden_s, rel=1e-12)


@pytest.mark.parametrize("name", sorted(SHIPPED))
@settings(max_examples=40, deadline=None)
@given(
    new=st.integers(1, 131_072),
    cached=st.integers(0, 131_072),
    chunk=st.sampled_from([512, 1024, 2048, 4096, 8192, 16_384]),
    parts=st.sampled_from([2, 4, 8]),
)
def test_a_smaller_chunk_is_never_faster_than_by_the_rows_that_it_does_not_round_up(name, new, cached, chunk, parts):
    """Nothing hides behind a forward, so all that a cut can save is rows that graphs and waves would have padded."""
    curve = SHIPPED[name]
    gpu = replace(curve, floor_s=0.0, further_share=0.0)
    fewer, more = (curve.seconds(float(new), float(cached), size) for size in (chunk, chunk // parts))
    saved_s = sum(
        max(gpu.seconds(size, cached + start, chunk) - gpu.seconds(size, cached + start, chunk // parts), 0.0)
        for start, size in chunks(float(new), chunk)
    )
    assert more >= fewer - saved_s - 1e-9 * fewer


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_32_000_tokens_are_slower_in_smaller_chunks(name):
    sizes = (512, 1024, 2048, 4096, 8192, 16_384)
    seconds = [SHIPPED[name].seconds(32_000.0, 0.0, size) for size in sizes]
    assert seconds == sorted(seconds, reverse=True)
    assert len(set(seconds)) == len(sizes)


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
