"""What every registered figure owes: titled axes with units, JSON without NaN, odd answers drawn, honest dashes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from report.built import INFINITE, RATES, UNKNOWN, breakeven_map, built_answer, curve, slider_table

from ppdsim.report.figures import FIGURES


def without_simulation():
    answer = built_answer()
    curves = [curve(c.arm, c.total_tokens, c.previous_output_tokens, simulated=False) for c in answer.curves]
    return replace(answer, curves=tuple(curves))


def without_crossings():
    empty = ((None,) * 3,) * 3
    kind = (("always D",) * 3, ("always P",) * 3, ("always P",) * 3)
    tables = [replace(t, r_star=empty, r_star_low=empty, r_star_high=empty, kind=kind) for t in built_answer().sliders]
    return built_answer(crossings=(), sliders=tuple(tables))


def of_one_value(value):
    matrix = ((value,) * 3,) * 3
    maps = [replace(m, n_star=matrix, n_star_low=matrix, n_star_high=matrix) for m in built_answer().maps]
    return built_answer(maps=tuple(maps))


def several():
    kind = (("several",) * 3,) * 3
    return built_answer(sliders=tuple(replace(t, kind=kind) for t in built_answer().sliders))


def unknown_times():
    unknown = (UNKNOWN,) * len(RATES)
    fields = ("ttft_s", "ttft_low_s", "ttft_high_s", "j_s", "simulated_ttft_s", "simulated_j_low_s")
    return built_answer(curves=tuple(replace(c, **dict.fromkeys(fields, unknown)) for c in built_answer().curves))


def bare():
    answer = built_answer()
    profile = replace(answer.profile, cards=(), parameters=())
    return replace(answer, curves=(), crossings=(), maps=(), sliders=(), points=(), profile=profile)


ANSWERS = {
    "all": built_answer,
    "nothing simulated": without_simulation,
    "no crossing": without_crossings,
    "several crossings": several,
    "infinite N*": lambda: of_one_value(INFINITE),
    "zero N*": lambda: of_one_value(0.0),
    "unknown N*": lambda: of_one_value(UNKNOWN),
    "unknown times": unknown_times,
    "no residents": lambda: built_answer(residents=0),
    "bare": bare,
}


@pytest.fixture(params=list(ANSWERS))
def answer(request):
    return ANSWERS[request.param]()


@pytest.fixture(params=list(FIGURES))
def name(request):
    return request.param


def drawings(name, answer):
    """Yield the figure as it starts and with every other value of each of its choices."""
    figure = FIGURES[name](answer)
    yield figure
    for choice in figure.layout.meta["choices"]:
        for value, _ in choice["options"]:
            if value != choice["value"]:
                yield FIGURES[name](answer, **{choice["name"]: value})


def test_any_answer_is_drawn_as_json_without_nan_and_with_a_unit_on_every_axis(name, answer):
    units = ("[ms]", "[1]", "[tokens]", "[streams]", "[%]")
    for figure in drawings(name, answer):
        json.dumps(figure.to_plotly_json(), allow_nan=False)
        axes = [*figure.select_xaxes(), *figure.select_yaxes()]
        used = {axis for trace in figure.data for axis in (trace.xaxis or "x", trace.yaxis or "y")}
        assert len(axes) >= max(len(used), 2)
        for axis in axes:
            title = axis.title.text or ""
            assert title.endswith(units) or title == "kind of measurement (kind:transport)", title


def test_the_page_gets_its_title_and_caption(name, answer):
    figure = FIGURES[name](answer)
    assert figure.layout.title.text
    assert figure.layout.meta["caption"].endswith(".")


def test_choices_start_at_what_is_drawn(name):
    answer = built_answer()
    figure = FIGURES[name](answer)
    chosen = {choice["name"]: choice["value"] for choice in figure.layout.meta["choices"]}
    assert FIGURES[name](answer, **chosen) == figure


def test_dashes_are_extrapolated_and_nothing_else_is_dashed():
    answer = built_answer()
    for name in ("costs", "latencies", "breakeven-lines"):
        dashed = [trace for trace in FIGURES[name](answer).data if trace.line.dash]
        assert dashed
        for trace in dashed:
            assert trace.name == "dashed: extrapolated or unmeasured"
    inside = tuple(replace(c, extrapolated=(False,) * len(RATES)) for c in answer.curves)
    for name in ("costs", "latencies"):
        dashed = [trace for trace in FIGURES[name](replace(answer, curves=inside)).data if trace.line.dash]
        assert all(y is None for trace in dashed for y in trace.y)


def test_built_answers_hold_every_odd_case():
    """The contract above is only worth what the answers hold."""
    kinds = {kind for row in slider_table(built_answer().sliders[0].against, 1000, 0).kind for kind in row}
    assert kinds == {"value", "always D", "always P", "several"}
    values = [v for row in breakeven_map(built_answer().maps[0].against, 0).n_star for v in row]
    assert INFINITE in values
    assert 0.0 in values
    assert any(v != v for v in values)
