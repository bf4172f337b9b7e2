"""What a server's log says: its last line, and why it failed.

Known issues are in :mod:`ppdsim.engines.sglang.known_issues`. The engine also prints them as warnings that mean nothing
("Ignore import error when loading ..."), and what follows the cause ("Killed", "received sigquit") is printed later
than the cause. So warnings are left out, and the last known issue that is not a consequence counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ppdsim.engines.sglang.known_issues import KnownIssue, recognise
from ppdsim.machine.masking import masked_line

TAIL_BYTES = 256 * 1024
LINE_CHARACTERS = 300
DECISIVE = ("out-of-memory", "port-taken", "device-ordinal", "kernel-package")
"""Known issues that no server gets over: it is not waited for, even while its process lives."""
CONSEQUENCES = ("killed", "kv-bootstrap-timeout", "kv-waiting-timeout", "kv-peer-lost", "kv-transfer")
"""Known issues that follow another one, here or at the other end: an earlier issue in the log is the cause."""
_WARNING = re.compile(r"Ignore import error|\bWARN(?:ING)?\b|Warning:|^\s*warn\w*[.(:]")
_ERROR = re.compile(r"\b(?:[A-Za-z_.]*(?:Error|Exception)\b|ERROR\b|error:|[Ff]atal\b|Failed\b|panicked\b)")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a server failed: the line of the log that says so, and the known issue in it, if it is one."""

    line: str
    issue: KnownIssue | None = None

    def __str__(self) -> str:
        """Say the reason, the line and the fix in one line."""
        if self.issue is None:
            return f"the log says: {self.line}"
        return f"{self.issue.reason} ({self.issue.name}); the log says: {self.line}; fix: {self.issue.fix}"


def tail(path: Path) -> list[str]:
    """Return the last lines of a log, without empty ones, colours, overwritten progress bars and secrets."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - TAIL_BYTES))
            content = log.read().decode(errors="replace")
    except OSError:
        return []
    lines = (_ESCAPE.sub("", line).rstrip().rsplit("\r", 1)[-1].strip() for line in content.split("\n"))
    return [masked_line(line)[:LINE_CHARACTERS] for line in lines if line]


def decisive(lines: list[str]) -> Cause | None:
    """Return the known issue that a living server cannot get over, if its log shows one."""
    found = _last_known_issue(lines)
    return found if found is not None and found.issue is not None and found.issue.name in DECISIVE else None


def cause(lines: list[str], exit_code: int | None) -> Cause:
    """Return why a server ended, or why it is not ready."""
    found = _last_known_issue(lines)
    if found is not None:
        return found
    line = last_error(lines) or (lines[-1] if lines else "nothing")
    after = "" if exit_code is None else f"exit code {exit_code}"
    return Cause(line=line, issue=recognise("\n".join([*_without_warnings(lines)[-20:], after])))


def _last_known_issue(lines: list[str]) -> Cause | None:
    for line in reversed(_without_warnings(lines)):
        issue = recognise(line)
        if issue is not None and issue.name not in CONSEQUENCES:
            return Cause(line=line, issue=issue)
    return None


def last_error(lines: list[str]) -> str | None:
    """Return the last line that is an error, known or not."""
    return next((line for line in reversed(_without_warnings(lines)) if _ERROR.search(line)), None)


def _without_warnings(lines: list[str]) -> list[str]:
    return [line for line in lines if not _WARNING.search(line)]
