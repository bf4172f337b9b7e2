"""A seeded sample of benchmarks/robustness.py: bad inputs, broken servers and kills, of which none ends wrongly."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.timeout(600)
def test_a_sample_of_what_goes_wrong_ends_right(repository, require):
    require("python:aiohttp")
    command = [sys.executable, str(repository / "benchmarks/robustness.py"), "--quick", "--jobs", "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("inputs: 40 tried", "faults: 5 tried, 5 named", "kills: 3 tried, 3 right"):
        assert words in done.stdout
