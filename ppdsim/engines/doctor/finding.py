"""One row of the doctor's report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """How a check ended. A failure means that servers will not run; a warning, that they will run worse or unseen."""

    OK = "OK"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found, and the command that fixes it (empty where nothing needs fixing)."""

    check: str
    status: Status
    found: str
    fix: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(check=check, status=Status.OK, found=found)


def warning(check: str, found: str, fix: str = "") -> Finding:
    """Return a finding that one should know."""
    return Finding(check=check, status=Status.WARNING, found=found, fix=fix)


def failure(check: str, found: str, fix: str) -> Finding:
    """Return a finding that keeps servers from running."""
    return Finding(check=check, status=Status.FAILURE, found=found, fix=fix)
