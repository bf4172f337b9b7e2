"""A skip is a skip on a laptop and a failure in CI; this starts pytest on a planted test to see both."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLANTED = {
    "a missing tool": "def test_it(require):\n    require('no-such-tool-anywhere', 'python:no_such_module')\n",
    "a marked test": "import pytest\n@pytest.mark.skip(reason='planted')\ndef test_it():\n    pass\n",
    "a skipped module": "import pytest\npytest.importorskip('no_such_module')\ndef test_it():\n    pass\n",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    """Run the planted tests once on a laptop and once under PPDSIM_REQUIRE_ALL=1."""
    folder = tmp_path_factory.mktemp("planted")
    shutil.copy(repository / "tests" / "conftest.py", folder)
    for how, text in PLANTED.items():
        (folder / f"test_{how.replace(' ', '_')}.py").write_text(text)
    options = ["-q", "-rsfE", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    command = [sys.executable, "-m", "pytest", *options, str(folder)]
    return {
        where: subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PPDSIM_REQUIRE_ALL": value},
            capture_output=True,
            text=True,
            check=False,
        )
        for where, value in (("laptop", ""), ("CI", "1"))
    }


@pytest.mark.parametrize("how", PLANTED)
def test_a_skip_fails_only_where_nothing_may_be_skipped(outcomes, how: str) -> None:
    relaxed, strict = outcomes["laptop"], outcomes["CI"]
    name = f"test_{how.replace(' ', '_')}.py"
    assert relaxed.returncode == 0
    assert f"{len(PLANTED)} skipped" in relaxed.stdout
    assert "failed" not in relaxed.stdout
    assert strict.returncode == 1, strict.stdout
    assert re.search(rf"^(FAILED|ERROR) {name}", strict.stdout, re.M), strict.stdout
    assert re.search(rf"{name}\S* was skipped, and PPDSIM_REQUIRE_ALL=1 allows no skip", strict.stdout)
    assert "skipped in" not in strict.stdout


def test_a_missing_tool_is_named(outcomes) -> None:
    assert "this machine lacks no-such-tool-anywhere or python:no_such_module" in outcomes["laptop"].stdout
