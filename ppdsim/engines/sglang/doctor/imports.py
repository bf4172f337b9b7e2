"""A library that is installed but does not import: why, and what fixes it."""

from __future__ import annotations

from ppdsim.engines.doctor.finding import Finding, failure
from ppdsim.engines.sglang.known_issues import KNOWN_ISSUES

UNSPECIFIC = ("missing-library", "package-versions")
"""Known issues whose fix is to ask this doctor: whoever calls knows which package has to be installed."""
LINE_CHARACTERS = 200


def import_failure(check: str, what: str, error: str, fix: str) -> Finding:
    """Return the finding for `what` that said `error` when it was imported; `fix` is for a problem without a name."""
    lines = error.strip().splitlines()
    said = lines[-1][:LINE_CHARACTERS] if lines else "no message"
    issue = KNOWN_ISSUES.recognise(error)
    if issue is None or issue.name in UNSPECIFIC:
        return failure(check, f"{what} does not import: {said}", fix)
    return failure(check, f"{what} does not import: {issue.reason} ({issue.name}; {said})", issue.fix)
