"""The page of accuracy tables is what the benchmark writes today, and leaves out no committed profile or run."""

from __future__ import annotations

import importlib.util
import re

import pytest

from ppdsim import measurements, profile
from ppdsim.accuracy import HELD_OUT, LEFT_OUT
from ppdsim.validate import validate

PINNED = "h200x1_llama-3.1-8b_sglang-0.5.17_pinned"


@pytest.fixture(scope="module")
def command(repository):
    spec = importlib.util.spec_from_file_location("accuracy_benchmark", repository / "benchmarks/accuracy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(repository):
    return (repository / "docs/design/accuracy-tables.md").read_text()


@pytest.fixture(scope="module")
def pinned(repository):
    folder = repository / "calibration"
    return validate(
        profile.load(folder / "profiles" / f"{PINNED}.json"), [measurements.read(folder / "measurements" / PINNED)]
    )


def test_the_page_has_what_validate_says_today(command, page, pinned):
    for table in (command.coverage, command.decisions, command.loads, command.j_errors, command.rates):
        rows = list(table([pinned]))[2:]
        assert rows, table.__name__
        for row in rows:
            assert row in page, f"{row}\nrun: python benchmarks/accuracy.py -o docs/design/accuracy-tables.md"
    for kind in {row.kind for row in pinned.cells}:
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {kind} |")]
        for scope in (LEFT_OUT, HELD_OUT):
            found = command._errors(command._find(pinned, kind, scope))
            assert f"| {found} |" in line


def test_the_counts_in_all_are_those_of_the_rows_and_of_the_readme(command, page, pinned, repository):
    rows = list(command.rates([pinned]))[2:]
    places = [tuple(map(int, re.search(r"(\d+) of (\d+) \|$", row).groups())) for row in rows]
    right, compared = (sum(column) for column in zip(*places, strict=True))
    assert f"at {right} of {compared} held-out places" in command.in_all([pinned])
    found = re.search(r"at (\d+) of (\d+) held-out places; .* E2E within 5 % in (\d+) of (\d+)", page)
    assert found.group(1) == found.group(2)
    assert found.group(3) == found.group(4)
    readme = " ".join((repository / "README.md").read_text().split())
    assert f"at all {found.group(2)} held-out places" in readme
    assert f"within 5 % in all {found.group(4)} recorded loads" in readme


def test_the_page_says_how_far_a_probe_is_from_itself(command, page, repository):
    runs = [measurements.read(path) for path in sorted((repository / "calibration/measurements").iterdir())]
    rows = list(command.repeatability(runs))[2:]
    assert len({row.split("|")[1] for row in rows}) >= 4
    assert all(row in page for row in rows)


def test_every_profile_meets_every_run(command, page, repository):
    profiles = [path.stem for path in (repository / "calibration/profiles").glob("*.json")]
    runs = [path.name for path in (repository / "calibration/measurements").iterdir()]
    for one in profiles:
        for run in runs:
            assert f"| {command.short(one)} to {command.short(run)}" in page
