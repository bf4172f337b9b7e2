"""A signal at any moment ends a command as one line and exit code 130; SIGTERM is one of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

ON_IMPORT = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            os.kill(os.getpid(), signal.{signal})
sys.meta_path.insert(0, Interrupt())
from ppdsim.__main__ import main
main()
"""
IN_A_RUN = """
import os, signal
from ppdsim.des.cluster import Cluster
finished, turns = Cluster._finished, []
def count(self, turn, time):
    turns.append(turn)
    if len(turns) == 50:
        os.kill(os.getpid(), signal.{signal})
    finished(self, turn, time)
Cluster._finished = count
from ppdsim.__main__ import main
main()
"""


def simulated(code, out):
    command = ["simulate", "one-pair", "-o", str(out), "--set", "workload.conversations=40"]
    return subprocess.run([sys.executable, "-c", code, *command], check=False, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("name", "module"), [("SIGINT", "typer"), ("SIGTERM", "typer"), ("SIGTERM", "pydantic"), ("SIGINT", "numpy")]
)
def test_a_signal_during_imports_is_one_line(name, module, tmp_path):
    done = simulated(ON_IMPORT.format(module=module, signal=name), tmp_path / "out")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_run_that_is_ended_keeps_the_turns_that_had_ended(name, tmp_path):
    out = tmp_path / "out"
    done = simulated(IN_A_RUN.format(signal=name), out)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "error: interrupted"
    assert json.loads((out / "interrupted/summary.json").read_text())["status"]["ok"] >= 49


def test_sigterm_is_left_to_the_handler_of_ctrl_c():
    from ppdsim.__main__ import as_ctrl_c

    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        as_ctrl_c(signal.SIGTERM, None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with pytest.raises(KeyboardInterrupt):
            as_ctrl_c(signal.SIGTERM, None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]


AT_THE_END = """
import atexit, os, signal
atexit.register(lambda: os.kill(os.getpid(), signal.{signal}))
from ppdsim.__main__ import main
main()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_after_the_end_is_no_traceback(name):
    command = [sys.executable, "-c", AT_THE_END.format(signal=name), "scenarios"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")
    assert "one-pair" in done.stdout


IN_EXEC = """
import ppdsim.__main__ as main, ppdsim.cli.app as app
app.run = lambda: exec("import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(1)")
import atexit; atexit.register(print, "tidied up")
main.main()
"""


def test_a_signal_while_a_dataclass_is_made_is_exit_code_130_too(tmp_path):
    """CPython itself would end the process by the signal: a caller then sees -2."""
    (tmp_path / "interrupted.py").write_text(IN_EXEC)
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "tidied up\n", "error: interrupted\n")
