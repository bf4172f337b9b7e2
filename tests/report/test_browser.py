"""The page in Chromium with the network cut: it draws without a word on the console, and its sliders tell the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
from crossover_cases import against, small_answer
from report.built import GAMMAS, RESIDENTS, built_answer
from report.test_sweep_page import GRIDS, answer_of

from ppdsim import compose, library, profile, scenario, whatif
from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.analytical.crossing import cache_rate_crossing
from ppdsim.files import write_whole
from ppdsim.report import render, render_alternatives, render_sweep
from ppdsim.report.figures import ALTERNATIVE_FIGURES, FIGURES, SWEEP_FIGURES
from ppdsim.report.figures.plot_costs import plot_costs
from ppdsim.report.figures.plot_sweep_lines import plot_sweep_lines
from ppdsim.types import Arm, Transport

PLOT = "document.querySelector('#costs .plot')"


@dataclass
class Report:
    """An open report, and what went wrong in it so far."""

    page: object
    wrong: list[str]

    def move(self, slider: str, place: int) -> None:
        """Move a slider as a hand does: set its place and let the page know."""
        self.page.locator(f"#{slider}").fill(str(place))

    def choose(self, figure: str, choice: str, value: object) -> None:
        """Click a value of a choice."""
        self.page.locator(f'#{figure} label:has([data-choice="{choice}"][value="{value}"])').click()

    def drawn(self) -> dict:
        """Return the traces, shapes and annotations that Plotly holds now."""
        keep = "({x, y, line}) => ({x, y, dash: line && line.dash})"
        return self.page.evaluate(
            f"() => ({{data: {PLOT}.data.map({keep}), shapes: {PLOT}.layout.shapes, "
            f"words: {PLOT}.layout.annotations.map(a => a.text), yaxis: {PLOT}.layout.yaxis.title.text}})"
        )

    def readings(self) -> list[dict[str, str]]:
        """Return the read-out: a dict of the data attributes of every line."""
        return self.page.evaluate("() => [...document.querySelectorAll('#readout li')].map(e => ({...e.dataset}))")


@pytest.fixture(scope="module")
def browser(require):
    executable = require("chromium", "chromium-browser", "google-chrome")
    require("python:playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Return a function that opens an answer's report; at the end of the test nothing may have gone wrong."""
    reports = []

    def open_report(answer, width=1280, draw=render):
        path = write_whole(tmp_path / "report.html", draw(answer))
        context = browser.new_context(offline=True, viewport={"width": width, "height": 900})
        page = context.new_page()
        report = Report(page, [])
        page.route("http*://**", lambda route: (report.wrong.append(route.request.url), route.abort()))
        page.on("requestfailed", lambda request: report.wrong.append(f"failed: {request.url}"))
        page.on("console", lambda message: report.wrong.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: report.wrong.append(f"error: {error}"))
        page.goto(path.as_uri())
        reports.append((context, report))
        return report

    yield open_report
    for context, report in reports:
        assert report.wrong == []
        context.close()


def same(found, expected):
    """Return whether two lines are equal, gaps in the same places."""
    found, expected = list(found or []), list(expected or [])
    return len(found) == len(expected) and all(
        a is b if a is None or b is None else math.isclose(a, b, rel_tol=1e-12)
        for a, b in zip(found, expected, strict=True)
    )


def assert_draws(report, figure):
    """Compare what the page shows with the figure that Python draws for the same place."""
    drawn = report.drawn()
    assert len(drawn["data"]) == len(figure.data)
    for shown, trace in zip(drawn["data"], figure.data, strict=True):
        assert same(shown["x"], trace.x), trace.name
        assert same(shown["y"], trace.y), trace.name
        assert shown.get("dash") == trace.line.dash
    for shown, shape in zip(drawn["shapes"], figure.layout.shapes, strict=True):
        assert shown["visible"] == shape.visible
        if shape.visible:
            assert (shown["x0"], shown["x1"]) == pytest.approx((shape.x0, shape.x1), rel=1e-12)
    assert drawn["words"] == [annotation.text for annotation in figure.layout.annotations]
    assert drawn["yaxis"] == figure.layout.yaxis.title.text


def test_the_page_starts_with_what_python_draws(opened):
    report = opened(built_answer())
    assert report.page.locator("body").inner_text().startswith(built_answer().headline)
    assert_draws(report, plot_costs(built_answer()))
    for name in FIGURES:
        assert report.page.locator(f"#{name} svg.main-svg").count() > 0
    for name in ("costs", "breakeven-lines", "latencies"):
        keys = report.page.locator(f"#{name} .legend > span").all_inner_texts()
        assert "dashed: extrapolated or unmeasured" in keys
        assert len(keys) == len(set(keys))


def test_every_place_of_the_sliders_shows_what_python_computes(opened):
    """J, its band, the crossing, its interval and its words follow both sliders; at N and gamma of the answer too."""
    answer = built_answer()
    report = opened(answer)
    for g, n in ((0, 2), (2, 0), (2, 1), (1, 2), (2, 2), (1, 1)):
        report.move("gamma", g)
        report.move("residents", n)
        assert_draws(report, plot_costs(answer, gamma=GAMMAS[g], residents=RESIDENTS[n]))
        assert report.page.locator("#gamma-shown").inner_text() == f"{GAMMAS[g]:g}"
        assert report.page.locator("#residents-shown").inner_text() == str(RESIDENTS[n])
        own = (GAMMAS[g], RESIDENTS[n]) == (answer.gamma, answer.residents)
        assert report.page.locator("#own").is_disabled() is own
    report.move("gamma", 0)
    report.page.locator("#own").click()
    assert_draws(report, plot_costs(answer))


