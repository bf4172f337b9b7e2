"""The tables: every account of a crossing in its column, cases in words, nothing lost."""

from __future__ import annotations

from dataclasses import replace

from report.built import NVLINK, TCP, built_answer, crossing

from ppdsim.answers import CrossingKind
from ppdsim.report import tables, wording


def texts(row):
    return [cell.text for cell in row]


def test_level_lines_have_a_column_for_each_source_and_stall():
    table = tables.crossings_table(built_answer(), "r")
    assert table.columns[3:] == ("formula, idle, S_P = 0 ms", "formula, idle, S_P = 2 ms", "simulated, S_P = 0 ms")
    nvlink, tcp = table.rows
    assert texts(nvlink) == [
        "p-full over nvlink",
        "1,000",
        "0",
        "0.60",
        "0.55",
        "0.65",
    ]
    assert nvlink[3].notes == ("another host: 0.60 (0.50 to 0.70)",)
    assert nvlink[5].notes == ("another host: 0.60 (0.50 to 0.70)", "several: the last of 2")
    assert [cell.css for cell in nvlink[3:]] == ["", "", "extrapolated"]
    assert texts(tcp) == ["p-full over tcp", "1,000", "0", "always D", "-", "-"]
    assert tcp[3].notes == ("no crossing in 80.0 % of draws",)


def test_one_assumed_stall_is_not_repeated_in_every_column():
    answer = built_answer(crossings=(crossing(NVLINK),))
    assert tables.crossings_table(answer, "r").columns[3:] == ("formula, idle",)


def test_m_star_is_in_tokens():
    (row,) = tables.crossings_table(built_answer(), "new_tokens").rows
    assert texts(row)[:4] == ["p-full over nvlink", "4,096", "0", "240"]


def test_break_even_points_say_cold_and_any_number():
    (row,) = tables.points_table(built_answer()).rows
    assert texts(row) == [
        "p-full over nvlink, P cold",
        "4,096",
        "256",
        "0",
        "2",
        "3.3",
        "-",
        "1.6",
        "1.5",
        "D wins while fewer than N* streams decode on D",
    ]
    assert [cell.notes for cell in row[5:9]] == [
        ("another host: 4.1 (2.6 to any number)",),
        (),
        ("another host: 1.9 (1.3 to any price)",),
        ("another host: 1.6 (1.6 to 1.9)",),
    ]


def test_a_crossing_says_where_arms_are_carried_and_draws_that_are_all_equal():
    partly = replace(crossing(NVLINK), share_carried=0.4, interval=None, share_without=0.0)
    assert wording.crossing_cell(partly) == (
        "0.60",
        ("no interval: all draws equal", "both arms are carried at 40.0 % of the axis"),
    )
    nowhere = replace(crossing(TCP), kind=CrossingKind.OVERLOADED, values=(), interval=None, share_carried=0.0)
    assert wording.crossing_cell(nowhere)[0] == "OVERLOADED"


def test_quality_and_parameters():
    answer = built_answer()
    (quality,) = tables.quality_table(answer.profile.cards).rows
    assert texts(quality) == ["append-d", "30", "1.0 %", "3.0 %", "2.0 %", "5.0 %", "-", "90.0 %"]
    assert not any(cell.notes for cell in quality)
    (few,) = tables.quality_table([replace(card, cells=9) for card in answer.profile.cards]).rows
    assert [cell.notes for cell in few] == [(), (), (), (tables.FEW,), (), (tables.FEW,), (), ()]
    (parameter,) = tables.parameters_table(answer).rows
    assert texts(parameter) == ["prefill", "floor_s", "8 ms", "s", "measured", "launch", "at its bound"]
    assert parameter[2].notes == ("7.9 ms to 8.1 ms",)


def test_every_row_has_a_cell_for_every_column():
    answer = built_answer()
    for table in (
        tables.crossings_table(answer, "r"),
        tables.crossings_table(answer, "new_tokens"),
        tables.points_table(answer),
        tables.quality_table(answer.profile.cards),
        tables.parameters_table(answer),
    ):
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_the_meaning_says_each_arm_once_at_the_middle_prompt():
    assert wording.meaning(built_answer())[1] == (
        "With N = 2 streams on D and gamma = 1, a prompt of 1,000 tokens is cheaper on D: "
        "against p-full over nvlink from 60 % cached (another host: 60 %, 50 to 70 %); "
        "against p-full over tcp always."
    )
    several = crossing(TCP, kind=CrossingKind.SEVERAL, values=(0.2, 0.987), interval=None)
    never = crossing(NVLINK, kind=CrossingKind.ALWAYS_P, values=(), interval=None)
    assert wording.meaning(built_answer(crossings=(several, never)))[1].endswith(
        "against p-full over tcp from 98.7 % cached (and in 1 range below); against p-full over nvlink never."
    )
    assert "no crossing over the cache rate was computed" in wording.meaning(built_answer(crossings=()))[1]
