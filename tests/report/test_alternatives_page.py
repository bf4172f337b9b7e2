"""The report of a what-if: complete, offline, its bars and curves drawn from the result file alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report.test_page import read

from ppdsim import scenario, whatif
from ppdsim.comparison import SHARES
from ppdsim.errors import InputError
from ppdsim.report.alternatives_page import alternatives_table, differences_table, render_alternatives
from ppdsim.report.figures import ALTERNATIVE_FIGURES
from ppdsim.report.figures.plot_alternative_cdfs import alternative_cdfs_data
from ppdsim.report.figures.plot_goodput import goodput_data


@pytest.fixture(scope="module")
def found():
    small = scenario.load("pd-ratio", ["workload.conversations=25"])
    return whatif.run(small, seed=0, seeds=2).comparison


def unanswered(comparison):
    """Return the comparison with a first alternative that has answered nothing."""
    first, *rest = comparison.alternatives
    empty = tuple(replace(spread, values_s=()) for spread in first.distributions)
    dead = replace(first, ttft_mean_s=None, ttft_p99_s=None, tpot_mean_s=None, distributions=empty)
    return replace(comparison, alternatives=(dead, *rest))


def without_intervals(comparison):
    def bare(each):
        good = replace(each.goodput_per_s, low=None, high=None)
        return replace(each, goodput_per_s=good, goodputs_per_s=each.goodputs_per_s[:1])

    return replace(comparison, deterministic=True, alternatives=tuple(map(bare, comparison.alternatives)))


@pytest.fixture(params=["all", "unanswered", "one run", "bare"])
def shown(request, found):
    return {
        "all": lambda: found,
        "unanswered": lambda: unanswered(found),
        "one run": lambda: without_intervals(found),
        "bare": lambda: replace(found, alternatives=found.alternatives[:1], differences=(), notes=()),
    }[request.param]()


@pytest.mark.parametrize("name", list(ALTERNATIVE_FIGURES))
def test_every_figure_is_drawn_with_units_and_without_nan(name, shown):
    figure = ALTERNATIVE_FIGURES[name](shown)
    json.dumps(figure.to_plotly_json(), allow_nan=False)
    for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
        assert axis.title.text.endswith("]") or axis.title.text == "alternative"


def test_nothing_to_draw_is_said(found):
    bare = replace(found, alternatives=())
    for draw in ALTERNATIVE_FIGURES.values():
        assert draw(bare).layout.annotations[0].text in ("nothing was compared", "no turn has an answer")


def test_the_page_is_whole_and_loads_nothing(shown):
    reader = read(render_alternatives(shown))
    assert reader.loads == ["data:,"]
    assert reader.text[0] == shown.answer[0]
    assert shown.answer[1] in reader.text
    assert set(ALTERNATIVE_FIGURES) <= reader.ids
    assert "table-alternatives" in reader.ids
    assert set(shown.notes) <= set(reader.text)


def test_an_alternative_that_is_mostly_extrapolated_is_dashed(found):
    first, *rest = found.alternatives
    outside = replace(found, alternatives=(replace(first, extrapolated=1.0), *rest))
    drawn = {(t.name, t.line.dash) for t in ALTERNATIVE_FIGURES["alternative-cdfs"](outside).data}
    assert drawn == {(first.name, "dash"), *((each.name, "solid") for each in rest)}


def test_a_bar_is_the_mean_with_its_interval_and_its_seeds(found):
    bars = goodput_data(found)
    for bar, each in zip(bars, found.alternatives, strict=True):
        assert bar.name == each.name
        assert bar.mean == pytest.approx(sum(each.goodputs_per_s) / 2)
        assert bar.mean + bar.above == pytest.approx(each.goodput_per_s.high)
        assert bar.mean - bar.below == pytest.approx(max(each.goodput_per_s.low, 0.0))
        assert bar.seeds == each.goodputs_per_s


def test_a_curve_rises_from_the_fastest_to_the_slowest_turn(found):
    for lines in alternative_cdfs_data(found).values():
        assert list(lines) == [each.name for each in found.alternatives]
        for values in lines.values():
            assert len(values) == len(SHARES)
            assert values == sorted(values)


def test_text_of_the_answer_is_never_html(found):
    spoiled = replace(found, question="<b>which</b>?")
    assert "<b>which</b>" not in render_alternatives(spoiled)


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 9),
    st.floats(),
    st.just(1.7e305),
    st.text(max_size=4),
    st.just([]),
    st.just({}),
)


def leaves(node, path=()):
    """Yield the path of every value inside a JSON document."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from leaves(value, (*path, key))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_spoiled_result_file_is_a_clear_error_or_a_page(data, found, tmp_path):
    document = json.loads(whatif.to_json(found))
    *path, last = data.draw(st.sampled_from(list(leaves(document))))
    node = document
    for key in path:
        node = node[key]
    node[last] = data.draw(ODD)
    file = tmp_path / "alternatives.json"
    file.write_bytes(json.dumps(document).encode("utf-8", "surrogatepass"))
    problem, shown = None, None
    try:
        shown = whatif.read(file)
    except InputError as error:
        problem = str(error)
    if shown is None:
        assert problem.startswith(f"{file}: ")
        assert "\n" not in problem
    else:
        for draw in ALTERNATIVE_FIGURES.values():
            json.dumps(draw(shown).to_plotly_json(), allow_nan=False)
        assert differences_table(shown).columns
        assert len(alternatives_table(shown).rows) == len(shown.alternatives)
