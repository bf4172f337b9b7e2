"""The cost curves: numbers, units, gaps, and where the crossing is drawn."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report.built import NVLINK, RATES, TCP, built_answer

from ppdsim.report.figures._costs import costs_data, series
from ppdsim.report.figures._views import View
from ppdsim.report.figures.plot_costs import plot_costs
from ppdsim.report.page import render


@pytest.fixture(scope="module")
def panel():
    return costs_data(built_answer())[View(4000, 100)][0]


def role(figure, panel, arm, name):
    """Return a trace of a panel by what it is: seven an arm, the append's first."""
    roles = ("band", "solid", "dashed", "loaded", "loaded dashed", "strokes", "simulated")
    return figure.data[14 * panel + 7 * arm + roles.index(name)]


def test_a_view_has_a_panel_for_each_arm_with_the_append_of_its_prompt():
    views = costs_data(built_answer())
    assert list(views) == [View(1000, 0), View(1000, 100), View(4000, 0), View(4000, 100)]
    for panels in views.values():
        assert [panel.against for panel in panels] == [NVLINK, TCP]
    long, short = views[View(4000, 100)][0], views[View(1000, 100)][0]
    assert long.append.ttft_ms.value[0] == pytest.approx(20 + 36)
    assert short.append.ttft_ms.value[0] == pytest.approx(20 + 9)
    assert long.handoff.ttft_ms.value[0] == pytest.approx(31 + 36)


def test_j_is_ttft_plus_gamma_n_stall_in_ms(panel):
    found = series(panel.append, "j", 3.0, 8)
    for i, rate in enumerate(RATES):
        ttft, stall = 20 + 40 * (1 - rate), 18 * (1 - rate)
        assert found.value[i] == pytest.approx(ttft + 3 * 8 * stall)
        assert found.low[i] == pytest.approx(0.9 * ttft + 3 * 8 * 0.8 * stall)
        assert found.high[i] == pytest.approx(1.2 * ttft + 3 * 8 * 1.3 * stall)
    assert series(panel.append, "ttft", 3.0, 8).value == panel.append.ttft_ms.value
    assert series(panel.append, "stall", 3.0, 8).value == pytest.approx([18 * (1 - rate) for rate in RATES])


def test_a_batch_that_python_did_not_compute_is_a_gap(panel):
    assert series(panel.append, "j", 1.0, 5).value == [None] * len(RATES)
    assert series(panel.append, "ttft", 1.0, 5).value == panel.append.ttft_ms.value
    assert panel.crossing(1.0, 5).r_star is None
    assert panel.crossing(1.0, 5).text == "not computed"


def test_the_crossing_of_a_place_is_that_of_the_table(panel):
    assert panel.crossing(0.0, 8).r_star == pytest.approx(0.2 + 0.2 + 0.04 + 0.01)
    assert panel.crossing(0.0, 8).text == "r* = 0.45; another host 0.46 (0.40 to 0.49)"
    assert panel.crossing(0.0, 0).text == "always D"
    assert panel.crossing(1.0, 8).text == "several, last r* = 0.65; another host 0.66 (0.60 to 0.69)"


def test_the_lines_are_over_one_minus_r_and_split_at_the_extrapolated_ends():
    figure = plot_costs(built_answer(), total_tokens=1000)
    solid, dashed = role(figure, 0, 0, "solid"), role(figure, 0, 0, "dashed")
    assert list(solid.x) == [1.0 - rate for rate in RATES]
    assert [y is None for y in solid.y] == [True, False, False, False, True]
    assert [y is None for y in dashed.y] == [False, False, True, False, False]
    assert dashed.line.dash == "dash"
    assert (solid.y[1], solid.y[3]) == (dashed.y[1], dashed.y[3])


