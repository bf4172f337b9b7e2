"""What a plan asks of each service, and what of it the raw file still lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ppdsim.measure.budget import fewer_note
from ppdsim.measure.cells import Cell, LoadCell
from ppdsim.measure.journal import Journal
from ppdsim.measure.limits import Clipped, clipped
from ppdsim.measure.plan import Plan
from ppdsim.measure.service import Service


@dataclass(frozen=True, slots=True)
class PendingCells:
    """The cells of a plan that the raw file lacks.

    What servers allow is what they said last, in this or an earlier call.
    """

    plan: Plan
    journal: Journal

    def cells(self, service: Service) -> list[Cell]:
        """Return a service's cells: all that its servers allow, or all while that is not known."""
        found = self._clipped(service)
        return service.cells(self.plan) if found is None else list(found.kept)

    def clipped_lines(self, service: Service) -> tuple[str, ...]:
        """Return what of a service's cells its servers do not allow, a line each; none while that is not known."""
        found = self._clipped(service)
        return () if found is None else tuple(f"{clipped_note(service.name)}: {line}" for line in found.lines)

    def begun(self, cell: Cell) -> bool:
        """Return whether a cell was tried: all that the first pass asks, in this call or an earlier one."""
        return self.journal.has(cell.key)

    def done(self, cell: Cell) -> bool:
        """Return whether a cell needs no further row."""
        if isinstance(cell, LoadCell):
            return self.journal.has(cell.key)
        return self.journal.settled(cell.key, self.plan.repeats_for(cell))

    def undone(self, service: Service) -> list[Cell]:
        """Return the cells of a service that need further rows."""
        return [cell for cell in self.cells(service) if not self.done(cell)]

    def _clipped(self, service: Service) -> Clipped | None:
        limits = self.journal.limits(service.name)
        if limits is None:
            return None
        return clipped(service.cells(self.plan), limits, self.plan, decode_radix=service.decode_radix)


def clipped_note(service: str) -> str:
    """Return how the notes on what a service's servers do not allow begin."""
    return f"clipped on {service}"


def lacking_notes(pending: PendingCells, service: Service, *, fewer: str | None) -> Iterator[str]:
    """Yield what the plan lacks on one service, a sentence each: cells without a row, missing repeats.

    It comes from the rows and not from what happened: it is as true after Ctrl-C, or after a server that died, as after
    a budget that was spent. `fewer` is what was said of missing repeats already, and why.
    """
    undone = pending.undone(service)
    unbegun = [cell for cell in undone if not pending.begun(cell)]
    if unbegun:
        asked = len(pending.cells(service))
        yield f"{unbegun_note(service.name, pending.plan.name)} {len(unbegun)} of {asked} cells (--resume goes on)"
    few = len(undone) - len(unbegun)
    if fewer is not None:
        yield fewer
    elif few:
        yield f"{fewer_note(service.name, pending.plan.name)} in {few} cell{'s' * (few > 1)} (--resume goes on)"


def lacking_begins(pending: PendingCells, service: Service) -> tuple[str, ...]:
    """Return how the notes on what the plan lacks on one service begin."""
    return tuple(begins(service.name, pending.plan.name) for begins in (unbegun_note, fewer_note))


def unbegun_note(service: str, plan: str) -> str:
    """Return how the note on a service's cells without a row begins."""
    return f"{service}: plan '{plan}' has no row of"
