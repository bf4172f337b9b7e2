"""The report of a capacity: complete, offline, its curves drawn from the result file alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from report.test_page import read

from ppdsim import scenario
from ppdsim.capacity import capacity, save
from ppdsim.capacity import read as read_result
from ppdsim.errors import InputError
from ppdsim.report.capacity_page import render_capacity, runs_table, seeds_table
from ppdsim.report.figures import CAPACITY_FIGURES
from ppdsim.report.figures.plot_capacity import capacity_data, plot_capacity


@pytest.fixture(scope="module")
def found():
    return capacity(scenario.load("one-pair", ["workload.conversations=30"]), seed=0, seeds=2)


def none(found):
    seeds = tuple(replace(seed, kind="none", low_per_s=0.0) for seed in found.seeds)
    interval = replace(found.interval_per_s, low=0.0)
    return replace(found, kind="none", rate_per_s=0.0, interval_per_s=interval, seeds=seeds, binds=None)


def endless(found):
    seeds = tuple(replace(seed, kind="at least", high_per_s=None) for seed in found.seeds)
    return replace(found, kind="at least", seeds=seeds, interval_per_s=replace(found.interval_per_s, high=None))


def overloaded(found):
    seeds = tuple(
        replace(seed, runs=tuple(replace(run, label="OVERLOADED", life_s=None, binding=None) for run in seed.runs))
        for seed in found.seeds
    )
    return replace(found, seeds=seeds)


@pytest.fixture(params=["usual", "none", "endless", "overloaded", "no run"])
def shown(request, found):
    return {
        "usual": lambda: found,
        "none": lambda: none(found),
        "endless": lambda: endless(found),
        "overloaded": lambda: overloaded(found),
        "no run": lambda: replace(found, seeds=tuple(replace(seed, runs=()) for seed in found.seeds)),
    }[request.param]()


@pytest.mark.parametrize("name", list(CAPACITY_FIGURES))
def test_every_figure_is_drawn_with_units_and_without_nan(name, shown):
    figure = CAPACITY_FIGURES[name](shown)
    json.dumps(figure.to_plotly_json(), allow_nan=False)
    for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
        assert axis.title.text.endswith("]")


def test_the_page_is_whole_and_loads_nothing(shown):
    reader = read(render_capacity(shown))
    assert reader.loads == ["data:,"]
    assert reader.text[0] == shown.answer[0]
    assert set(shown.answer) <= set(reader.text)
    assert {*CAPACITY_FIGURES, "table-seeds"} <= reader.ids
    assert set(shown.notes) <= set(reader.text)


def test_a_line_has_the_runs_of_its_seed(found):
    lines = capacity_data(found)
    assert [line.name for line in lines] == ["seed 0", "seed 1"]
    for line, seed in zip(lines, found.seeds, strict=True):
        assert line.rate == [run.rate_per_s for run in seed.runs] == sorted(line.rate)
        assert line.attained == pytest.approx([100 * run.attained for run in seed.runs])
        # What is drawn above the level line at the seed's low is below it at its high.
        assert line.attained[line.rate.index(seed.low_per_s)] >= 90.0
        assert line.attained[line.rate.index(seed.high_per_s)] < 90.0


def test_the_answer_is_marked_with_its_interval_and_overload_is_hollow(found):
    figure = plot_capacity(found)
    level, band, upright = figure.layout.shapes
    assert level.y0 == level.y1 == 90.0
    assert (band.x0, band.x1) == (found.interval_per_s.low, found.interval_per_s.high)
    assert upright.x0 == upright.x1 == found.rate_per_s
    assert len(plot_capacity(none(found)).layout.shapes) == 1
    assert len(plot_capacity(endless(found)).layout.shapes) == 2
    assert set(plot_capacity(overloaded(found)).data[0].marker.color) == {"#ffffff"}


def test_the_tables_have_every_seed_and_run(found):
    assert [row[0].text for row in seeds_table(found).rows] == ["0", "1"]
    assert len(runs_table(found).rows) == sum(len(seed.runs) for seed in found.seeds)
    assert seeds_table(none(found)).rows[0][1].text == "no rate"
    assert seeds_table(endless(found)).rows[0][2].text == "-"


def test_text_of_an_answer_is_never_html(found):
    evil = "</script><script>alert('&')</script>"
    text = render_capacity(replace(found, answer=(evil,), notes=(evil,)))
    assert read(text).text[0] == evil
    assert "<script>alert" not in text


def test_what_was_saved_is_read_back_and_drawn_alike(found, tmp_path):
    again = read_result(save(found, tmp_path))
    assert again == found
    assert render_capacity(again) == render_capacity(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema="ppdsim/capacity/2"), "schema"),
        (lambda d: d.update(seeds=[]), "there is none"),
        (lambda d: d["seeds"][0]["runs"][0].update(rate_per_s=0.0), "a rate is not above 0"),
        (lambda d: d.update(rate_per_s=-1.0), "rate_per_s: -1 is below 0"),
        (lambda d: d.update(rate_per_s="1"), "rate_per_s"),
        (lambda d: d.pop("kind"), "kind"),
    ],
)
def test_a_damaged_result_is_named(change, message, found, tmp_path):
    path = save(found, tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        read_result(path)
    assert "\n" not in str(caught.value)
