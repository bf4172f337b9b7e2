"""A scenario with wrong or extreme values ends as results or as one clear line, from the command line too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fuzz.damage import documents
from fuzz.formats import FORMATS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppdsim.cli.app import run

VALID = FORMATS["scenario"].document()
SMALL = {**VALID, "workload": {**VALID["workload"], "conversations": 6}}
KEYS = (
    "seed", "fleet.0.count", "fleet.7.count", "fleet", "workload.turns_mean", "workload.arrivals.rate_per_s",
    "workload.arrivals.cv", "workload.think_time", "slo", "", "a.b", "page_size", "routing.parameters.x",
    "transport", "engine", "engine.version", "engine.flags", "engine.flags.page_size", "engine.flags.x",
)  # fmt: skip
VALUES = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["1", "-1", "1e308", "{a: 1}", "[1", "nan", "&a [*a]", "tcp", "2026-01-01"]),
)
SETS = st.tuples(st.sampled_from(KEYS), VALUES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenarios")


def small(document: Any) -> Any:
    """Keep a damaged scenario's run short: what is too many is not what is tested here."""
    workload = document.get("workload") if isinstance(document, dict) else None
    if isinstance(workload, dict) and isinstance(workload.get("conversations"), int):
        workload["conversations"] = min(workload["conversations"], 8)
        if isinstance(workload.get("turns_mean"), (int, float)):
            workload["turns_mean"] = min(workload["turns_mean"], 20)
    return document


def ends_well(arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(out, ignore_errors=True)
    code = run([*arguments, "-o", str(out)])
    printed = capsys.readouterr()
    if code == 0:
        summary = json.loads((out / "summary.json").read_text(), parse_constant=pytest.fail)
        assert sum(summary["status"].values()) == summary["turns"]
        return
    assert code == 2
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert not out.exists()


@settings(max_examples=80, deadline=None, suppress_health_check=[*HealthCheck])
@given(document=documents(SMALL))
def test_a_damaged_scenario_runs_or_says_why_not(document, folder: Path, capsys) -> None:
    path = folder / "damaged.yaml"
    path.write_bytes(json.dumps(small(document)).encode("utf-8", "surrogatepass"))
    ends_well(["simulate", str(path)], folder / "out", capsys)


@settings(max_examples=40, deadline=None, suppress_health_check=[*HealthCheck])
@given(override=SETS)
def test_an_override_runs_or_says_why_not(override, folder: Path, capsys) -> None:
    path = folder / "small.yaml"
    path.write_text(json.dumps(SMALL))
    ends_well(["simulate", str(path), "--set", "=".join(override)], folder / "out", capsys)
