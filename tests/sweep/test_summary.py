"""Means, paired differences and words of a sweep, from rows made by hand; and the answer as a file."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweep.cases import plan, row

from ppdsim.errors import InputError
from ppdsim.sweep import words
from ppdsim.sweep.save import ANSWER, read, save
from ppdsim.sweep.summary import summarise

T_2 = 2.919986
"""Student's t, 0.95 quantile, two degrees of freedom."""


@pytest.fixture(scope="module")
def made():
    return plan("routing.policy=always-p,cost-aware", "workload.arrivals.rate_per_s=1,2", seeds=3)


@pytest.fixture(scope="module")
def rows():
    """J in seconds by point and seed; the seeds differ by much, the points of one seed by little."""
    values = ((1.0, 2.0, 3.0), (2.0, 3.0, 4.0), (1.1, 2.2, 3.3), (1.9, 2.9, 3.9))
    return {(number, seed): row(j_s=value) for number, line in enumerate(values) for seed, value in enumerate(line)}


@pytest.fixture
def answer(made, rows):
    return summarise(made, rows, "j_s")


def test_an_estimate_is_the_mean_over_seeds_with_its_interval(answer) -> None:
    found = answer.points[0].estimate("j_s")
    assert found.value == pytest.approx(2.0)
    # On the scale of times: exp of the plain half-width over the mean.
    factor = math.exp(T_2 / 3**0.5 / 2.0)
    assert (found.low, found.high) == pytest.approx((2 / factor, 2 * factor), rel=1e-6)
    assert found.difference is None


def test_a_difference_is_to_the_first_value_of_the_first_axis_and_paired(answer) -> None:
    assert answer.points[1].estimate("j_s").difference is None
    third, fourth = (answer.points[number].estimate("j_s").difference for number in (2, 3))
    assert third.value == pytest.approx(0.2)
    assert third.high - third.value == pytest.approx(T_2 * 0.1 / 3**0.5, rel=1e-6)
    # The same in every seed: a number without an interval.
    assert (fourth.low, fourth.value, fourth.high) == (None, pytest.approx(-0.1), None)


def test_one_seed_has_values_and_no_intervals() -> None:
    single = plan("transport=nvlink,tcp", seeds=1)
    answer = summarise(single, {(0, 0): row(j_s=1.0), (1, 0): row(j_s=2.0)}, "j_s")
    assert [(e.value, e.low, e.high, e.difference) for p in answer.points for e in p.estimates[:1]] == [
        (1.0, None, None, None),
        (2.0, None, None, None),
    ]
    assert "-" in words.table(answer)


def test_rows_that_have_not_been_run_are_counted_and_their_points_left_out(made, rows) -> None:
    some = {key: value for key, value in rows.items() if key[0] != 1 and key != (2, 1)}
    answer = summarise(made, some, "j_s")
    assert answer.missing == 4
    assert [(point.values[1], point.runs) for point in answer.points] == [("1", 3), ("1", 2), ("2", 3)]
    assert "4 rows have not been run" in words.table(answer)
    assert answer.points[1].estimate("j_s").difference.value == pytest.approx(0.2)


def test_what_must_be_known_of_a_point_is_beside_it(made, rows) -> None:
    odd = {
        **rows,
        (3, 0): row(label="OVERLOADED", ok=5, extrapolated=0.5),
        (3, 1): row(extrapolated=None, ok=0, j_s=None, ttft_p99_s=None),
    }
    lines = words.table(summarise(made, odd, "j_s")).splitlines()
    assert lines[4].endswith("OVERLOADED in 1, 50.0% of the turns ended, 25.0% extrapolated")
    assert "nan" not in "\n".join(lines).lower()


def test_the_table_prints_milliseconds_and_differences_with_their_sign(answer) -> None:
    head, first, _, third, fourth, *_ = words.table(answer).splitlines()
    assert head.split()[:4] == ["policy", "rate_per_s", "J", "[ms]"]
    assert "less that of policy=always-p" in head
    assert first.split()[:3] == ["always-p", "1", "2,000"]
    assert "+200 (31.4 to 369)" in third
    assert "  -100  " in fourth


