"""What a server's log says: its last line, and why it failed, by the known issues of its engine.

Engines also print known issues as warnings that mean nothing ("Ignore import error when loading ..."), and what follows
the cause ("Killed", "received sigquit") is printed later than the cause. So warnings are left out, and the last known
issue that is not a consequence counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ppdsim.machine.masking import masked_line

TAIL_BYTES = 256 * 1024
LINE_CHARACTERS = 300
_WARNING = re.compile(r"Ignore import error|\bWARN(?:ING)?\b|Warning:|^\s*warn\w*[.(:]")
_ERROR = re.compile(r"\b(?:[A-Za-z_.]*(?:Error|Exception)\b|ERROR\b|error:|[Ff]atal\b|Failed\b|panicked\b)")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownIssue:
    """A known issue: `reason` in words, `fix` as a command to paste, with further advice after its #."""

    name: str
    reason: str
    fix: str


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


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownIssues:
    """What an engine's errors and logs show.

    Attributes
    ----------
    symptoms : tuple of (str, KnownIssue)
        Patterns and what they mean; the first match wins, so a special one stands before a general one.
    fatal : tuple of str
        Names of those that no server gets over: it is not waited for, even while its process lives.
    consequences : tuple of str
        Names of those that follow another one, here or at the other end: an earlier issue in the log is the cause.
    """

    symptoms: tuple[tuple[str, KnownIssue], ...] = ()
    fatal: tuple[str, ...] = ()
    consequences: tuple[str, ...] = ()

    def recognise(self, text: str) -> KnownIssue | None:
        """Return the first known issue whose symptom is in an error message or a log."""
        return next((issue for pattern, issue in self.symptoms if re.search(pattern, text)), None)

    def decisive(self, lines: list[str]) -> Cause | None:
        """Return the known issue that a living server cannot get over, if its log shows one."""
        found = next(self._causes(lines), None)
        return found if found is not None and found.issue is not None and found.issue.name in self.fatal else None

    def cause(self, lines: list[str], exit_code: int | None) -> Cause:
        """Return why a server ended, or why it is not ready."""
        found = next(self._causes(lines), None)
        if found is not None:
            return found
        line = last_error(lines) or (lines[-1] if lines else "nothing")
        after = "" if exit_code is None else f"exit code {exit_code}"
        return Cause(line=line, issue=self.recognise("\n".join([*_without_warnings(lines)[-20:], after])))

    def _causes(self, lines: list[str]) -> Iterator[Cause]:
        """Yield the lines with a known issue that is no consequence, the last first."""
        for line in reversed(_without_warnings(lines)):
            issue = self.recognise(line)
            if issue is not None and issue.name not in self.consequences:
                yield Cause(line=line, issue=issue)


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


def last_error(lines: list[str]) -> str | None:
    """Return the last line that is an error, known or not."""
    return next((line for line in reversed(_without_warnings(lines)) if _ERROR.search(line)), None)


def _without_warnings(lines: list[str]) -> list[str]:
    return [line for line in lines if not _WARNING.search(line)]
