"""What one call of a calibration knows while it measures, and the questions that its plan and its rows answer."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ppdsim.calibrate.drivers.base import EngineInfo
from ppdsim.calibrate.live.budget import Budget
from ppdsim.calibrate.live.cells import Cell, LoadCell
from ppdsim.calibrate.live.journal import Journal
from ppdsim.calibrate.live.limits import Limits, clipped
from ppdsim.calibrate.live.plan import Plan
from ppdsim.calibrate.live.record import RunRecord
from ppdsim.calibrate.live.service import Service
from ppdsim.measurements import HardwareFloor

Say = Callable[[str], None]


@dataclass
class Run:
    """The state of a call: its plan, its journal, and where the time went.

    `floor` is what nothing on this machine can be faster than, `unix_s` the wall clock. `infos` are the servers that
    were up in this call. `seconds` counts time by what it was spent on. `origin_s` is when the run began, on the event
    loop's clock: when its first row was about to be measured, in this call or an earlier one. `left_out` is what could
    not be measured at all, `fewer` what the budget left with fewer repeats, by service, a line each.
    """

    plan: Plan
    journal: Journal
    record: RunRecord
    rng: np.random.Generator
    floor: HardwareFloor
    budget: Budget
    say: Say = print
    unix_s: Callable[[], float] = time.time
    infos: dict[str, EngineInfo] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    fewer: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    origin_s: float | None = None

    def cells(self, service: Service) -> list[Cell]:
        """Return a service's cells: all that fit what its servers allowed last, or all while that is not known."""
        limits = self.journal.limits(service.name)
        cells = service.cells(self.plan)
        if limits is None:
            return cells
        return list(clipped(cells, limits, self.plan, decode_radix=service.decode_radix).kept)

    def clipped_lines(self, service: Service) -> tuple[str, ...]:
        """Return what of a service's cells its servers did not allow last, a line each; none while that is not known.

        They follow from the plan and ``limits.json``, so a call that starts no servers says the same.
        """
        limits = self.journal.limits(service.name)
        if limits is None:
            return ()
        found = clipped(service.cells(self.plan), limits, self.plan, decode_radix=service.decode_radix)
        return tuple(f"{clipped_note(service.name)}: {line}" for line in found.lines)

    def learn_limits(self, service: Service, limits: Limits) -> None:
        """Keep what a service's servers allow, and say what it leaves of the plan, unless that was said already."""
        before = self.clipped_lines(service)
        self.journal.remember_limits(service.name, limits)
        now = self.clipped_lines(service)
        if now != before or service.name not in self.infos:
            for line in now:
                self.say(line)

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

    def affords(self, cell: Cell, until_s: float) -> bool:
        """Return whether a cell may be measured: the first time always, again until that much is spent."""
        return not self.begun(cell) or self.budget.spent_s < until_s


def clipped_note(service: str) -> str:
    """Return how the notes on what a service's servers do not allow begin."""
    return f"clipped on {service}"


def left_out_note(name: str) -> str:
    """Return how the note on a service or a link begins that was left out."""
    return f"{name}: left out, "
