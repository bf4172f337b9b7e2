"""A held-out cell that was fitted is found, however it got there; one that was not is no leak."""

from __future__ import annotations

import json

import pytest
from fit.grids import TRUTH, rows, write

from ppdsim import measurements, profile
from ppdsim.cli.app import run
from ppdsim.errors import ProfileError
from ppdsim.fit.run import fit_profile
from ppdsim.fit.split import leaks
from ppdsim.validate import validate


def with_held_out(*, fitted: bool):
    """Return the grid's rows with (1024, 256) of every arm held out, or fitted in spite of that."""
    purpose = "fit" if fitted else "validation"
    return [
        {**row, "purpose": purpose} if (row.get("cached_tokens"), row.get("new_tokens")) == (1024, 256) else row
        for row in rows(TRUTH, noise=0.02)
    ]


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    return measurements.read(write(tmp_path_factory.mktemp("honest") / "m", with_held_out(fitted=False)))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The same measurements after somebody relabelled the held-out rows."""
    return measurements.read(write(tmp_path_factory.mktemp("planted") / "m", with_held_out(fitted=True)))


@pytest.fixture(scope="module")
def cheat(planted):
    return fit_profile(planted, draws=5)


def test_a_profile_records_every_cell_that_it_was_fitted_to(honest):
    fitted = fit_profile(honest, draws=5)
    assert len(fitted.fitted_cells) == len(set(fitted.fitted_cells)) == 3 * 4 * 5 - 3 + 15 + 8
    assert not any(record.startswith("append-d 1024 256 ") for record in fitted.fitted_cells)
    assert leaks(fitted, honest) == ()


def test_a_planted_leak_is_found_and_named(cheat, honest):
    assert len(leaks(cheat, honest)) == 3
    assert all(" 1024 256 " in place for place in leaks(cheat, honest))


def test_held_out_rows_copied_into_another_run_are_found(planted, honest):
    renamed = fit_profile(planted, draws=5)
    renamed = renamed.model_copy(update={"provenance": {**renamed.provenance, "measurements": "elsewhere"}})
    assert len(leaks(renamed, honest)) == 3


def test_the_same_place_measured_in_another_run_is_no_leak(planted, honest):
    other = fit_profile(planted, draws=5)
    moved = tuple(record.rsplit("=", 1)[0] + "= 1" for record in other.fitted_cells)
    provenance = {**other.provenance, "measurements": "elsewhere"}
    assert leaks(other.model_copy(update={"fitted_cells": moved, "provenance": provenance}), honest) == ()


def test_the_command_ends_with_1_and_says_which_cell(cheat, honest, tmp_path, capsys):
    profile.save(cheat, tmp_path / "cheat.json")
    code = run(["validate", str(tmp_path / "cheat.json"), str(honest.path), "-o", str(tmp_path / "out"), "-q"])
    assert code == 1
    assert "no held-out cell was fitted; found 3 leaked" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "out" / "validation.json").read_text())["leaked"]) == 3


def test_a_profile_without_its_split_is_refused(cheat, honest):
    with pytest.raises(ProfileError, match="does not record which cells"):
        validate(cheat.model_copy(update={"fitted_cells": ()}), [honest])
