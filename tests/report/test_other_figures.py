"""The numbers behind the map, its cuts, the latencies and the profile's errors."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from report.built import APPEND, NVLINK, TCP, breakeven_map, built_answer

from ppdsim.report.figures._views import View
from ppdsim.report.figures.plot_breakeven_lines import breakeven_lines_data
from ppdsim.report.figures.plot_breakeven_map import SPAN, breakeven_map_data, plot_breakeven_map
from ppdsim.report.figures.plot_latencies import latencies_data
from ppdsim.report.figures.plot_profile_quality import profile_quality_data


def test_the_map_has_log_colours_held_inside_the_scale():
    answer = built_answer()
    data = breakeven_map_data(answer, breakeven_map(NVLINK, 0))
    assert data.colour[0][0] == pytest.approx(math.log10(2.0))
    assert data.colour[1][0] == pytest.approx(math.log10(answer.residents * SPAN))
    assert data.colour[1][2] == pytest.approx(math.log10(answer.residents / SPAN))
    assert data.colour[2][1] is None


def test_the_map_marks_what_was_not_measured():
    data = breakeven_map_data(built_answer(), breakeven_map(NVLINK, 0))
    assert data.text == [["(2)", "1", "0.5"], ["(any)", "4", "0"], ["(8)", "(unknown)", "(0.25)"]]
    assert data.hover[1][1] == (
        "256 new tokens on 1,024 cached ones<br>D is cheaper while fewer than N* = 4<br>"
        "streams decode on D, on another host 2 to 8 (inside the measured range)"
    )
    assert "extrapolated or unmeasured" in data.hover[2][0]
    measured, outside = plot_breakeven_map(built_answer()).data
    for i in range(3):
        for j in range(3):
            drawn = [trace for trace in (measured, outside) if trace.text[i][j]]
            assert drawn == [outside if data.extrapolated[i][j] else measured]
    borders = [(s.x0, s.y0, s.x1, s.y1) for s in plot_breakeven_map(built_answer()).layout.shapes]
    assert sorted(borders) == [(0.5, -0.5, 0.5, 0.5), (0.5, 0.5, 0.5, 1.5), (0.5, 1.5, 1.5, 1.5), (1.5, 1.5, 2.5, 1.5)]


def test_the_map_of_another_arm_and_answer_is_drawn():
    other = replace(breakeven_map(TCP, 100), n_star=((5.0,) * 3,) * 3)
    answer = built_answer(maps=(*built_answer().maps[:3], other))
    assert plot_breakeven_map(answer, against="p-full over tcp", previous_output_tokens=100).data[0].text[0][1] == "5"


def test_the_cuts_have_gaps_where_p_always_wins_and_end_at_the_largest_batch():
    (line,) = [found for found in breakeven_lines_data(breakeven_map(NVLINK, 0)) if found.cached_tokens == 1024]
    assert line.n_star == [1000.0, 4.0, None]
    assert line.low == [1000.0, 2.0, None]
    assert line.text == [
        "any number; another host nearly all draws equal",
        "4; another host 2 to 8",
        "0; another host nearly all draws equal",
    ]


def test_the_cuts_are_spread_over_measured_prefixes():
    wide = replace(
        breakeven_map(NVLINK, 0),
        cached_tokens=tuple(range(0, 800, 100)),
        **dict.fromkeys(("n_star", "n_star_low", "n_star_high"), ((1.0,) * 3,) * 8),
        extrapolated=((False,) * 3,) * 7 + ((True,) * 3,),
    )
    assert [line.cached_tokens for line in breakeven_lines_data(wide)] == [100, 300, 600]


def test_latencies_are_in_ms_with_gaps_where_there_is_nothing():
    lines = latencies_data(built_answer(), View(1000, 0))
    assert [line.arm for line in lines] == [APPEND, NVLINK, TCP]
    append, nvlink, _ = lines
    assert append.values_ms["TTFT"][0] == pytest.approx(1.1 * (20 + 9))
    assert append.values_ms["TPOT"] == [5.0, None, 5.0, 5.0, 5.0]
    assert append.values_ms["E2E"][0] == pytest.approx(9 * (20 + 9))
    assert append.values_ms["KV transfer"] == [None] * 5
    assert nvlink.values_ms["KV transfer"] == [4.0] * 5


def test_errors_are_in_per_cent():
    data = profile_quality_data(built_answer())
    assert data.kinds == ["append-d"]
    assert (data.in_sample, data.median, data.p90, data.noise) == ([1.0], [2.0], [5.0], [None])
