"""What a plan asks of each service, and what of it the raw file still lacks."""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.measure.cells import Cell, LoadCell
from ppdsim.measure.journal import Journal
from ppdsim.measure.limits import Clipped, clipped
from ppdsim.measure.plan import Plan
from ppdsim.measure.service import Service


@dataclass(frozen=True, slots=True)
class Agenda:
    """A plan beside the rows that there are; what servers allow is what they said last, in this or an earlier call."""

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
