"""What one call of a calibration knows while it measures."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ppdsim.engines.client import EngineInfo, ShowLine
from ppdsim.measure.budget import Budget
from ppdsim.measure.cells import Cell
from ppdsim.measure.journal import Journal
from ppdsim.measure.limits import Limits
from ppdsim.measure.pending_cells import PendingCells
from ppdsim.measure.plan import Plan
from ppdsim.measure.record import RunRecord
from ppdsim.measure.service import Service
from ppdsim.measurements import HardwareFloor


@dataclass
class Run:
    """The state of a call: what is left to do, and where the time went.

    `floor` is what nothing on this machine can be faster than, `unix_s` the wall clock. `infos` are the servers that
    were up in this call. `seconds` counts time by what it was spent on. `origin_s` is when the run began, on the event
    loop's clock: when its first row was about to be measured, in this call or an earlier one. `left_out` is what could
    not be measured at all, `fewer` what the budget left with fewer repeats, by service, a line each. `begin` is called
    when servers are up, before they get work.
    """

    pending: PendingCells
    record: RunRecord
    rng: np.random.Generator
    floor: HardwareFloor
    budget: Budget
    show_line: ShowLine = print
    begin: Callable[[], None] = lambda: None
    unix_s: Callable[[], float] = time.time
    infos: dict[str, EngineInfo] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    fewer: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    origin_s: float | None = None

    @property
    def plan(self) -> Plan:
        """What is to be measured."""
        return self.pending.plan

    @property
    def journal(self) -> Journal:
        """What was measured."""
        return self.pending.journal

    @property
    def described(self) -> bool:
        """Return whether it is known which servers the rows are from, if there are rows."""
        return bool(self.record.servers) or not self.journal.rows

    def learn_limits(self, service: Service, limits: Limits) -> None:
        """Keep what a service's servers allow, and say what it leaves of the plan, unless that was said already."""
        before = self.pending.clipped_lines(service)
        self.journal.remember_limits(service.name, limits)
        now = self.pending.clipped_lines(service)
        if now != before or service.name not in self.infos:
            for line in now:
                self.show_line(line)

    def affords(self, cell: Cell, until_s: float) -> bool:
        """Return whether a cell may be measured: the first time always, again until that much is spent."""
        return not self.pending.begun(cell) or self.budget.spent_s < until_s


def left_out_note(name: str) -> str:
    """Return how the note on a service or a link begins that was left out."""
    return f"{name}: left out, "
