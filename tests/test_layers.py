"""import-linter holds the layers, and each of its contracts does catch the import that it forbids."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ppdsim.engines import ENGINES

# (module that gets the wrong import, the import, words of the contract that must break)
PLANTED = [
    ("units", "import ppdsim.workload", "Higher layers import lower ones only"),
    ("workload/lengths", "def f() -> None:\n    import ppdsim.scenario", "Higher layers import lower ones only"),
    ("workload/lengths", "import ppdsim.transport", "Higher layers import lower ones only"),
    ("library", "import simpy", "simpy only in des"),
    ("workload/base", "import plotly.graph_objects", "plotly and jinja2 only in report"),
    ("scenario/load", "def f() -> None:\n    import jinja2", "plotly and jinja2 only in report"),
    ("scenario/load", "import typer", "typer and rich only in cli"),
    ("library", "import rich.console", "typer and rich only in cli"),
    ("workload/lengths", "from pydantic import BaseModel", "pydantic and ruamel.yaml only where a file enters"),
    ("workload/lengths", "from scipy.optimize import brentq", "scipy only in fit, analytical and validate"),
    ("crossover/run", "def f() -> None:\n    import distributed", "dask only in sweep"),
    (
        "measure/service_measurement",
        "import ppdsim.engines.sglang.client",
        "An engine is reached through the registry only",
    ),
    (
        "cli/serve",
        "def f() -> None:\n    import ppdsim.engines.sglang",
        "An engine is reached through the registry only",
    ),
    (
        "engines/base",
        "import ppdsim.engines.sglang.client",
        "No engine knows another, and what they share knows none",
    ),
    (
        "engines/launch/stack",
        "def f() -> None:\n    import ppdsim.engines.base",
        "No engine knows another, and what they share knows none",
    ),
    (
        "engines/sglang/standin/pool",
        "import ppdsim.des",
        "A stand-in engine and the simulator know nothing of each other",
    ),
    ("workload/lengths", "import torch", "Engine and network libraries only in engines, pynvml in machine"),
]


@pytest.fixture(scope="module")
def lint(require: Callable[..., str]) -> Callable[[Path], subprocess.CompletedProcess[str]]:
    program = require("lint-imports")

    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [program, "--no-cache", "--config", str(folder / "pyproject.toml")]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def copied(tmp_path: Path, repository: Path) -> Path:
    shutil.copytree(repository / "ppdsim", tmp_path / "ppdsim", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_package_keeps_its_contracts(lint, repository: Path) -> None:
    result = lint(repository)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(("module", "line", "contract"), PLANTED)
def test_a_planted_import_breaks_its_contract(lint, copied: Path, module: str, line: str, contract: str) -> None:
    path = copied / "ppdsim" / f"{module}.py"
    path.write_text(f"{path.read_text()}\n{line}\n")
    result = lint(copied)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{contract} BROKEN" in " ".join(result.stdout.split())
    assert f"ppdsim.{module.replace('/', '.')}" in result.stdout


def test_the_design_page_shows_the_layers_that_are_checked(repository: Path) -> None:
    checked = re.search(
        r"^layers = \[\n(.*?)^\]", (repository / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL
    )
    page = (repository / "docs" / "design" / "0001-layout.md").read_text()
    assert checked is not None
    rows = [re.sub(r'[",()]', "", line).strip() for line in checked[1].splitlines()]
    assert page.split("```text\n")[1].split("```")[0].splitlines() == rows


def test_a_new_module_must_take_its_place_in_the_layers(lint, copied: Path) -> None:
    (copied / "ppdsim" / "somewhere.py").write_text('"""A module that no layer names."""\n')
    result = lint(copied)
    assert result.returncode == 1
    assert "somewhere" in result.stdout


def test_an_engine_may_not_know_another_one(lint, copied: Path) -> None:
    other = copied / "ppdsim" / "engines" / "other"
    other.mkdir()
    (other / "__init__.py").write_text('"""Another engine."""\n')
    result = lint(copied)
    assert result.returncode == 1
    assert "other" in result.stdout
    contracts = copied / "pyproject.toml"
    contracts.write_text(contracts.read_text().replace('"(sglang)"', '"(sglang) | (other)"'))
    assert lint(copied).returncode == 0
    (other / "client.py").write_text('"""Its client."""\n\nimport ppdsim.engines.sglang.client\n')
    result = lint(copied)
    assert result.returncode == 1
    assert "ppdsim.engines.other is not allowed to import ppdsim.engines.sglang" in result.stdout


def test_the_folder_of_every_engine_is_protected(repository: Path) -> None:
    (listed,) = re.findall(r"^protected_modules = \[(.*)\]", (repository / "pyproject.toml").read_text(), re.MULTILINE)
    assert sorted(re.findall(r'"(.*?)"', listed)) == sorted(type(engine).__module__ for engine in ENGINES.values())
