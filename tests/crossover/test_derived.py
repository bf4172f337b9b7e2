"""A crossover on a derived profile: said first, dashed everywhere, every number tagged in the report."""

from __future__ import annotations

from crossover_cases import against, small_answer

from ppdsim.cli.app import run
from ppdsim.report import render
from ppdsim.report.figures import FIGURES

DERIVED = ("profile=h100x2_llama-3.1-8b_sglang-0.5.17_derived", *against("nvlink", "delta"))


def test_every_line_is_extrapolated_and_the_first_caveat_says_why():
    answer = small_answer(*DERIVED)
    assert answer.caveats[0].startswith("The profile is derived from h200x2_llama-3.1-8b_sglang-0.5.17 (gpu)")
    assert answer.caveats[0].endswith("; every line is dashed.")
    assert all(all(curve.extrapolated) for curve in answer.curves)
    assert all(all(row) for drawn in answer.maps for row in drawn.extrapolated)
    assert all(found.extrapolated for found in (*answer.crossings, *answer.points))
    measured = small_answer(*against("nvlink", "delta"))
    assert not any("derived" in caveat for caveat in measured.caveats)
    assert not all(all(curve.extrapolated) for curve in measured.curves)


def test_with_a_derived_link_only_its_lines_are_dashed_and_the_caveat_says_which(tmp_path):
    """The GPU is the measured one: the append and the other links are as solid as they were."""
    path = tmp_path / "slow.json"
    assert run(["derive", "h200x2_llama-3.1-8b_sglang-0.5.17", "--link", "tcp-10g", "-q", "-o", str(path)]) == 0
    answer = small_answer(f"profile={path}", "crossover.previous_output_tokens=[0]")
    throughout = {curve.arm.label for curve in answer.curves if all(curve.extrapolated)}
    assert throughout == {"p-full over tcp", "p-delta over tcp"}
    assert answer.caveats[0].endswith("; dashed throughout: p-full over tcp, p-delta over tcp.")


def test_no_line_of_a_derived_profile_is_drawn_solid():
    """Not of the formulas, not with waits, not as simulated, nor where they cross."""
    answer = small_answer(*DERIVED)
    for name in ("costs", "latencies", "breakeven-lines"):
        figure = FIGURES[name](answer)
        lines = [t for t in figure.data if "lines" in t.mode and t.line.width and any(y is not None for y in t.y)]
        # The strokes through simulated dots are an interval and no line.
        lines = [trace for trace in lines if trace.name != "simulated, another host"]
        assert lines
        assert {trace.line.dash for trace in lines} == {"dash"}
    crossings = [s for s in FIGURES["costs"](answer).layout.shapes if s.type == "line" and s.visible]
    assert crossings
    assert {shape.line.dash for shape in crossings} == {"dash"}


def test_the_report_tags_the_numbers(tmp_path):
    page = render(small_answer(*DERIVED))
    assert "this machine is unmeasured" in page
    assert '<td class="tagged">derived' in page
