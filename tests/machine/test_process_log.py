"""Whose server a process is, told from its environment or that of a parent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppdsim.machine.process_tree import LOG, MARK, carries_mark, log_of

ITSELF = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
TITLED = f"import setproctitle; setproctitle.setproctitle('sglang::scheduler'); {ITSELF}"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ITSELF!r}], env={{}})"
"""Starts one that has no environment at all, and waits for it."""
PARENT_OF_TITLED = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {TITLED!r}])"


@pytest.mark.parametrize("program", [ITSELF, PARENT, PARENT_OF_TITLED], ids=["itself", "a parent", "with a title"])
@pytest.mark.parametrize("ours", [True, False])
def test_a_server_and_what_it_started_are_known_by_their_log_and_mark(program: str, ours: bool, require) -> None:
    require("python:setproctitle")
    inherited = {name: value for name, value in os.environ.items() if name not in (MARK, LOG)}
    told = {MARK: "a-server", LOG: "/x/logs of mine/decode-0.log"} if ours else {}
    with subprocess.Popen(
        [sys.executable, "-c", program], env={**inherited, **told}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        pid = int(child.stdout.readline())
        assert log_of(pid) == (Path("/x/logs of mine/decode-0.log") if ours else None)
        assert carries_mark(pid) is ours
        child.communicate()


def test_a_process_that_has_ended_is_nobody_s() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert log_of(child.pid) is None