def test_keys_are_as_short_as_tells_them_apart() -> None:
    made = plan("fleet.0.count=1", "fleet.1.count=1,2", seeds=1)
    answer = summarise(made, {(0, 0): row(), (1, 0): row()}, "j_s")
    assert words.short_names(answer) == ["0.count", "1.count"]


def test_sentences_say_where_the_better_one_changes(made, rows) -> None:
    (sentence,) = words.crossings(summarise(made, rows, "j_s"))
    assert sentence.startswith(
        "routing.policy always-p against cost-aware over workload.arrivals.rate_per_s, by J: always-p below 1.667 (1."
    )
    assert ", cost-aware above" in sentence
    worse = {key: {**value, "j_s": value["j_s"] + (key[0] > 1)} for key, value in rows.items()}
    (sentence,) = words.crossings(summarise(made, worse, "j_s"))
    assert sentence.endswith("by J: always-p from 1 to 2")


def test_a_sentence_says_how_many_draws_disagree(made) -> None:
    """At the second rate the gain is 0.2 with a spread of 0.1: P(T > 0.2 sqrt(3) / 0.1) = 3.7 % at two degrees."""
    rows = {
        (number, seed): row(j_s=1.0 + 0.2 * (number > 1) + 0.1 * (seed - 1) * (number == 3))
        for number in range(4)
        for seed in range(3)
    }
    (sentence,) = words.crossings(summarise(made, rows, "j_s"))
    assert sentence.endswith("by J: always-p from 1 to 2; 4% of the draws show a change")


def test_the_answer_survives_its_file(made, rows, answer, tmp_path) -> None:
    table, file = save(made, rows, answer, tmp_path)
    assert read(tmp_path) == answer
    assert table.read_text().splitlines()[0].startswith("routing.policy,workload.arrivals.rate_per_s,seed,label,")
    assert len(table.read_text().splitlines()) == 13
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep.csv", "sweep.json"]
    assert file.name == ANSWER


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judged_by": "j"}, "judged_by: unknown measure 'j'"),
        ({"axes": ()}, "axes: there is none"),
        ({"seeds": ("0",)}, "seeds.0: Input should be a valid integer"),
        ({"schema": "ppdsim/sweep/2"}, "schema: Input should be 'ppdsim/sweep/1'"),
    ],
)
def test_an_answer_that_contradicts_itself_is_said(made, rows, answer, tmp_path, change, message) -> None:
    save(made, rows, replace(answer, **change), tmp_path)
    with pytest.raises(InputError, match=f"{ANSWER}: {message}.*; run the sweep again"):
        read(tmp_path)


def test_points_that_are_not_on_the_grid_are_said(made, rows, answer, tmp_path) -> None:
    first = answer.points[0]
    for point in (
        replace(first, values=("always-q", "1")),
        replace(first, values=("always-p",)),
        replace(first, estimates=first.estimates[1:]),
    ):
        save(made, rows, replace(answer, points=(point,)), tmp_path)
        with pytest.raises(InputError, match="points: always-"):
            read(tmp_path)


def test_a_folder_without_an_answer_is_said(tmp_path) -> None:
    with pytest.raises(InputError, match="expected the folder that 'ppdsim sweep"):
        read(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_any_damage_of_the_file_is_one_error_or_a_right_answer(made, rows, answer, tmp_path, data) -> None:
    save(made, rows, answer, tmp_path)
    path = tmp_path / ANSWER
    text = path.read_text()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 200)))
    path.write_text(text[:start] + data.draw(st.text(st.characters(codec="utf-8"), max_size=5)) + text[end:])
    with suppress(InputError):
        found = read(tmp_path)
        assert words.table(found)
        assert json.loads(path.read_text())
