"""Columns that an error may go with: a planted term is found, in words and in the figure, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from curve_cases import ENGINE

from ppdsim.accuracy import LEFT_OUT, CellErrors, CellPoint, Validation
from ppdsim.cost.base import pad_up
from ppdsim.report.figures.plot_candidates import candidates_data, candidates_of, plot_candidates
from ppdsim.validate import to_text
from ppdsim.validate.candidates import candidates

PAGE, CHUNK = 64, 8192


def points(error, *, count=40, seed=1):
    """Return cells at random places whose relative error is `error` of (cached, new)."""
    rng = np.random.default_rng(seed)
    found = []
    for cached, new in zip(rng.integers(0, 30_000, count), rng.integers(16, 9000, count), strict=True):
        measured = 0.01 + 1e-5 * new
        found.append(
            CellPoint(
                kind="append-d",
                cached_tokens=float(cached),
                new_tokens=float(new),
                batch=0.0,
                context_tokens=0.0,
                measured_s=measured,
                predicted_s=measured * (1.0 + error(cached, new) + 0.002 * rng.standard_normal()),
                low_s=measured,
                high_s=measured,
                inside=True,
                noise=float(rng.uniform(0.0, 0.02)),
            )
        )
    return tuple(found)


def validation(cells):
    row = CellErrors(
        scope=LEFT_OUT,
        measurements="run",
        kind="append-d",
        cells=len(cells),
        median=0.0,
        p90=0.0,
        maximum=0.0,
        bias=0.0,
        noise=None,
        coverage=0.9,
        coverage_p=1.0,
        worst="",
        target_median=None,
        target_p90=None,
        points=cells,
        candidates=candidates(cells, page_tokens=PAGE, chunk_tokens=CHUNK, engine=ENGINE),
    )
    return Validation(
        profile="p",
        derivation=None,
        measurements=("run",),
        cells=(row,),
        decisions=(),
        crossings=(),
        rates=(),
        rate_crossings=(),
        loads=(),
        rankings=(),
        leaked=(),
        gates=(),
        notes=(),
    )


@pytest.mark.parametrize(
    ("column", "error"),
    [
        ("rest of the last page", lambda cached, new: 0.001 * ((cached + new) % PAGE)),
        ("prompt L + m", lambda cached, new: -2e-6 * (cached + new)),
        ("new tokens m", lambda cached, new: 1e-5 * new),
        (
            "rows padded by a captured graph",
            lambda cached, new: 3e-4 * (float(pad_up(float(new), ENGINE.prefill_graph_sizes_tokens)) - new),
        ),
    ],
)
def test_a_planted_term_is_the_one_that_is_named(column, error):
    found = validation(points(error))
    best = max(found.cells[0].candidates, key=lambda each: abs(each.rank_correlation))
    assert best.name == column
    assert f"rises or falls with {column}, rank correlation {best.rank_correlation:+.2f}" in to_text(found)


def test_noise_goes_with_nothing():
    silent = [
        to_text(validation(points(lambda cached, new: 0.0, seed=seed))).count("rises or falls with")
        for seed in range(20)
    ]
    assert sum(silent) <= 3  # 5 % of runs, whatever the number of columns


def test_a_cell_that_two_splits_left_out_counts_once():
    once = points(lambda cached, new: 1e-6 * new)
    for alone, twice in zip(
        candidates(once, page_tokens=PAGE, chunk_tokens=CHUNK, engine=ENGINE),
        candidates((*once, *once), page_tokens=PAGE, chunk_tokens=CHUNK, engine=ENGINE),
        strict=True,
    ):
        assert twice.chance == pytest.approx(alone.chance)
        assert len(twice.values) == 2 * len(once)


def test_columns_that_are_the_same_everywhere_are_left_out():
    names = [each.name for each in validation(points(lambda cached, new: 0.0)).cells[0].candidates]
    assert "streams B" not in names
    assert "new tokens m" in names
    few = candidates(points(lambda cached, new: 0.0, count=4), page_tokens=PAGE, chunk_tokens=CHUNK, engine=ENGINE)
    assert {each.rank_correlation for each in few} == {None}


def test_the_figure_shows_every_cell_and_the_median_at_each_value():
    cells = tuple(replace(p, new_tokens=float(2 ** (4 + i % 4))) for i, p in enumerate(points(lambda _, __: 0.0)))
    found = validation(tuple(replace(p, predicted_s=p.measured_s * (1 + 0.01 * np.log2(p.new_tokens))) for p in cells))
    data = candidates_data(found, 0, "new tokens m")
    assert len(data.x) == len(cells)
    assert data.line_x == [16.0, 32.0, 64.0, 128.0]
    assert data.line == pytest.approx([4.0, 5.0, 6.0, 7.0])
    assert "rank correlation +1.00" in data.words
    assert candidates_data(found, 0, "streams B") is None
    figure = plot_candidates(found, candidate="new tokens m")
    assert figure.layout.xaxis.title.text == "new tokens m [tokens]"
    assert set(candidates_of(found)) == {value for value, _ in figure.layout.meta["choices"][1]["options"]}
