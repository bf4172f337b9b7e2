"""The accuracy report: complete, offline, every figure drawn for every choice, also when nothing was compared."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from report.test_page import read

from ppdsim import measurements, profile
from ppdsim.accuracy import HELD_OUT, LEFT_OUT
from ppdsim.report.accuracy_page import render_accuracy
from ppdsim.report.figures import ACCURACY_FIGURES
from ppdsim.report.figures.plot_residuals import residuals_data
from ppdsim.validate import to_text, validate

ONE = "h200x1_llama-3.1-8b_sglang-0.5.17"


@pytest.fixture(scope="module")
def found(repository):
    mine = profile.load(repository / "calibration/profiles" / f"{ONE}.json")
    return validate(mine, [measurements.read(repository / "calibration/measurements" / ONE)])


@pytest.fixture(params=["all", "no load", "bare"])
def shown(request, found):
    cut = {"all": {}, "no load": {"loads": ()}, "bare": {"loads": (), "cells": (), "decisions": (), "crossings": ()}}
    return replace(found, **cut[request.param])


@pytest.mark.parametrize("name", list(ACCURACY_FIGURES))
def test_every_figure_is_drawn_for_every_choice_with_units_and_without_nan(name, shown):
    figure = ACCURACY_FIGURES[name](shown)
    drawn = [figure]
    for choice in figure.layout.meta["choices"]:
        drawn += [ACCURACY_FIGURES[name](shown, **{choice["name"]: value}) for value, _ in choice["options"]]
    for one in drawn:
        json.dumps(one.to_plotly_json(), allow_nan=False)
        for axis in (*one.select_xaxes(), *one.select_yaxes()):
            assert axis.title.text.endswith("]")


def test_the_page_is_whole_and_loads_nothing(shown):
    reader = read(render_accuracy(shown, to_text(shown)))
    assert reader.loads == ["data:,"]
    assert reader.text[0].startswith(f"{ONE}: median error on unseen cells")
    assert set(ACCURACY_FIGURES) <= reader.ids
    if shown.cells:
        assert {"table-cells", "table-decisions", "table-crossings"} <= reader.ids


def test_a_residual_map_has_every_cell_once_and_leaves_gaps(found):
    row = next(i for i, r in enumerate(found.cells) if r.kind == "append-d" and r.scope == "held-out cells")
    data = residuals_data(found, row)
    assert sum(value is not None for line in data.error for value in line) == 9
    assert data.x_title == "new m [tokens]"


def test_loads_simulated_by_a_derived_profile_are_dashed(found):
    for derivation, dash in ((None, "solid"), ("derived from x (gpu), this machine is unmeasured", "dash")):
        lines = ACCURACY_FIGURES["load-cdfs"](replace(found, derivation=derivation)).data
        assert {(line.name, line.line.dash) for line in lines} == {("measured", "solid"), ("simulated", dash)}


def test_the_tables_show_n_star_with_both_intervals_and_held_out_decisions(repository):
    """The pinned run holds out eight places of every arm."""
    run = measurements.read(repository / "calibration/measurements" / f"{ONE}_pinned")
    mine = profile.load(repository / "calibration/profiles" / f"{ONE}_pinned.json")
    found = validate(mine, [replace(run, load=())])
    text = " ".join(read(render_accuracy(found, "")).text)
    checks = [check for check in found.crossings if check.axis == "streams" and check.scope == HELD_OUT]
    assert len(checks) == 2 * 8
    for check in checks:
        assert f"L = {check.fixed_tokens}, m = {check.new_tokens}" in text
        for value, low, high in (
            (check.predicted, check.predicted_low, check.predicted_high),
            (check.measured, check.measured_low, check.measured_high),
        ):
            assert low <= value <= high
            assert f"{value:.1f} ({low:.1f} to {high:.1f})" in text
    assert {row.scope for row in found.decisions} == {LEFT_OUT, HELD_OUT}
    assert "append-d or p-full:tcp held-out cells" in text
