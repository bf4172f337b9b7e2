"""Importing the package, and asking for help, loads none of the heavy libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"scipy", "pandas", "plotly", "simpy"}
STATEMENTS = {
    "import ppdsim": "import ppdsim",
    "ppdsim --help": "from ppdsim.cli.app import run; assert run(['--help']) == 0",
    "ppdsim simulate --help": "from ppdsim.cli.app import run; assert run(['simulate', '--help']) == 0",
}
LOADED = "; import sys; print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"


def loaded_by(statement: str) -> set[str]:
    result = subprocess.run([sys.executable, "-c", statement + LOADED], capture_output=True, text=True, check=True)
    return set(result.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize("what", STATEMENTS)
def test_nothing_heavy_is_loaded(what: str) -> None:
    loaded = loaded_by(STATEMENTS[what])
    assert "ppdsim" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_the_probe_sees_a_heavy_import() -> None:
    assert "simpy" in loaded_by("import simpy")
