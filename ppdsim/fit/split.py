"""Which cells a fit has seen: the split is by cell, recorded in the profile, and checked before anything is compared.

A cell is its kind, arm, transport and token counts; its record adds the measured seconds. A held-out cell has leaked if
the profile's own run has fitted a cell at the same place, or if any fit has seen a cell with the same place *and* the
same seconds (a row that was copied or relabelled into another run). Not modelled: a cell that was fitted under
other token counts than its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ppdsim.fit.cells import Cells, Grid, grid
from ppdsim.fit.crossval import name_of
from ppdsim.measurements import Measurements
from ppdsim.profile import Profile


def _groups(cells: Grid) -> Iterable[Cells]:
    return (*cells.all(), cells.handoff_stall)


def _records(cells: Grid) -> Iterator[tuple[str, str]]:
    """Yield (place, seconds) of every cell."""
    for group in _groups(cells):
        name = name_of(group) if group is not cells.handoff_stall else "handoff-stall"
        for i in range(len(group)):
            numbers = (
                group.cached_tokens[i],
                group.new_tokens[i],
                group.prefill_cached_tokens[i],
                group.batch[i],
                group.context_tokens[i],
            )
            yield f"{name} " + " ".join(f"{number:g}" for number in numbers), f"{group.seconds[i]:.6g}"


def fitted_cells(cells: Grid) -> tuple[str, ...]:
    """Return the record of every cell of a fit: its place (kind, L, m, cached on P, batch, context) and seconds."""
    return tuple(f"{place} = {seconds}" for place, seconds in _records(cells))


def is_own_run(profile: Profile, measured: Measurements) -> bool:
    """Return whether a profile was fitted to these measurements."""
    return profile.provenance.get("measurements") == measured.manifest.id


def leaks(profile: Profile, measured: Measurements) -> tuple[str, ...]:
    """Return the held-out cells of a run that the profile's fit has seen, by their place."""
    seen = dict(record.split(" = ") for record in profile.fitted_cells)
    own = is_own_run(profile, measured)
    return tuple(
        place
        for place, seconds in _records(grid(measured, "validation"))
        if place in seen and (own or seen[place] == seconds)
    )
