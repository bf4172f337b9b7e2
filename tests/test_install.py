"""The package works from a wheel, from an sdist and as an editable install, each outside the checkout.

Each environment is empty but for the package itself; a .pth file lends it the dependencies that the tests run with, so
that nothing is downloaded and the test takes seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

MAIN_COMMAND = [
    "crossover",
    "cache-rate",
    *("--set", "crossover.total_tokens=[8192]", "--set", "crossover.cache_rates=[0.5]"),
    *("--set", "crossover.turns=10", "--set", "crossover.draws=2", "--set", "crossover.previous_output_tokens=[0]"),
    *("--set", "crossover.arms=[{arm: append-d, transport: none}, {arm: p-full, transport: nvlink}]"),
    *("-o", "out"),
]
"""What the README runs, made small."""


def run(command: list[str | Path], **options) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, env=environment, **options
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, repository: Path, require) -> dict[str, Path]:
    """Build the sdist from the checkout, and the wheel from the sdist, as PyPI would get them."""
    require("python:build")
    require("python:hatchling")
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, repository])
    return {"wheel": next(folder.glob("*.whl")), "sdist": next(folder.glob("*.tar.gz"))}


@pytest.fixture(scope="module", params=["wheel", "sdist", "editable"])
def installed(request, built: dict[str, Path], repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install one way into an environment of its own and return its folder."""
    home = tmp_path_factory.mktemp(request.param) / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "lent.pth").write_text("".join(f"{path}\n" for path in sorted(lent)))
    what = ["-e", repository] if request.param == "editable" else [built[request.param]]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed", "--quiet"]
    run([python, "-m", "pip", "--disable-pip-version-check", "install", *options, *what])
    return home


def test_the_installed_package_is_the_one_that_runs(installed: Path, repository: Path, tmp_path: Path) -> None:
    code = "import ppdsim; print(ppdsim.__file__)"
    where = Path(run([installed / "bin" / "python", "-c", code], cwd=tmp_path).strip())
    home = repository if "editable" in str(installed) else installed
    assert where.is_relative_to(home)


def test_the_main_command_works_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert run([installed / "bin" / "ppdsim", *MAIN_COMMAND], cwd=tmp_path).startswith("Appending 256 tokens")
    assert (tmp_path / "out" / "report.html").stat().st_size > 1_000_000


def test_profiles_and_scenarios_are_found(installed: Path, repository: Path, tmp_path: Path) -> None:
    program = installed / "bin" / "ppdsim"
    scenarios = json.loads(run([program, "scenarios", "--json"], cwd=tmp_path))
    profiles = json.loads(run([program, "profiles", "--json"], cwd=tmp_path))
    assert [row["name"] for row in scenarios] == sorted(path.stem for path in (repository / "scenarios").glob("*.yaml"))
    assert [row["id"] for row in profiles] == sorted(
        path.stem for path in (repository / "calibration/profiles").glob("*.json")
    )
    home = repository if "editable" in str(installed) else installed
    assert all(Path(row["path"]).is_relative_to(home) for row in [*scenarios, *profiles])


def test_what_derive_reads_is_installed(installed: Path, repository: Path, tmp_path: Path) -> None:
    name = "h100x2_llama-3.1-8b_sglang-0.5.17_derived.json"
    measured = "h200x2_llama-3.1-8b_sglang-0.5.17"
    run([installed / "bin" / "ppdsim", "derive", measured, "--gpu", "H100-SXM", "-q", "-o", name], cwd=tmp_path)
    assert (tmp_path / name).read_text() == (repository / "calibration/profiles" / name).read_text()


def test_a_shipped_trace_is_installed_with_its_scenario(installed: Path, tmp_path: Path) -> None:
    code = (
        "import numpy, ppdsim.scenario as s; w = s.load('mooncake-conversation').build_workload();"
        "print(len(list(w.conversations(numpy.random.default_rng(0)))))"
    )
    assert run([installed / "bin" / "python", "-c", code], cwd=tmp_path).strip() == "813"


def test_the_sdist_has_the_measurements_and_the_wheel_has_not(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        names = archive.getnames()
    assert any("/calibration/measurements/" in name for name in names)
    assert any(name.endswith("/LICENSE") for name in names)
    with zipfile.ZipFile(built["wheel"]) as archive:
        names = archive.namelist()
    assert not any("points.jsonl" in name for name in names)
    assert "ppdsim/py.typed" in names


def test_the_wheel_is_small(built: dict[str, Path]) -> None:
    assert built["wheel"].stat().st_size < 1_200_000
