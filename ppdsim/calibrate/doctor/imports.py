"""A library that is installed but does not import: why, and what mends it."""

from __future__ import annotations

from ppdsim.calibrate.doctor.finding import Finding, failure
from ppdsim.calibrate.troubles import recognise

UNSPECIFIC = ("missing-library", "package-versions")
"""Troubles whose mend is to ask this doctor: whoever calls knows which package has to be installed."""
LINE_CHARACTERS = 200


def import_failure(check: str, what: str, error: str, mend: str) -> Finding:
    """Return the finding for `what` that said `error` when it was imported; `mend` is for troubles without a name."""
    lines = error.strip().splitlines()
    said = lines[-1][:LINE_CHARACTERS] if lines else "no message"
    trouble = recognise(error)
    if trouble is None or trouble.name in UNSPECIFIC:
        return failure(check, f"{what} does not import: {said}", mend)
    return failure(check, f"{what} does not import: {trouble.reason} ({trouble.name}; {said})", trouble.mend)
