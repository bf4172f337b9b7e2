"""CPU time of ``import ppdsim`` and ``ppdsim --help``, each in a fresh interpreter. Run: pytest benchmarks -s."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

COMMANDS = {"import ppdsim": ["-c", "import ppdsim"], "ppdsim --help": ["-m", "ppdsim", "--help"]}


def cpu_s(arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("name", COMMANDS)
def test_startup(name: str) -> None:
    runs_s = sorted(cpu_s(COMMANDS[name]) for _ in range(5))
    print(f"\n{name}: {runs_s[0]:.3f} s of CPU at best, {runs_s[2]:.3f} s in the middle of 5 runs")