def test_choices_switch_prompt_previous_answer_and_quantity(opened):
    answer = built_answer()
    report = opened(answer)
    chosen = {}
    for name, value in (
        ("total_tokens", 1000),
        ("previous_output_tokens", 100),
        ("quantity", "ttft"),
        ("quantity", "stall"),
    ):
        chosen[name] = value
        report.choose("costs", name, value)
        assert_draws(report, plot_costs(answer, **chosen))
    same_choice = report.page.locator('#latencies [data-choice="total_tokens"][value="1000"]')
    assert same_choice.is_checked()
    map_text = "document.querySelector('#breakeven-map .plot').data[0].text[0][1]"
    report.choose("breakeven-map", "against", "p-full over tcp")
    assert report.page.evaluate(map_text) == "1"


def test_moved_sliders_land_on_the_crossing_that_the_formula_finds(opened):
    """The whole chain: composed profile, `cache_rate_crossing` at that gamma and N, report file, browser."""
    answer = small_answer(*against("nvlink"))
    shipped = profile.load(library.find("profile", answer.profile.id))
    central, samples = compose.central(shipped), compose.samples(shipped, another_run=True)
    table = answer.sliders[0]
    report = opened(answer)
    start = report.readings()[0]["rStar"]
    for gamma, residents in ((0.25, answer.residents), (0.25, 8), (1.0, 1)):
        report.move("gamma", table.gammas.index(gamma))
        report.move("residents", table.residents.index(residents))
        expected = cache_rate_crossing(
            central,
            samples,
            ArmComparison(
                arm=Arm(table.against.arm),
                transport=Transport(table.against.transport),
                previous_output_tokens=table.previous_output_tokens,
                gamma=gamma,
                residents=residents,
                resident_context_tokens=answer.resident_context_tokens,
            ),
            table.total_tokens,
        )
        reading = report.readings()[0]
        assert reading["kind"] == expected.kind.value
        assert float(reading["rStar"]) == pytest.approx(expected.values[-1], rel=1e-9)
        assert float(reading["low"]) == pytest.approx(expected.interval.low, rel=1e-9)
        assert float(reading["high"]) == pytest.approx(expected.interval.high, rel=1e-9)
        band, line = report.drawn()["shapes"][:2]
        assert line["visible"]
        assert 1 - line["x0"] == pytest.approx(expected.values[-1], rel=1e-9)
        assert 1 - band["x0"] == pytest.approx(expected.interval.low, rel=1e-9)
        assert 1 - band["x1"] == pytest.approx(expected.interval.high, rel=1e-9)
        assert reading["rStar"] != start


def test_a_narrow_screen_stacks_the_panels_and_scrolls_nothing_sideways(opened):
    report = opened(built_answer(), width=400)
    page = report.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    domains = page.evaluate(f"[{PLOT}.layout.xaxis, {PLOT}.layout.xaxis2].map(a => a.domain)")
    assert domains[0] == domains[1] == [0, 1]
    page.set_viewport_size({"width": 1280, "height": 900})
    page.wait_for_function(f"{PLOT}.layout.xaxis2.domain[0] > 0.4")


def test_an_answer_of_nothing_opens_too(opened):
    report = opened(built_answer(curves=(), crossings=(), maps=(), sliders=(), points=()))
    report.move("gamma", 0)
    assert report.readings() == []
    assert report.page.locator("#profile-quality svg.main-svg").count() > 0


@pytest.mark.parametrize("width", [1280, 400])
def test_a_what_if_draws_its_bars_and_curves(opened, width):
    small = scenario.load("pd-ratio", ["workload.conversations=20"])
    found = whatif.run(small, seed=0, seeds=2).comparison
    first, *rest = (replace(each, extrapolated=0.0) for each in found.alternatives)
    found = replace(found, alternatives=(replace(first, extrapolated=0.9), *rest))
    page = opened(found, width, render_alternatives).page
    assert page.locator("#headline").inner_text() == found.answer[0]
    for name in ALTERNATIVE_FIGURES:
        assert page.locator(f"#{name} svg.main-svg").count() > 0
    keys = page.locator("#alternative-cdfs .legend > span").all_inner_texts()
    assert keys == [each.name for each in found.alternatives]
    # A line of the legend is dashed where the line of the figure is.
    traces = ALTERNATIVE_FIGURES["alternative-cdfs"](found).data
    dashed = [trace.line.dash == "dash" for trace in traces if trace.showlegend]
    assert dashed.count(True) == 1
    swatches = page.locator("#alternative-cdfs .legend line").all()
    assert [swatch.get_attribute("stroke-dasharray") is not None for swatch in swatches] == dashed
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 400])
def test_a_sweep_is_drawn_for_the_chosen_measure(opened, width):
    answer = answer_of(*GRIDS["policy and rate"])
    report = opened(answer, width, render_sweep)
    for name in SWEEP_FIGURES:
        assert report.page.locator(f"#{name} svg.main-svg").count() > 0
    drawn = "document.querySelector('#sweep-lines .plot').data.map(trace => trace.y)"
    for measure in ("ttft_mean_s", "j_s"):
        report.choose("sweep-map", "sweep_measure", measure)
        expected = [list(trace.y) for trace in plot_sweep_lines(answer, sweep_measure=measure).data]
        assert report.page.evaluate(drawn) == expected
    assert report.page.evaluate("document.documentElement.scrollWidth") <= width
