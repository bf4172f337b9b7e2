"""Whose times the printed plan goes by: before the machine is known, those of a profile of the same GPU."""

from __future__ import annotations

from ppdsim import library, profile
from ppdsim.errors import PpdsimError
from ppdsim.profile import Profile

DEFAULT = "h200x2_llama-3.1-8b_sglang-0.5.17"
"""The profile for a GPU that no installed one was measured on."""


def reference(gpu: str) -> Profile:
    """Return the installed profile that was measured on a GPU of this name, of several the one with most cells.

    A profile that cannot be read is passed over.
    """
    found = profile.load(library.find("profile", DEFAULT))
    for path in library.installed("profile").values():
        try:
            other = profile.load(path)
        except PpdsimError:
            continue
        if other.gpu == gpu and (found.gpu != gpu or _measured(other) > _measured(found)):
            found = other
    return found


def _measured(one: Profile) -> tuple[int, int]:
    """Return of how many hand-offs a profile has measured cells, and how many cells in all; none if it is derived."""
    cells = [record.cells for record in one.curves]
    return sum(record.arm is not None and record.cells > 0 for record in one.curves), sum(cells)
