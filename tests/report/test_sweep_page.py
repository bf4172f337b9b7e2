"""The report of a sweep: complete, offline, every figure drawn for every choice; its numbers are the answer's."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from report.test_page import read
from sweep.cases import plan, row

from ppdsim.report.figures import SWEEP_FIGURES
from ppdsim.report.figures.plot_sweep_lines import plot_sweep_lines, sweep_lines_data
from ppdsim.report.figures.plot_sweep_map import plot_sweep_map, sweep_map_data
from ppdsim.report.sweep_page import headline, render_sweep
from ppdsim.sweep import words
from ppdsim.sweep.measures import MEASURES
from ppdsim.sweep.summary import summarise
from ppdsim.sweep.words import sentence

GRIDS = {
    "policy and rate": ("routing.policy=always-p,cost-aware", "workload.arrivals.rate_per_s=1,4,2"),
    "two numbers": ("fleet.0.count=1,2", "workload.arrivals.rate_per_s=1,2,4"),
    "words and two numbers": ("transport=nvlink,tcp", "fleet.0.count=1,2", "workload.arrivals.rate_per_s=1,2"),
    "words only": ("routing.policy=always-p,cost-aware",),
    "one number": ("routing.gamma=1,2,3",),
}


def answer_of(*grid: str, seeds: int = 3, **changed):
    """Return an answer whose J [s] is 1, 2, 3 ... by point, and a tenth more a seed."""
    made = plan(*grid, seeds=seeds)
    rows = {
        (number, seed): row(j_s=1.0 + number + seed / 10, **changed)
        for number in range(len(made.points))
        for seed in made.seeds
    }
    return summarise(made, rows, "j_s")


@pytest.fixture(scope="module")
def usual():
    return answer_of(*GRIDS["policy and rate"])


@pytest.fixture(
    scope="module", params=[*GRIDS, "one seed", "overloaded", "nothing ended", "stopped early", "wide", "nothing ran"]
)
def shown(request):
    usual = GRIDS["policy and rate"]
    if request.param in GRIDS:
        return answer_of(*GRIDS[request.param])
    if request.param == "one seed":
        return answer_of(*usual, seeds=1)
    if request.param == "overloaded":
        return answer_of(*usual, label="OVERLOADED", ok=3, extrapolated=0.2)
    if request.param == "nothing ended":
        undefined = {name: None for name in MEASURES if name != "j_s"}
        return answer_of(*usual, ok=0, extrapolated=None, **undefined)
    made = plan(*usual, seeds=2)
    if request.param == "nothing ran":
        return summarise(made, {}, "j_s")
    if request.param == "wide":
        rows = {(n, seed): row(j_s=10.0**n * (1 + 5 * seed)) for n in range(6) for seed in made.seeds}
        return summarise(made, rows, "j_s")
    return summarise(made, {(0, 0): row(), (0, 1): row(), (4, 1): row()}, "ttft_p99_s")


@pytest.mark.parametrize("name", list(SWEEP_FIGURES))
def test_every_figure_is_drawn_for_every_choice_with_units_and_without_nan(name, shown) -> None:
    figure = SWEEP_FIGURES[name](shown)
    drawn = [figure]
    for choice in figure.layout.meta["choices"]:
        assert choice["value"] in [value for value, _ in choice["options"]]
        texts = [text for _, text in choice["options"]]
        assert len(set(texts)) == len(texts)
        drawn += [SWEEP_FIGURES[name](shown, **{choice["name"]: value}) for value, _ in choice["options"]]
    for one in drawn:
        json.dumps(one.to_plotly_json(), allow_nan=False)
        for axis in (*one.select_xaxes(), *one.select_yaxes()):
            assert axis.title.text.endswith("]")


def test_the_page_is_whole_and_loads_nothing(shown) -> None:
    reader = read(render_sweep(shown))
    assert reader.loads == ["data:,"]
    assert reader.text[0] == headline(shown)
    assert set(SWEEP_FIGURES) <= reader.ids
    assert {axis.key for axis in shown.axes} <= set(reader.text)
    assert ("table-points" in reader.ids) is bool(shown.points)


def test_lines_are_the_estimates_in_rising_order(usual) -> None:
    first, second = sweep_lines_data(usual, usual.axes[1], (), "j_s")
    assert (first.name, second.name) == ("always-p", "cost-aware")
    assert first.x == [1.0, 2.0, 4.0]
    # The grid has the rates 1, 4, 2; milliseconds.
    assert first.value == pytest.approx([1100.0, 3100.0, 2100.0])
    estimate = usual.points[2].estimate("j_s")
    assert (first.low[1], first.high[1]) == pytest.approx((1000 * estimate.low, 1000 * estimate.high))
    assert plot_sweep_lines(usual).data[1].y == pytest.approx(tuple(first.value))


HEADLINES = {
    "inside": (("routing.gamma=1,2,3",), (3.0, 1.0, 2.0), "J is smallest at routing.gamma=2: 1,000 ms"),
    "at the lower end": (
        ("routing.gamma=1,2,3",),
        (1.0, 2.0, 3.0),
        "J is smallest at routing.gamma=1: 1,000 ms; that is the end of the values asked of routing.gamma",
    ),
    "at the upper end": (
        ("routing.gamma=1,2,3",),
        (3.0, 2.0, 1.0),
        "J is smallest at routing.gamma=3: 1,000 ms; that is the end of the values asked of routing.gamma",
    ),
    "words have no end": (
        ("transport=nvlink,tcp",),
        (2.0, 1.0),
        "J is smallest at transport=tcp: 1,000 ms",
    ),
    "one number that was not varied": (
        ("transport=nvlink,tcp", "routing.gamma=1"),
        (1.0, 2.0),
        "J is smallest at transport=nvlink, routing.gamma=1: 1,000 ms",
    ),
    "at the ends of two": (
        ("fleet.0.count=1,2", "routing.gamma=1,2,3"),
        (1.0, 2.0, 2.0, 2.0, 2.0, 2.0),
        "J is smallest at fleet.0.count=1, routing.gamma=1: 1,000 ms; that is the end of the values asked of "
        "fleet.0.count and routing.gamma",
    ),
}


@pytest.mark.parametrize("case", HEADLINES)
def test_the_headline_says_where_the_smallest_lies_among_what_was_asked(case) -> None:
    grid, values, expected = HEADLINES[case]
    made = plan(*grid, seeds=2)
    rows = {(number, seed): row(j_s=value) for number, value in enumerate(values) for seed in made.seeds}
    assert headline(summarise(made, rows, "j_s")) == f"one-pair: within the values asked, {expected}"


def test_the_headline_of_what_is_to_be_large() -> None:
    made = plan("routing.gamma=1,2,3", seeds=1)
    rows = {(number, 0): row(attainment=share) for number, share in enumerate((0.5, 0.9, 0.7))}
    assert headline(summarise(made, rows, "attainment")) == (
        "one-pair: within the values asked, SLO met is largest at routing.gamma=2: 90 %"
    )
    assert headline(summarise(made, {}, "attainment")) == "one-pair: no run of the sweep has ended"


ORIGINS = {
    3: "means over 3 seeds that all points share; intervals (90 %) are over seeds, differences are paired",
    1: "means over 1 seed that all points share; intervals (90 %) are over seeds, differences are paired",
}


@pytest.mark.parametrize("seeds", ORIGINS)
def test_the_table_names_what_its_intervals_are_over(seeds) -> None:
    answer = answer_of(*GRIDS["policy and rate"], seeds=seeds)
    assert words.table(answer).splitlines()[len(answer.points) + 1] == ORIGINS[seeds]
    parted = replace(answer, parts=10, seeds=(0,), points=tuple(replace(point, runs=1) for point in answer.points))
    assert words.basis_of(parted) == (
        "one run per point; intervals (90 %) are over 10 parts of this one trace, which no seed changes; differences "
        "are paired"
    )
    first, *rest = parted.points
    mixed = replace(parted, seeds=(0, 1), points=(replace(first, runs=2), *rest))
    assert words.basis_of(mixed) == (
        "means over 2 seeds; a point that no seed changes was run once, and its interval (90 %) is over 10 parts of "
        "that run; differences are paired"
    )


@pytest.mark.parametrize("share", [0.0, 0.4, 0.6, 1.0])
def test_the_legend_of_a_line_is_dashed_where_the_line_is(share) -> None:
    figure = plot_sweep_lines(answer_of(*GRIDS["policy and rate"], extrapolated=share))
    named = [trace for trace in figure.data if trace.mode == "lines+markers" and trace.showlegend is not False]
    assert [trace.name for trace in named] == ["always-p", "cost-aware"]
    assert {trace.line.dash or "solid" for trace in named} == {"dash" if share > 0.5 else "solid"}
    assert all(any(y is not None for y in trace.y) for trace in named), "what the legend shows is drawn"


def test_overloaded_points_are_hollow() -> None:
    figure = plot_sweep_lines(answer_of(*GRIDS["policy and rate"], label="OVERLOADED"))
    assert set(figure.data[1].marker.color) == {"#ffffff"}
    assert "OVERLOADED" in figure.data[1].text[0]


def test_what_lies_mostly_outside_the_measured_is_dashed() -> None:
    usual = GRIDS["policy and rate"]
    for share, dashes in ((0.4, set()), (0.6, {"dash"}), (1.0, {"dash"})):
        figure = plot_sweep_lines(answer_of(*usual, extrapolated=share))
        lines = [t for t in figure.data if t.mode == "lines+markers" and any(y is not None for y in t.y)]
        assert len(lines) == 2
        assert {trace.line.dash for trace in lines} - {None} == dashes


def test_a_crossing_is_marked_with_its_interval() -> None:
    made = plan("routing.policy=always-p,cost-aware", "workload.arrivals.rate_per_s=1,2", seeds=2)
    values = ((1.0, 1.0), (3.0, 3.1), (2.0, 2.3), (2.0, 2.0))
    rows = {(number, seed): row(j_s=value) for number, line in enumerate(values) for seed, value in enumerate(line)}
    answer = summarise(made, rows, "j_s")
    (found,) = [each for each in answer.crossings if each.measure == "j_s"]
    band, line = plot_sweep_lines(answer).layout.shapes
    assert line.x0 == line.x1 == found.values[0] == pytest.approx(1.0 + 1.15 / (1.15 + 1.05))
    assert (band.x0, band.x1) == (found.interval.low, found.interval.high)
    assert headline(answer) == sentence(found)
    assert not plot_sweep_lines(answer, sweep_measure="ttft_mean_s").layout.shapes


def test_a_logarithmic_axis_keeps_bands_above_zero() -> None:
    made = plan("routing.gamma=1,2,3", seeds=2)
    rows = {(n, seed): row(j_s=100.0**n * (1 + seed)) for n in range(3) for seed in made.seeds}
    figure = plot_sweep_lines(summarise(made, rows, "j_s"))
    assert figure.layout.yaxis.type == "log"
    assert min(figure.data[0].y) > 0.0


def test_a_map_is_one_place_or_the_difference_of_two(usual) -> None:
    rate, policy = usual.axes[1], usual.axes[0]
    data = sweep_map_data(usual, rate, policy, ((),), MEASURES["j_s"])
    assert (data.x, data.y) == (["1", "4", "2"], ["always-p", "cost-aware"])
    assert data.value == [pytest.approx([1100.0, 2100.0, 3100.0]), pytest.approx([4100.0, 5100.0, 6100.0])]
    wide = answer_of("routing.policy=always-p,cost-aware", *GRIDS["words and two numbers"])
    options = {text: number for number, text in plot_sweep_map(wide).layout.meta["choices"][1]["options"]}
    differences = {text for text in options if " less " in text}
    assert len(options) == 4 + 4
    assert "cost-aware, tcp less always-p, nvlink" not in differences
    shown = plot_sweep_map(wide, sweep_shown=options["always-p, tcp less always-p, nvlink"])
    assert shown.data[0].z[0] == pytest.approx([4000.0, 4000.0])


def test_what_has_not_run_is_a_gap() -> None:
    made = plan(*GRIDS["policy and rate"], seeds=1)
    answer = summarise(made, {(0, 0): row(j_s=1.0)}, "j_s")
    assert plot_sweep_map(answer).data[0].z == ([1000.0, None, None], [None, None, None])
    assert "17 rows" not in render_sweep(answer)
    assert "5 rows have not been run" in render_sweep(answer)


def test_text_of_an_answer_is_never_html(usual) -> None:
    evil = "</script><script>alert('&')</script>"
    axes = (replace(usual.axes[0], values=(evil, "cost-aware")), usual.axes[1])
    points = tuple(replace(p, values=(evil, p.values[1])) if p.values[0] == "always-p" else p for p in usual.points)
    text = render_sweep(replace(usual, scenario=evil, axes=axes, points=points))
    assert read(text).text[0].startswith(evil)
    assert "<script>alert" not in text
