"""A skip is a skip on a laptop and a failure in CI; this starts pytest on a planted test to see both."""

from __future__ import annotations

import os
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


def run_pytest(folder: Path, *, require_all: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PPDSIM_REQUIRE_ALL": require_all}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(folder)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("how", PLANTED)
def test_a_skip_fails_only_where_nothing_may_be_skipped(tmp_path: Path, repository: Path, how: str) -> None:
    shutil.copy(repository / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_planted.py").write_text(PLANTED[how])
    relaxed, strict = run_pytest(tmp_path, require_all=""), run_pytest(tmp_path, require_all="1")
    assert "1 skipped" in relaxed.stdout
    assert "failed" not in relaxed.stdout
    assert strict.returncode in (1, 2), strict.stdout
    assert "PPDSIM_REQUIRE_ALL=1 allows no skip" in strict.stdout


def test_a_missing_tool_is_named(tmp_path: Path, repository: Path) -> None:
    shutil.copy(repository / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_planted.py").write_text(PLANTED["a missing tool"])
    assert (
        "this machine lacks no-such-tool-anywhere or python:no_such_module"
        in run_pytest(tmp_path, require_all="").stdout
    )
