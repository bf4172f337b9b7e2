"""What a plan asks for and the rows do not have, a sentence each: cells without a row, missing repeats.

Worked out from the rows and not from what happened: it is as true after Ctrl-C, or after a server that died, as after a
budget that was spent, and stays until the same plan has what it asks for.
"""

from __future__ import annotations

from collections.abc import Iterator

from ppdsim.measure.budget import fewer_note
from ppdsim.measure.pending_cells import Agenda
from ppdsim.measure.service import Service


def lacking_notes(agenda: Agenda, service: Service, *, fewer: str | None) -> Iterator[str]:
    """Yield what the plan lacks on one service; `fewer` is what was said of missing repeats already, and why."""
    undone = agenda.undone(service)
    unbegun = [cell for cell in undone if not agenda.begun(cell)]
    if unbegun:
        asked = len(agenda.cells(service))
        yield f"{unbegun_note(service.name, agenda.plan.name)} {len(unbegun)} of {asked} cells (--resume goes on)"
    few = len(undone) - len(unbegun)
    if fewer is not None:
        yield fewer
    elif few:
        yield f"{fewer_note(service.name, agenda.plan.name)} in {few} cell{'s' * (few > 1)} (--resume goes on)"


def lacking_begins(agenda: Agenda, service: Service) -> tuple[str, ...]:
    """Return how the notes on what the plan lacks on one service begin."""
    return tuple(begins(service.name, agenda.plan.name) for begins in (unbegun_note, fewer_note))


def unbegun_note(service: str, plan: str) -> str:
    """Return how the note on a service's cells without a row begins."""
    return f"{service}: plan '{plan}' has no row of"
