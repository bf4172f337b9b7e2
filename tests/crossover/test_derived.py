"""A crossover on a derived profile: said first, dashed everywhere, every number tagged in the report."""

from __future__ import annotations

from crossover_cases import small_answer

from ppdsim.report import write_report

DERIVED = "h100x2_llama-3.1-8b_sglang-0.5.17_derived"


def test_every_line_is_extrapolated_and_the_first_caveat_says_why():
    answer = small_answer(f"profile={DERIVED}")
    assert answer.caveats[0].startswith("The profile is derived from h200x2_llama-3.1-8b_sglang-0.5.17 (gpu)")
    assert all(all(curve.extrapolated) for curve in answer.curves)
    assert all(all(row) for drawn in answer.maps for row in drawn.extrapolated)
    assert all(found.extrapolated for found in (*answer.crossings, *answer.points))
    measured = small_answer()
    assert not any("derived" in caveat for caveat in measured.caveats)
    assert not all(all(curve.extrapolated) for curve in measured.curves)


def test_the_report_tags_the_numbers(tmp_path):
    page = write_report(small_answer(f"profile={DERIVED}"), tmp_path / "report.html").read_text()
    assert "nobody measured this machine" in page
    assert '<td class="tagged">derived' in page