def test_the_crossing_is_drawn_with_its_interval_and_its_words():
    figure = plot_costs(built_answer(), total_tokens=1000, gamma=3.0, residents=2)
    band, line = figure.layout.shapes[:2]
    r_star = 0.2 + 0.4 + 0.1 + 0.01
    assert line.x0 == line.x1 == pytest.approx(1 - r_star)
    assert (band.x0, band.x1) == (pytest.approx(1 - r_star + 0.05), pytest.approx(1 - r_star - 0.04))
    assert figure.layout.annotations[1].text == "r* = 0.71; another host 0.72 (0.66 to 0.75)"
    assert line.line.dash == "solid"
    outside = tuple(replace(c, extrapolated=(False, False, False, True, False)) for c in built_answer().curves)
    there = plot_costs(built_answer(curves=outside), total_tokens=1000, gamma=3.0, residents=2)
    assert there.layout.shapes[1].line.dash == "dash"  # between 0.5 and 0.75
    always = plot_costs(built_answer(), gamma=3.0, residents=8)
    assert [shape.visible for shape in always.layout.shapes] == [False] * 4
    assert always.layout.annotations[1].text == "always P"


def test_what_was_simulated_has_strokes_of_another_host_and_stays_at_its_own_gamma_and_n():
    answer = built_answer()
    own = role(plot_costs(answer), 0, 1, "simulated")
    j = 30 + 40 * (1 - RATES[0]) + 1
    assert own.y[0] == pytest.approx(1.1 * j)
    strokes = role(plot_costs(answer), 0, 1, "strokes")
    assert strokes.y[:3] == (pytest.approx(0.55 * j), pytest.approx(2.2 * j), None)
    assert strokes.x[:3] == (own.x[0], own.x[0], None)
    thin, dashed = (role(plot_costs(answer), 0, 1, name) for name in ("loaded", "loaded dashed"))
    assert (thin.y[0], dashed.y[0]) == (None, pytest.approx(j))  # the first rate is extrapolated
    assert thin.y[1] == dashed.y[1] == pytest.approx(30 + 40 * (1 - RATES[1]) + 1)
    assert role(plot_costs(answer, quantity="ttft"), 0, 1, "simulated").y[0] == pytest.approx(1.1 * (j - 1))
    for elsewhere in ({"gamma": 3.0}, {"residents": 8}, {"quantity": "stall"}):
        figure = plot_costs(answer, **elsewhere)
        assert not role(figure, 0, 1, "simulated").y
        assert not role(figure, 0, 1, "strokes").y
        assert not role(figure, 0, 1, "loaded").y


def test_a_stroke_stays_where_it_is_when_the_dot_lies_outside():
    outside = tuple(
        replace(c, simulated_j_low_s=(2.0,) * len(RATES), simulated_j_high_s=(3.0,) * len(RATES))
        for c in built_answer().curves
    )
    figure = plot_costs(built_answer(curves=outside))
    assert role(figure, 0, 1, "strokes").y[:3] == (2000.0, 3000.0, None)
    assert role(figure, 0, 1, "simulated").y[0] < 2000.0


def test_a_prompt_that_no_arm_carries_has_no_axis():
    answer = built_answer()
    gone = tuple(
        replace(c, j_s=(float("nan"),) * len(RATES), simulated_j_s=(float("nan"),) * len(RATES))
        if c.total_tokens == 1000
        else c
        for c in answer.curves
    )
    assert list(costs_data(built_answer(curves=gone))) == [View(4000, 0), View(4000, 100)]
    page = render(built_answer(curves=gone, overloaded=("OVERLOADED: append-d, prompt of 1,000 tokens",)))
    assert "What the traffic overloads" in page
    assert "What the traffic overloads" not in render(answer)


def test_an_answer_without_slider_stalls_draws_its_own_batch_only():
    bare = {"slider_residents": (), "slider_stall_s": (), "slider_stall_low_s": (), "slider_stall_high_s": ()}
    answer = built_answer(curves=tuple(replace(c, **bare) for c in built_answer().curves))
    assert all(y is None for y in role(plot_costs(answer, residents=8), 0, 0, "solid").y)
    assert role(plot_costs(answer), 0, 0, "solid").y == role(plot_costs(built_answer()), 0, 0, "solid").y
